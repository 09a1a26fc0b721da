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

__all__ = [
    "Found",
    "Grid",
    "PageLayout",
    "Walked",
    "committed",
    "decode",
    "parse_header_page",
    "walk",
    "walk_arrays",
]

PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
"""type_len of events that are no data (enum ring_buffer_type)."""

DELTA_BITS = 27
COMMITTED = 0x3FFFFFFF

EMPTY = 1 << 62
"""Where the next event is if the rest of a page is empty: nowhere in it."""

RUNS = 4
"""Runs of alike events in an uneven page after which half of it must be done, or plain Python is quicker."""

PAGES_IN_STEP_FROM = 48
"""Uneven pages from which numpy walks them together: a step costs as much as 50 events do in Python."""

PAGES_AT_ONCE = 512
"""Pages that are walked together: enough to make numpy's calls cheap, few enough for the CPU's cache."""

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
    common_type) in the buffer; ``times``: ns by the trace clock. ``grid``: where they lie, if regularly."""

    starts: Sequence[int] | Ints
    times: Sequence[int] | Ints
    grid: Grid | None = None


class Grid(Record):
    """Records of one size on all pages of a buffer: ``count`` each on ``pages`` pages, ``first`` the first
    one's start, ``page`` and ``step`` bytes from one to the next. ``valid``: which there are, where not all
    pages have as many (an array [pages, count]), else None."""

    first: int
    pages: int
    count: int
    page: int
    step: int
    valid: Any = None

    def column(self, buffer: Any, dtype: Any, offset: int) -> Any:
        """The values at ``offset`` of the records, copied by strides: several times as quick as a gather."""
        import numpy as np

        shape, strides = (self.pages, self.count), (self.page, self.step)
        view: Any = np.ndarray(shape, dtype, buffer, self.first + offset, strides)
        return view.ravel() if self.valid is None else view[self.valid]


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
    return sum(map(COMMITTED.__and__, words[layout.commit // 4 :: step].tolist()))


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
            else:
                at, now = _no_data(words, at, now)
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


def _no_data(words: Any, at: int, now: int) -> tuple[int, int]:
    """Past the event without data at ``at``: where the next one is, and the time there."""
    header = int(words[at])
    kind, delta = header & 31, header >> 5
    if kind == PADDING:
        if not delta:
            return EMPTY, now
        return at + 1 + (int(words[at + 1]) + 3) // 4, now + delta
    delta += int(words[at + 1]) << DELTA_BITS
    return at + 2, now + delta if kind == TIME_EXTEND else _absolute(delta, now)


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
    grid: Grid | None = None
    left = np.flatnonzero(lengths > 0)
    while len(left):
        kind = int(area[left[0], 0]) & 31
        if not 0 < kind < PADDING:
            break
        even = _strided(area[left] if len(left) < len(area) else area, lengths[left], kind)
        if not even.any():
            break
        rows = left[even]
        part, grid = _by_stride(area, rows, lengths, stamps, bases, kind)
        parts.append(part)
        left = left[~even]
        if len(parts) == 4:  # sizes are mixed: no use going on
            break
    if len(left) < PAGES_IN_STEP_FROM:
        for row in left.tolist():
            part = _by_runs(words[row], layout, row, int(stamps[row]), int(lengths[row]))
            parts.append(_by_python(raw, layout, row) if part is None else part)
        left = left[:0]
    for first in range(0, len(left), PAGES_AT_ONCE):
        rows = left[first : first + PAGES_AT_ONCE]
        parts.append(_in_step(words, rows, lengths[rows], stamps[rows], layout.data // 4))
    if not parts:
        return Walked({}, lost, unknown)
    if len(parts) == 1:
        starts, times, ids = parts[0]
    else:
        grid = None
        starts, times, ids = (np.concatenate(of) for of in zip(*parts))
        if (starts[1:] < starts[:-1]).any():
            order = np.argsort(starts, kind="stable")  # a few ascending runs: merged, not sorted
            starts, times, ids = starts[order], times[order], ids[order]
    return Walked(_by_id(starts, times, ids, grid), lost, unknown)


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
    """(starts, times, ids) of pages that ``_strided`` found even, and their grid if that's all pages."""
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
    grid = None
    if whole:
        first, page = int(bases[0]) + 4, int(bases[1] - bases[0]) if len(bases) > 1 else area.shape[1] * 4
        grid = Grid(first, len(rows), most, page, step * 4)
    if int(counts.min()) == most:
        return (starts.ravel(), times.ravel(), ids.ravel()), grid
    valid = np.arange(most) < counts[:, None]
    return (starts[valid], times[valid], ids[valid]), grid and grid.replace(valid=valid)


