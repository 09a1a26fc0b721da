"""Grouping rows by key and aggregating each group, exactly, with numpy.

Keys become 64-bit words. A table of hashes finds the first row of each key; rows whose word differs
from that row's (a collision) go to another round with another hash. That is linear, where a
sort isn't, and never takes two keys for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["Groups", "buckets_of_hist", "buckets_of_lhist", "extremes", "grouped", "tallies", "totals"]

TABLE_BITS = 16
"""Size of the hash table: 2**16 words stay in the second-level cache."""

ROUNDS = 3
"""Rounds of hashing before the remaining rows are sorted instead."""

ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)

EXACT_ROWS = 1 << 20
"""Rows whose 32-bit halves a double sums without rounding (2**20 * 2**32 < 2**53)."""


class Groups:
    """``numbers``: the group of each row; ``first``: the first row of each group. Groups are numbered
    in the order of their first rows."""

    __slots__ = ("count", "first", "numbers")

    def __init__(self, numbers: Any, first: Any) -> None:
        self.numbers = numbers
        self.first = first
        self.count = len(first)

    def keys(self, parts: Sequence[Any]) -> Iterator[Any]:
        """Each group's key as a map's store has it."""
        if not parts:
            return iter(((),))
        columns = [part[self.first].tolist() for part in parts]
        return iter(columns[0]) if len(columns) == 1 else zip(*columns)


def grouped(parts: Sequence[Any], count: int) -> Groups:
    """The rows grouped by equal key; ``parts``: an array for each part of the key."""
    import numpy as np

    if not parts:
        return Groups(None, np.zeros(1, dtype=np.intp))
    words = [word for part in parts for word in _words(part)]
    leaders = np.empty(count, dtype=np.intp)  # each row's first row of equal key
    left = None  # rows not settled yet; None: all
    for turn in range(ROUNDS):
        left = _settle(words, leaders, left, turn)
        if left is None:
            break
    if left is not None:
        _sort(words, leaders, left)
    own = leaders == np.arange(count)
    first = np.flatnonzero(own)
    number = np.cumsum(own) - 1
    return Groups(number[leaders], first)


def _words(part: Any) -> list[Any]:
    """A key part as uint64 arrays: equal words, equal keys."""
    import numpy as np

    if part.dtype.kind in "iub":
        return [part.astype(np.int64 if part.dtype.kind == "i" else np.uint64).view(np.uint64)]
    width = -(-part.dtype.itemsize // 8) * 8
    wide = np.ascontiguousarray(part.astype(f"S{width}", copy=False))
    table = wide.view(np.uint64).reshape(len(part), width // 8)
    return [table[:, at] for at in range(width // 8)]


def _settle(words: list[Any], leaders: Any, left: Any, turn: int) -> Any:
    """One round: settles the rows that equal the first of their hash; the others, or None."""
    import numpy as np

    here = words if left is None else [word[left] for word in words]
    mixed = here[0] * np.uint64(ODD[turn])
    for at, word in enumerate(here[1:], 1):
        mixed = (mixed ^ (mixed >> np.uint64(29)) ^ word) * np.uint64(ODD[(turn + at) % 4] | 1)
    slot = (mixed >> np.uint64(64 - TABLE_BITS)).astype(np.intp)
    rows = np.arange(len(slot))
    table = np.empty(1 << TABLE_BITS, dtype=np.intp)
    table[slot[::-1]] = rows[::-1]  # the last one assigned stays: the first row
    leader = table[slot]
    same = here[0] == here[0][leader]
    for word in here[1:]:
        same &= word == word[leader]
    if left is None:
        leaders[:] = leader
        return None if same.all() else np.flatnonzero(~same)
    leaders[left] = left[leader]
    return None if same.all() else left[~same]


def _sort(words: list[Any], leaders: Any, left: Any) -> None:
    """The same by sorting, for the many keys of the rows ``left``."""
    import numpy as np

    here = [word[left] for word in words]
    order = np.lexsort(here)  # stable: the first row of a key comes first
    change = np.zeros(len(left), dtype=bool)
    change[0] = True
    for word in here:
        ordered = word[order]
        change[1:] |= ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(change)
    leaders[left[order]] = left[order[starts]][np.cumsum(change) - 1]


# --- aggregates --------------------------------------------------------------------------------
# ``numbers`` is None where there is one group.


def tallies(numbers: Any, count: int) -> list[int]:
    """Rows in each group."""
    import numpy as np

    return np.bincount(numbers, minlength=count).tolist()  # type: ignore[no-any-return]


def totals(values: Any, numbers: Any, count: int) -> list[int]:
    """The exact sum of each group, as an unbounded int."""
    import numpy as np

    wide = values.astype(np.int64 if values.dtype.kind == "i" else np.uint64, copy=False)
    result = [0] * count
    for start in range(0, len(wide), EXACT_ROWS):
        piece = wide[start : start + EXACT_ROWS]
        low = (piece & 0xFFFFFFFF).astype(np.float64)
        high = (piece >> 32).astype(np.float64)
        if numbers is None:
            result[0] += int(low.sum()) + (int(high.sum()) << 32)
            continue
        group = numbers[start : start + EXACT_ROWS]
        lows = np.bincount(group, weights=low, minlength=count)
        highs = np.bincount(group, weights=high, minlength=count)
        result = [
            old + int(one) + (int(two) << 32) for old, one, two in zip(result, lows.tolist(), highs.tolist())
        ]
    return result


def extremes(values: Any, numbers: Any, count: int, which: str, signed: bool) -> list[int]:
    """Each group's least or greatest value, as 64-bit integers of that sign."""
    import numpy as np

    wide = _wide(values, signed)
    if numbers is None:
        return [int(wide.min() if which == "min" else wide.max())]
    limits = np.iinfo(wide.dtype)
    found = np.full(count, limits.max if which == "min" else limits.min, dtype=wide.dtype)
    (np.minimum if which == "min" else np.maximum).at(found, numbers, wide)
    return found.tolist()  # type: ignore[no-any-return]


