"""Many lines of one shape as text, column by column: no Python object is made of a value.

Lines are the rows of a matrix of bytes. Literal text stands in every row; a column is as wide as its
longest value, and where a value is shorter, NUL fills it up. If any is, all NULs are taken out at once.
Numbers are written four decimal digits (two hexadecimal ones) at a time, from a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from unitrace.contract.record import Record

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = ["FROM", "Cell", "lines"]

FROM = 64
"""Lines from which this way is the quicker one."""

AT_ONCE = 8192
"""Lines that are made together: what belongs to them stays in the CPU's cache."""

ZERO, SPACE = 48, 32


class Cell(Record):
    """How a column is written. ``verb``: "d", "x" or "X", "s" as it is, or "q": refused where a terminal
    or a quoted string would need an escape. ``width``: the least, on the ``left`` or with ``zeros`` where
    that is said. ``kind``: numpy's name of the integer that a number is first converted to, as C does."""

    verb: str
    width: int = 0
    left: bool = False
    zeros: bool = False
    kind: str = ""


class Unfit(Exception):
    """These values have to be written one by one."""


def lines(
    pieces: Sequence[bytes | Cell],
    columns: Sequence[Any],
    count: int,
    otherwise: Callable[[Sequence[Any], int], bytes],
) -> Iterator[bytes | bytearray]:
    """The text of ``count`` lines, some of them at a time: literal text, and a cell for each of ``columns``
    (arrays of integers or ``S<n>``). Lines that this way can't make are made by ``otherwise``: columns, and
    how many."""
    literal = any(isinstance(piece, bytes) and b"\0" in piece for piece in pieces)
    for first in range(0, count, AT_ONCE):
        part = [column[first : first + AT_ONCE] for column in columns]
        size = min(AT_ONCE, count - first)
        try:
            if literal:
                raise Unfit
            made: bytes | bytearray = _made(pieces, part, size)
        except Unfit:
            made = otherwise(part, size)
        yield made


class _Sheet:
    """The matrix while it is planned. ``template``: a row without its values; ``parts``: values, and where
    each begins in a row; ``fills``: bytes of a row that are to be ``fill`` where they are NUL. ``ragged``:
    whether there may be NULs left then."""

    __slots__ = ("fills", "parts", "ragged", "template")

    def __init__(self) -> None:
        self.template = bytearray()
        self.parts: list[tuple[int, Array]] = []
        self.fills: list[tuple[int, int, int]] = []
        self.ragged = False

    def put(self, values: Array, first: int = 0, end: int = 0) -> None:
        """The bytes of each value from ``first`` to ``end`` (0: to its own). ``values`` are contiguous."""
        import numpy as np

        end = end or values.dtype.itemsize
        while first < end:
            width = next(width for width in (8, 4, 2, 1) if not first % width and first + width <= end)
            part: Array = np.ndarray(len(values), f"<u{width}", values, first, values.strides)
            self.parts.append((len(self.template), part))
            self.template += bytes(width)
            first += width

    def pad(self, low: int, high: int, fill: int) -> None:
        """Fill up the bytes from ``low`` to ``high`` of each row."""
        if low < high:
            self.fills.append((low, high, fill))

    def written(self, count: int) -> bytearray:
        """The text of ``count`` rows."""
        import numpy as np

        width = len(self.template)
        if not self.parts:
            return self.template * count
        made = self.template * count
        for at, values in self.parts:
            np.ndarray((count,), values.dtype, made, at, (width,))[:] = values
        for low, high, fill in self.fills:
            for at in range(low, high):
                column: Array = np.ndarray((count,), "u1", made, at, (width,))
                column[column == 0] = fill
        return made.translate(None, b"\0") if self.ragged else made


