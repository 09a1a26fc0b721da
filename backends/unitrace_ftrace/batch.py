"""Batches of ring buffer records: FetchedBatch, and what is known of records in pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unitrace.contract.model import Place
from unitrace.kernel.fetched import FetchedBatch, Rule

from .pages import Found, Grid

__all__ = ["RingBatch"]


class RingBatch(FetchedBatch):
    """Records that ``found`` tells of, in the pages ``buffer``; ``rules`` for some of their columns.

    Records lie at multiples of four bytes, often at regular ones: columns are cut out accordingly.
    """

    __slots__ = ("grid",)

    def __init__(
        self,
        clause: int,
        buffer: Any,
        found: Found,
        layout: Mapping[str, Place],
        extra: Mapping[str, Any] | None = None,
        rules: Mapping[str, Rule] | None = None,
    ) -> None:
        super().__init__(clause, buffer, found.starts, layout, found.times, extra)
        self.grid: Grid | None = found.grid
        self.rules = rules or {}

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
