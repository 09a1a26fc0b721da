"""The highest steady rate of events that a tool prints without losing one.

A ladder of rates, each held for a second; the climb ends at the first rung that loses events. The
figure is the rate that the traced program really reached on the last good rung: tracing itself slows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench.harness import Bench, Metric, Table
from bench.measure import Case, Sample, in_turns
from bench.sections.stream import lines_of_load
from bench.tools import Job, Tool

RATES = (62_500, 125_000, 250_000, 500_000, 1_000_000, 1_500_000, 2_000_000)
RATES_OF_TWO = (500_000, 1_000_000, 1_500_000, 2_000_000, 3_000_000)
SECONDS = 1.0
MILLION = 1_000_000


def measure(bench: Bench) -> list[Table]:
    """Climb the ladder with every tool that prints events."""
    return [measure_load(bench, "rate", "one CPU", RATES)]


def measure_two_cpus(bench: Bench) -> list[Table]:
    """The same where two CPUs make half of the events each."""
    return [measure_load(bench, "rate2", "two CPUs", RATES_OF_TWO)]


def measure_load(bench: Bench, mode: str, title: str, rates: Sequence[int]) -> Table:
    """Climb with one kind of load."""
    cases = [Case(tool.name, partial(climb, bench, tool, mode, rates)) for tool in bench.tools_for(Job.PRINT)]
    in_turns(cases, bench.rounds, warm_up=False)
    metrics = [
        Metric("rate", "lossless, M events / s", 2),
        Metric("at_million", "lost where 1 M/s were asked for, %", 2, ratio=False),
        Metric("made", "events / s made there, M", 2, ratio=False),
    ]
    return Table("rate", f"Highest rate printed without loss, {title} (more is better)", metrics, cases)


def climb(bench: Bench, tool: Tool, mode: str, rates: Sequence[int]) -> Sample:
    """The rate reached on the last rung without a loss, 0 if there was none; and what a million events
    a second were to it."""
    found = {"rate": 0.0}
    lossless = True
    for rate in rates:
        if not lossless and rate != MILLION:
            continue
        bench.do(tool, Job.PRINT, bench.load_command(mode, Job.PRINT.call, rate, SECONDS, unseen=True))
        made = bench.load_result()
        reached = made["calls"] / made["seconds"] / 1e6
        missing = 1 - min(1.0, lines_of_load(bench.output)[0] / made["calls"])
        lossless = lossless and not missing
        if lossless:
            found["rate"] = max(found["rate"], reached)
        if rate == MILLION:
            found.update(at_million=100 * missing, made=reached)
    return found
