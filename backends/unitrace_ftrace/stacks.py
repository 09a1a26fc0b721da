"""Kernel stacks: the ring's own records of them (``options/stacktrace``), joined with their events.

A stack's record follows its event's in the same ring, written by the same code before it goes on (kernel/
trace/trace.c, trace_buffer_unlock_commit_regs()). An interrupt may come between, with an event and a stack
of its own: so a stack belongs to the youngest event that has none yet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping
from struct import unpack_from

from unitrace.contract.ir import Field

from .pages import Walked

__all__ = ["Stacks", "raw_functions"]

OPEN_MAX = 8
"""Events of one CPU that may wait for their stacks: contexts nest no deeper (task, softirq, irq, nmi)."""

FUNCTION_MAX = 4096
"""Bytes of a function that records a tracepoint's event, at most: they are some hundred."""

WORDS_MAX = 1024
"""FTRACE_KSTACK_ENTRIES, kernel/trace/trace.c."""


class Stacks:
    """Joins stacks with events. ``id``: of the stack records; ``events``: ids of the events that have one;
    ``missing``: events whose stack didn't come. ``entries``: start and end of functions that end the
    tracer's own part of a stack (sorted); frames up to one of them are dropped."""

    __slots__ = ("_caller", "_found", "_open", "_size", "entries", "events", "id", "missing")

    def __init__(
        self, id: int, fields: Mapping[str, Field], events: Collection[int], entries: list[tuple[int, int]]
    ) -> None:
        self.id = id
        self.events = frozenset(events)
        self.entries = entries
        self.missing = 0
        self._size = fields["size"].offset
        self._caller = fields["caller"].offset
        self._open: dict[int, list[tuple[int, int]]] = {}
        self._found: dict[int, dict[int, tuple[int, ...]]] = {}

    def take(self, cpu: int, raw: bytes, walked: Walked) -> None:
        """Join what one ring gave. Called in the order of reading."""
        marks: list[tuple[int, bool]] = []
        for event, found in walked.events.items():
            if event == self.id or event in self.events:
                marks += [(int(start), event == self.id) for start in found.starts]
        waiting, key = self._open.setdefault(cpu, []), id(walked)
        for start, is_stack in sorted(marks):
            if not is_stack:
                waiting.append((key, start))
                if len(waiting) > OPEN_MAX:
                    self.missing += 1
                    del waiting[0]
            elif waiting:
                where, at = waiting.pop()
                self._found.setdefault(where, {})[at] = self._frames(raw, start)

    def waiting(self) -> bool:
        """Whether an event's stack is still to come."""
        return any(self._open.values())

    def of(self, walked: Walked, start: int) -> tuple[int, ...]:
        """The stack of the event at ``start``; () where it didn't come."""
        return self._found.get(id(walked), {}).get(start, ())

    def forget(self, walked: Walked) -> None:
        """These events are done with."""
        self._found.pop(id(walked), None)

    def give_up(self) -> None:
        """Count the stacks that don't come any more."""
        for waiting in self._open.values():
            self.missing += len(waiting)
            waiting.clear()

    def _frames(self, raw: bytes, start: int) -> tuple[int, ...]:
        (count,) = unpack_from("<i", raw, start + self._size)
        frames = unpack_from(f"<{min(max(count, 0), WORDS_MAX)}Q", raw, start + self._caller)
        for at, address in enumerate(frames if self.entries else ()):
            place = bisect_right(self.entries, (address, 1 << 64)) - 1
            if place >= 0 and address < self.entries[place][1]:
                return frames[at + 1 :]
        return frames


def raw_functions(prefix: str) -> list[tuple[int, int]]:
    """Start and end of the kernel's functions whose names begin with ``prefix``, by kallsyms, sorted."""
    import re

    with open("/proc/kallsyms", "rb") as file:
        text = file.read()
    pattern = rb"^([0-9a-f]+) [tTwW] %s.*\n(?=([0-9a-f]*))" % re.escape(prefix.encode())
    found = []
    for start, after in re.findall(pattern, text, re.MULTILINE):
        place, end = int(start, 16), int(after or b"0", 16)
        if place:  # in a module the next line need not be the next function
            found.append((place, end if place < end < place + FUNCTION_MAX else place + FUNCTION_MAX))
    return sorted(found)
