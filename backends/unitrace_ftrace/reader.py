"""Reading an instance: raw pages of each CPU's ring, decoded into batches.

Order matters where tasks are followed. A task may be renamed on one CPU and hit a probe on another, and
the rings are read one after the other: so the rings are read twice, the events of the first pass are
given out, and the renames of both are known by then. What else came in the second pass waits for the
next read.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unitrace.contract.errors import BackendError
from unitrace.contract.model import Batch, Place
from unitrace.kernel.collector import Collector
from unitrace.kernel.fetched import Rule

from .batch import RingBatch
from .pages import Found, PageLayout, Walked, committed, walk, walk_arrays

if TYPE_CHECKING:
    from .follow import Follower
    from .stacks import Stacks

__all__ = ["PROCESS", "SMALL", "TID", "Reader", "Ring", "Scratch", "Stream"]

SMALL = 32
"""Pages that a read asks for at the least: most often, that is all."""

LARGE = 512
"""Pages that a read asks for at most; readv takes at most 1024 pieces (UIO_MAXIOV)."""

VECTOR_BYTES = 96 << 10
"""Committed bytes from which numpy decodes, if it has to be imported first."""

VECTOR_BYTES_LOADED = 16 << 10

STACK_TRIES, STACK_PAUSE = 50, 0.0002
"""How often, and how many seconds apart, a ring is read for the stack of the last event in it."""


class Pages:
    """Room for whole pages, read by readv(2): each piece is one read of trace_pipe_raw, that is a page moved
    out of the ring, or a copy of what the writer's own page holds so far (ring_buffer_read_page())."""

    __slots__ = ("_pieces", "_view")

    def __init__(self, count: int, size: int) -> None:
        self._view = memoryview(bytearray(count * size))
        self._pieces = [self._view[at : at + size] for at in range(0, count * size, size)]

    def read(self, fd: int, count: int) -> bytes:
        """The pages that are there now, at most ``count``: each piece costs something, read or not."""
        try:
            got = os.readv(fd, self._pieces[:count])
        except BlockingIOError:
            return b""
        return bytes(self._view[:got])


