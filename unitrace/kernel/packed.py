"""PackedBatch: a batch of raw records, as they came from the kernel.

Columns are cut out of the buffer when somebody asks: by struct for a few records, without numpy; as
strided views or gathers by numpy for many. The buffer must not change for as long as the batch lives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct, iter_unpack, unpack_from
from typing import TYPE_CHECKING, Any

from unitrace.contract.model import VECTOR_FROM, Place

if TYPE_CHECKING:
    import array

    import numpy as np

    Ints = range | Sequence[int] | array.array[int] | np.ndarray[Any, Any]
    Raw = bytes | bytearray | memoryview

__all__ = ["PackedBatch"]

_CODE = {(1, False): "B", (2, False): "H", (4, False): "I", (8, False): "Q",
         (1, True): "b", (2, True): "h", (4, True): "i", (8, True): "q"}  # fmt: skip
_UNPACK = {key: Struct("<" + code).unpack_from for key, code in _CODE.items()}

MATRIX_MAX = 256 << 20
"""Bytes of a matrix of strings above which array() gives Python objects instead."""


class PackedBatch:
    """Implements model.Batch over raw records of one shape.

    ``buffer``: bytes-like. ``starts``: where each record starts (a range, list, array or ndarray).
    ``layout``: column name to its Place in a record. ``times``: ns of each record (list, array or ndarray),
    or None where ``layout`` has "nsecs". ``extra``: columns that aren't in the record: one value for
    all (int, bytes, tuple) or a sequence (list, array or ndarray) with one each.
    """

    __slots__ = ("_arrays", "buffer", "clause", "extra", "layout", "starts", "times")

    def __init__(
        self,
        clause: int,
        buffer: Raw,
        starts: Ints,
        layout: Mapping[str, Place],
        times: Ints | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.clause = clause
        self.buffer = buffer
        self.starts = starts
        self.layout = layout
        self.times = times
        self.extra = extra or {}
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}

    def __len__(self) -> int:
        return len(self.starts)

    # --- Python values -----------------------------------------------------------------------

    def values(self, name: str) -> Sequence[Any]:
        """The column as Python ints and bytes."""
        if self.times is not None and name == "nsecs":
            return _listed(self.times)
        if name in self.extra:
            held = self.extra[name]
            return [held] * len(self) if isinstance(held, (int, bytes, tuple)) else _listed(held)
        place = self.layout[name]
        if place.how == "words":
            return self._words(place)
        if len(self.starts) >= VECTOR_FROM:
            listed: list[Any] = self.array(name).tolist()
            return listed
        if place.how == "int":
            return self._ints(place)
        starts, buffer, at, size = _listed(self.starts), memoryview(self.buffer), place.offset, place.size
        if place.how == "text":
            return [_cut(bytes(buffer[s + at : s + at + size])) for s in starts]
        if place.how == "bytes":
            return [bytes(buffer[s + at : s + at + size]) for s in starts]
        word, found = _UNPACK[4, False], []
        base = at + 4 if place.how == "rel_loc" else place.base
        for start in starts:
            where = word(buffer, start + at)[0]
            begin = start + base + (where & 0xFFFF)
            found.append(_cut(bytes(buffer[begin : begin + (where >> 16)])))
        return found

    def _words(self, place: Place) -> list[tuple[int, ...]]:
        """Each record's words; a count that the record has no room for is cut."""
        buffer, at, most, count = self.buffer, place.offset, place.size // 8 - 1, _UNPACK[8, False]
        found = []
        for start in _listed(self.starts):
            length = min(count(buffer, start + at)[0], most)
            found.append(unpack_from(f"<{length}Q", buffer, start + at + 8))
        return found

    def _ints(self, place: Place) -> list[int]:
        starts, at, key = self.starts, place.offset, (place.size, place.signed)
        if isinstance(starts, range) and 0 <= at <= starts.step - place.size and len(starts) > 32:
            code = f"<{at}x{_CODE[key]}{starts.step - at - place.size}x"
            end = starts.start + len(starts) * starts.step
            records = memoryview(self.buffer)[starts.start : end]
            if len(records) == end - starts.start:
                found = [value for (value,) in iter_unpack(code, records)]
                return _masked(found, place)
        unpack, buffer = _UNPACK[key], self.buffer
        return _masked([unpack(buffer, start + at)[0] for start in _listed(starts)], place)

    # --- numpy arrays ------------------------------------------------------------------------

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """The column as an array: integers in the record's width, strings as ``S<n>`` (cut at the first
        NUL), bytes as ``V<n>``. May be a view of the buffer; don't write to it."""
        found = self._arrays.get(name)
        if found is None:
            found = self._arrays[name] = self._array(name)
        return found

    def _array(self, name: str) -> np.ndarray[Any, Any]:
        import numpy as np

        if self.times is not None and name == "nsecs":
            return np.asarray(self.times, dtype=np.uint64)
        if name in self.extra:
            return _extra(self.extra[name], len(self))
        place = self.layout[name]
        if place.how == "int":
            column = self._cut_out(f"<{'i' if place.signed else 'u'}{place.size}", place.offset)
            if place.shift:
                column = column >> place.shift
            if place.mask:
                column = column & place.mask
            return column
        if place.how == "text":
            return _ended(self._cut_out(f"S{place.size}", place.offset).copy(), place.size)
        if place.how == "bytes":
            return self._cut_out(f"V{place.size}", place.offset)
        if place.how == "words":
            boxed = np.empty(len(self.starts), dtype=object)
            boxed[:] = self._words(place)
            return boxed
        return self._located(place)

    def _cut_out(self, dtype: str, offset: int) -> np.ndarray[Any, Any]:
        """``dtype`` at ``offset`` of each record: a strided view, or a gather."""
        import numpy as np

        starts, count = self.starts, len(self.starts)
        kind = np.dtype(dtype)
        if not count:
            return np.empty(0, kind)
        if isinstance(starts, range):
            view: np.ndarray[Any, Any] = np.ndarray(
                (count,), kind, self.buffer, starts.start + offset, (starts.step,)
            )
            return view
        return _gather(self.buffer, kind, self._starts() + offset)

    def _starts(self) -> np.ndarray[Any, Any]:
        import numpy as np

        if isinstance(self.starts, range):
            return np.arange(self.starts.start, self.starts.stop, self.starts.step, dtype=np.int64)
        return np.asarray(self.starts, dtype=np.int64)

    def _located(self, place: Place) -> np.ndarray[Any, Any]:
        """Strings that each record locates by a u32: length << 16 | where."""
        import numpy as np

        if not len(self.starts):
            return np.empty(0, "S1")
        where = self._cut_out("<u4", place.offset)
        base = place.offset + 4 if place.how == "rel_loc" else place.base
        begins = self._starts() + base + (where & 0xFFFF)
        lengths = (where >> 16).astype(np.int64)
        widest = max(1, int(lengths.max()))
        if widest * len(begins) > MATRIX_MAX:
            view = memoryview(self.buffer)
            pairs = zip(begins.tolist(), lengths.tolist())
            boxed = np.empty(len(begins), dtype=object)
            boxed[:] = [_cut(bytes(view[at : at + length])) for at, length in pairs]
            return boxed
        return _ended(_gather(self.buffer, np.dtype(f"S{widest}"), begins), widest, lengths)


