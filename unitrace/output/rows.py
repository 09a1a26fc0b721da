"""Many records of one shape in one: what the engine emits for a big batch.

A sink that can renders them at once; ``single`` makes the plain records of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from unitrace.contract.types import Type
from unitrace.output.records import Event, Out, Printed

__all__ = ["EventRows", "PrintedRows", "single"]


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


def single(record: Out) -> Iterator[Out]:
    """The plain records that ``record`` stands for: itself, or one a row."""
    if isinstance(record, PrintedRows):
        for values in zip(*record.columns) if record.columns else [()] * record.count:
            yield Printed(record.format, record.types, tuple(values))
    elif isinstance(record, EventRows):
        rows = zip(*record.columns) if record.columns else [()] * record.count
        for time, cpu, comm, tid, values in zip(record.times, record.cpus, record.comms, record.tids, rows):
            yield Event(time, cpu, comm, tid, record.probe, record.names, record.types, tuple(values))
    else:
        yield record
