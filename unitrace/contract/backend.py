"""The backend contract: what a plugin implements, and all that the core ever calls.

Read a backend in this order: survey, probes, offer, attach, read, detach.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from .ir import Probe
from .machine import Answer, Machine
from .model import Batch, Losses, Snapshot
from .offer import Answered, Offer, Request
from .record import Record

__all__ = ["API_VERSION", "Attachment", "Backend", "Holder", "KernelReader", "Listed", "Reading", "Support"]

API_VERSION = 1
"""Raised when a change here breaks backends written for the last one."""


class Support(Record):
    """One line of a survey: a probe type or push-down, whether this machine gives it, and how."""

    thing: str
    answer: Answer
    how: str = ""


class Listed(Record):
    """Something that can be traced: ``label`` is its full probe name; ``args`` its arguments, each
    as C would declare it ("const char * filename")."""

    label: str
    args: tuple[str, ...] = ()


class Attachment(Protocol):
    """Probes in place. Used by one thread, as a context manager: leaving it removes all that was
    made, also after an exception. Made disarmed; ``start`` arms it. It may have ``notes``, lines of
    text for the user that are complete after ``stop`` (a ring smaller than asked for, ...), and ``began``,
    which is set before ``start`` to when the run began (CLOCK_MONOTONIC, ns): ``elapsed`` counts from there.
    """

    def __enter__(self) -> Attachment: ...

    def __exit__(self, *exc: object) -> None: ...

    def start(self) -> None:
        """Let events flow. Quick: everything slow was done before."""

    def read(self) -> Iterator[Batch]:
        """The events that are there now, without waiting; oldest first within a CPU and clause.

        Events that fire after the call began need not be among them; those that fired before
        must be (the merge by time relies on it).
        """

    def snapshot(self, map: str) -> Snapshot:
        """The content now of a map kept in the kernel, CPUs merged."""

    def clear(self, map: str) -> None:
        """Remove all keys of a map kept in the kernel."""

    def zero(self, map: str) -> None:
        """Set all values of a map kept in the kernel to zero, keys kept."""

    def losses(self) -> Losses:
        """Events lost since the start, by cause; {} where none."""

    def stop(self) -> None:
        """No event from here on; what is buffered can still be read. Quick (well under 10 ms)."""


class Holder(Attachment, Protocol):
    """An attachment with maps that are resident (offer.Request.resident), not only keepable."""

    def lookup(self, map: str, key: tuple[Any, ...]) -> Any:
        """The value of a map kept in the kernel under ``key``, as a snapshot has it; None: there is none."""

    def store(self, map: str, key: tuple[Any, ...], value: Any) -> bool:
        """Set a value of a resident map (offer.Request.resident); False where it is full."""

    def remove(self, map: str, key: tuple[Any, ...]) -> bool:
        """Remove a key of a resident map; whether it was there."""


class KernelReader(Protocol):
    """What reads the kernel for clauses that user space fires (begin, end, interval, ...): the current
    task is the thread that calls."""

    def task(self) -> int:
        """The address of the task_struct."""

    def ids(self) -> tuple[int, int]:
        """Process and thread id in the initial PID namespace."""

    def stack(self, depth: int) -> tuple[int, ...]:
        """The kernel's call stack, innermost first, ``depth`` frames at most."""

    def memory(self, address: int, size: int) -> bytes:
        """The kernel's memory; short, or empty, where it can't be read."""

    def trace(self, text: bytes) -> None:
        """Put a line into the kernel's trace, as bpf_trace_printk does."""

    def close(self) -> None:
        """Remove all that was made."""


class Backend(Protocol):
    """One tracing framework. ``name``: the word for --backend. ``title``: a few words for people.
    ``api``: the API_VERSION it was written for. ``cost``: the least that an Offer of its costs: backends
    are asked in this order, and no further once none can be better; where one that costs less than the
    chosen offer refuses, the user is told."""

    name: str
    title: str
    api: int
    cost: int

    def survey(self, machine: Machine) -> Sequence[Support]:
        """What this machine gives of this framework; for all that is missing: why, and the remedy."""

    def probes(self, machine: Machine, pattern: str) -> Iterable[Listed]:
        """The probes that match ``pattern`` ("tracepoint:sched:*"; * and ? in each part)."""

    def offer(self, machine: Machine, request: Request) -> Answered:
        """What it would take of ``request``. Attaches nothing and leaves nothing behind."""

    def attach(self, machine: Machine, offer: Offer) -> Attachment:
        """Put the offer's probes in place, disarmed. BackendError where the kernel refuses; then
        nothing stays behind."""


class Reading(Protocol):
    """What a backend may have besides."""

    def reader(self, machine: Machine) -> KernelReader:
        """What reads the kernel, as the task that asks. BackendError, with reason and remedy, where this
        machine doesn't let it."""


def describe(probe: Probe) -> str:
    """A probe as users know it: its label, or how it was written."""
    return probe.label or probe.written
