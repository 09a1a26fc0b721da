"""Run a command and measure it; take several cases in turns; medians and paired ratios.

All times are of CLOCK_BOOTTIME, the clock of bpftrace's `nsecs`, so that an event's own time stamp can be
compared with the moment its tracer was started.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Sample = dict[str, float]

AUTOGROUP = Path("/proc/self/autogroup")


class Failed(Exception):
    """A command didn't do its job; the message is the best line it said about it."""


@dataclass(frozen=True)
class Run:
    """What one command cost and said."""

    started: float
    wall: float
    cpu: float  # user + system, of the command and the children it waited for, but not the load's
    peak_kb: int  # of the command or its biggest child; at least this process's own size, see load.c
    status: int
    first_at: float | None  # seconds from start to the first line that matched
    first: str | None  # that line


def clock() -> float:
    """Now, in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def run(
    argv: Sequence[str],
    *,
    output: Path,
    errors: Path,
    first_line: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 30.0,
    favour: bool = False,
) -> Run:
    """Run a command to its end. ``favour``: before all other sessions of the machine, where the kernel
    schedules by session (autogroup; sched(7)).

    Its output goes straight into `output`; or, with a pattern in `first_line`, through a pipe, so that the
    first matching line can be timed. Raises Failed when it exits with an error or outlives `timeout`.
    """
    late = threading.Event()
    with output.open("wb") as out, errors.open("wb") as err:
        started = clock()
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if first_line else out,
            stderr=err,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        if favour and AUTOGROUP.exists():
            Path(f"/proc/{child.pid}/autogroup").write_text("-20")
        killer = threading.Timer(timeout, stop, (child.pid, late))
        killer.start()
        try:
            first_at, first = (
                watch(child, re.compile(first_line.encode()), started, out.fileno())
                if first_line
                else (None, None)
            )
            _, status, usage = os.wait4(child.pid, 0)
            wall = clock() - started
        finally:
            killer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
    done = Run(
        started, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, child.returncode, first_at, first
    )
    if late.is_set():
        raise Failed(f"no end after {timeout:.0f} s")
    if done.status:
        raise Failed(complaint(errors, output) or f"status {done.status}")
    return done


def stop(pid: int, late: threading.Event) -> None:
    """End a command and its children that took too long: politely, then not."""
    late.set()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            return
        time.sleep(1.5)


def watch(
    child: subprocess.Popen[bytes], pattern: re.Pattern[bytes], started: float, copy_to: int
) -> tuple[float | None, str | None]:
    """Copy a command's output until it closes; return when the first matching line came, and the line."""
    assert child.stdout is not None
    source = child.stdout.fileno()
    seen = b""
    first_at: float | None = None
    first: str | None = None
    while chunk := os.read(source, 1 << 16):
        arrived = clock() - started
        os.write(copy_to, chunk)
        if first_at is None:
            seen += chunk
            if found := pattern.search(seen):
                first_at, first = arrived, found.group().decode(errors="replace")
    child.stdout.close()
    return first_at, first


def complaint(*files: Path) -> str:
    """The line in a command's output that most looks like the reason of its failure."""
    lines = [
        line.strip()
        for file in files
        for line in file.read_text(errors="replace").splitlines()
        if line.strip() and not line.lstrip().lower().startswith("warning")
    ]
    for line in lines:
        if re.search(r"error|not permitted|denied|unable|can't|cannot|failed|refuse|unsupported", line, re.I):
            return line[:200]
    return lines[-1][:200] if lines else ""


@dataclass
class Case:
    """One thing to measure, several times; `rounds` holds a sample per round, None where it failed."""

    name: str
    once: Callable[[], Sample]
    rounds: list[Sample | None] = field(default_factory=list)
    error: str = ""  # the last one
    failures: int = 0


def in_turns(cases: Sequence[Case], rounds: int, *, warm_up: bool = True) -> None:
    """Measure all cases once, then all again, ...: A B C, B C A, C A B.

    A warm-up round, thrown away, fills the caches. A case that fails twice is left out of the later rounds.
    """
    for number in range(-1 if warm_up else 0, rounds):
        shift = max(number, 0) % max(len(cases), 1)
        for case in [*cases[shift:], *cases[:shift]]:
            sample: Sample | None = None
            if case.failures < 2:
                try:
                    sample = case.once()
                except (Failed, FileNotFoundError) as error:
                    case.error = str(error)
                    case.failures += 1
            if number >= 0:
                case.rounds.append(sample)


def median(case: Case, metric: str) -> float | None:
    """A metric's median over the rounds that have it."""
    values = [sample[metric] for sample in case.rounds if sample and metric in sample]
    return statistics.median(values) if values else None


def ratio(case: Case, base: Case, metric: str) -> float | None:
    """The median over rounds of case / base: what drifts from round to round cancels out."""
    quotients = [
        mine[metric] / other[metric]
        for mine, other in zip(case.rounds, base.rounds, strict=True)
        if mine and other and metric in mine and other.get(metric)
    ]
    return statistics.median(quotients) if quotients else None
