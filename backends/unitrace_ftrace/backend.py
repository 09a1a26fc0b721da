"""The ftrace backend: tracepoints, kprobes and uprobes through an instance of tracefs.

Events are enabled in an instance of our own, filtered by the kernel, and read as raw pages of the ring
buffer. Function probes and strings behind a tracepoint's pointers are dynamic events in a group of our
own. What this gives a program, column by column:

| column | tracepoint | kprobe, uprobe and their returns | exact because |
|---|---|---|---|
| nsecs, cpu, tid | yes | yes | time by trace_clock mono; the ring's CPU; common_pid |
| args | fields of the record | named arguments by register | the format file's offsets |
| arg, sarg, register | - | fetch arguments | registers in full width |
| retval | - | ``$retval`` at returns | a register in full width |
| comm | followed | ``$comm`` | task_newtask and task_rename in the same instance, over a snapshot of /proc |
| pid | followed | followed | task_newtask tells threads from processes |
| str() | eprobe (5.15) | fetch argument | length 0 where memory can't be read |
| other memory | - | - | a number that can't be read isn't 0: approximate only |
| uid, gid, cgroup, stacks, ... | - | - | not recorded with the event |

Two limits of the kernel that nothing here can count. An event that doesn't fit a page of the ring is
dropped: one whose strings take more than about 4,000 bytes together, for kprobes before 6.8 (later the
pages are enlarged) and for uprobes always (MAX_UCB_BUFFER_SIZE, kernel/trace/trace_uprobe.c). A thread
that isn't its process's first and calls exec bears its leader's name from then until its own is set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from unitrace.contract.backend import API_VERSION, Listed, Support
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Answered, Offer, Request

if TYPE_CHECKING:
    from unitrace.contract.backend import Attachment

__all__ = ["Ftrace"]


class Ftrace:
    """Implements contract.backend.Backend over tracefs."""

    name = "ftrace"
    title = "tracefs events, raw ring buffer pages"
    api = API_VERSION
    cost = 540

    def survey(self, machine: Machine) -> Sequence[Support]:
        """What this machine gives of ftrace; for all that is missing: why, and the remedy."""
        from . import survey

        return survey.supports(machine)

    def probes(self, machine: Machine, pattern: str) -> Iterable[Listed]:
        """What can be traced, of what ``pattern`` ("kprobe:vfs_*") asks for."""
        from .probes import listed

        return listed(machine, pattern)

    def offer(self, machine: Machine, request: Request) -> Answered:
        """Every clause's events, filtered as far as the kernel can; the rest is the engine's."""
        from .offer import offer

        return offer(machine, request)

    def attach(self, machine: Machine, offer: Offer) -> Attachment:
        """The offer's events in an instance of their own, disarmed."""
        from .attach import Attached

        return Attached(machine, offer)
