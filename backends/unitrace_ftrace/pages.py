"""Pages of the ftrace ring buffer, as trace_pipe_raw gives them, to records and times.

include/linux/ring_buffer.h and kernel/trace/ring_buffer.c: a page begins with its first event's time and
the number of bytes committed, whose top bits tell of lost events. An event is a 32-bit word (5 bits of
type_len, 27 of the time since the event before), perhaps a length, and the record. The record's first two
bytes are its event's id.

Two decoders give the same result: ``walk`` in plain Python for few events (numpy's import would cost
more than it saves), ``walk_arrays`` in numpy for many. Little-endian machines only.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unitrace.contract.errors import BackendError
from unitrace.contract.record import Record

if TYPE_CHECKING:
    import numpy as np

    from unitrace.contract.model import Place

    Ints = np.ndarray[Any, np.dtype[np.int64]]

__all__ = ["Found", "PageLayout", "Walked", "committed", "decode", "parse_header_page", "walk", "walk_arrays"]

PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
"""type_len of events that are no data (enum ring_buffer_type)."""

DELTA_BITS = 27
COMMITTED = 0x3FFFFFFF
MISSED_STORED, MISSED = 1 << 30, 1 << 31
"""Flags in the commit field: events were lost before this page; how many stands after the data."""

TIME_TOP = 0xF8 << 56
"""TS_MSB: the bits that an absolute time stamp of 59 bits lacks."""


class PageLayout(Record):
    """``size``: bytes of a page as it is read. ``data``: where its events begin. ``commit``: where the
    number of committed bytes stands (its low 32 bits)."""

    size: int
    data: int
    commit: int


class Found(Record):
    """The records of one event in a buffer, oldest first. ``starts``: offsets of the records (of
    common_type) in the buffer; ``times``: ns by the trace clock."""

    starts: Sequence[int] | Ints
    times: Sequence[int] | Ints


class Walked(Record):
    """``events``: by event id. ``lost``: events that the kernel says it overwrote; ``unknown``: how often
    it said so without a number."""

    events: Mapping[int, Found]
    lost: int = 0
    unknown: int = 0


def parse_header_page(text: str) -> PageLayout:
    """The layout that ``events/header_page`` tells."""
    places: dict[str, tuple[int, int]] = {}
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(";")]
        if len(parts) >= 3 and parts[0].startswith("field:"):
            offset, size = int(parts[1].split(":")[1]), int(parts[2].split(":")[1])
            places[parts[0].split()[-1]] = offset, size
    try:
        data, commit = places["data"], places["commit"]
    except KeyError:
        raise BackendError("events/header_page is not understood") from None
    return PageLayout(data[0] + data[1], data[0], commit[0])


def committed(raw: memoryview, layout: PageLayout) -> int:
    """Bytes of events in whole pages ``raw``: what decides which decoder to use."""
    words = raw.cast("I")
    step = layout.size // 4
    return sum(word & COMMITTED for word in words[layout.commit // 4 :: step].tolist())


def walk(raw: memoryview, layout: PageLayout) -> Walked:
    """Decode whole pages, in plain Python."""
    words = raw.cast("I")
    data, commit_at = layout.data // 4, layout.commit // 4
    events: dict[int, tuple[list[int], list[int]]] = {}
    lost = unknown = 0
    for first in range(0, len(words), layout.size // 4):
        now = words[first] | words[first + 1] << 32
        commit = words[first + commit_at]
        at = first + data
        end = at + ((commit & COMMITTED) + 3) // 4
        if commit & MISSED:
            if commit & MISSED_STORED and end + 2 <= first + layout.size // 4:
                lost += words[end] | words[end + 1] << 32
            else:
                unknown += 1
        while at < end:
            header = words[at]
            kind, delta = header & 31, header >> 5
            if 0 < kind < PADDING:
                start, step = at + 1, kind + 1
            elif kind == 0:
                start, step = at + 2, 1 + (words[at + 1] + 3) // 4
            elif kind == PADDING:
                if not delta:  # the rest of the page is empty
                    break
                now += delta
                at += 1 + (words[at + 1] + 3) // 4
                continue
            else:
                delta += words[at + 1] << DELTA_BITS
                now = now + delta if kind == TIME_EXTEND else _absolute(delta, now)
                at += 2
                continue
            now += delta
            key = words[start] & 0xFFFF
            group = events.get(key)
            if group is None:
                group = events[key] = ([], [])
            group[0].append(start * 4)
            group[1].append(now)
            at += step
    return Walked({key: Found(*group) for key, group in events.items()}, lost, unknown)


def _absolute(stamp: int, now: int) -> int:
    """rb_fix_abs_ts(): a 59-bit time stamp with its top bits taken from the time before it."""
    top = now & TIME_TOP
    if top:
        stamp |= top
        if stamp < now and now - stamp > 1 << 59:
            stamp += 1 << 59
    return stamp


def walk_arrays(raw: memoryview, layout: PageLayout) -> Walked:
    """Decode whole pages, in numpy. Pages that hold records of one size are decoded with a stride;
    the others all at once, event by event, each step one event of every page."""
    import numpy as np

    width = layout.size // 4
    words = np.frombuffer(raw, dtype="<u4").reshape(-1, width)
    stamps = words[:, 0].astype(np.int64) | words[:, 1].astype(np.int64) << 32
    commits = words[:, layout.commit // 4]
    lengths = ((commits & COMMITTED).astype(np.int64) + 3) // 4
    lost, unknown = _missed(words, commits, lengths, layout)
    area = words[:, layout.data // 4 :]
    bases = np.arange(len(words), dtype=np.int64) * layout.size + layout.data

    parts: list[tuple[Ints, Ints, Ints]] = []
    left = np.flatnonzero(lengths > 0)
    while len(left):
        kind = int(area[left[0], 0]) & 31
        if not 0 < kind < PADDING:
            break
        even = _strided(area[left] if len(left) < len(area) else area, lengths[left], kind)
        if not even.any():
            break
        rows = left[even]
        parts.append(_by_stride(area, rows, lengths, stamps, bases, kind))
        left = left[~even]
        if len(parts) == 4:  # sizes are mixed: no use going on
            break
    if len(left):
        parts.append(_in_step(area, left, lengths, stamps, bases))
    if not parts:
        return Walked({}, lost, unknown)
    if len(parts) == 1:
        starts, times, ids = parts[0]
    else:
        starts, times, ids = (np.concatenate(of) for of in zip(*parts))
        order = np.argsort(starts, kind="stable")  # a few ascending runs: merged, not sorted
        starts, times, ids = starts[order], times[order], ids[order]
    return Walked(_by_id(starts, times, ids), lost, unknown)


def _missed(words: Any, commits: Any, lengths: Ints, layout: PageLayout) -> tuple[int, int]:
    import numpy as np

    lost = unknown = 0
    for row in np.flatnonzero(commits & MISSED).tolist():
        end = layout.data // 4 + int(lengths[row])
        if int(commits[row]) & MISSED_STORED and end + 2 <= words.shape[1]:
            lost += int(words[row, end]) | int(words[row, end + 1]) << 32
        else:
            unknown += 1
    return lost, unknown


def _strided(area: Any, lengths: Ints, kind: int) -> Any:
    """Which pages hold nothing but data events of ``kind`` words."""
    import numpy as np

    step = kind + 1
    heads = area[:, ::step] & 31
    positions = np.arange(heads.shape[1], dtype=np.int64) * step
    fits = (heads == kind) | (positions >= lengths[:, None])
    return fits.all(axis=1) & (lengths % step == 0)


def _by_stride(area: Any, rows: Ints, lengths: Ints, stamps: Ints, bases: Ints, kind: int) -> Any:
    """(starts, times, ids) of pages that ``_strided`` found even."""
    import numpy as np

    step = kind + 1
    whole = len(rows) == len(area)
    counts = (lengths if whole else lengths[rows]) // step
    most = int(counts.max())
    used = area[:, : most * step] if whole else area[rows, : most * step]
    times = np.cumsum(used[:, ::step] >> 5, axis=1, dtype=np.int64)
    times += (stamps if whole else stamps[rows])[:, None]
    ids = used[:, 1::step] & 0xFFFF
    inside = np.arange(most, dtype=np.int64) * (step * 4) + 4
    starts = (bases if whole else bases[rows])[:, None] + inside
    if int(counts.min()) == most:
        return starts.ravel(), times.ravel(), ids.ravel()
    valid = np.arange(most) < counts[:, None]
    return starts[valid], times[valid], ids[valid]


def _in_step(area: Any, rows: Ints, lengths: Ints, stamps: Ints, bases: Ints) -> Any:
    """(starts, times, ids) of any pages: step k takes the k-th event of every page."""
    import numpy as np

    flat = np.ascontiguousarray(area[rows])
    width = flat.shape[1]
    flat = np.append(flat.ravel(), np.zeros(2, dtype=flat.dtype))
    origin = np.arange(len(rows), dtype=np.int64) * width
    at, end = origin.copy(), origin + lengths[rows]
    now = stamps[rows].copy()
    room = 128
    found = np.full((len(rows), room), -1, dtype=np.int64)
    when = np.zeros((len(rows), room), dtype=np.int64)
    count = 0
    while (alive := at < end).any():
        if count == room:
            found = np.concatenate((found, np.full_like(found, -1)), axis=1)
            when = np.concatenate((when, np.zeros_like(when)), axis=1)
            room *= 2
        head = flat[at]
        kind = head & 31
        delta = (head >> 5).astype(np.int64)
        step = kind.astype(np.int64) + 1
        start = at + 1
        special = alive & ((kind == 0) | (kind >= PADDING))
        data = alive
        if special.any():
            data = alive & (kind < PADDING)
            second = flat[at + 1].astype(np.int64)
            sized = (kind == 0) | (kind == PADDING)
            step = np.where(sized, 1 + (second + 3) // 4, step)
            start = np.where(kind == 0, at + 2, start)
            ended = (kind == PADDING) & (delta == 0)
            step = np.where(ended, width, step)
            timed = kind >= TIME_EXTEND
            step = np.where(timed, 2, step)
            delta = np.where(timed, delta + (second << DELTA_BITS), delta)
            for row in np.flatnonzero(alive & (kind == TIME_STAMP)).tolist():
                delta[row] = _absolute(int(delta[row]), int(now[row])) - int(now[row])
        now += np.where(alive, delta, 0)
        found[:, count] = np.where(data, start, -1)
        when[:, count] = now
        at = np.where(alive, np.minimum(at + step, end), at)
        count += 1
    found, when = found[:, :count], when[:, :count]
    valid = found >= 0
    ids = flat[found[valid]] & 0xFFFF
    starts = (found - origin[:, None]) * 4 + bases[rows][:, None]
    return starts[valid], when[valid], ids


def _by_id(starts: Ints, times: Ints, ids: Ints) -> dict[int, Found]:
    import numpy as np

    if not len(ids):
        return {}
    first = int(ids[0])
    if (ids == first).all():
        return {first: Found(starts, times)}
    narrow = ids.astype(np.uint16)
    order = np.argsort(narrow, kind="stable")  # a radix sort for 16 bits
    narrow, starts, times = narrow[order], starts[order], times[order]
    cuts = np.flatnonzero(narrow[1:] != narrow[:-1]) + 1
    edges = [0, *cuts.tolist(), len(narrow)]
    return {
        int(narrow[low]): Found(starts[low:high], times[low:high]) for low, high in itertools.pairwise(edges)
    }


def decode(
    raw: bytes | bytearray | memoryview, layout: PageLayout, event: int, places: Mapping[str, Place]
) -> Any:
    """Typed columns of one event in whole pages: {"nsecs": times, name: array of ``places[name]``}.

    The way of a live run, for recorded pages; {} where there is none of that event.
    """
    from unitrace.kernel.packed import PackedBatch

    view = memoryview(raw)
    found = walk_arrays(view, layout).events.get(event)
    if found is None:
        return {}
    batch = PackedBatch(0, view, found.starts, places, found.times)
    return {name: batch.array(name) for name in ("nsecs", *places)}
