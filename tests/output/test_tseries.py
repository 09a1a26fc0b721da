"""Time series: the plot, its gaps, and the rows for JSON."""

from __future__ import annotations

import pytest

from unitrace.contract.ir import MapDecl
from unitrace.contract.types import INT64, Aggregate, Str
from unitrace.output.json import JsonSink
from unitrace.output.maps import map_text
from unitrace.output.records import Attached, MapShown
from unitrace.output.sink import Writer
from unitrace.output.tseries import cells, newest, plot

SERIES = Aggregate("tseries", True, (100_000_000, 5))


class Held(Writer):
    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFTRACE_DUMMY_TS_MAP", "@now")
    monkeypatch.setenv("TZ", "UTC")


def test_intervals_from_the_first_shown_to_the_newest_of_all() -> None:
    assert newest([{1: 5}, {9: 5, 2: 1}, {}]) == 9
    assert cells(SERIES, {2: 1, 6: 4, 8: 5}, 9) == [(6, 4), (7, None), (8, 5), (9, None)]
    assert cells(SERIES, {1: 5}, 9) == []


def test_plot() -> None:
    lines = [line.decode() for line in plot(SERIES, [(1, -10), (2, None), (3, 10)])]
    assert lines[0] == " " * 13 + "-10" + " " * 48 + "10"
    assert lines[1] == "hh:mm:ss.ms  |" + "_" * 51 + "|"
    assert lines[2] == "00:00:00.100 *" + " " * 25 + "." + " " * 25 + "| -10"
    assert lines[3].endswith("| -") and lines[3].startswith("00:00:00.200 |")
    assert lines[4].endswith(".                         * 10")
    assert lines[5] == " " * 13 + "v" + "_" * 51 + "v"
    assert lines[6] == lines[0]
    assert plot(SERIES, []) == [b"<no data>"]


def test_one_value_stands_in_the_middle() -> None:
    lines = plot(Aggregate("tseries", True, (10**9, 1)), [(60, 7)])
    assert lines[0].split() == [b"6", b"8"]
    assert lines[1].startswith(b"hh:mm:ss |")
    assert lines[2] == b"00:01:00 |" + b" " * 25 + b"*" + b" " * 25 + b"| 7"


def test_an_unsigned_scale_starts_at_0() -> None:
    lines = plot(Aggregate("tseries", False, (10**9, 1)), [(60, 0)])
    assert lines[0].split() == [b"0", b"1"]
    assert lines[2] == b"00:01:00 *" + b" " * 51 + b"| 0"


def test_maps_of_series() -> None:
    decl = MapDecl("@a", (Str(8),), SERIES)
    shown = MapShown(decl, {(b"one",): {1: 2, 2: 3}, (b"none",): {}})
    text = map_text(shown)
    assert text.startswith(b"@a[none]:\n<no data>\n\n@a[one]:\n")
    assert text.endswith(b"v\n" + plot(SERIES, [(1, 2), (2, 3)])[-1] + b"\n\n")


def test_json() -> None:
    held = Held()
    sink = JsonSink(held, quiet=True)
    sink.emit([Attached(1), MapShown(MapDecl("@", (), SERIES), {(): {5: 9}})])
    assert held.data == (
        b'{"type": "tseries", "data": {"@": '
        b'[{"interval_start": "1970-01-01 00:00:00.500000000", "value": 9}]}}\n'
    )


def test_json_spaces_as_bpftrace_does() -> None:
    held = Held()
    JsonSink(held).emit([Attached(2), MapShown(MapDecl("@", (INT64,), SERIES), {})])
    assert held.data == b'{"type": "attached_probes", "count": 2, "data": {"probes": 2}}\n'
