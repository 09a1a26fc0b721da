"""Batches of ring buffer records: PackedBatch, and what is known of records in pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unitrace.contract.model import Place
from unitrace.kernel.packed import PackedBatch

from .pages import Found, Grid

__all__ = ["RingBatch"]


class RingBatch(PackedBatch):
    """Records that ``found`` tells of, in the pages ``buffer``. ``limits``: bytes of a string column that
    count, its NUL included.

    Records lie at multiples of four bytes, often at regular ones: columns are cut out accordingly.
    """

    __slots__ = ("grid", "limits")

    def __init__(
        self,
        clause: int,
        buffer: Any,
        found: Found,
        layout: Mapping[str, Place],
        extra: Mapping[str, Any] | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(clause, buffer, found.starts, layout, found.times, extra)
        self.grid: Grid | None = found.grid
        self.limits = limits or {}

    def values(self, name: str) -> Sequence[Any]:
        """The column as Python ints and bytes, strings cut to their limit."""
        held = super().values(name)
        limit = self.limits.get(name, 0)
        return [text[: limit - 1] for text in held] if limit else held

    def _array(self, name: str) -> Any:
        held: Any = super()._array(name)
        limit = self.limits.get(name, 0)
        if limit and held.dtype.kind == "S" and held.dtype.itemsize >= limit:
            return held.astype(f"S{max(1, limit - 1)}")
        return held

    def _cut_out(self, dtype: str, offset: int) -> Any:
        import numpy as np

        if self.grid is not None:
            return self.grid.column(self.buffer, np.dtype(dtype), offset)
        kind = np.dtype(dtype)
        if kind.itemsize == 8 and kind.kind in "iu" and not offset & 3 and len(self.starts):
            # two aligned words: quicker than one that is not aligned
            words = np.frombuffer(self.buffer, "<u4")
            at = (self._starts() + offset) >> 2
            pairs = np.empty((len(at), 2), "<u4")
            words.take(at, out=pairs[:, 0], mode="clip")
            words.take(at + 1, out=pairs[:, 1], mode="clip")
            return pairs.view(kind).ravel()
        return super()._cut_out(dtype, offset)
