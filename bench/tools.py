"""What each tool is asked to do, and the command line by which each one does it.

bpftrace and unitrace get the same programs; the others get their nearest equivalent, or nothing where they
have none. Tools run the load themselves (-c CMD), so that nobody has to guess when they are armed.
"""

from __future__ import annotations

import enum
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import COMM
from bench.peers import program

BUFFER_MB = 64  # per CPU, for tools whose default loses events at full speed


class Job(enum.Enum):
    """The things measured."""

    FIRST = "print the first event, then end"
    PRINT = "print each event"
    COUNT = "count the events by command name"
    PLAIN = "count an event that is no system call's"
    HIST = "a histogram of an argument"
    REJECT = "a predicate that is never true"
    UPROBE = "count the calls of a function"

    @property
    def call(self) -> str:
        """The call that the load has to make, by load.c's name for it."""
        calls = {Job.HIST: "lseek", Job.REJECT: "lseek", Job.PLAIN: "rename", Job.UPROBE: "target"}
        return calls.get(self, "getppid")


EVENT = 'printf("%d %s %llu\\n", pid, comm, nsecs);'
NEVER = 77  # a `whence` that the load's lseek() never has


def bpftrace_program(job: Job, target: Path) -> str:
    """A job in bpftrace's language; `target` is the program with the function to probe."""
    return {
        Job.FIRST: f"tracepoint:syscalls:sys_enter_getppid {{ {EVENT} exit(); }}",
        Job.PRINT: f"tracepoint:syscalls:sys_enter_getppid {{ {EVENT} }}",
        Job.COUNT: "tracepoint:syscalls:sys_enter_getppid { @[comm] = count(); }",
        Job.PLAIN: "tracepoint:task:task_rename { @[comm] = count(); }",
        Job.HIST: "tracepoint:syscalls:sys_enter_lseek { @ = hist(args.offset); }",
        Job.REJECT: f"tracepoint:syscalls:sys_enter_lseek /args.whence == {NEVER}/ {{ @ = count(); }}",
        Job.UPROBE: f"uprobe:{target}:bench_target {{ @ = count(); }}",
    }[job]


PLY_PROGRAMS = {
    Job.FIRST: 'tracepoint:syscalls/sys_enter_getppid { printf("%d %s\\n", pid, comm); exit(0); }',
    Job.PRINT: 'tracepoint:syscalls/sys_enter_getppid { printf("%d %s\\n", pid, comm); }',
    Job.COUNT: "tracepoint:syscalls/sys_enter_getppid { @[comm] = count(); }",
    Job.HIST: "tracepoint:syscalls/sys_enter_lseek { @[0] = quantize(data->offset); }",
    Job.REJECT: f"tracepoint:syscalls/sys_enter_lseek / data->whence == {NEVER} / {{ @[0] = count(); }}",
}


@dataclass(frozen=True)
class Step:
    """One command of a job; the last one's output is the result."""

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


# (job, the load to run or nothing, scratch folder) -> the commands, one after the other; none: can't do it
Steps = Callable[[Job, Sequence[str], Path], list[Step]]


@dataclass(frozen=True)
class Tool:
    """A tracer as the bench sees it."""

    name: str
    steps: Steps
    runs_load_first: bool = False  # it has no exit(): a one-shot is to record a load of one event
    stamp: str = ""  # pattern of an event's time stamp in its output
    stamp_unit: float = 1.0  # of the stamp, in seconds
    stamp_is_boottime: bool = False  # else CLOCK_MONOTONIC


def bpftrace_like(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    only: Sequence[Job] = tuple(Job),
) -> Tool:
    """A tool that takes bpftrace's language and options."""

    def steps(job: Job, load: Sequence[str], _: Path) -> list[Step]:
        if job not in only:
            return []
        target = Path(load[0]) if load else Path()
        with_load = ["-c", shlex.join(load)] if load else []
        return [Step([*command, "-e", bpftrace_program(job, target), *with_load], environment or {})]

    return Tool(name, steps, stamp=r"(\d+)\s*$", stamp_unit=1e-9, stamp_is_boottime=True)


def perf(job: Job, load: Sequence[str], scratch: Path, megabytes: int = 0) -> list[Step]:
    """perf stat to count; perf record and perf script for events. ``megabytes``: of each CPU's buffer."""
    this = str(program("perf"))
    event = f"syscalls:sys_enter_{job.call}"
    if job is Job.COUNT:
        return [Step([this, "stat", "-x,", "-a", "-o", "/dev/stdout", "-e", event, "--", *load])]
    data = str(scratch / "perf.data")
    record = [this, "record", "-q", "-a", "-c", "1", "-k", "CLOCK_MONOTONIC", "-o", data, "-e", event]
    if job is Job.REJECT:
        return [Step([*record, "--filter", f"whence=={NEVER}", "--", *load])]
    if job not in (Job.PRINT, Job.FIRST):
        return []
    if megabytes:
        record += ["-m", f"{megabytes}M"]
    script = [this, "script", "--ns", "-i", data, "-F", "comm,pid,time,event,trace"]
    return [Step([*record, "--", *load]), Step(script)]


