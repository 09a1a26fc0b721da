"""Many shown records of one clause as one record of columns."""

from __future__ import annotations

from typing import Any

from unitrace.contract import ir
from unitrace.output.records import Out
from unitrace.output.rows import EventRows, PrintedRows

from .compile import Compiled

__all__ = ["shown"]


def shown(one: Compiled, rows: list[tuple[Any, ...]]) -> Out | None:
    """The record of ``rows``, which ``one.pick`` gave; None for no rows."""
    if not rows:
        return None
    columns = tuple([row[at] for row in rows] for at in range(len(rows[0])))
    stmt = one.show
    if isinstance(stmt, ir.Act):
        return PrintedRows(stmt.text, tuple(value.type for value in stmt.args), columns, len(rows))
    assert isinstance(stmt, ir.Show)
    probe = one.clause.probe
    types = tuple(value.type for value in stmt.values)
    label = probe.label or probe.written
    time, cpu, comm, tid = columns[:4]
    return EventRows(time, cpu, comm, tid, label, stmt.names, types, columns[4:], len(rows))