def _by_runs(row: Any, layout: PageLayout, page: int, stamp: int, length: int) -> Any:
    """(starts, times, ids) of a page in which only here and there something stands between events of one
    size (a task was away for so long that its next event needs a time of its own, say); None for others."""
    import numpy as np

    first = at = layout.data // 4
    end, now = first + length, stamp
    starts: list[Ints] = []
    times: list[Ints] = []
    while at < end:
        kind = int(row[at]) & 31
        if not kind or (len(starts) == RUNS and at - first < length // 2):
            return None
        if kind >= PADDING:
            at, now = _no_data(row, at, now)
            continue
        heads = row[at : end : kind + 1]
        count = int((heads & 31 != kind).argmax()) or len(heads)
        starts.append(np.arange(at + 1, at + 1 + count * (kind + 1), kind + 1, dtype=np.int64))
        times.append(np.cumsum(heads[:count] >> 5, dtype=np.int64) + now)
        now = int(times[-1][-1])
        at += count * (kind + 1)
    if not starts:
        return None
    places = np.concatenate(starts)
    return places * 4 + page * layout.size, np.concatenate(times), row[places] & 0xFFFF


def _by_python(raw: memoryview, layout: PageLayout, page: int) -> Any:
    """(starts, times, ids) of one page."""
    import numpy as np

    base = page * layout.size
    found = sorted(
        (base + start, time, event)
        for event, of in walk(raw[base : base + layout.size], layout).events.items()
        for start, time in zip(of.starts, of.times)
    )
    return np.array(found, dtype=np.int64).reshape(-1, 3).T


def _in_step(words: Any, rows: Ints, lengths: Ints, stamps: Ints, data: int) -> Any:
    """(starts, times, ids) of any pages: step k takes the k-th event of every page."""
    import numpy as np

    flat = words.ravel()
    at = rows * words.shape[1] + data
    end = at + lengths
    found = np.zeros((64, len(rows)), dtype=np.int64)
    deltas = np.zeros((64, len(rows)), dtype=np.int64)
    count = 0
    while True:
        if count == len(found):
            found = np.concatenate((found, np.zeros_like(found)))
            deltas = np.concatenate((deltas, np.zeros_like(deltas)))
        head = flat.take(at, mode="clip")
        kind = head & 31
        null = at >= end
        np.right_shift(head, 5, out=deltas[count], casting="unsafe")
        if not null.any() and ((kind - 1) < PADDING - 1).all():  # 0 wraps around
            np.add(at, 1, out=found[count])
            at += kind
            at += 1
        else:
            null |= head == PADDING
            if null.all():
                break
            at += _uncommon(flat, at, kind, null, found[count], deltas[count])
            for page in np.flatnonzero((kind == TIME_STAMP) & ~null).tolist():
                before = int(stamps[page]) + int(deltas[:count, page].sum())
                deltas[count, page] = _absolute(int(deltas[count, page]), before) - before
        count += 1
    places = found[:count].T
    valid = places > 0
    times = (np.cumsum(deltas[:count], axis=0) + stamps).T[valid]
    starts = places[valid]
    ids = flat.take(starts) & 0xFFFF
    starts *= 4
    return starts, times, ids


def _uncommon(flat: Any, at: Ints, kind: Any, null: Any, found: Ints, deltas: Ints) -> Ints:
    """One step where some pages have other than short data events: fills in ``found`` (0: no data) and
    ``deltas``; returns the words to go on by (0 at a page's end)."""
    import numpy as np

    second = flat.take(at + 1, mode="clip").astype(np.int64)
    long = kind == 0
    timed = kind >= TIME_EXTEND
    step = np.where(long | (kind == PADDING), 1 + (second + 3) // 4, kind + 1)
    step[timed] = 2
    step[null] = 0
    found[:] = np.where((kind < PADDING) & ~null, at + 1 + long, 0)
    deltas += np.where(timed, second << DELTA_BITS, 0)
    return step  # type: ignore[no-any-return]


def _by_id(starts: Ints, times: Ints, ids: Ints, grid: Grid | None) -> dict[int, Found]:
    import numpy as np

    if not len(ids):
        return {}
    first = int(ids[0])
    if (ids == first).all():
        return {first: Found(starts, times, grid)}
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
    from .batch import RingBatch

    view = memoryview(raw)
    found = walk_arrays(view, layout).events.get(event)
    if found is None:
        return {}
    batch = RingBatch(0, view, found, places)
    return {name: batch.array(name) for name in ("nsecs", *places)}
