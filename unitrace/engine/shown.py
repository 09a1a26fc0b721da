"""Shown records of many events, column by column: no row is ever made of them.

For a clause that is one printf, or a bare probe's line, over columns that numpy can compute. Where a
batch's columns turn out otherwise, ``record`` says so, and the rows are run one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unitrace.contract import ir
from unitrace.contract.model import Batch, Column, RowBatch
from unitrace.contract.sites import SITES
from unitrace.output.records import Out
from unitrace.output.rows import EventRows, PrintedRows

from .arrays import Arrays, Columns, Unsupported, compute

__all__ = ["NOTHING", "Shown", "showing"]

NOTHING = object()
"""What ``record`` gives where it can't: run the rows."""

_HEAD = ("nsecs", "cpu", "comm", "tid")


class Shown:
    """A clause's shown record over batches."""

    __slots__ = ("_clause", "_names", "_predicate", "_show", "_values")

    def __init__(
        self,
        clause: ir.Clause,
        show: ir.Act | ir.Show,
        names: tuple[str, ...],
        predicate: Arrays | None,
        values: tuple[Arrays, ...],
    ) -> None:
        self._clause = clause
        self._show = show
        self._names = names
        self._predicate = predicate
        self._values = values

    def record(self, batches: Sequence[Batch]) -> Out | object | None:
        """The record of all rows of ``batches`` in the order of time; None if none passes the
        predicate, NOTHING where this is not the way."""
        import numpy as np

        arrays = _joined(batches, self._names)
        if arrays is None:
            return NOTHING
        times = arrays["nsecs"]
        if len(times) > 1 and not bool((times[1:] >= times[:-1]).all()):
            order = times.argsort(kind="stable")
            arrays = {name: one[order] for name, one in arrays.items()}
        columns = Columns(len(times), arrays)
        with np.errstate(all="ignore"):
            if self._predicate is not None:
                columns = columns.where(self._predicate(columns))
            if not columns.count:
                return None
            values = tuple(columns.full(value(columns)) for value in self._values)
        if isinstance(self._show, ir.Act):
            types = tuple(value.type for value in self._show.args)
            return PrintedRows(self._show.text, types, values, columns.count)
        probe = self._clause.probe
        types = tuple(value.type for value in self._show.values)
        label = probe.label or probe.written
        time, cpu, comm, tid, *rest = values
        return EventRows(time, cpu, comm, tid, label, self._show.names, types, tuple(rest), columns.count)


def showing(clause: ir.Clause, show: ir.Stmt | None, columns: Sequence[Column]) -> Shown | None:
    """The clause's records over columns; None where it is made of something else."""
    if not isinstance(show, (ir.Act, ir.Show)):
        return None
    names = {one.value: one.name for one in columns}
    used: dict[str, None] = {"nsecs": None}
    try:
        predicate = None if clause.predicate is None else compute(clause.predicate, names, used)
        wanted = show.args if isinstance(show, ir.Act) else (*_head(), *show.values)
        values = tuple(compute(value, names, used) for value in wanted)
    except (Unsupported, RecursionError):
        return None
    return Shown(clause, show, tuple(used), predicate, values)


def _head() -> tuple[ir.Expr, ...]:
    sites = []
    for name in _HEAD:
        of = SITES[name].type
        assert of is not None
        sites.append(ir.Site(of, name))
    return tuple(sites)


def _joined(batches: Sequence[Batch], names: Sequence[str]) -> dict[str, Any] | None:
    """The columns of all batches, one after the other; None where one is of no fixed width, or there are
    but rows held back from the last time."""
    if all(isinstance(batch, RowBatch) for batch in batches):
        return None
    joined = {}
    for name in names:
        column = _concatenated([batch.array(name) for batch in batches])
        if column is None:
            return None
        joined[name] = column
    return joined


def _concatenated(arrays: Sequence[Any]) -> Any:
    """One array of all. Integers of several widths become int64, which keeps every value modulo 2**64:
    whoever computes with them converts them to their own type first."""
    import numpy as np

    kinds = {one.dtype.kind for one in arrays}
    if kinds != {"S"} and not kinds <= {"i", "u", "b"}:
        return None
    if kinds != {"S"} and len({one.dtype for one in arrays}) > 1:
        arrays = [one.astype("i8") for one in arrays]
    return np.concatenate(arrays)