def _listed(values: Any) -> Sequence[Any]:
    return values.tolist() if hasattr(values, "tolist") else values  # type: ignore[no-any-return]


def _cut(text: bytes) -> bytes:
    end = text.find(b"\0")
    return text if end < 0 else text[:end]


def _masked(values: list[int], place: Place) -> list[int]:
    shift, mask = place.shift, place.mask
    if shift:
        values = [value >> shift for value in values]
    return [value & mask for value in values] if mask else values


def _gather(buffer: Raw, kind: np.dtype[Any], places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """``kind`` at each of ``places`` (byte offsets). What lies past the end of the buffer reads as NUL."""
    import numpy as np

    size = kind.itemsize
    whole = memoryview(buffer).nbytes
    if size in (2, 4, 8) and kind.kind in "iu":
        low = int(np.bitwise_or.reduce(places)) & 7
        if not low & (size - 1):
            return np.frombuffer(buffer, kind, whole // size).take(places >> (size.bit_length() - 1))
        if size == 8 and low == 4:  # ftrace aligns to four: two halves are quicker than one unaligned whole
            halves = np.frombuffer(buffer, "<u4", whole // 4)
            found, first = np.empty((len(places), 2), "<u4"), places >> 2
            found[:, 0] = halves[first]
            found[:, 1] = halves[first + 1]
            return found.reshape(-1).view(kind)
    if size == 1:
        return np.frombuffer(buffer, kind).take(places)
    if whole < size or int(places.max()) + size > whole:
        padded = bytearray(buffer)
        padded.extend(bytes(size))
        places = np.minimum(places, whole)
        buffer, whole = padded, len(padded)
    # every byte offset is an element of this view: indexing it copies unaligned ones too
    every: np.ndarray[Any, Any] = np.ndarray((whole - size + 1,), kind, buffer, 0, (1,))
    gathered: np.ndarray[Any, Any] = every[places]
    return gathered


def _ended(
    text: np.ndarray[Any, Any], width: int, lengths: np.ndarray[Any, Any] | None = None
) -> np.ndarray[Any, Any]:
    """NULs for what follows the first NUL, or the ``lengths`` given (numpy drops only those at the end)."""
    import numpy as np

    if width <= 1 or not len(text):
        return text
    matrix = text.view(np.uint8).reshape(len(text), width)
    zero = matrix == 0
    if lengths is None:
        rows = _dirty(zero)
        if not len(rows):
            return text
        if len(rows) * 4 < len(text):
            matrix[rows] = _blanked(matrix[rows], zero[rows], None)
        else:
            matrix[:] = _blanked(matrix, zero, None)
    else:
        matrix[:] = _blanked(matrix, zero, lengths)
    return text


def _dirty(zero: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The rows where something follows a NUL. Flat: numpy is slow at rows of a few bytes."""
    import numpy as np

    width = zero.shape[1]
    flat = zero.reshape(-1)
    follows = flat[:-1] > flat[1:]
    follows[width - 1 :: width] = False  # the next row's first byte
    rows = np.flatnonzero(follows) // width
    distinct: np.ndarray[Any, Any] = rows[np.diff(rows, prepend=-1) > 0]
    return distinct


def _blanked(
    matrix: np.ndarray[Any, Any], zero: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any] | None
) -> np.ndarray[Any, Any]:
    import numpy as np

    width = matrix.shape[1]
    first = zero.argmax(axis=1)
    first[(first == 0) & ~zero[:, 0]] = width  # none at all
    if lengths is not None:
        first = np.minimum(first, lengths)
    if width > 256:  # no table of that size
        blanked: np.ndarray[Any, Any] = np.where(np.arange(width) < first[:, None], matrix, 0)
        return blanked
    table = np.tril(np.full((width + 1, width), 0xFF, np.uint8), -1)  # row n: n bytes kept
    masked: np.ndarray[Any, Any] = matrix & table[first]
    return masked


def _extra(held: Any, count: int) -> np.ndarray[Any, Any]:
    import numpy as np

    if isinstance(held, (int, bytes)):
        one = np.array(held, dtype=None if isinstance(held, bytes) else np.int64 if held < 0 else np.uint64)
        return np.broadcast_to(one, (count,))
    if isinstance(held, tuple):
        held = [held] * count
    if isinstance(held, list) and held and isinstance(held[0], tuple):
        boxed = np.empty(count, dtype=object)
        boxed[:] = held
        return boxed
    if isinstance(held, list) and held and isinstance(held[0], int):
        return np.array(held, dtype=np.int64 if min(held) < 0 else np.uint64)
    return np.asarray(held)
