"""From rings to batches: samples by clause, with the names of tasks and the losses that came with them."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from unitrace.contract.errors import BackendError
from unitrace.contract.model import VECTOR_FROM, Place
from unitrace.kernel.fetched import FetchedBatch, Rule
from unitrace.kernel.packed import PackedBatch
from unitrace.kernel.tasks import Tasks

from . import records
from .chains import FRAMES_MAX, split, taken

if TYPE_CHECKING:
    from .records import Starts

__all__ = ["Decoder", "Follower", "Stream"]

NO_TASK = 0xFFFFFFFF
"""What perf says of a task that is already reaped."""

KEPT_NS = 5_000_000_000
"""How long what happened to a task is kept: a sample may be read that much after it was taken."""

_U32 = struct.Struct("<I")
_LOST = struct.Struct("<16xQ")  # id, lost


class Stream:
    """One clause's events of one CPU. ``rules``: for some columns; ``constants``: columns that are the same
    for all; ``stacks``: column to ("kernel" or "user", depth), where samples have call chains; ``sampled``:
    they have no raw data; ``received``: samples read so far; ``id``: of the perf event."""

    __slots__ = (
        "clause", "comm", "constants", "cpu", "fd", "id", "layout", "raw_size", "received", "rules",
        "sampled", "stacks", "tgid", "usermode",
    )  # fmt: skip

    def __init__(
        self,
        clause: int,
        cpu: int,
        layout: Mapping[str, Place],
        *,
        rules: Mapping[str, Rule] | None = None,
        constants: Mapping[str, Any] | None = None,
        stacks: Mapping[str, tuple[str, int]] | None = None,
        raw_size: int = 0,
        comm: bool = False,
        tgid: bool = False,
        usermode: bool = False,
        sampled: bool = False,
        fd: int = -1,
        id: int = 0,
    ) -> None:
        self.clause = clause
        self.cpu = cpu
        self.layout = layout
        self.rules = rules or {}
        self.constants = constants or {}
        self.stacks = stacks or {}
        self.raw_size = raw_size
        self.comm = comm
        self.tgid = tgid
        self.usermode = usermode
        self.sampled = sampled
        self.fd = fd
        self.id = id
        self.received = 0


class Follower:
    """What the COMM, FORK and EXIT records tell: names (where ``names``), and whose thread a dead one was.

    perf says -1 of a task that is reaped while it still runs its last lines; its EXIT record came before.
    """

    def __init__(self, names: bool) -> None:
        self.tasks = Tasks() if names else None
        self._dead: dict[int, tuple[list[int], list[int]]] = {}
        self._later: list[records.Task] = []
        self._pruned = 0

    def feed(self, found: list[records.Task], upto: int) -> None:
        """Take in records of all CPUs, in any order. What is later than ``upto`` waits for the next call:
        the rings are read one after the other, and one read early lacks what a later one counts on
        (a child has the name that its parent got on another CPU)."""
        found = sorted(self._later + found, key=lambda one: one.time)
        cut = bisect_right(found, upto, key=lambda one: one.time)
        found, self._later = found[:cut], found[cut:]
        tasks = self.tasks
        for one in found:
            if one.kind == records.EXIT:
                times, tgids = self._dead.setdefault(one.tid, ([], []))
                times.append(one.time)
                tgids.append(one.tgid)
                if tasks:
                    tasks.exited(one.time, one.tid)
            elif tasks is None:
                continue
            elif one.kind == records.FORK:
                comm = tasks.comm_of([one.time], [one.parent])[0]  # dup_task_struct() copies it
                tasks.forked(one.time, one.tid, one.parent, comm, one.thread)
            else:
                tasks.renamed(one.time, one.tid, one.comm)
        if found and found[-1].time > self._pruned + 2 * KEPT_NS:
            self._pruned = found[-1].time - KEPT_NS
            self._prune(self._pruned)

    def _prune(self, before: int) -> None:
        for tid in [tid for tid, (times, _) in self._dead.items() if times[-1] < before]:
            del self._dead[tid]
        if self.tasks:
            self.tasks.forget(before)

    def tgid(self, time: int, tid: int) -> int:
        """The process of a dead thread; the thread's own id where its end wasn't seen."""
        times, tgids = self._dead.get(tid, ((), ()))
        at = bisect_right(times, time) - 1
        return tgids[at] if at >= 0 else tid


class Decoder:
    """Makes batches of the bytes of rings. ``streams``: perf event id to its Stream. ``lost``: per CPU,
    what LOST records told; ``other_lost``: further losses by cause."""

    def __init__(self, streams: Mapping[int, Stream], follower: Follower | None = None) -> None:
        self.streams = streams
        self.follower = follower
        self.lost: dict[int, int] = {}
        self.other_lost: dict[str, int] = {}

    def batches(self, data: bytes, cpu: int = 0) -> list[PackedBatch]:
        """The samples in ``data``, whole records of one ring: a batch a clause."""
        found = records.split(data, self.streams.keys(), lambda *record: self._other(data, cpu, *record))
        made = []
        for id, starts in found.items():
            stream = self.streams.get(id)
            if stream is None:
                raise BackendError(f"a perf sample of an unknown event ({id}) on CPU {cpu}")
            stream.received += len(starts)
            made.append(self._batch(stream, data, starts))
        return made

    def tasks(self, data: bytes, cpu: int) -> list[records.Task]:
        """The COMM, FORK and EXIT records of one ring."""

        def other(at: int, kind: int, size: int) -> None:
            if kind == records.LOST:
                self._count(f"fork, exec and exit records of CPU {cpu} (comm may be wrong)", data, at)

        return records.task_records(data, other)

    def _batch(self, stream: Stream, data: bytes, starts: Starts) -> PackedBatch:
        """A batch of samples. What stands before the raw data lies at fixed places; the raw data doesn't
        where a call chain comes between, so then all columns of the fixed part are taken first."""
        extra: dict[str, Any] = {**stream.constants}
        batch = FetchedBatch(stream.clause, data, starts, stream.layout)
        batch.rules = stream.rules
        if stream.sampled:
            self._drop_dead(batch)
        if stream.usermode:
            modes = FetchedBatch(0, data, batch.starts, {"": records.MODE})
            modes.rules = {}
            extra["usermode"] = [int(mode == records.MODE_USER) for mode in modes.values("")]
        if stream.stacks:
            self._unroll(stream, batch, extra)
        if stream.raw_size and len(batch):
            (size,) = _U32.unpack_from(data, int(batch.starts[0]) + records.RAW_SIZE)
            if size != stream.raw_size:
                raise BackendError(
                    f"a probe's sample has {size} bytes of raw data, not {stream.raw_size}",
                    remedy="report this kernel's version",
                )
        batch.extra = extra
        if stream.tgid and self.follower:
            self._mend(batch, self.follower, extra)
        if stream.comm and self.follower and self.follower.tasks:
            tasks = self.follower.tasks
            if len(batch) >= VECTOR_FROM:
                extra["comm"] = tasks.comm_array(batch.array("nsecs"), batch.array("tid"), stream.cpu)
            else:
                extra["comm"] = tasks.comm_of(batch.values("nsecs"), batch.values("tid"), stream.cpu)
        for column, (space, depth) in stream.stacks.items():
            frames = extra[column]
            if space == "user":
                extra[column] = [(pid, *one[:depth]) for pid, one in zip(batch.values("pid"), frames)]
            else:
                extra[column] = [one[:depth] for one in frames]
        return batch

    def _unroll(self, stream: Stream, batch: FetchedBatch, extra: dict[str, Any]) -> None:
        for name, place in stream.layout.items():
            if place.offset < records.RAW_SIZE:
                extra[name] = batch.values(name)
        batch.starts, chains = taken(bytes(batch.buffer), map(int, batch.starts))
        batch._arrays.clear()
        pairs = [split(chain) for chain in chains]
        if len({space for space, _ in stream.stacks.values()}) == 2:
            cut = sum(1 for kernel, user in pairs if len(kernel) + len(user) >= FRAMES_MAX)
            if cut:
                self._add("call stacks too deep for perf_event_max_stack", cut)
        for column, (space, _) in stream.stacks.items():
            extra[column] = [user if space == "user" else kernel for kernel, user in pairs]

    def _drop_dead(self, batch: FetchedBatch) -> None:
        """Drop samples of tasks that were reaped already: perf doesn't say whose they were."""
        tids = batch.values("tid")
        if NO_TASK in tids:
            alive = [int(start) for start, tid in zip(batch.starts, tids) if tid != NO_TASK]
            self._add("samples of tasks that had ended", len(tids) - len(alive))
            batch.starts = alive
            batch._arrays.clear()

    def _mend(self, batch: PackedBatch, follower: Follower, extra: dict[str, Any]) -> None:
        """The pid of samples whose task was dead already."""
        if len(batch) >= VECTOR_FROM:
            import numpy as np

            rows = np.flatnonzero(batch.array("pid") == NO_TASK).tolist()
        else:
            rows = [row for row, pid in enumerate(batch.values("pid")) if pid == NO_TASK]
        if rows:
            pids, times, tids = (list(batch.values(name)) for name in ("pid", "nsecs", "tid"))
            for row in rows:
                pids[row] = follower.tgid(times[row], tids[row])
            extra["pid"] = pids

    def _other(self, data: bytes, cpu: int, at: int, kind: int, size: int) -> None:
        if kind == records.LOST:
            (count,) = _LOST.unpack_from(data, at)
            self.lost[cpu] = self.lost.get(cpu, 0) + count
        elif kind == records.LOST_SAMPLES:
            (count,) = struct.unpack_from("<Q", data, at + 8)
            self._add(f"samples dropped by the PMU on CPU {cpu}", count)
        elif kind == records.THROTTLE:
            self._add(f"perf throttled sampling on CPU {cpu} (times)", 1)

    def _count(self, cause: str, data: bytes, at: int) -> None:
        self._add(cause, _LOST.unpack_from(data, at)[0])

    def _add(self, cause: str, count: int) -> None:
        self.other_lost[cause] = self.other_lost.get(cause, 0) + count
