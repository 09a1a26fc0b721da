"""Perf events that BPF programs sample: profile, software, hardware and watchpoint probes.

One event a CPU; with a process, one a thread, inherited by those that it makes. Their names and numbers:
unitrace.kernel.perf_events.
"""

from __future__ import annotations

import errno
import os

from unitrace.contract.errors import BackendError, ProbeError
from unitrace.contract.ir import Probe
from unitrace.kernel import cpus
from unitrace.kernel.perf_events import (
    BREAKPOINT,
    CPU_CLOCK,
    TYPE_BREAKPOINT,
    TYPE_HARDWARE,
    TYPE_SOFTWARE,
    Sampled,
    sampled,
    threads,
)

from . import perf_event

__all__ = ["TRIALS", "opened"]


def opened(probe: Probe, pid: int) -> list[int]:
    """The probe's events, not yet counting. BackendError, ProbeError or OSError where the kernel refuses;
    then none stays open."""
    event = sampled(probe)
    places = [(one, -1) for one in threads(pid)] if pid else [(-1, cpu) for cpu in cpus.online()]
    made: list[int] = []
    try:
        for task, cpu in places:
            try:
                made.append(perf_event.sampled(event, task=task, cpu=cpu, inherit=bool(pid)))
            except ProcessLookupError:  # the thread has ended meanwhile
                continue
    except OSError as error:
        for fd in made:
            os.close(fd)
        raise _refused(probe, error) from None
    if not made:
        raise BackendError(f"{probe.label}: process {pid} has ended")
    return made


def _refused(probe: Probe, error: OSError) -> Exception:
    number = error.errno or errno.EIO
    if number in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV) and probe.kind == "hardware":
        return ProbeError(f"{probe.label}: this machine counts no {probe.name}", span=probe.span)
    if number == errno.ENOSPC:
        return BackendError(
            f"{probe.label}: no debug register is free",
            span=probe.span,
            remedy="fewer watchpoints: x86 has 4",
        )
    if number == errno.EINVAL and probe.kind == "profile":
        return BackendError(
            f"{probe.label}: the kernel doesn't sample that often",
            span=probe.span,
            remedy="sysctl kernel.perf_event_max_sample_rate",
        )
    return error


def _software() -> int:
    """An event of every process on CPU 0: a file descriptor, or OSError."""
    return perf_event.sampled(Sampled(TYPE_SOFTWARE, CPU_CLOCK, 10**9), task=-1, cpu=0)


def _hardware() -> int:
    """A hardware counter; ENOENT or EOPNOTSUPP where there is no PMU."""
    return perf_event.sampled(Sampled(TYPE_HARDWARE, 0, 10**9), task=-1, cpu=0)


def _watchpoint() -> int:
    """A watch on memory of ours that nobody writes to."""
    import ctypes

    word = ctypes.create_string_buffer(16)
    at = -(-ctypes.addressof(word) // 8) * 8
    watch = Sampled(TYPE_BREAKPOINT, 0, breakpoint=BREAKPOINT["w"], address=at, length=8)
    return perf_event.sampled(watch, task=0, cpu=-1)


TRIALS = {"software": _software, "hardware": _hardware, "watchpoint": _watchpoint}
"""Each opens an event of its kind, and returns its file descriptor; OSError where there is none."""
