"""The ftrace backend: tracepoints, kprobes, uprobes and USDT through an instance of tracefs.

Events are enabled in an instance of our own, filtered by the kernel, and read as raw pages of the ring
buffer. Function probes, and tracepoints whose pointers are followed, are dynamic events in a group of our
own; maps that hist triggers count exactly stay in the kernel. What this gives a program, by column:

| column | tracepoint | function, USDT | exact because |
|---|---|---|---|
| nsecs, cpu, tid | yes | yes | time by trace_clock mono; the ring's CPU; common_pid |
| args | fields of the record | named arguments by register | the format file's offsets; the note's places |
| arg, sarg, register, retval | - | fetch arguments | registers in full width |
| comm | followed | ``$comm`` | task_newtask and task_rename in the same instance, over a snapshot of /proc |
| pid | followed | followed | task_newtask tells threads from processes |
| str() | eprobe (5.15) | fetch argument | length 0 where memory can't be read |
| other memory | eprobe | fetch argument | witnessed by strings (kernel/fetchargs.py) |
| uid, gid, cgroup, curtask | eprobe | kernel functions | each CPU's own pointer (kernel/current.py) |
| kstack | yes | yes | the ring's stack record of the event (stacks.py) |
| func | - | yes | kallsyms; the record's address |
| ustack | - | - | eight frames at most |

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
