"""Maps in user space: a dict each, and how aggregates are held in it.

A store's ``data`` maps a key to a state. The key is () for a scalar map, the value itself where the
key has one part, else the tuple of the parts. States: plain maps hold the value; count and sum
an int (not reduced; 64-bit wrap-around is done when it is read, which is the same); min and max an
int, or UNSET after zero(); avg and stats a list [count, total]; hist and lhist a dict {bucket: count};
tseries a dict {interval number: [count, last, total, least, most]}, number = time // interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from unitrace.contract.ir import MapDecl
from unitrace.contract.model import Snapshot
from unitrace.contract.types import Aggregate, Type

from .values import divide, wrap, zero

__all__ = ["FULL", "Store", "UNSET", "fresh"]

UNSET = {"min": 1 << 65, "max": -(1 << 65)}
"""The state of min and max before the first value: every value beats it."""

FULL = (
    "Map full; can't update element. Try increasing max_map_keys config or manually setting the max "
    "entries in a map declaration e.g. `let {} = hash(5000)`"
)


def fresh(of: Type) -> Any:
    """The state that an aggregate starts from, or a plain map's zero; a new object each time."""
    if isinstance(of, Aggregate):
        if of.function in ("count", "sum"):
            return 0
        if of.function in ("min", "max"):
            return UNSET[of.function]
        return [0, 0] if of.function in ("avg", "stats") else {}
    return zero(of)


class Store:
    """One map. ``full`` is called with the store and a number of updates that find no room for
    their key; ``dropped`` is their sum."""

    __slots__ = ("aggregate", "data", "decl", "dropped", "entries", "full")

    def __init__(self, decl: MapDecl, full: Callable[[Store, int], None]) -> None:
        self.decl = decl
        self.data: dict[Any, Any] = {}
        self.aggregate = decl.value if isinstance(decl.value, Aggregate) else None
        self.entries = decl.entries if decl.key else 1
        self.full = full
        self.dropped = 0

    def add(self, key: Any, state: Any, times: int = 1) -> bool:
        """Put a key that isn't there yet; False where there is no room for it, ``times`` updates of it
        being lost."""
        if len(self.data) < self.entries:
            self.data[key] = state
            return True
        if self.decl.evicts and self.data:
            del self.data[next(iter(self.data))]
            self.data[key] = state
            return True
        self.dropped += times
        self.full(self, times)
        return False

    def touch(self, key: Any) -> None:
        """Before a write, where keys are evicted: the key becomes the last to go."""
        if key in self.data:
            self.data[key] = self.data.pop(key)

    def state(self, key: Any) -> Any:
        """The aggregate's state under ``key``, made where it is missing; None where there is no room."""
        found = self.data.get(key)
        if found is None:
            found = fresh(self.decl.value)
            if not self.add(key, found):
                return None
        return found

    def remove(self, key: Any) -> bool:
        """Remove a key; whether it was there."""
        return self.data.pop(key, self) is not self

    def clear(self) -> None:
        """Remove all keys."""
        self.data.clear()

    def zero(self) -> None:
        """All values to zero, keys kept."""
        for key in self.data:
            self.data[key] = fresh(self.decl.value)

    def parts(self, key: Any) -> tuple[Any, ...]:
        """The key as its parts."""
        return (key,) if len(self.decl.key) == 1 else key

    def document(self, state: Any) -> Any:
        """A state as model.Snapshot describes values."""
        kind = self.aggregate
        if kind is None:
            return state
        name = kind.function
        if name == "count":
            return state
        if name == "sum":
            return wrap(state, 64, kind.signed)
        if name in ("min", "max"):
            return 0 if state == UNSET[name] else state
        if name in ("avg", "stats"):
            return state[0], wrap(state[1], 64, kind.signed)
        if name == "tseries":
            return {at: _cell(cell, kind) for at, cell in state.items()}
        return dict(state)

    def number(self, state: Any) -> int:
        """The number that a program reads from an aggregate: avg's and stats' average, hist's total
        count; 0 for None."""
        kind = self.aggregate
        if kind is None or state is None:
            return 0 if state is None else int(state)
        shown = self.document(state)
        if kind.function in ("avg", "stats"):
            return divide(shown[1], shown[0]) if shown[0] else 0
        if kind.function in ("hist", "lhist"):
            return sum(shown.values())
        return 0 if isinstance(shown, dict) else int(shown)

    def snapshot(self) -> Snapshot:
        """The content now."""
        if self.aggregate is None:
            if len(self.decl.key) == 1:
                return {(key,): value for key, value in self.data.items()}
            return dict(self.data)
        return {self.parts(key): self.document(state) for key, state in self.data.items()}

    def shown(self) -> Snapshot:
        """The content for print(@map): a scalar that isn't there shows its zero."""
        if not self.decl.key and not self.data:
            return {(): zero(self.decl.value)}
        return self.snapshot()

    def items(self, numbers: bool) -> Iterator[tuple[Any, Any]]:
        """(key, value) pairs for ``for``, of the keys there now; aggregates as numbers or documents."""
        if self.aggregate is None:
            return iter(list(self.data.items()))
        value = self.number if numbers else self.document
        return iter([(key, value(state)) for key, state in self.data.items()])


def _cell(cell: list[int], kind: Aggregate) -> int:
    """One interval's value: the last, or by parameter 3 (1: avg, 2: max, 3: min, 4: sum)."""
    count, last, total, least, most = cell
    total = wrap(total, 64, kind.signed)
    how = kind.parameters[2] if len(kind.parameters) > 2 else 0
    return (last, divide(total, count), most, least, total)[how]