class Scratch:
    """Where all rings of an instance are read to, one after the other; ``size``: bytes of a page. The larger
    room is made when there are so many pages."""

    __slots__ = ("_many", "few", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.few = Pages(SMALL, size)
        self._many: Pages | None = None

    @property
    def many(self) -> Pages:
        """LARGE pages."""
        if self._many is None:
            self._many = Pages(LARGE, self.size)
        return self._many


class Ring:
    """One CPU's ring buffer, read without waiting."""

    __slots__ = ("_count", "_fd", "_scratch", "cpu", "layout", "limit", "size")

    def __init__(self, path: str, cpu: int, layout: PageLayout, buffer_kib: int, scratch: Scratch) -> None:
        self.cpu = cpu
        self.layout = layout
        self.size = buffer_kib << 10
        # twice the ring, so that a ring that fills as fast as we read can't keep us here for ever
        self.limit = max(2 * self.size, 4 * SMALL * layout.size)
        self._scratch = scratch
        self._count = SMALL  # pages to ask for: half as many again as were there the last time
        self._fd = os.open(
            f"{path}/per_cpu/cpu{cpu}/trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )

    def drain(self) -> bytes:
        """All pages that are there now, the last one perhaps partly filled."""
        size = self.layout.size
        parts: list[bytes] = []
        total = 0
        while total < self.limit:
            count = self._count
            raw = (self._scratch.many if count > SMALL else self._scratch.few).read(self._fd, count)
            total += len(raw)
            parts.append(raw)
            if len(raw) < count * size:
                break
            self._count = min(4 * count, LARGE)
        self._count = max(SMALL, min(total // size * 3 // 2, LARGE))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Let go of the ring."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Stream:
    """One clause's view of an event's records: where its columns are (``layouts`` where that depends on the
    CPU), and the rules for some. ``comm``, ``pid``: followed by tid; ``stacks``: the ring's, and how
    deep; ``only``: the
    process whose events are wanted, 0 for all; ``constants``: columns that are the same for all."""

    __slots__ = ("clause", "comm", "constants", "layout", "layouts", "only", "pid", "rules", "stacks")

    def __init__(
        self,
        clause: int,
        layout: Mapping[str, Place],
        comm: str = "",
        pid: str = "",
        rules: Mapping[str, Rule] | None = None,
        only: int = 0,
        stacks: Sequence[tuple[str, int]] = (),
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        self.clause = clause
        self.layout = layout
        self.layouts: dict[int, tuple[Mapping[str, Place], Mapping[str, Rule]]] = {}
        self.comm = comm
        self.pid = pid
        self.rules = {} if rules is None else rules
        self.only = only
        self.stacks = stacks
        self.constants = constants or {}

    def on(self, cpu: int) -> tuple[Mapping[str, Place], Mapping[str, Rule]]:
        """Places and rules in the records of one CPU."""
        if not self.layouts:
            return self.layout, self.rules
        try:
            return self.layouts[cpu]
        except KeyError:
            raise BackendError(
                f"CPU {cpu} came after the start: what its tasks are isn't recorded",
                remedy="start again, or use --backend ebpf",
            ) from None


TID, PROCESS = "\0tid", "\0pid"
"""Names of common_pid's place where a followed column needs it, and of the process where no column is it."""


class Reader:
    """Turns the rings' pages into batches. ``streams``: event id to the clauses that want it."""

    __slots__ = ("_collector", "_waiting", "follower", "lost", "rings", "since", "stacks", "streams")

    def __init__(
        self, rings: list[Ring], streams: Mapping[int, list[Stream]], follower: Follower | None = None
    ) -> None:
        self.rings = rings
        self.streams = streams
        self.follower = follower
        self.stacks: Stacks | None = None
        self.since = 0
        self.lost = 0
        self._waiting: list[tuple[int, bytes, Walked]] = []
        self._collector: Collector | None = None

    def read(self) -> Iterator[Batch]:
        """A batch for each clause, CPU and pass in which it had events."""
        ready = self._waiting
        self._waiting = []
        self._take(ready)
        if self.follower is not None:
            upto = time.monotonic_ns()
            self._take(self._waiting)
            self.follower.settle(upto)
        if self.stacks is not None:
            self._settle_stacks(self.stacks)
        for cpu, raw, walked in ready:
            for event, found in walked.events.items():
                for stream in self.streams.get(event, ()):
                    batch = self._batch(stream, cpu, raw, found, walked)
                    if len(batch):
                        yield batch
            if self.stacks is not None:
                self.stacks.forget(walked)

    def arm(self, since: int) -> None:
        """Take in what tasks did so far, and drop all else that happened before ``since`` (ns)."""
        self.since = since
        upto = time.monotonic_ns()
        self._take(self._waiting)
        if self.follower is not None:
            self.follower.settle(upto)

    def _settle_stacks(self, stacks: Stacks) -> None:
        """Read on until each event that is there has its stack: it comes a few microseconds behind."""
        for _ in range(STACK_TRIES):
            if not stacks.waiting():
                return
            time.sleep(STACK_PAUSE)
            self._take(self._waiting)
        stacks.give_up()

    def close(self) -> None:
        """Close the rings."""
        if self._collector is not None:
            self._collector.stop()
        for ring in self.rings:
            ring.close()

    def _take(self, into: list[tuple[int, bytes, Walked]]) -> None:
        if self._collector is None:
            self._collector = Collector([ring.drain for ring in self.rings], self.rings[0].size)
        for ring, raw in zip(self.rings, self._collector.take()):
            if not raw:
                continue
            walked = decoded(memoryview(raw), ring.layout)
            self.lost += walked.lost
            if self.follower is not None:
                self.follower.take(raw, walked)
            if self.stacks is not None:
                self.stacks.take(ring.cpu, raw, walked)
            into.append((ring.cpu, raw, walked))

    def _batch(self, stream: Stream, cpu: int, raw: bytes, found: Found, walked: Walked) -> RingBatch:
        if self.since and len(found.times) and found.times[0] < self.since:
            found = _later(found, self.since)
        extra: dict[str, Any] = {"cpu": cpu, **stream.constants}
        layout, rules = stream.on(cpu)
        if stream.comm or stream.pid or stream.only:
            found = self._followed(stream, cpu, raw, found, extra)
        if stream.stacks and self.stacks is not None:
            frames = [self.stacks.of(walked, int(start)) for start in found.starts]
            for column, depth in stream.stacks:
                extra[column] = [one[:depth] for one in frames]
        return RingBatch(stream.clause, raw, found, layout, extra, rules)

    def _followed(self, stream: Stream, cpu: int, raw: bytes, found: Found, extra: dict[str, Any]) -> Found:
        """Adds comm and pid to ``extra``; keeps the records of the process that is wanted."""
        assert self.follower is not None
        tasks = self.follower.tasks
        thin = RingBatch(0, raw, found, stream.on(cpu)[0])
        arrays = hasattr(found.times, "dtype")
        tids: Any = thin.array(TID) if arrays else thin.values(TID)
        times: Any = found.times
        if stream.only:
            of: Any = tasks.tgid_array(times, tids) if arrays else tasks.tgid_of(times, tids)
            if arrays:
                keep: Any = of == stream.only
                found, tids = Found(found.starts[keep], times[keep]), tids[keep]
            else:
                rows = [row for row, tgid in enumerate(of) if tgid == stream.only]
                found = Found([found.starts[row] for row in rows], [times[row] for row in rows])
                tids = [tids[row] for row in rows]
            times = found.times
        if stream.comm:
            extra[stream.comm] = (
                tasks.comm_array(times, tids, cpu) if arrays else tasks.comm_of(times, tids, cpu)
            )
        if stream.pid:
            extra[stream.pid] = tasks.tgid_array(times, tids) if arrays else tasks.tgid_of(times, tids)
        return found


def decoded(raw: memoryview, layout: PageLayout) -> Walked:
    """Pages decoded in the way that is quicker for so many."""
    if len(raw) >= VECTOR_BYTES_LOADED:
        bound = VECTOR_BYTES_LOADED if "numpy" in sys.modules else VECTOR_BYTES
        if len(raw) >= bound and committed(raw, layout) >= bound:
            return walk_arrays(raw, layout)
    return walk(raw, layout)


def _later(found: Found, since: int) -> Found:
    """The records from ``since`` on; times ascend."""
    from bisect import bisect_left

    at = bisect_left(found.times, since)
    return Found(found.starts[at:], found.times[at:])
