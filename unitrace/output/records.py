"""The typed records that a run produces. Text, JSON and the rest are renderings of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unitrace.contract.ir import MapDecl, Span
from unitrace.contract.record import Record
from unitrace.contract.types import Type

__all__ = [
    "Attached", "Benched", "Ended", "Event", "Joined", "Lost", "MapShown", "Message", "Out", "Printed",
    "Tested", "Text", "TimeShown", "ValueShown",
]  # fmt: skip


class Out(Record):
    """Base of records."""


class Attached(Out):
    """Probes are in place: how many, begin and end counted."""

    count: int


class Event(Out):
    """A bare probe's line. ``values``: in the types' Python forms (int, bytes, tuples)."""

    time: int
    cpu: int
    comm: bytes
    tid: int
    probe: str
    names: tuple[str, ...]
    types: tuple[Type, ...]
    values: tuple[Any, ...]

    def __getitem__(self, name: str) -> Any:
        """The value of the argument ``name``; KeyError where the probe has none of that name."""
        try:
            return self.values[self.names.index(name)]
        except ValueError:
            raise KeyError(name) from None


class Printed(Out):
    """printf(), with its values; errorf and warnf by ``level``. ``format``: as written."""

    format: bytes
    types: tuple[Type, ...]
    values: tuple[Any, ...]
    level: str = "printf"
    span: Span | None = None


class ValueShown(Out):
    """print(expression)."""

    type: Type
    value: Any


class MapShown(Out):
    """print(@map), or a map at the end. ``content``: model.Snapshot. ``top``, ``divisor``: as given.
    ``single``: a scalar's or one key's name is shown alone."""

    decl: MapDecl
    content: Mapping[tuple[Any, ...], Any]
    top: int = 0
    divisor: int = 1


class TimeShown(Out):
    """time(format), formatted."""

    text: bytes


class Joined(Out):
    """join(): the joined words."""

    text: bytes


class Text(Out):
    """Output of cat() or system(): ``kind`` says of which."""

    kind: str
    text: bytes


class Message(Out):
    """A runtime warning or error. ``level``: "warning" or "error"."""

    level: str
    text: str
    span: Span | None = None


class Lost(Out):
    """Events lost: how many, by cause."""

    count: int
    cause: str


class Tested(Out):
    """One of the test clauses has run: the ``index``-th of ``names``, in ``ns``. ``passed``: it and those
    before it. ``output``: what it printed, as text."""

    names: tuple[str, ...]
    index: int
    ns: int
    passed: tuple[bool, ...]
    output: bytes


class Benched(Out):
    """One of the bench clauses has run ``iterations`` times, in ``average`` ns each."""

    names: tuple[str, ...]
    index: int
    average: int
    iterations: int


class Ended(Out):
    """The end clauses have run; the maps come next."""
