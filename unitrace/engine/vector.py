"""Aggregating clauses over whole columns, with numpy.

``vectorised`` translates a clause once, or says None where it isn't made for this: a body of
aggregates (count, sum, min, max, avg, stats, hist, lhist), each map updated at one place, possibly
under ifs, over integer and string columns. The result equals the row-wise function's, bit for bit,
also in which keys a full map takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unitrace.contract import ir
from unitrace.contract.model import Batch, Column
from unitrace.contract.types import Aggregate

from .arrays import Arrays, Columns, Unsupported, compute
from .groups import buckets_of_hist, buckets_of_lhist, extremes, grouped, tallies, totals
from .maps import Store

__all__ = ["Vector", "vectorised"]

Step = Callable[["Columns"], None]


class Vector:
    """A clause over batches. ``run(batch)`` does it, or returns False and does nothing where the batch's
    columns turn out to be of no fixed width (then rows are the way)."""

    __slots__ = ("_predicate", "_steps", "columns")

    def __init__(self, columns: tuple[str, ...], predicate: Arrays | None, steps: tuple[Step, ...]) -> None:
        self.columns = columns
        self._predicate = predicate
        self._steps = steps

    def run(self, batch: Batch) -> bool:
        """The clause for every row of ``batch``; False if it has to be done row by row."""
        import numpy as np

        arrays = {name: batch.array(name) for name in self.columns}
        if any(one.dtype.kind not in "iubS" for one in arrays.values()):
            return False
        columns = Columns(len(batch), arrays)
        with np.errstate(all="ignore"):
            if self._predicate is not None:
                columns = columns.where(self._predicate(columns))
            if columns.count:
                for step in self._steps:
                    step(columns)
        return True


def vectorised(clause: ir.Clause, columns: Sequence[Column], stores: Mapping[str, Store]) -> Vector | None:
    """The clause over arrays; None where it can only be run row by row."""
    names = {one.value: one.name for one in columns}
    used: dict[str, None] = {}
    try:
        predicate = None if clause.predicate is None else compute(clause.predicate, names, used)
        steps = _steps(clause.body, names, used, stores, set())
    except (Unsupported, RecursionError):
        return None
    return Vector(tuple(used), predicate, steps)


def _steps(
    body: tuple[ir.Stmt, ...],
    names: Mapping[ir.Expr, str],
    used: dict[str, None],
    stores: Mapping[str, Store],
    updated: set[str],
) -> tuple[Step, ...]:
    steps: list[Step] = []
    for stmt in body:
        if isinstance(stmt, ir.MapUpdate):
            if stmt.map in updated or stmt.map not in stores:
                raise Unsupported
            updated.add(stmt.map)
            steps.append(_update(stmt, names, used, stores[stmt.map]))
        elif isinstance(stmt, ir.If):
            condition = compute(stmt.condition, names, used)
            then = _steps(stmt.then, names, used, stores, updated)
            other = _steps(stmt.otherwise, names, used, stores, updated)
            steps.append(_branch(condition, then, other))
        else:
            raise Unsupported
    return tuple(steps)


def _branch(condition: Arrays, then: tuple[Step, ...], other: tuple[Step, ...]) -> Step:
    def branch(columns: Columns) -> None:
        holds = condition(columns)
        for steps, mask in ((then, holds), (other, ~holds)):
            chosen = columns.where(mask)
            if steps and chosen.count:
                for step in steps:
                    step(chosen)

    return branch


def _update(stmt: ir.MapUpdate, names: Mapping[ir.Expr, str], used: dict[str, None], store: Store) -> Step:
    kind = store.aggregate
    if kind is None or kind.function == "tseries" or store.decl.evicts or len(stmt.args) > 1:
        raise Unsupported
    keys = [compute(part, names, used) for part in stmt.key]
    value = compute(stmt.args[0], names, used) if stmt.args else None

    def update(columns: Columns) -> None:
        parts = [columns.full(part(columns)) for part in keys]
        values = None if value is None else columns.full(value(columns))
        groups = grouped(parts, columns.count)
        states = _states(kind, values, groups.numbers, groups.count, columns.count)
        sizes: list[int] = []
        for number, (key, state) in enumerate(zip(groups.keys(parts), states)):
            if key in store.data:
                _merge(store, kind.function, key, state)
            elif len(store.data) < store.entries:
                store.data[key] = state
            else:
                sizes = sizes or tallies(groups.numbers, groups.count)
                store.add(key, state, sizes[number])

    return update


def _states(kind: Aggregate, values: Any, numbers: Any, count: int, rows: int) -> list[Any]:
    """The aggregate's state for each of ``count`` groups of ``rows`` rows."""
    name = kind.function
    if name == "count":
        return tallies(numbers, count) if numbers is not None else [rows]
    if name == "sum":
        return totals(values, numbers, count)
    if name in ("min", "max"):
        return extremes(values, numbers, count, name, kind.signed)
    if name in ("avg", "stats"):
        sizes = tallies(numbers, count) if numbers is not None else [rows]
        return [list(pair) for pair in zip(sizes, totals(values, numbers, count))]
    if name == "hist":
        return buckets_of_hist(values, numbers, count, kind.parameters[0] if kind.parameters else 0)
    if name == "lhist":
        return buckets_of_lhist(values, numbers, count, kind.parameters)
    raise Unsupported


def _merge(store: Store, name: str, key: Any, state: Any) -> None:
    """Add a group's state to that of its key."""
    data = store.data
    if name in ("count", "sum"):
        data[key] += state
    elif name == "min":
        data[key] = min(data[key], state)
    elif name == "max":
        data[key] = max(data[key], state)
    elif name in ("avg", "stats"):
        data[key][0] += state[0]
        data[key][1] += state[1]
    else:
        cells = data[key]
        for bucket, count in state.items():
            cells[bucket] = cells.get(bucket, 0) + count
