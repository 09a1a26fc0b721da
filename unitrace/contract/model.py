"""What comes out of a backend: batches of typed columns, snapshots of maps, counted losses.

A batch holds the events of one clause (all of one record shape) and no Python object per event.
There are two kinds, and a backend yields whichever is less work:

* ``RowBatch``: columns as plain lists. Right for a backend of a few thousand events/s.
* ``PackedBatch``: records as they came from the kernel, in one buffer, and a Layout that says where
  each column lies. It becomes Python values for a few events (struct) and numpy arrays for many.

Whoever consumes a batch asks for ``values(name)`` (a sequence of Python ints and bytes) or
``array(name)`` (numpy). Column 0 is always "nsecs": CLOCK_MONOTONIC, by which CPUs are merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .ir import Expr
from .record import Record
from .types import Type

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Batch", "Column", "Losses", "Place", "RowBatch", "Snapshot", "VECTOR_FROM",
    "hist_bucket", "lhist_bucket",
]  # fmt: skip

VECTOR_FROM = 2048
"""Rows from which numpy pays: below it, importing it (86 ms) costs more than it saves."""


class Column(Record):
    """One value that each event carries: ``value`` is the IR expression that it answers (a Site,
    Load or Text), ``name`` its spelling (``args.filename``, ``str(arg1)``)."""

    name: str
    value: Expr
    type: Type


class Place(Record):
    """Where a column lies in a packed record.

    ``how``: "int" (``size`` bytes little-endian at ``offset``, ``signed``), "text" (``size`` bytes, up
    to the first NUL), "bytes" (``size`` bytes as they are), "data_loc" (u32 at ``offset``: length << 16
    | where, from record start + ``base``), "rel_loc" (the same, from the end of that u32), "words" (a
    u64 that says how many u64 follow it, at most ``size`` bytes in all: a tuple of ints).
    ``shift``/``mask``: applied to an int after it is read (mask 0: none), for tgid in pid_tgid.
    """

    offset: int
    size: int
    how: str = "int"
    signed: bool = False
    base: int = 0
    shift: int = 0
    mask: int = 0


class Batch(Protocol):
    """Events of one clause. ``clause``: Clause.ordinal. ``len()``: how many."""

    clause: int

    def __len__(self) -> int: ...

    def values(self, name: str) -> Sequence[Any]:
        """The column as Python values: int, bytes (strings, without NUL), or tuples of int: kernel stacks
        (addresses), user stacks (the process's id, then addresses), user symbols (address, process)."""

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """The column as a numpy array: integers in the type's dtype, strings as ``S<n>``."""


class RowBatch:
    """A batch made of lists: ``columns`` maps a column's name to its values, all of one length."""

    __slots__ = ("_length", "clause", "columns")

    def __init__(self, clause: int, columns: Mapping[str, Sequence[Any]]) -> None:
        self.clause = clause
        self.columns = columns
        self._length = len(columns["nsecs"])

    def __len__(self) -> int:
        return self._length

    def values(self, name: str) -> Sequence[Any]:
        return self.columns[name]

    def array(self, name: str) -> np.ndarray[Any, Any]:
        import numpy as np

        values = self.columns[name]
        if values and isinstance(values[0], bytes):
            return np.array(values)
        if values and isinstance(values[0], tuple):
            boxed = np.empty(len(values), dtype=object)
            boxed[:] = values
            return boxed
        wide = np.int64 if any(v < 0 for v in values) else np.uint64
        return np.array(values, dtype=wide)


Snapshot = Mapping[tuple[Any, ...], Any]
"""A map's content: key parts (int, bytes, bool, nested tuples) to a value. Values of aggregates:

count, sum: int. min, max: int. avg, stats: (count, total). hist, lhist: {bucket: count}, where
bucket is the index that hist_bucket() and lhist_bucket() give. tseries: {interval: value}, where
interval is time // interval_ns.
"""

Losses = Mapping[str, int]
"""Events lost so far, by cause ("ring buffer full on CPU 1", "map @ full", ...); only causes > 0."""

Scalar = int | bytes | bool


def hist_bucket(value: int, bits: int = 0) -> int:
    """The bucket of ``hist(value, bits)``, value as int64: 0 for negative values, else 1 + value below
    2**bits, else 1 + (e << bits) + (value >> e) with e = floor(log2(value)) - bits: each power of
    two has 2**bits equal parts. For bits 0: 1 for 0, then 2 + floor(log2(value))."""
    if value < 0:
        return 0
    if value < 1 << bits:
        return 1 + value
    exponent = value.bit_length() - 1 - bits
    return 1 + (exponent << bits) + (value >> exponent)


def lhist_bucket(value: int, low: int, high: int, step: int) -> int:
    """The bucket of ``lhist(value, low, high, step)``: 0 below ``low``, then one a step, and the
    last, 1 + ceil((high - low) / step), from ``high`` on."""
    if value < low:
        return 0
    if value >= high:
        return 1 + -(-(high - low) // step)
    return 1 + (value - low) // step
