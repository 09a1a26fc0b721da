"""Events of several CPUs, clauses and backends in the order of time.

A ``Part`` is a batch, or some rows of one. ``split`` holds back what is later than the caller knows
to be complete. ``in_order`` gives runs of rows, one clause each, in time's order; rows of equal time
stay in the order they came in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, repeat
from typing import Any

from unitrace.contract.model import VECTOR_FROM, Batch, RowBatch

__all__ = ["in_order", "rows_of", "split"]


class ArrayBatch:
    """Some rows of a packed batch, as arrays of their own."""

    __slots__ = ("_arrays", "clause")

    def __init__(self, clause: int, arrays: dict[str, Any]) -> None:
        self.clause = clause
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self._arrays["nsecs"])

    def values(self, name: str) -> list[Any]:
        return self._arrays[name].tolist()  # type: ignore[no-any-return]

    def array(self, name: str) -> Any:
        return self._arrays[name]


def split(batch: Batch, upto: int, names: Sequence[str]) -> tuple[Batch | None, Batch | None]:
    """The rows up to time ``upto``, and those after it, each None where there are none. Rows held back
    are copied: only the columns ``names`` are kept, and the batch's buffer may be used again."""
    wanted = dict.fromkeys(("nsecs", *names))
    if len(batch) >= VECTOR_FROM and not isinstance(batch, RowBatch):
        return _split_arrays(batch, upto, wanted)
    times = batch.values("nsecs")
    if max(times) <= upto:
        return batch, None
    late = [at for at, time in enumerate(times) if time > upto]
    columns = {name: batch.values(name) for name in wanted}
    held = RowBatch(batch.clause, {name: [one[at] for at in late] for name, one in columns.items()})
    if len(late) == len(times):
        return None, held
    early = [at for at, time in enumerate(times) if time <= upto]
    return RowBatch(batch.clause, {name: [one[at] for at in early] for name, one in columns.items()}), held


def _split_arrays(batch: Batch, upto: int, names: Iterable[str]) -> tuple[Batch | None, Batch | None]:
    """The same for a packed batch of many rows."""
    late = batch.array("nsecs") > upto
    if not late.any():
        return batch, None
    columns = {name: batch.array(name) for name in names}
    held = ArrayBatch(batch.clause, {name: one[late] for name, one in columns.items()})
    if late.all():
        return None, held
    return ArrayBatch(batch.clause, {name: one[~late] for name, one in columns.items()}), held


def rows_of(batch: Batch, names: Sequence[str]) -> Iterable[Any]:
    """The rows of ``batch``: tuples of the columns ``names``, or bare values if it is one column."""
    if len(names) == 1:
        return batch.values(names[0])
    return zip(*[batch.values(name) for name in names])


def in_order(
    batches: Sequence[Batch], names: Sequence[Sequence[str]]
) -> Iterator[tuple[int, Iterable[Any], int]]:
    """Runs of ``batches`` in time's order: (clause's ordinal, its rows, how many). ``names``: the columns
    of a row, a batch."""
    times: list[int] = []
    for batch in batches:
        times.extend(batch.values("nsecs"))
    order = _order(times)
    one = batches[0].clause if len({batch.clause for batch in batches}) == 1 else None
    each = (rows_of(batch, wanted) for batch, wanted in zip(batches, names))
    if order is None and one is not None:
        yield one, chain.from_iterable(each), len(times)
        return
    rows = list(chain.from_iterable(each))
    if order is not None:
        rows = [rows[at] for at in order]
    if one is not None:
        yield one, rows, len(rows)
        return
    clauses = [clause for batch in batches for clause in repeat(batch.clause, len(batch))]
    if order is not None:
        clauses = [clauses[at] for at in order]
    start = 0
    for clause, run in groupby(clauses):
        end = start + sum(1 for _ in run)
        yield clause, rows[start:end], end - start
        start = end


def _order(times: list[int]) -> list[int] | None:
    """The stable order of ``times``; None where they are in order."""
    if len(times) < VECTOR_FROM:
        order = sorted(range(len(times)), key=times.__getitem__)
        return None if order == list(range(len(times))) else order
    import numpy as np

    stamps = np.array(times, dtype=np.uint64)
    if bool((stamps[1:] >= stamps[:-1]).all()):
        return None
    return stamps.argsort(kind="stable").tolist()  # type: ignore[no-any-return]
