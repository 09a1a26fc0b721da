"""Many records of one shape in one: what the engine emits for a big batch.

A sink that can renders them at once; ``single`` makes the plain records of them. Columns are lists, or
arrays of numpy's (integers, booleans, ``S<n>``): ``listed`` makes Python values of either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from unitrace.contract.types import Type
from unitrace.output.records import Event, Out, Printed

__all__ = ["EventRows", "PrintedRows", "events", "listed", "single"]


class PrintedRows(Out):
    """``count`` printf() records of one format; ``columns``: a sequence of values an argument."""

    format: bytes
    types: tuple[Type, ...]
    columns: tuple[Sequence[Any], ...]
    count: int


class EventRows(Out):
    """``count`` lines of one bare probe; ``columns`` of the arguments."""

    times: Sequence[int]
    cpus: Sequence[int]
    comms: Sequence[bytes]
    tids: Sequence[int]
    probe: str
    names: tuple[str, ...]
    types: tuple[Type, ...]
    columns: tuple[Sequence[Any], ...]
    count: int


def listed(column: Sequence[Any]) -> Sequence[Any]:
    """The column as Python values."""
    return column.tolist() if hasattr(column, "tolist") else column


def single(record: Out) -> Iterator[Out]:
    """The plain records that ``record`` stands for: itself, or one a row."""
    if isinstance(record, PrintedRows):
        for values in _rows(record.columns, record.count):
            yield Printed(record.format, record.types, values)
    elif isinstance(record, EventRows):
        yield from events(record)
    else:
        yield record


def events(record: EventRows) -> Iterator[Event]:
    """The events that ``record`` stands for."""
    heads = map(listed, (record.times, record.cpus, record.comms, record.tids))
    for time, cpu, comm, tid, values in zip(*heads, _rows(record.columns, record.count)):
        yield Event(time, cpu, comm, tid, record.probe, record.names, record.types, values)


def _rows(columns: Sequence[Sequence[Any]], count: int) -> Iterable[tuple[Any, ...]]:
    return zip(*map(listed, columns)) if columns else [()] * count
