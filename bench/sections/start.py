"""How soon a tracer is armed, when its first line comes, and how long its whole life is.

A load in the background makes the traced call every 100 us. `armed` is the first event's own time stamp
less the moment before the tracer was forked: it can't be later than the truth by more than a tick. `first
line` is when that event stood on the tracer's standard output. `life` ends when the tracer is reaped.

perf and trace-cmd have no exit(): they record a child that makes one call, then report.
"""

from __future__ import annotations

import re
import time
from functools import partial

from bench.harness import Bench, Metric, Table
from bench.load import COMM
from bench.measure import Case, Failed, Sample, in_turns
from bench.tools import Job, Tool

TICK_US = 100
FIRST_LINE = rf"[^\n]*\b{COMM}\b[^\n]*\n"


def measure(bench: Bench) -> list[Table]:
    """Measure the start and end of every tool."""
    cases = [Case(tool.name, partial(once, bench, tool)) for tool in bench.tools_for(Job.FIRST)]
    with bench.ticking(TICK_US):
        in_turns(cases, bench.rounds, warm_up=bench.warm_up)
    metrics = [
        Metric("armed", "armed, ms"),
        Metric("first_line", "first line, ms"),
        Metric("life", "whole life, ms"),
        Metric("cpu", "CPU time, ms"),
    ]
    return [Table("start", "Start, first event, end (less is better)", metrics, cases)]


def once(bench: Bench, tool: Tool) -> Sample:
    """One whole life of a tracer that prints one event."""
    load = bench.load_command("calls", Job.FIRST.call, 1) if tool.runs_load_first else []
    steps = tool.steps(Job.FIRST, load, bench.scratch)
    runs = [bench.run(step) for step in steps[:-1]]
    runs.append(bench.run(steps[-1], first_line=FIRST_LINE))
    started, last = runs[0].started, runs[-1]
    if last.first is None or last.first_at is None:
        raise Failed("no event came out")
    sample = {
        "first_line": (last.started + last.first_at - started) * 1e3,
        "life": (last.started + last.wall - started) * 1e3,
        "cpu": sum(run.cpu for run in runs) * 1e3,
    }
    stamp = tool.stamp and re.search(tool.stamp, last.first)
    if stamp:
        at = float(stamp[1]) * tool.stamp_unit
        sample["armed"] = (at + (0 if tool.stamp_is_boottime else suspended()) - started) * 1e3
    return sample


def suspended() -> float:
    """Seconds that this machine has slept: what CLOCK_BOOTTIME counts and CLOCK_MONOTONIC doesn't."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
