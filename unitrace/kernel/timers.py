"""The timer of a profile probe, and the function that it calls: for events that sample by a kprobe there.

perf's own samples hold registers and stacks, but nothing of the current task's memory, and ftrace has no
timer at all. Each time a cpu-clock event's timer fires, ``perf_swevent_hrtimer`` (kernel/events/core.c) is
called with it in that interrupt. So the event runs without a ring, and a kprobe on the function, filtered by
the event's id, is the sample. (Where samples are written would be no place: perf's own of the probe are.)
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from unitrace.contract.errors import BackendError
from unitrace.contract.ir import Site
from unitrace.contract.machine import Answer, Machine, fact
from unitrace.contract.types import UINT64

from . import functions
from .arch import Architecture
from .arguments import Arguments, Value
from .current import member_offset
from .perf_events import CPU_CLOCK, TYPE_SOFTWARE, Sampled, perf_event_open

__all__ = ["FUNCTION", "Timer", "fired"]

FUNCTION = "perf_swevent_hrtimer"

_DISABLED, _FREQ = 1 << 0, 1 << 10  # bits of perf_event_attr's flags
_IOC_ENABLE, _IOC_DISABLE, _IOC_ID = 0x2400, 0x2401, 0x80082407

_ATTR = struct.Struct("=IIQQQQQIIQ")
"""struct perf_event_attr, PERF_ATTR_SIZE_VER0: type, size, config, sample_period, sample_type, read_format,
flags, wakeup_events, bp_type, config1."""


@fact("kernel.timers", "whether a perf timer runs here, and its function can be probed")
def _timers(machine: Machine) -> Answer:
    if not functions.exists(machine, FUNCTION):
        return Answer(errno.ENOENT, f"this kernel's {FUNCTION}() can't be probed", "a kernel from 6.1 on")
    if machine.live:
        try:
            Timer(Sampled(TYPE_SOFTWARE, CPU_CLOCK, 1_000_000_000), 0).close()
        except BackendError as error:
            return Answer(errno.EPERM, error.message, error.remedy)
    return Answer()


class Timer:
    """A profile event of one CPU, without a ring, switched off. ``id``: of the event. BackendError where the
    kernel refuses."""

    __slots__ = ("fd", "id")

    def __init__(self, event: Sampled, cpu: int) -> None:
        flags = _DISABLED | (_FREQ if event.hertz else 0)
        attr = _ATTR.pack(event.type, _ATTR.size, event.config, event.period, 0, 0, flags, 0, 0, 0)
        try:
            self.fd = perf_event_open(attr, cpu=cpu)
        except OSError as error:
            raise BackendError(f"a timer can't be opened: {error.strerror}", remedy="run as root") from None
        into = bytearray(8)
        fcntl.ioctl(self.fd, _IOC_ID, into)
        self.id = int.from_bytes(into, "little")

    def start(self) -> None:
        """Let it fire."""
        fcntl.ioctl(self.fd, _IOC_ENABLE, 0)

    def stop(self) -> None:
        """It doesn't fire any more."""
        fcntl.ioctl(self.fd, _IOC_DISABLE, 0)

    def close(self) -> None:
        """Remove it."""
        os.close(self.fd)


def fired(machine: Machine, architecture: Architecture, arguments: Arguments) -> Value:
    """The id of the event whose timer fires, at FUNCTION: of the struct perf_event that the timer is a part
    of. Raises Unfetchable."""
    timer = member_offset(machine, "struct perf_event", "hw")
    timer += member_offset(machine, "struct hw_perf_event", "hrtimer")
    place = f"{member_offset(machine, 'struct perf_event', 'id') - timer:+d}({architecture.argument(0)})"
    return arguments.plain(Site(UINT64, "id"), f"{place}:u64", "int")