def trace_cmd(job: Job, load: Sequence[str], scratch: Path, megabytes: int = 0) -> list[Step]:
    """trace-cmd record, then trace-cmd report. ``megabytes``: of each CPU's buffer."""
    this = str(program("trace-cmd"))
    data = str(scratch / "trace.dat")
    record = [this, "record", "-C", "mono", "-o", data, "-e", f"syscalls:sys_enter_{job.call}"]
    if job is Job.REJECT:
        return [Step([*record, "-f", f"whence == {NEVER}", "--", *load])]
    if job not in (Job.PRINT, Job.FIRST):
        return []
    if megabytes:
        record += ["-b", str(megabytes * 1024)]
    return [Step([*record, "--", *load]), Step([this, "report", "-t", "-i", data])]


def ply(job: Job, load: Sequence[str], _: Path) -> list[Step]:
    """ply, told to keep going when it loses events."""
    if job not in PLY_PROGRAMS:
        return []
    with_load = ["-c", shlex.join(load)] if load else []
    return [Step([str(program("ply")), "-k", *with_load, PLY_PROGRAMS[job]])]


def bcc_trace(job: Job, _: Sequence[str], __: Path) -> list[Step]:
    """bcc's `trace`, which compiles C at start; it can't run a load, so it does the one-shot only."""
    if job is not Job.FIRST:
        return []
    return [Step([str(program("trace-bpfcc")), "-M", "1", "t:syscalls:sys_enter_getppid"])]


def nothing(job: Job, _: Sequence[str], __: Path) -> list[Step]:
    """A Python that prints one line: the floor for any tracer that is written in Python."""
    return [Step([sys.executable, "-c", f"print('{COMM}')"])] if job is Job.FIRST else []


def large(name: str, steps: Callable[[Job, Sequence[str], Path, int], list[Step]]) -> Tool:
    """A tool with buffers that don't run over, where it prints all events."""

    def with_buffers(job: Job, load: Sequence[str], scratch: Path) -> list[Step]:
        return steps(job, load, scratch, BUFFER_MB) if job is Job.PRINT else []

    return Tool(f"{name} {BUFFER_MB}M", with_buffers)


SECONDS = r"(\d+\.\d{6,9}):"


def peers() -> list[Tool]:
    """The tools to compare with."""
    bpftrace = str(program("bpftrace"))
    # 4 KB pages; bpftrace's ring buffer is one for all CPUs
    pages = {"BPFTRACE_PERF_RB_PAGES": str(BUFFER_MB * 256)}
    return [
        bpftrace_like("bpftrace", [bpftrace]),
        bpftrace_like(f"bpftrace {BUFFER_MB}M", [bpftrace], pages, only=[Job.PRINT]),
        Tool("perf", perf, runs_load_first=True, stamp=SECONDS),
        large("perf", perf),
        Tool("trace-cmd", trace_cmd, runs_load_first=True, stamp=SECONDS),
        large("trace-cmd", trace_cmd),
        Tool("ply", ply),
        Tool("bcc trace", bcc_trace),
        Tool("python3 alone", nothing),
    ]


PEERS_KIB = {"ftrace": 1408, "perf": 512}
"""Default buffers of trace-cmd record (the kernel's own: TRACE_BUF_SIZE_DEFAULT, kernel/trace/trace.c) and of
perf record (kernel.perf_event_mlock_kb less a page), KiB per CPU."""


def unitrace(command: str, backends: Sequence[str]) -> list[Tool]:
    """unitrace, once per backend; `auto` leaves the choice to it. Where it prints all events, also with its
    peers' default buffers, which are smaller than its own."""
    words = shlex.split(command)
    tools = []
    for name in backends:
        chosen = words if name == "auto" else [*words, "--backend", name]
        tools.append(bpftrace_like(f"unitrace {name}", chosen))
        if name in PEERS_KIB:
            kib = PEERS_KIB[name]
            small = [*chosen, "--buffer-kib", str(kib)]
            tools.append(bpftrace_like(f"unitrace {name} {kib}K", small, only=[Job.PRINT]))
    return tools


COUNTS = (
    re.compile(rf"^@(?:\[{COMM}\])?: (\d+)$", re.M),  # bpftrace's count()
    re.compile(rf"^\{{ {COMM}\s*\}}: (\d+)$", re.M),  # ply's
    re.compile(r"^(\d+),,syscalls:", re.M),  # perf stat -x,
    re.compile(r"^[\[(][^\n|]*[\])]\s+(\d+) \|", re.M),  # bpftrace's hist(): its rows add up
    re.compile(r"^\s*\[[^\n\]]*[\])]\s+(\d+) ┤", re.M),  # ply's quantize()
)


def counted(output: str) -> int | None:
    """How many events a tool says it has counted; None where the output has no such number."""
    for pattern in COUNTS:
        if found := pattern.findall(output):
            return sum(map(int, found))
    return None


def reported_lost(output: str) -> int:
    """How many events one command admits to have lost."""
    found = re.findall(
        r"\blost (\d+)\b|\b(\d+) (?:[a-z]+ ){0,2}?(?:lost|dropped)\b", output.replace(",", ""), re.I
    )
    return sum(int(first or second) for first, second in found)
