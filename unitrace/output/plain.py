"""Values of the language as JSON's: numbers, texts, lists and objects. Both JSON sinks are made of this."""

from __future__ import annotations

from typing import Any

from unitrace.contract.types import (
    Aggregate,
    Array,
    Bool,
    Buffer,
    Enum,
    Int,
    Pointer,
    Str,
    Struct,
    Tuple,
    Type,
)
from unitrace.output.printf import Format
from unitrace.output.records import Printed
from unitrace.output.values import Resolver, value_text

__all__ = ["Plain", "decoded"]


class Plain:
    """What a sink says of numbers and aggregates is its own: ``_number``, ``_aggregate``."""

    def __init__(self, resolve: Resolver | None) -> None:
        self._resolve = resolve
        self._formats: dict[tuple[bytes, tuple[Type, ...]], Format] = {}

    def _number(self, of: Int | Enum | Pointer, value: int) -> Any:
        raise NotImplementedError

    def _aggregate(self, of: Aggregate, value: Any, last: int) -> Any:
        raise NotImplementedError

    def _value(self, of: Type, value: Any, last: int = 0) -> Any:
        """``last``: the newest interval of a map's time series."""
        if isinstance(of, Aggregate):
            return self._aggregate(of, value, last)
        if isinstance(of, Bool):
            return bool(value)
        if isinstance(of, (Int, Enum, Pointer)):
            return self._number(of, int(value))
        if isinstance(of, Str):
            return decoded(value)
        if isinstance(of, Buffer):
            return list(value)
        if isinstance(of, Array):
            return [self._value(of.of, one) for one in value]
        if isinstance(of, Tuple):
            items = [self._value(kind, one) for kind, one in zip(of.items, value)]
            return dict(zip(of.names, items)) if of.names else items
        if isinstance(of, Struct):
            return {m.name: self._value(m.type, one) for m, one in zip(of.members, value)}
        return decoded(value_text(of, value, self._resolve))

    def _text(self, printed: Printed) -> str:
        """What printf(), errorf() or warnf() prints."""
        key = (printed.format, printed.types)
        form = self._formats.get(key)
        if form is None:
            form = self._formats[key] = Format(*key, self._resolve)
        return decoded(form.row(printed.values))


def decoded(text: bytes) -> str:
    """Bytes as text for JSON; what isn't UTF-8 is written ``\\xNN``."""
    return text.decode(errors="backslashreplace")
