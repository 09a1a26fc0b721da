"""Batches of events that fetched their columns: strings cut, numbers with their witnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unitrace.contract.model import Place
from unitrace.contract.record import Record

from .packed import PackedBatch

__all__ = ["FetchedBatch", "Rule"]


class Rule(Record):
    """What is still to do with a column. ``limit``: bytes of a string that count, its NUL included; 0:
    all. ``checks``: strings in the record, each by the offset of its data_loc and of the next string's, -1
    where its own length can be trusted; where all are empty, the value is 0. ``sign``: bits of a signed
    bit field. ``process``: the column of a user address's process, where the value is a pair; ``first``: it
    comes first (a user stack of one frame)."""

    limit: int = 0
    checks: tuple[tuple[int, int], ...] = ()
    sign: int = 0
    process: str = ""
    first: bool = False

    def pairs(self, addresses: Sequence[int], processes: Sequence[int]) -> list[tuple[int, int]]:
        """Each address with its process, in order."""
        return list(zip(processes, addresses) if self.first else zip(addresses, processes))


class FetchedBatch(PackedBatch):
    """A PackedBatch with a Rule for some columns."""

    __slots__ = ("rules",)

    rules: Mapping[str, Rule]

    def values(self, name: str) -> Sequence[Any]:
        """The column as Python values, by its rule."""
        held = super().values(name)
        rule = self.rules.get(name)
        if rule is None:
            return held
        if rule.limit:
            end = rule.limit - 1
            held = [text[:end] for text in held]
        if rule.sign:
            low, whole = 1 << (rule.sign - 1), 1 << rule.sign
            held = [value - whole if value & low else value for value in held]
        if rule.checks:
            lengths = [self._lengths(*pair) for pair in rule.checks]
            there = lengths[0] if len(lengths) == 1 else map(any, zip(*lengths))
            how = self.layout[name].how
            missing = 0 if how == "int" else bytes(self.layout[name].size) if how == "bytes" else b""
            held = [value if read else missing for value, read in zip(held, there)]
        if rule.process:
            held = rule.pairs(held, self.values(rule.process))
        return held

    def _lengths(self, at: int, later: int) -> list[int]:
        """The length of each record's string; 0 where the next one begins where it does."""
        words = self._ints(Place(at, 4))
        if later < 0:
            return [word >> 16 for word in words]
        return [
            0 if (word ^ after) & 0xFFFF == 0 else word >> 16
            for word, after in zip(words, self._ints(Place(later, 4)))
        ]

    def _array(self, name: str) -> Any:
        held: Any = super()._array(name)
        rule = self.rules.get(name)
        if rule is None:
            return held
        import numpy as np

        if rule.limit:
            held = self._cut(held, rule.limit)
        if rule.sign:
            spare = 64 - rule.sign
            held = (held.astype(np.uint64) << spare).view(np.int64) >> spare
        if rule.checks:
            missing = np.ones(len(self), bool)
            for at, later in rule.checks:
                word = self._cut_out("<u4", at)
                own = word >> 16 == 0
                missing &= own if later < 0 else own | (word & 0xFFFF == self._cut_out("<u4", later) & 0xFFFF)
            if missing.any():
                held = held.copy()
                held[missing] = np.zeros(1, held.dtype)[0]
        if rule.process:
            boxed = np.empty(len(self), dtype=object)
            boxed[:] = rule.pairs(held.tolist(), self.array(rule.process).tolist())
            return boxed
        return held

    def _cut(self, held: Any, limit: int) -> Any:
        if held.dtype.kind == "S":
            return held.astype(f"S{max(1, limit - 1)}") if held.dtype.itemsize >= limit else held
        held[:] = [text[: limit - 1] for text in held]
        return held
