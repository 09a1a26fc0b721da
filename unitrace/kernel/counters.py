"""Counters: perf_event_open(2) without samples. Names and numbers: include/uapi/linux/perf_event.h."""

from __future__ import annotations

import fcntl
import os
import struct

from unitrace.contract.record import Record

from .perf_events import perf_event_open

__all__ = ["Event", "Reading", "close", "disable", "enable", "opened", "read"]

# bits of perf_event_attr's flag word
DISABLED, INHERIT, PINNED = 1 << 0, 1 << 1, 1 << 2
EXCLUDE_USER, EXCLUDE_KERNEL, EXCLUDE_HV, ENABLE_ON_EXEC = 1 << 4, 1 << 5, 1 << 6, 1 << 12
EXCLUDE_HOST, EXCLUDE_GUEST = 1 << 19, 1 << 20

_TIMES = 1 << 0 | 1 << 1  # PERF_FORMAT_TOTAL_TIME_ENABLED, _RUNNING
_ENABLE, _DISABLE = 0x2400, 0x2401
_FLAG_GROUP = 1

_ATTR = struct.Struct("=IIQQQQQIIQQQQIiQII")  # up to PERF_ATTR_SIZE_VER5 (4.1)
_READ = struct.Struct("=QQQ")


class Event(Record):
    """What is counted. ``name``: as it was asked for; the rest: of perf_event_attr. ``scale``, ``unit``: what
    one count is worth (nanoseconds shown as "msec": 1e-6)."""

    name: str
    type: int
    config: int
    config1: int = 0
    config2: int = 0
    flags: int = 0
    scale: float = 1.0
    unit: str = ""


class Reading(Record):
    """A counter's state: its ``value``, and for how long (ns) it was ``enabled`` and really ``running``; less
    where it shared the hardware with others."""

    value: int = 0
    enabled: int = 0
    running: int = 0

    def plus(self, other: Reading) -> Reading:
        """Both together."""
        return Reading(self.value + other.value, self.enabled + other.enabled, self.running + other.running)

    def minus(self, other: Reading) -> Reading:
        """What came since ``other``."""
        return Reading(self.value - other.value, self.enabled - other.enabled, self.running - other.running)

    @property
    def scaled(self) -> float:
        """The value that it would have had, had it run all the time."""
        if not self.running:
            return 0.0
        return self.value if self.running == self.enabled else self.value * self.enabled / self.running

    @property
    def share(self) -> float:
        """How much of the time it ran, in percent."""
        return 100.0 * self.running / self.enabled if self.enabled else 100.0


def opened(
    event: Event,
    *,
    pid: int = -1,
    cpu: int = -1,
    group: int = -1,
    inherit: bool = False,
    on_exec: bool = False,
) -> int:
    """A counter, disabled (but for the members of a ``group``, which follow its leader): its fd. OSError."""
    flags = event.flags | (INHERIT if inherit else 0)
    if group < 0:
        flags |= DISABLED | (ENABLE_ON_EXEC if on_exec else 0)
    attr = _ATTR.pack(
        event.type, _ATTR.size, event.config, 0, 0, _TIMES, flags, 0, 0, event.config1, event.config2,
        0, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip
    return perf_event_open(attr, pid=pid, cpu=cpu, group=group)


def read(fd: int) -> Reading:
    """The counter now."""
    data = os.read(fd, _READ.size)
    return (
        Reading(*_READ.unpack(data)) if len(data) == _READ.size else Reading()
    )  # 0 bytes: in an error state


def enable(fd: int) -> None:
    """Let it count, and the group that it leads."""
    fcntl.ioctl(fd, _ENABLE, _FLAG_GROUP)


def disable(fd: int) -> None:
    """It counts no more, nor does the group that it leads."""
    fcntl.ioctl(fd, _DISABLE, _FLAG_GROUP)


def close(fds: list[int]) -> None:
    """Let go of counters."""
    for fd in fds:
        os.close(fd)
