"""Maps in the order bpftrace prints them, and as its text."""

from __future__ import annotations

from typing import Any

from unitrace.contract.ir import MapDecl
from unitrace.contract.types import Aggregate, Int, Type
from unitrace.output.histogram import bars
from unitrace.output.records import MapShown
from unitrace.output.tseries import cells, newest, plot
from unitrace.output.values import Resolver, average, key_text, value_text

__all__ = ["entries", "map_text"]

HISTOGRAMS = ("hist", "lhist", "tseries")


def entries(shown: MapShown) -> list[tuple[tuple[Any, ...], Any]]:
    """The (key, value) pairs to print: ordered by value for numbers, else by key; the last ``top``
    where that is given, and values of numbers divided by ``divisor``."""
    pairs = sorted(shown.content.items(), key=lambda pair: _order(shown.decl, pair))
    if shown.top:
        pairs = pairs[-shown.top :]
    if shown.divisor > 1:
        pairs = [(key, _divided(shown.decl.value, value, shown.divisor)) for key, value in pairs]
    return pairs


def map_text(shown: MapShown, resolve: Resolver | None = None) -> bytes:
    """The whole map as text."""
    decl = shown.decl
    name = decl.name.encode()
    lines: list[bytes] = []
    kind = decl.value.function if isinstance(decl.value, Aggregate) else ""
    last = newest(shown.content.values()) if kind == "tseries" else 0
    for key, value in entries(shown):
        head = name + key_text(decl.key, key, resolve) + b":"
        if isinstance(decl.value, Aggregate) and kind in ("hist", "lhist"):
            lines += [head, *bars(decl.value, value, shown.divisor), b""]
        elif isinstance(decl.value, Aggregate) and kind == "tseries":
            lines += [head, *plot(decl.value, cells(decl.value, value, last)), b""]
        else:
            lines.append(head + b" " + value_text(decl.value, value, resolve))
    return b"".join(line + b"\n" for line in lines)


def _order(decl: MapDecl, pair: tuple[tuple[Any, ...], Any]) -> tuple[Any, ...]:
    key, value = pair
    kind = decl.value
    if isinstance(kind, Aggregate):
        if kind.function in ("min", "max"):
            return ((value or 0) & 0xFFFFFFFFFFFFFFFF, key)
        if kind.function in ("avg", "stats"):
            return (average(value), key)
        if kind.function == "tseries":
            return (max(value, default=0), key)
        if kind.function in HISTOGRAMS:
            return (sum(value.values()) if isinstance(value, dict) else 0, key)
        return (value, key)
    if isinstance(kind, Int):
        return (value, key)
    return (key,)


def _divided(kind: Type, value: Any, divisor: int) -> Any:
    if isinstance(kind, Aggregate):
        if kind.function in HISTOGRAMS:
            return value
        if kind.function in ("avg", "stats"):
            count, total = value
            return (count, total // divisor)
    if isinstance(value, int):
        return value // divisor if value >= 0 else -(-value // divisor)
    return value