def buckets_of_hist(values: Any, numbers: Any, count: int, bits: int) -> list[dict[int, int]]:
    """Each group's {bucket: rows} by model.hist_bucket, without a float's rounding."""
    import numpy as np

    wide = _wide(values, True)
    small = wide < (1 << bits)
    safe = np.where(small, 1 << bits, wide)
    # A double rounds up to a power of two only what has 53 ones at its top; with the exponent one too
    # great, (exponent << bits) + (value >> exponent) is still the same.
    exponent = (safe.astype(np.float64).view(np.int64) >> 52) - (1023 + bits)
    bucket = 1 + (exponent << bits) + (safe >> exponent)
    bucket = np.where(small, np.where(wide < 0, 0, 1 + wide), bucket)
    return _cells(bucket, numbers, count)


def buckets_of_lhist(
    values: Any, numbers: Any, count: int, parameters: tuple[int, ...]
) -> list[dict[int, int]]:
    """Each group's {bucket: rows} by model.lhist_bucket."""
    import numpy as np

    low, high, step = parameters
    wide = _wide(values, True)
    least, most = -(1 << 63), (1 << 63) - 1
    under = wide < low if low <= most else np.ones(len(wide), dtype=bool)
    over = wide >= high if least <= high <= most else np.full(len(wide), high < least)
    past = wide.view(np.uint64) - np.uint64(low & (1 << 64) - 1)  # in [low, high) this can't wrap
    inside = (past // np.uint64(step)).astype(np.int64) + 1
    last = 1 + -(-(high - low) // step)
    return _cells(np.where(under, 0, np.where(over, last, inside)), numbers, count)


def _wide(values: Any, signed: bool) -> Any:
    """Values as 64-bit integers of that sign, extended by their own and reinterpreted."""
    import numpy as np

    wide = values.astype(np.int64 if values.dtype.kind == "i" else np.uint64, copy=False)
    return np.ascontiguousarray(wide).view(np.int64 if signed else np.uint64)


def _cells(bucket: Any, numbers: Any, count: int) -> list[dict[int, int]]:
    """{bucket: rows} of each group, buckets in the order they first came."""
    import numpy as np

    result: list[dict[int, int]] = [{} for _ in range(count)]
    most = int(bucket.max()) + 1
    if count * most > 1 << 22:  # too wide a table: group by (group, bucket)
        parts = [bucket] if numbers is None else [numbers, bucket]
        groups = grouped(parts, len(bucket))
        owners = [0] * groups.count if numbers is None else numbers[groups.first].tolist()
        sizes = tallies(groups.numbers, groups.count)
        for owner, cell, rows in zip(owners, bucket[groups.first].tolist(), sizes):
            result[owner][cell] = rows
        return result
    cells = bucket if numbers is None else numbers * most + bucket
    table = np.bincount(cells, minlength=count * most)
    for at in np.flatnonzero(table).tolist():
        result[at // most][at % most] = int(table[at])
    return result
