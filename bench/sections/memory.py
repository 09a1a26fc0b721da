"""Peak resident memory of a tracer; of several commands or processes, the biggest one's.

A child's peak starts at the size of the process that forked it, so the compiled load does the forking.
Kernel buffers don't count as resident memory, save where a tracer maps them and touches them.
"""

from __future__ import annotations

import json
from functools import partial

from bench.harness import Bench, Metric, Table
from bench.measure import Case, Sample, in_turns
from bench.tools import Job, Step, Tool

TITLES = {Job.COUNT: "`@[comm] = count()`", Job.PRINT: "printing each event"}


def measure(bench: Bench) -> list[Table]:
    """Measure an aggregation and a stream of events."""
    return [measure_job(bench, job) for job in TITLES]


def measure_job(bench: Bench, job: Job) -> Table:
    """Measure one job for all the tools that can do it."""
    cases = [Case(tool.name, partial(once, bench, tool, job)) for tool in bench.tools_for(job)]
    in_turns(cases, bench.rounds, warm_up=False)
    metrics = [Metric("peak", "peak RSS, MB")]
    return Table("memory", f"Memory, {TITLES[job]} (less is better)", metrics, cases)


def once(bench: Bench, tool: Tool, job: Job) -> Sample:
    """The peak over a job's commands."""
    peak = 0
    can_spawn = len(bench.load) == 1
    report = bench.scratch / "spawn.json"
    load = bench.load_command("calls", job.call, bench.calls)
    for step in tool.steps(job, load, bench.scratch):
        argv = [*bench.load, "spawn", str(report), *step.argv] if can_spawn else step.argv
        run = bench.run(Step(argv, step.environment))
        peak = max(peak, json.loads(report.read_text())["maxrss_kb"] if can_spawn else run.peak_kb)
    return {"peak": peak / 1024}
