"""What tracing adds to the traced program, in ns per event.

The tracer starts the load (-c) when it is armed; the load takes the median over batches of calls. Each
round also runs the load untraced, and the difference within a round counts. `seen` is the number of events
that the tracer itself reports, against the number made: below 100 % it has missed some. The CPU time added
leaves out how long the load had to wait for a CPU, which on a small machine its tracer takes from it.
"""

from __future__ import annotations

from functools import partial

from bench.harness import Bench, Metric, Table
from bench.measure import Case, Failed, Sample, in_turns
from bench.sections.stream import lines_of_load
from bench.tools import Job, Step, Tool, counted

TITLES = {
    Job.COUNT: "`@[comm] = count()`",
    Job.PLAIN: "`tracepoint:task:task_rename { @[comm] = count(); }`",
    Job.HIST: "`@ = hist(args.offset)`",
    Job.REJECT: "a predicate that rejects all",
    Job.PRINT: "an event that is recorded",
    Job.UPROBE: "`uprobe:...:bench_target { @ = count(); }`",
}
UPROBE_CALLS_SHARE = 10  # a uprobe costs about 50 times as much as a tracepoint


def measure(bench: Bench) -> list[Table]:
    """Measure the jobs on tracepoints."""
    return [measure_job(bench, job, bench.calls) for job in (Job.COUNT, Job.PLAIN, Job.HIST, Job.REJECT)]


def measure_recorded(bench: Bench) -> list[Table]:
    """Measure events that go to user space: printed, or recorded and printed afterwards."""
    return [measure_job(bench, Job.PRINT, bench.calls)]


def measure_uprobe(bench: Bench) -> list[Table]:
    """Measure a uprobe."""
    if len(bench.load) > 1:
        print("uprobe: left out, there is no C compiler to build its target")
        return []
    return [measure_job(bench, Job.UPROBE, bench.calls // UPROBE_CALLS_SHARE)]


def measure_job(bench: Bench, job: Job, calls: int) -> Table:
    """Measure one job for all the tools that can do it."""
    untraced = Case("untraced", partial(alone, bench, job, calls))
    traced = [Case(tool.name, partial(once, bench, tool, job, calls)) for tool in bench.tools_for(job)]
    in_turns([untraced, *traced], bench.rounds, warm_up=bench.warm_up)
    for case in traced:
        for sample, without in zip(case.rounds, untraced.rounds, strict=True):
            if sample and without:
                sample["added"] = sample["ns"] - without["ns"]
                sample["cpu_added"] = sample["cpu_ns"] - without["cpu_ns"]
    metrics = [
        Metric("added", "ns added per event"),
        Metric("cpu_added", "ns of its CPU time"),
        Metric("ns", "ns per call", ratio=False),
        Metric("seen", "seen, %", ratio=False),
    ]
    return Table("overhead", f"Cost of {TITLES[job]} (less is better)", metrics, [untraced, *traced])


def alone(bench: Bench, job: Job, calls: int) -> Sample:
    """The load without a tracer."""
    bench.run(Step(bench.load_command("calls", job.call, calls)))
    return costs(bench)


def costs(bench: Bench) -> Sample:
    """What a call cost, by the load's own account."""
    result = bench.load_result()
    return {"ns": result["ns"], "cpu_ns": result["cpu_ns"]}


def once(bench: Bench, tool: Tool, job: Job, calls: int) -> Sample:
    """The load under a tracer."""
    bench.do(tool, job, bench.load_command("calls", job.call, calls))
    sample = costs(bench)
    if job is Job.PRINT:
        sample["seen"] = 100 * min(1.0, lines_of_load(bench.output)[0] / calls)
    elif job is not Job.REJECT:
        seen = counted(bench.output.read_text(errors="replace"))
        if seen is None:
            raise Failed("no count in its output")
        sample["seen"] = 100 * seen / calls
    return sample
