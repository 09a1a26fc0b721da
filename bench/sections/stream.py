"""Events printed, one line each: how many a second, how many a CPU second, how many lost.

The load makes its calls as fast as it can; the tracer's output goes to a file, and is counted afterwards.
`lost` is what is missing there, `admitted` what the tool says it has lost. CPU time is the tracer's own
(record and report together); the load keeps its own out of it. The second CPU column leaves out start and
end: it is the difference from a run, in the same round, with a single event.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.harness import Bench, Metric, Table
from bench.load import COMM
from bench.measure import Case, Sample, in_turns
from bench.tools import Job, Tool, reported_lost

CALLS_FACTOR = 3  # more calls than the other sections make, or the start would outweigh the events


def measure(bench: Bench) -> list[Table]:
    """One CPU makes events."""
    return [measure_load(bench, "calls", "one CPU")]


def measure_two_cpus(bench: Bench) -> list[Table]:
    """Two CPUs make events at once."""
    return [measure_load(bench, "two", "two CPUs")]


def measure_load(bench: Bench, mode: str, title: str) -> Table:
    """Measure all the tools under one load."""
    calls = bench.calls * CALLS_FACTOR // (2 if mode == "two" else 1)
    cases = [
        Case(tool.name, partial(once, bench, tool, [mode, Job.PRINT.call, str(calls)]))
        for tool in bench.tools_for(Job.PRINT)
    ]
    in_turns(cases, bench.rounds, warm_up=False)
    metrics = [
        Metric("per_cpu_second", "M events / CPU s", 2),
        Metric("per_cpu_second_running", "the same, start left out", 2),
        Metric("per_second", "M events / s, whole life", 2),
        Metric("lost", "lost, %", 2, ratio=False),
        Metric("admitted", "admitted, %", 2, ratio=False),
        Metric("load_ns", "traced program, ns per call", 0, ratio=False),
    ]
    return Table("stream", f"Events printed, {title} (rates: more is better)", metrics, cases)


def once(bench: Bench, tool: Tool, load: Sequence[str]) -> Sample:
    """Stream one load's events into a file."""
    runs, said = bench.do(tool, Job.PRINT, bench.load_command(*load, unseen=True))
    made = bench.load_result()
    lines, others = lines_of_load(bench.output)
    printed = min(lines, int(made["calls"]))
    cpu = sum(run.cpu for run in runs)
    wall = sum(run.wall for run in runs)
    idle_runs, _ = bench.do(tool, Job.PRINT, bench.load_command("calls", Job.PRINT.call, 1, unseen=True))
    idle_cpu = sum(run.cpu for run in idle_runs)
    sample = {
        "per_second": printed / wall / 1e6,
        "per_cpu_second": printed / cpu / 1e6,
        "lost": 100 * (1 - printed / made["calls"]),
        "admitted": 100 * max(map(reported_lost, [*said, others])) / made["calls"],
        "load_ns": made["ns"],
        "wall": wall,
        "cpu": cpu,
        "idle_cpu": idle_cpu,
    }
    if cpu > idle_cpu:
        sample["per_cpu_second_running"] = printed / (cpu - idle_cpu) / 1e6
    return sample


def lines_of_load(output: Path) -> tuple[int, str]:
    """How many lines of a tool's output are about the load; and the lines that aren't."""
    name = COMM.encode()
    count = 0
    others = []
    with output.open("rb") as lines:
        for line in lines:
            if name in line:
                count += 1
            else:
                others.append(line)
    return count, b"".join(others).decode(errors="replace")
