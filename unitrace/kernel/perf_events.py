"""Perf events: the names they go by, what perf_event_open(2) wants for each, and the call itself.

perf's names (``perf list``) and bpftrace's differ in a few; what stands under both is one event. Numbers:
include/uapi/linux/perf_event.h, hw_breakpoint.h.
"""

from __future__ import annotations

import os
from typing import Any

from unitrace.contract.ir import Probe
from unitrace.contract.record import Record

__all__ = [
    "BPFTRACE", "BREAKPOINT", "CACHES", "CACHE_OPERATIONS", "CPU_CLOCK", "HARDWARE", "PERF", "SAMPLED",
    "SOFTWARE", "TASK_CLOCK", "TYPE_BREAKPOINT", "TYPE_CACHE", "TYPE_HARDWARE", "TYPE_RAW", "TYPE_SOFTWARE",
    "TYPE_TRACEPOINT", "Sampled", "perf_event_open", "sampled", "threads",
]  # fmt: skip

TYPE_HARDWARE, TYPE_SOFTWARE, TYPE_TRACEPOINT, TYPE_CACHE, TYPE_RAW, TYPE_BREAKPOINT = range(6)

CPU_CLOCK, TASK_CLOCK = 0, 1

SOFTWARE = {
    "cpu-clock": CPU_CLOCK, "task-clock": TASK_CLOCK, "page-faults": 2, "faults": 2, "context-switches": 3,
    "cs": 3, "cpu-migrations": 4, "minor-faults": 5, "major-faults": 6, "alignment-faults": 7,
    "emulation-faults": 8, "dummy": 9, "bpf-output": 10,
}  # fmt: skip
HARDWARE = {
    "cpu-cycles": 0, "cycles": 0, "instructions": 1, "cache-references": 2, "cache-misses": 3,
    "branch-instructions": 4, "branches": 4, "branch-misses": 5, "bus-cycles": 6, "ref-cycles": 9,
}  # fmt: skip
"""Names that perf and bpftrace share, to perf_event_attr.config (enum perf_sw_ids, perf_hw_id)."""

PERF = {
    "software": {**SOFTWARE, "migrations": 4, "cgroup-switches": 11},
    "hardware": {
        **HARDWARE, "stalled-cycles-frontend": 7, "idle-cycles-frontend": 7, "stalled-cycles-backend": 8,
        "idle-cycles-backend": 8,
    },
}  # fmt: skip
"""perf's names of each kind, to config."""

BPFTRACE = {
    "software": {**SOFTWARE, "cpu": CPU_CLOCK},
    "hardware": {**HARDWARE, "frontend-stalls": 7, "backend-stalls": 8},
}
"""bpftrace's names of each kind, which are the language's (contract.probes.EVENTS), to config."""

CACHES = {
    "l1-dcache": 0, "l1d": 0, "l1-icache": 1, "l1i": 1, "llc": 2, "l2": 2, "dtlb": 3, "itlb": 4, "branch": 5,
    "bpu": 5, "node": 6,
}  # fmt: skip
"""perf's names of caches in small letters, to enum perf_hw_cache_id."""

CACHE_OPERATIONS = {"load": 0, "store": 1, "prefetch": 2}

_USUAL = {
    TYPE_SOFTWARE: (1_000_000, 1, 100, 1000, 1, 100, 1, 1, 1, 1, 1),
    TYPE_HARDWARE: (*(1_000_000,) * 4, *(100_000,) * 3, *(1_000_000,) * 3),
}
"""By type and config: after how many bpftrace takes a sample where the probe doesn't say."""

SAMPLED = ("profile", "software", "hardware", "watchpoint")
"""Kinds of probes that are sampled events."""

BREAKPOINT = {"r": 1, "w": 2, "x": 4}  # HW_BREAKPOINT_*

_UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


class Sampled(Record):
    """What perf_event_attr says of a sampled event: after every ``period`` counts, or (``hertz``) so many
    times a second. ``breakpoint``, ``address``, ``length``: of watched memory or code."""

    type: int
    config: int
    period: int = 1
    hertz: bool = False
    breakpoint: int = 0
    address: int = 0
    length: int = 0


def sampled(probe: Probe) -> Sampled:
    """The event of a probe that is one of SAMPLED. KeyError where there is no event of its name."""
    if probe.kind == "profile":
        number = probe.offset or int(probe.name)
        hertz = probe.scope == "hz"
        return Sampled(TYPE_SOFTWARE, CPU_CLOCK, number if hertz else number * _UNIT_NS[probe.scope], hertz)
    if probe.kind == "watchpoint":
        mode = sum(BREAKPOINT[letter] for letter in probe.scope)
        # an instruction's length is that of a long, whatever was asked for (hw_breakpoint_arch_parse())
        length = 8 if mode & BREAKPOINT["x"] else probe.offset
        return Sampled(TYPE_BREAKPOINT, 0, breakpoint=mode, address=probe.address, length=length)
    config = BPFTRACE[probe.kind][probe.name]
    kind = TYPE_SOFTWARE if probe.kind == "software" else TYPE_HARDWARE
    return Sampled(kind, config, probe.offset or _USUAL[kind][config])


def threads(pid: int) -> list[int]:
    """The threads of a process, ascending; [] where it has ended."""
    try:
        return sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except FileNotFoundError:
        return []


_SYSCALL_NUMBERS = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
"""Little-endian machines only: the readers of samples count on it."""

_FLAG_FD_CLOEXEC = 1 << 3

_libc: Any = None


def perf_event_open(attr: bytes, *, pid: int = -1, cpu: int = -1, group: int = -1) -> int:
    """An event by its packed struct perf_event_attr. Returns its fd; OSError."""
    global _libc
    import ctypes

    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
    number = _SYSCALL_NUMBERS.get(os.uname().machine)
    if number is None:
        raise OSError(38, f"the number of perf_event_open on {os.uname().machine} isn't known")
    fd: int = _libc.syscall(
        ctypes.c_long(number), ctypes.c_char_p(attr), ctypes.c_long(pid), ctypes.c_long(cpu),
        ctypes.c_long(group), ctypes.c_ulong(_FLAG_FD_CLOEXEC),
    )  # fmt: skip
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return fd
