"""Events by their names, and what is said of counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unitrace.contract.errors import UsageError
from unitrace.kernel.counters import EXCLUDE_HV, EXCLUDE_KERNEL, EXCLUDE_USER, Event, Reading
from unitrace.stat import names
from unitrace.stat.names import DEFAULT, parse
from unitrace.stat.show import Row, csv_line, json_line, mean, metric, text_line


def one(text: str) -> tuple[int, int]:
    ((event,),) = parse(text)
    return event.type, event.config


def test_names() -> None:
    assert one("cs") == one("context-switches") == (1, 3)
    assert one("instructions") == (0, 1)
    assert one("r1A8") == (4, 0x1A8)
    assert one("L1-dcache-load-misses") == (3, 0x10000)
    assert one("LLC-stores") == (3, 2 | 1 << 8)
    assert one("dTLB-prefetches") == one("dTLB-prefetch") == (3, 3 | 2 << 8)
    assert one("branch-load-misses") == (3, 5 | 1 << 16)
    assert len(parse(DEFAULT)) == 8


def test_groups_and_modifiers() -> None:
    groups = parse("{cycles:u,instructions},cs,{page-faults,cs}:k")
    assert [[event.name for event in group] for group in groups] == [
        ["cycles:u", "instructions"],
        ["cs"],
        ["page-faults", "cs"],
    ]
    assert groups[0][0].flags == EXCLUDE_KERNEL | EXCLUDE_HV and groups[0][1].flags == 0
    assert groups[2][0].flags == EXCLUDE_USER | EXCLUDE_HV


@pytest.mark.parametrize("text", ["", "nosuch", "cycles,,nosuch:u", "nosuchpmu/event=1/", "x:y:z"])
def test_no_such_event(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_a_pmus_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "type": "7",
        "format/event": "config:0-7,32-35",
        "format/umask": "config:8-15",
        "format/ldlat": "config1:0-15",
        "events/loads": "event=0xcd,umask=0x1,ldlat=3",
        "events/energy": "event=0x02",
        "events/energy.scale": "2.5e-10",
        "events/energy.unit": "Joules",
    }
    for name, text in files.items():
        path = tmp_path / "cpu" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    monkeypatch.setattr(names, "DEVICES", str(tmp_path))
    ((event,),) = parse("cpu/event=0x3c1,umask=0x2,ldlat=9/u")
    assert (event.type, event.config, event.config1) == (7, 0xC1 | 0x2 << 8 | 3 << 32, 9)
    assert event.flags == EXCLUDE_KERNEL | EXCLUDE_HV
    ((event,),) = parse("loads")
    assert (event.config, event.config1) == (0x1CD, 3)
    ((event,),) = parse("cpu/energy/")
    assert (event.scale, event.unit) == (2.5e-10, "Joules")
    with pytest.raises(UsageError, match="no parameter cmask"):
        parse("cpu/event=1,cmask=1/")


CYCLES, CLOCK = Event("cycles", 0, 0), Event("task-clock", 1, 1, scale=1e-6, unit="msec")
WHOLE = Reading(2_000_000, 1_000_000, 1_000_000)


def test_scaled_counts_say_so() -> None:
    half = Row(CYCLES, Reading(100, 1000, 500))
    assert half.value == 200 and "(50.00%, scaled)" in text_line(half, None)
    assert json.loads(json_line(half, None, {}))["scaled"] is True
    assert "scaled" not in text_line(Row(CYCLES, WHOLE), None)
    assert "<not counted>" in text_line(Row(CYCLES, Reading(0, 1000, 0)), None)
    assert "<not supported>" in text_line(Row(CYCLES, Reading(), absent=True), None)


def test_what_counts_mean() -> None:
    rows = {
        "cycles": Row(CYCLES, WHOLE),
        "instructions": Row(Event("instructions", 0, 1), WHOLE.plus(WHOLE)),
        "task-clock": Row(CLOCK, WHOLE),
        "branches": Row(Event("branches", 0, 4), WHOLE),
        "branch-misses": Row(Event("branch-misses", 0, 5), Reading(20_000, 1, 1)),
    }
    said = {name: metric(row, rows, 0.004) for name, row in rows.items()}
    assert said["cycles"] == (1.0, "GHz")
    assert said["instructions"] == (2.0, "insn per cycle")
    assert said["task-clock"] == (0.5, "CPUs utilized")
    assert said["branch-misses"] == (1.0, "% of all branches")
    assert metric(Row(CYCLES, Reading(), absent=True), rows, 1) is None


def test_forms() -> None:
    row = Row(CLOCK, WHOLE)
    assert (
        csv_line(row, (0.5, "CPUs utilized"), ",", [])
        == "2.00,msec,task-clock,1000000,100.00,0.500,CPUs utilized"
    )
    assert json.loads(json_line(row, None, {"interval": 1})) == {
        "interval": 1,
        "counter-value": "2.00",
        "unit": "msec",
        "event": "task-clock",
        "event-runtime": 1000000,
        "pcnt-running": 100.0,
    }


def test_runs() -> None:
    rows = [Row(CYCLES, Reading(value, 10, 10)) for value in (90, 110)]
    found = mean(rows)
    assert found.value == 100 and round(found.spread, 6) == 10.0
    assert mean(rows[:1]).spread == -1
