"""The highest steady rate of events that a tool prints without losing one.

A ladder of rates, each held for a third of a second; the climb ends at the first rung that loses events. The
figure is the rate that the traced program really reached on the last good rung: tracing itself slows it.
"""

from __future__ import annotations

from functools import partial

from bench.harness import Bench, Metric, Table
from bench.measure import Case, Sample, in_turns
from bench.sections.stream import lines_of_load
from bench.tools import Job, Tool

RATES = (62_500, 125_000, 250_000, 500_000, 1_000_000, 2_000_000)
SECONDS = 0.33


def measure(bench: Bench) -> list[Table]:
    """Climb the ladder with every tool that prints events."""
    cases = [Case(tool.name, partial(climb, bench, tool)) for tool in bench.tools_for(Job.PRINT)]
    in_turns(cases, bench.rounds, warm_up=False)
    metrics = [Metric("rate", "lossless, M events / s", 2)]
    return [Table("rate", "Highest rate printed without loss (more is better)", metrics, cases)]


def climb(bench: Bench, tool: Tool) -> Sample:
    """The rate reached on the last rung without a loss; 0 if there was none."""
    best = 0.0
    for rate in RATES:
        bench.do(tool, Job.PRINT, bench.load_command("rate", Job.PRINT.call, rate, SECONDS))
        made = bench.load_result()
        if lines_of_load(bench.output)[0] < made["calls"]:
            break
        best = max(best, made["calls"] / made["seconds"] / 1e6)
    return {"rate": best}
