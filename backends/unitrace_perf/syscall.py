"""What perf_event_open(2) is given, and its ioctls.

Names and numbers are those of include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import fcntl
import os
import struct

__all__ = ["attr", "bpf_programs", "disable", "enable", "event_id", "set_filter", "set_output"]

# perf_event_attr.type
TYPE_HARDWARE, TYPE_SOFTWARE, TYPE_TRACEPOINT, TYPE_BREAKPOINT = 0, 1, 2, 5

# perf_event_attr.config
HW_CPU_CYCLES = 0
SW_DUMMY = 9  # 3.12

# perf_event_attr.sample_type
SAMPLE_TID, SAMPLE_TIME = 1 << 1, 1 << 2
SAMPLE_CALLCHAIN, SAMPLE_CPU, SAMPLE_RAW = 1 << 5, 1 << 7, 1 << 10
SAMPLE_IDENTIFIER = 1 << 16  # 3.12: the id comes first, so it is at one place in any sample
SAMPLE_REGS_INTR = 1 << 18  # 3.19

# perf_event_attr.read_format
FORMAT_LOST = 1 << 4  # 6.0

# bits of perf_event_attr's flag word, in the order of the struct
DISABLED, INHERIT, COMM, FREQ, TASK, WATERMARK = 1 << 0, 1 << 1, 1 << 9, 1 << 10, 1 << 13, 1 << 14
EXCLUDE_CALLCHAIN_KERNEL, EXCLUDE_CALLCHAIN_USER = 1 << 21, 1 << 22  # 3.7
SAMPLE_ID_ALL, COMM_EXEC, USE_CLOCKID = 1 << 18, 1 << 24, 1 << 25

CLOCK_MONOTONIC = 1

# _IO('$', n) and its like, as asm-generic/ioctl.h has them
_IOC_ENABLE, _IOC_DISABLE, _IOC_SET_OUTPUT = 0x2400, 0x2401, 0x2405
_IOC_SET_FILTER, _IOC_ID = 0x40082406, 0x80082407
_IOC_QUERY_BPF = 0xC008240A  # 4.16

_ATTR = struct.Struct("=IIQQQQQIIQQQQIiQII")
"""struct perf_event_attr up to PERF_ATTR_SIZE_VER5 (4.1), packed as the kernel lays it out:

    offset  member
     0 type            4 size             8 config          16 sample_period
    24 sample_type    32 read_format     40 flag bits       48 wakeup_watermark
    52 bp_type        56 config1 (kprobe_func, uprobe_path) 64 config2 (probe_offset)
    72 branch_sample_type                80 sample_regs_user
    88 sample_stack_user                 92 clockid
    96 sample_regs_intr                 104 aux_watermark, 108 sample_max_stack, reserved

Newer kernels take the shorter struct and read zeros for the rest; older ones refuse it (E2BIG) only if
a byte that they don't know isn't zero.
"""


def attr(
    type: int,
    config: int,
    *,
    flags: int,
    sample_type: int = 0,
    read_format: int = 0,
    watermark: int = 0,
    config1: int = 0,
    config2: int = 0,
    regs: int = 0,
    period: int = 1,
    bp_type: int = 0,
) -> bytes:
    """A struct perf_event_attr. A sample each ``period`` events (or so many a second, with FREQ), stamped by
    CLOCK_MONOTONIC where flags has USE_CLOCKID. ``regs``: mask of registers for SAMPLE_REGS_INTR. A
    breakpoint's address and length are ``config1`` and ``config2``."""
    clock = CLOCK_MONOTONIC if flags & USE_CLOCKID else 0
    return _ATTR.pack(
        type, _ATTR.size, config, period, sample_type, read_format, flags, watermark,
        bp_type, config1, config2, 0, 0, 0, clock, regs, 0, 0,
    )  # fmt: skip


def event_id(fd: int) -> int:
    """The id that samples of this event carry (PERF_EVENT_IOC_ID, 3.12)."""
    into = bytearray(8)
    fcntl.ioctl(fd, _IOC_ID, into)
    return int.from_bytes(into, "little")


def read_count(fd: int) -> bytes:
    """What the event counted, as read_format lays it out: a u64 first."""
    return os.read(fd, 64)


def enable(fd: int) -> None:
    """Let the event count and sample."""
    fcntl.ioctl(fd, _IOC_ENABLE, 0)


def disable(fd: int) -> None:
    """The event does nothing any more."""
    fcntl.ioctl(fd, _IOC_DISABLE, 0)


def set_output(fd: int, ring: int) -> None:
    """Let the event write into the ring of event ``ring``: of the same CPU, by the same clock."""
    fcntl.ioctl(fd, _IOC_SET_OUTPUT, ring)


def set_filter(fd: int, text: str) -> None:
    """An event filter, in the language of Documentation/trace/events.rst. OSError EINVAL where the
    kernel can't read it."""
    fcntl.ioctl(fd, _IOC_SET_FILTER, bytearray(text.encode() + b"\0"))


def bpf_programs(fd: int) -> int:
    """How many BPF programs are attached to this event's tracepoint, by whomever; 0 where the kernel
    doesn't say.

    They matter: where one of them returns 0, the kernel drops the event for all perf users of the
    tracepoint, uncounted (trace_call_bpf() in perf_trace_run_bpf_submit() and perf_syscall_enter()).
    """
    query = bytearray(8)  # struct perf_event_query_bpf {u32 ids_len; u32 prog_cnt; u32 ids[]}
    try:
        fcntl.ioctl(fd, _IOC_QUERY_BPF, query)
    except OSError:
        return 0
    return int.from_bytes(query[4:], "little")
