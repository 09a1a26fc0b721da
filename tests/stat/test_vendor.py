"""Events and metrics by the CPU maker's names: formulas, and the kernel's perf module where a Python has it."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from unitrace.contract.errors import UsageError
from unitrace.stat import vendor
from unitrace.stat.formula import Formula


@pytest.mark.parametrize(
    ("text", "events", "value"),
    [
        ("d_ratio(hits, hits + misses)", ["hits", "misses"], 0.75),
        ("100 * (1 - hits / all) if all > 0 else 0", ["hits", "all"], 75.0),
        (r"max(cpu\-cycles:kHh - hits, 0) * 1e-3", ["cpu-cycles:kHh", "hits"], 0.004),
        (r"msr@tsc@ + cpu@event\=0x3c\,umask\=0x1@", ["msr/tsc/", "cpu/event=0x3c,umask=0x1/"], 12.0),
        ("hits / duration_time", ["hits", "duration_time"], 1.5),
        ("d_ratio(hits, 0)", ["hits"], 0.0),
        ("min(.5, 2) + 3 % 2", [], 1.5),
    ],
)
def test_formulas(text: str, events: list[str], value: float) -> None:
    counts = {"hits": 3.0, "misses": 1.0, "all": 12.0, "cpu-cycles:kHh": 7.0, "msr/tsc/": 10.0}
    counts["cpu/event=0x3c,umask=0x1/"] = 2.0
    formula = Formula(text)
    assert formula.events == events
    assert formula.value(counts, 2.0) == pytest.approx(value)


def test_what_isnt_counted_gives_no_number() -> None:
    assert math.isnan(Formula("hits / misses").value({"hits": 3.0}, 1.0))
    assert math.isnan(Formula("hits / misses").value({"hits": 3.0, "misses": 0.0}, 1.0))
    assert Formula("1 if #num_cpus > 0 else 0").value({}, 1.0) == 1.0


@pytest.mark.parametrize("text", ["a +", "a ? b : c $", "import(x)", "#never", "(a))", "__import__('os')"])
def test_no_formula(text: str) -> None:
    with pytest.raises(UsageError):
        Formula(text)


def stat(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "unitrace", "stat", *words]
    return subprocess.run(command, capture_output=True, text=True)


def known() -> list[str]:
    """The metrics' names, where a Python here has the module."""
    answer = vendor._ask(metrics=["-"])
    if answer is None:
        pytest.skip("no Python here has the kernel's perf module (6.18)")
    return list(answer["known"])


def test_the_modules_metrics_are_understood() -> None:
    for one in vendor.metrics(known()):
        formula = Formula(one.formula)
        assert math.isnan(formula.value({}, 1.0)) or not set(formula.events) - {"duration_time"}


def test_the_modules_events_are_the_kernels() -> None:
    known()
    vendor.learn(["page-faults", "r1a8", "no-such-event"])
    assert vendor.event("page-faults") == (1, 2)
    assert vendor.event("r1a8") == (4, 0x1A8)
    assert vendor.event("no-such-event") is None


def test_a_metric_that_isnt_there_is_said() -> None:
    done = stat("-M", "no-such-metric", "--", "true")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "no such metric" in done.stderr or "perf module" in done.stderr


@pytest.mark.privileged
def test_a_metric_whose_events_arent_here_isnt_supported() -> None:
    name = known()[0]
    done = stat("-x,", "-M", name, "--", "true")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith(name)