def _made(pieces: Sequence[bytes | Cell], columns: Sequence[Array], count: int) -> bytearray:
    sheet = _Sheet()
    given = iter(columns)
    for piece in pieces:
        if isinstance(piece, bytes):
            sheet.template += piece
            continue
        values = next(given)
        kind = values.dtype.kind if hasattr(values, "dtype") else ""
        if piece.verb in "sq" and kind == "S":
            _string(sheet, piece, values)
        elif piece.verb in "dxX" and kind in "iub":
            _number(sheet, piece, values)
        else:
            raise Unfit
    return sheet.written(count)


# --- strings -----------------------------------------------------------------------------------


def _string(sheet: _Sheet, cell: Cell, values: Array) -> None:
    import numpy as np

    size = max(8, -(-values.dtype.itemsize // 8) * 8)
    values = np.ascontiguousarray(values.astype(f"S{size}", copy=False))
    words = values.view("<u8").reshape(len(values), -1)
    ever = b"".join(np.bitwise_or.reduce(word).tobytes() for word in words.T)
    always = b"".join(np.bitwise_and.reduce(word).tobytes() for word in words.T)
    longest = len(ever.rstrip(b"\0"))
    if b"\0" in always[:longest] and _broken(words):
        raise Unfit
    if cell.verb == "q" and _unsafe(values.view("u1")):
        raise Unfit
    if ever == always:
        text = ever[:longest]
        sheet.template += text.ljust(cell.width) if cell.left else text.rjust(cell.width)
        return
    filled = min(cell.width, longest)
    if not cell.left:
        sheet.template += b" " * (cell.width - filled)
        matrix = values.view("u1").reshape(len(values), size)
        for at in range(filled):
            if not always[at]:
                sheet.put(np.where(matrix[:, at] == 0, np.uint8(SPACE), np.uint8(0)))
    start = len(sheet.template)
    sheet.put(values, 0, longest)
    if cell.left:
        sheet.pad(start, start + filled, SPACE)
        sheet.template += b" " * (cell.width - filled)
    sheet.ragged |= b"\0" in always[filled if cell.left else 0 : longest]


def _broken(words: Array) -> bool:
    """Whether a string (a row of ``words`` of 64 bits) has a NUL before another byte, which would be lost."""
    import numpy as np

    ones, tops = np.uint64(0x0101_0101_0101_0101), np.uint64(0x8080_8080_8080_8080)
    nulls = (words - ones) & ~words & tops  # its lowest bit is the first NUL's top bit
    first = nulls & (~nulls + np.uint64(1))
    within = (first != 0) & (words >= first >> np.uint64(7))
    if bool(within.any()):
        return True
    return bool(((nulls[:, :-1] != 0) & (words[:, 1:] != 0)).any())


def _unsafe(text: Array) -> bool:
    """Whether a byte needs an escape: a control character (NUL apart), a quote or a backslash."""
    import numpy as np

    control = text - np.uint8(1) < 31
    return bool((control | (text == 34) | (text == 92) | (text == 127)).any())


# --- numbers -----------------------------------------------------------------------------------


def _number(sheet: _Sheet, cell: Cell, values: Array) -> None:
    import numpy as np

    if cell.kind:
        values = values.astype(cell.kind, copy=False)
    least, most = int(values.min()), int(values.max())
    if least == most:
        text = format(most, "d" if cell.verb == "d" else cell.verb).encode()
        zeros = cell.zeros and not cell.left
        padded = text.ljust(cell.width) if cell.left else text.rjust(cell.width)
        sheet.template += text.zfill(cell.width) if zeros else padded
        return
    if least < 0:
        if cell.width or cell.verb != "d":  # the sign has a place that depends on the digits
            raise Unfit
        negative = values < 0
        sheet.put(np.where(negative, np.uint8(ord("-")), np.uint8(0)))
        sheet.ragged = True
        values = np.where(negative, -values, values).view(f"u{values.dtype.itemsize}")
        least, most = 0, max(most, -least)
    if cell.verb == "d":
        groups = _decimal(values, least, most)
        fewest, digits = len(str(least)), len(str(most))
    else:
        groups = _hexadecimal(values, least, most, cell.verb == "X")
        fewest, digits = len(f"{least:x}"), len(f"{most:x}")
    spare = (b"0" if cell.zeros and not cell.left else b" ") * (cell.width - digits)
    if not cell.left:
        sheet.template += spare
    size = groups[0].dtype.itemsize
    sheet.put(groups[0], -digits % size)
    for group in groups[1:]:
        sheet.put(group)
    end, filled = len(sheet.template), min(cell.width, digits)
    if cell.left:
        _trailing(sheet, groups, fewest, filled)
        sheet.template += spare
        sheet.ragged |= fewest < digits
    else:
        sheet.pad(end - filled, end - fewest, ZERO if cell.zeros else SPACE)
        sheet.ragged |= max(fewest, filled) < digits


def _trailing(sheet: _Sheet, groups: Sequence[Array], least: int, most: int) -> None:
    """A space for each digit fewer than ``most`` that a number has; all have ``least``."""
    import numpy as np

    size = groups[0].dtype.itemsize
    for digit in range(least, most):
        group = groups[-1 - digit // size].view("u1").reshape(-1, size)
        sheet.put(np.where(group[:, size - 1 - digit % size] == 0, np.uint8(SPACE), np.uint8(0)))


_tables: dict[str, Array] = {}


def _table(verb: str) -> Array:
    """What is written for a group of digits, three times: all digits; none of the leading zeros; the same
    but for the last one."""
    import numpy as np

    found = _tables.get(verb)
    if found is None:
        count, size = (10_000, 4) if verb == "d" else (256, 2)
        texts = [format(n, f"0{size}{verb}").encode() for n in range(count)]
        bare = [text.lstrip(b"0").rjust(size, b"\0") for text in texts]
        last = [bare[0][:-1] + b"0", *bare[1:]]
        found = _tables[verb] = np.frombuffer(b"".join(texts + bare + last), f"<u{size}")
    return found


def _decimal(values: Array, least: int, most: int) -> list[Array]:
    """The digits of unsigned ``values``, four a group, the highest group first."""
    eights: list[Array] = []  # of eight digits each: 32 bits from there on
    rest, top = values, most
    while top >= 10**8:
        by = rest.dtype.type(10**8)
        higher = rest // by
        eights.append((rest - higher * by).astype("u4"))
        rest, top = higher, top // 10**8
    eights.append(rest.astype("u4", copy=False))
    fours: list[Array] = []
    for at, eight in enumerate(eights):
        if at == len(eights) - 1 and top < 10**4:
            fours.append(eight)
        else:
            higher = eight // 10_000
            fours += [eight - higher * 10_000, higher]
    return _looked_up("d", fours, values, [10 ** (4 * at) for at in range(1, len(fours) + 1)], least)


def _hexadecimal(values: Array, least: int, most: int, upper: bool) -> list[Array]:
    """The digits of unsigned ``values``, two a group, the highest group first."""
    size = (most.bit_length() + 7) // 8
    pairs = [values >> (8 * at) & 0xFF for at in range(size)]
    return _looked_up("X" if upper else "x", pairs, values, [256**at for at in range(1, size + 1)], least)


def _looked_up(
    verb: str, groups: Sequence[Array], values: Array, limits: Sequence[int], least: int
) -> list[Array]:
    """The text of ``groups``, given the lowest first: where no higher digit is set, as ``values`` are below
    the group's limit, without leading zeros."""
    import numpy as np

    table = _table(verb)
    count = len(table) // 3
    found = []
    for at, (group, limit) in enumerate(zip(groups, limits)):
        index = group.astype(np.intp)
        bare = count if at else 2 * count
        if at == len(groups) - 1:
            index += bare
        elif least < limit:
            index += (values < limit) * bare
        found.append(table.take(index))
    return found[::-1]
