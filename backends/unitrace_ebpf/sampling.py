"""Perf events that BPF programs sample: profile, software, hardware and watchpoint probes.

One event a CPU; with a process, one a thread, inherited by those that it makes. Numbers and structures:
include/uapi/linux/perf_event.h, hw_breakpoint.h.
"""

from __future__ import annotations

import errno
import os

from unitrace.contract.errors import BackendError, ProbeError
from unitrace.contract.ir import Probe
from unitrace.kernel import cpus

from . import perf_event

__all__ = ["KINDS", "opened", "try_hardware", "try_software", "try_watchpoint"]

KINDS = ("profile", "software", "hardware", "watchpoint")

CPU_CLOCK = 0
UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}

SOFTWARE = {
    "cpu-clock": (0, 1_000_000), "cpu": (0, 1_000_000), "task-clock": (1, 1), "page-faults": (2, 100),
    "faults": (2, 100), "context-switches": (3, 1000), "cs": (3, 1000), "cpu-migrations": (4, 1),
    "minor-faults": (5, 100), "major-faults": (6, 1), "alignment-faults": (7, 1), "emulation-faults": (8, 1),
    "dummy": (9, 1), "bpf-output": (10, 1),
}  # fmt: skip
HARDWARE = {
    "cpu-cycles": (0, 1_000_000), "cycles": (0, 1_000_000), "instructions": (1, 1_000_000),
    "cache-references": (2, 1_000_000), "cache-misses": (3, 1_000_000), "branch-instructions": (4, 100_000),
    "branches": (4, 100_000), "branch-misses": (5, 100_000), "bus-cycles": (6, 100_000),
    "frontend-stalls": (7, 1_000_000), "backend-stalls": (8, 1_000_000), "ref-cycles": (9, 1_000_000),
}  # fmt: skip
"""Names: (config, after how many there is an event where the probe doesn't say), as in bpftrace."""

TYPE_HARDWARE, TYPE_SOFTWARE, TYPE_BREAKPOINT = 0, 1, 5
BREAKPOINT = {"r": 1, "w": 2, "x": 4}  # HW_BREAKPOINT_*


def opened(probe: Probe, pid: int) -> list[int]:
    """The probe's events, not yet counting. BackendError, ProbeError or OSError where the kernel refuses;
    then none stays open."""
    attr = _attr(probe)
    places = [(one, -1) for one in _threads(pid)] if pid else [(-1, cpu) for cpu in cpus.online()]
    made: list[int] = []
    try:
        for task, cpu in places:
            try:
                made.append(perf_event.sampled(*attr, task=task, cpu=cpu, inherit=bool(pid)))
            except ProcessLookupError:  # the thread has ended meanwhile
                continue
    except OSError as error:
        for fd in made:
            os.close(fd)
        raise _refused(probe, error) from None
    if not made:
        raise BackendError(f"{probe.label}: process {pid} has ended")
    return made


def _attr(probe: Probe) -> tuple[int, int, int, bool, int, int, int]:
    """(type, config, period or frequency, whether that is a frequency, bp_type, address, length)."""
    if probe.kind == "profile":
        number = probe.offset or int(probe.name)
        hertz = probe.scope == "hz"
        return TYPE_SOFTWARE, CPU_CLOCK, number if hertz else number * UNIT_NS[probe.scope], hertz, 0, 0, 0
    if probe.kind == "watchpoint":
        mode = sum(BREAKPOINT[letter] for letter in probe.scope)
        # an instruction's length is that of a long, whatever was asked for (hw_breakpoint_arch_parse())
        length = 8 if mode & BREAKPOINT["x"] else probe.offset
        return TYPE_BREAKPOINT, 0, 1, False, mode, probe.address, length
    kind, table = (TYPE_SOFTWARE, SOFTWARE) if probe.kind == "software" else (TYPE_HARDWARE, HARDWARE)
    config, usual = table[probe.name]
    return kind, config, probe.offset or usual, False, 0, 0, 0


def _threads(pid: int) -> list[int]:
    try:
        return sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except FileNotFoundError:
        return []


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


def try_software() -> int:
    """An event of every process on CPU 0: a file descriptor, or OSError."""
    return perf_event.sampled(TYPE_SOFTWARE, CPU_CLOCK, 10**9, False, 0, 0, 0, task=-1, cpu=0)


def try_hardware() -> int:
    """A hardware counter; ENOENT or EOPNOTSUPP where there is no PMU."""
    return perf_event.sampled(TYPE_HARDWARE, 0, 10**9, False, 0, 0, 0, task=-1, cpu=0)


def try_watchpoint() -> int:
    """A watch on memory of ours that nobody writes to."""
    import ctypes

    word = ctypes.create_string_buffer(16)
    at = -(-ctypes.addressof(word) // 8) * 8
    return perf_event.sampled(TYPE_BREAKPOINT, 0, 1, False, BREAKPOINT["w"], at, 8, task=0, cpu=-1)
