"""The little of perf_event_open(2) that BPF programs hang on (include/uapi/linux/perf_event.h)."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unitrace.kernel.perf_events import Sampled

__all__ = ["ENABLE", "SET_BPF", "bpf_output", "control", "dynamic_pmu", "pmu_type", "sampled", "tracepoint"]

TYPE_SOFTWARE, TYPE_TRACEPOINT = 1, 2
SW_DUMMY, SW_BPF_OUTPUT = 9, 10
SAMPLE_RAW = 1 << 10
ENABLE, DISABLE, SET_BPF = 0x2400, 0x2401, 0x40042408
CLOEXEC = 8
DISABLED, INHERIT, FREQUENCY = 1, 1 << 1, 1 << 10  # bits of the flags word

_NR = {"x86_64": 298, "aarch64": 241, "s390x": 331, "ppc64le": 319}.get(os.uname().machine, 241)
_libc = ctypes.CDLL(None, use_errno=True)


def _open(
    kind: int,
    config: int,
    *,
    cpu: int = 0,
    task: int = -1,
    period: int = 1,
    sample: int = 0,
    flags: int = 0,
    config1: int = 0,
    config2: int = 0,
    watermark: int = 0,
    breakpoint: int = 0,
) -> int:
    attr = struct.pack(
        "<IIQQQQQIIQQ", kind, 112, config, period, sample, 0, flags, watermark, breakpoint, config1, config2
    ).ljust(112, b"\0")
    buffer = ctypes.create_string_buffer(attr, 112)
    fd: int = _libc.syscall(_NR, buffer, task, cpu, -1, CLOEXEC)
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def tracepoint(number: int) -> int:
    """The event of a tracepoint's id. A program on it runs on every CPU (trace_call_bpf looks at the
    event's class, not at this CPU)."""
    return _open(TYPE_TRACEPOINT, number)


def dynamic_pmu(pmu: str, target: str, offset: int, *, returns: bool, counter: int = 0) -> int:
    """A probe by the kprobe or uprobe PMU (4.17): a function's name or a file's path, and an offset;
    without a name an address. ``counter``: where in the file a semaphore is, to be raised meanwhile (4.20,
    ref_ctr_offset)."""
    name = ctypes.create_string_buffer(os.fsencode(target))
    place = ctypes.addressof(name) if target else 0
    bits = counter << 32 | returns  # format/ref_ctr_offset is config:32-63, format/retprobe config:0
    return _open(pmu_type(pmu), bits, config1=place, config2=offset)


def sampled(event: Sampled, *, task: int, cpu: int, inherit: bool = False) -> int:
    """An event that isn't counting yet. A breakpoint's address and length stand where other kinds have
    config1 and config2."""
    flags = DISABLED | (INHERIT if inherit else 0) | (FREQUENCY if event.hertz else 0)
    return _open(
        event.type, event.config, cpu=cpu, task=task, period=event.period, flags=flags, config1=event.address,
        config2=event.length, breakpoint=event.breakpoint,
    )  # fmt: skip


def pmu_type(pmu: str) -> int:
    """The type number of a dynamic PMU; FileNotFoundError where the kernel has none."""
    with open(f"/sys/bus/event_source/devices/{pmu}/type", "rb", buffering=0) as file:
        return int(file.readall())


def dummy() -> int:
    """A software event that never counts: something to try a link on."""
    return _open(TYPE_SOFTWARE, SW_DUMMY, flags=DISABLED)


def bpf_output(cpu: int) -> int:
    """The event into which bpf_perf_event_output writes on ``cpu``; nobody is woken."""
    watermark = 1 << 2 | 1 << 14  # pinned, and wakeup_watermark: the next field
    return _open(TYPE_SOFTWARE, SW_BPF_OUTPUT, cpu=cpu, sample=SAMPLE_RAW, flags=watermark, watermark=1 << 30)


def control(fd: int, request: int, value: int = 0) -> None:
    """ioctl: ENABLE, DISABLE, SET_BPF."""
    fcntl.ioctl(fd, request, value)
