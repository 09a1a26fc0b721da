"""The records in a ring: where each begins, and whose event it is.

Every record is a multiple of 8 bytes long and starts with struct perf_event_header {u32 type; u16
misc; u16 size}. Samples here are taken with sample_type IDENTIFIER | TID | TIME | CPU | RAW, so that
all of a sample's columns lie at fixed offsets:

     0 header     8 id     16 pid (tgid), 20 tid     24 time     32 cpu     40 size of raw, 44 raw

The raw data of a tracing event starts with struct trace_entry {u16 type; u8 flags; u8 preempt_count; s32
pid}. SAMPLE_REGS_INTR comes after it. Other records end with struct sample_id {pid, tid; time; cpu; id}.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from unitrace.contract.errors import BackendError
from unitrace.contract.model import Place

if TYPE_CHECKING:
    import numpy as np

    Starts = range | list[int] | np.ndarray[tuple[int], np.dtype[np.int64]]

__all__ = ["Task", "split", "task_records", "walk"]

# enum perf_event_type
LOST, COMM, EXIT, THROTTLE, UNTHROTTLE, FORK, SAMPLE, LOST_SAMPLES = 2, 3, 4, 5, 6, 7, 9, 13

ID, TGID, TIME, CPU, RAW_SIZE, RAW = 8, 16, 24, 32, 40, 44
"""Offsets in a sample."""

RAW_TID = RAW + 4
"""trace_entry.pid: the tid in the initial namespace, right also for a task that is already dead, where
perf itself says -1 (perf_event_pid_type(), kernel/events/core.c)."""

MODE, MODE_USER = Place(4, 2, mask=7), 2
"""misc of the header says which mode the CPU was in (PERF_RECORD_MISC_CPUMODE_MASK)."""

NO_RAW = -4
"""As the size of raw data: that there is none, nor the u32 of its length."""

MISC_COMM_EXEC = 1 << 13

SAMPLE_ID_SIZE = 32

_HEAD = struct.Struct("<IHHQ")  # header, and the word after it: a sample's id

VECTOR_FROM = 2048 * 96
"""Bytes from which numpy pays, some two thousand records."""


def walk(data: bytes, at: int = 0, end: int = -1) -> Iterator[tuple[int, int, int, int]]:
    """(offset, type, size, word after the header) of each record in ``data[at:end]``, one by one.

    BackendError where the bytes are no records: nothing after them can be trusted.
    """
    end = len(data) if end < 0 else end
    unpack = _HEAD.unpack_from
    while at < end:
        kind, _, size, word = unpack(data, at) if at + 16 <= end else (0, 0, 0, 0)
        if size < 16 or size & 7 or at + size > end:
            raise BackendError(f"a perf ring holds no record at byte {at}")
        yield at, kind, size, word
        at += size


def split(data: bytes, ids: Collection[int], other: Callable[[int, int, int], None]) -> Mapping[int, Starts]:
    """The samples in ``data`` (whole records), by their event's id: offsets where each starts, in
    order; a range where they follow each other. ``ids``: those of the open events.
    ``other(offset, type, size)`` is called for each record that is no sample, in order.
    """
    if not data:
        return {}
    return _split_many(data, ids, other) if len(data) >= VECTOR_FROM else _split_few(data, other)


def _split_few(data: bytes, other: Callable[[int, int, int], None]) -> Mapping[int, Starts]:
    words = memoryview(data).cast("Q")
    step = words[0] >> 51  # size / 8
    if step >= RAW // 8 and len(words) % step == 0 and _alike(set(words[::step].tolist()), step):
        which = words[1::step].tolist()
        if which.count(which[0]) == len(which):
            return {which[0]: range(0, len(data), step * 8)}
        found: dict[int, list[int]] = {id: [] for id in dict.fromkeys(which)}
        for at, id in zip(range(0, len(data), step * 8), which):
            found[id].append(at)
        return found
    found = {}
    for at, kind, size, id in walk(data):
        if kind != SAMPLE:
            other(at, kind, size)
        elif id in found:
            found[id].append(at)
        else:
            found[id] = [at]
    return found


def _alike(heads: set[int], step: int) -> bool:
    """Whether all of these headers are of samples of ``step`` words. If so at each step of a buffer,
    then, by induction from the first, these are its records. misc tells user from kernel mode."""
    return {head & 0xFFFF_0000_FFFF_FFFF for head in heads} == {step << 51 | SAMPLE}


def _split_many(
    data: bytes, ids: Collection[int], other: Callable[[int, int, int], None]
) -> Mapping[int, Starts]:
    """The same by numpy. Nothing is assumed: every header is looked at."""
    import numpy as np

    words = np.frombuffer(data, dtype="<u8")
    step = int(words[0]) >> 51
    if step >= RAW // 8 and len(words) % step == 0:
        shape = np.uint64(0xFFFF_0000_FFFF_FFFF)
        if bool(((words[::step] & shape) == np.uint64(step << 51 | SAMPLE)).all()):
            size = step * 8
            which = words[1::step]
            if bool((which == which[0]).all()):
                return {int(which[0]): range(0, len(data), size)}
            return _grouped(which, np.arange(0, len(data), size, dtype=np.int64))
    starts = _chain(data, words, ids, other)
    return _grouped(words[(starts >> 3) + 1], starts)


def _chain(
    data: bytes,
    words: np.ndarray[tuple[int], np.dtype[np.uint64]],
    ids: Collection[int],
    other: Callable[[int, int, int], None],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where the samples start when sizes differ.

    Guess every place that looks like a sample of ours, then check that each ends where the next
    begins: a run that holds together from a known start is right, by induction. Where it
    breaks (another record, or bytes that only looked like a header) walk to the next guess.
    """
    import numpy as np

    at = np.flatnonzero(words.view("<u4")[:-2:2] == SAMPLE)
    heads, which = words[at], words[at + 1]
    steps = (heads >> np.uint64(51)).astype(np.int64)
    right = (steps >= RAW // 8) & (heads & np.uint64(7 << 48) == 0) & _among(which, ids)
    if not bool(right.all()):
        at, steps = at[right], steps[right]
    ends = at + steps
    # breaks[k]: guess k isn't followed, where it ends, by guess k + 1
    breaks = np.flatnonzero(ends[:-1] != at[1:])
    parts: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    place, total = 0, len(words)
    while place < total:
        guess = int(np.searchsorted(at, place))
        if guess < len(at) and at[guess] == place:
            broken = int(np.searchsorted(breaks, guess))
            last = int(breaks[broken]) if broken < len(breaks) else len(at) - 1
            if ends[last] > total:
                raise BackendError(f"a perf ring holds half a record at byte {int(at[last]) * 8}")
            parts.append(at[guess : last + 1])
            place = int(ends[last])
            continue
        stop = int(at[guess]) if guess < len(at) else total
        loose: list[int] = []
        for offset, kind, size, _ in walk(data, place * 8):
            if kind == SAMPLE:
                loose.append(offset >> 3)
            else:
                other(offset, kind, size)
            place = (offset + size) >> 3
            if place >= stop:
                break
        parts.append(np.array(loose, dtype=np.int64))
    starts = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    return starts << 3


FEW = 16
"""Ids up to which comparing with each is quicker than sorting."""


def _among(
    which: np.ndarray[tuple[int], np.dtype[np.uint64]], ids: Collection[int]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    import numpy as np

    if len(ids) > FEW:
        found: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.isin(which, np.array([*ids], np.uint64))
        return found
    known = np.zeros(len(which), np.bool_)
    for id in ids:
        known |= which == np.uint64(id)
    return known


def _grouped(
    which: np.ndarray[tuple[int], np.dtype[np.uint64]], starts: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Mapping[int, Starts]:
    """``starts`` by the id of each, order kept."""
    import numpy as np

    found: dict[int, Starts] = {}
    while len(which) and len(found) < FEW:
        first = which[0]
        same = which == first
        if bool(same.all()):
            return {**found, int(first): starts}
        found[int(first)] = starts[same]
        rest = ~same
        which, starts = which[rest], starts[rest]
    if not len(which):
        return found
    order = np.argsort(which, kind="stable")
    which, starts = which[order], starts[order]
    cuts = np.flatnonzero(which[1:] != which[:-1]) + 1
    firsts = np.concatenate((np.zeros(1, dtype=np.int64), cuts))
    found.update({int(which[first]): part for first, part in zip(firsts, np.split(starts, cuts))})
    return found


class Task:
    """What happened to a task, from a COMM, FORK or EXIT record. ``comm`` is set by COMM alone,
    ``parent`` (the tid that forked) by FORK."""

    __slots__ = ("comm", "kind", "parent", "tgid", "thread", "tid", "time")

    def __init__(self, kind: int, time: int, tgid: int, tid: int) -> None:
        self.kind = kind
        self.time = time
        self.tgid = tgid
        self.tid = tid
        self.parent = 0
        self.thread = False
        self.comm = b""


_FORK = struct.Struct("<8xIIIIQ")  # pid, ppid, tid, ptid, time
_COMM = struct.Struct("<8xII")  # pid, tid, comm[]
_TRAILER_TIME = struct.Struct("<Q")


def task_records(data: bytes, other: Callable[[int, int, int], None]) -> list[Task]:
    """The COMM, FORK and EXIT records in ``data``, in order; ``other`` as in split()."""
    found: list[Task] = []
    for at, kind, size, _ in walk(data):
        if kind == COMM:
            tgid, tid = _COMM.unpack_from(data, at)
            (time,) = _TRAILER_TIME.unpack_from(data, at + size - SAMPLE_ID_SIZE + 8)
            task = Task(COMM, time, tgid, tid)
            task.comm = data[at + 16 : at + size - SAMPLE_ID_SIZE].split(b"\0", 1)[0]
            found.append(task)
        elif kind in (FORK, EXIT):
            tgid, parent_tgid, tid, parent, time = _FORK.unpack_from(data, at)
            task = Task(kind, time, tgid, tid)
            task.parent = parent
            task.thread = kind == FORK and tgid == parent_tgid
            found.append(task)
        else:
            other(at, kind, size)
    return found
