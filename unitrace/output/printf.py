"""printf(): a format compiled once, then applied to rows of values.

Where every conversion has a twin in Python's own ``bytes %``, rows are formatted by that alone, many
at once, or by numpy where their values are arrays (lines.py); else value by value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from unitrace.contract.types import Int, Str, Symbol, Type
from unitrace.output.rows import listed
from unitrace.output.values import Resolver, escaped, value_text, wrapped

if TYPE_CHECKING:
    from unitrace.output.lines import Cell

__all__ = ["Format"]

_CONVERSION = (
    rb"%(?P<flags>[-+ #0']*)(?P<width>\d*|\*)(?:\.\d+)?"
    rb"(?P<length>hh|h|ll|l|j|z|t)?(?P<verb>rx|rh|gr|r|[a-zA-Z%])"
)
"""Left to re to compile and to keep: a run without a format needs none of it."""
_BITS = {b"hh": 8, b"h": 16, b"": 32, b"l": 64, b"ll": 64, b"j": 64, b"z": 64, b"t": 64}

Piece = Callable[[Any], bytes]

_Limits = tuple[int, int, int]
"""The least and the greatest number that needs no wrapping, and the width in bits to wrap to."""


class Format:
    """A printf format for arguments of the given types."""

    def __init__(self, text: bytes, types: Sequence[Type], resolve: Resolver | None = None) -> None:
        self._pieces: list[Piece | bytes] = []
        self._limits: list[_Limits | None] = []
        self._matches: list[re.Match[bytes]] = []
        self._cells: list[bytes | Cell] | None = None
        native: list[bytes] | None = []
        at = taken = 0
        for match in re.finditer(_CONVERSION, text):
            literal = text[at : match.start()]
            at = match.end()
            if match["verb"] == b"%":
                literal += b"%"
            self._pieces.append(literal)
            if native is not None:
                native.append(literal.replace(b"%", b"%%"))
            if match["verb"] == b"%":
                continue
            of = types[taken] if taken < len(types) else Int(64)
            taken += 1
            self._pieces.append(_piece(match, of, resolve))
            self._matches.append(match)
            twin = _native(match, of)
            if twin is None:
                native = None
            elif native is not None:
                native.append(twin[0])
                self._limits.append(twin[1])
        self._pieces.append(text[at:])
        if native is not None:
            native.append(text[at:].replace(b"%", b"%%"))
        self._native = None if native is None else b"".join(native)

    def row(self, values: Sequence[Any]) -> bytes:
        """The text of one record."""
        if self._native is not None:
            for value, limits in zip(values, self._limits):
                if limits is not None and not limits[0] <= value <= limits[1]:
                    break
            else:
                return self._native % tuple(values)
        given = iter(values)
        return b"".join(one if isinstance(one, bytes) else one(next(given)) for one in self._pieces)

    def rows(self, columns: Sequence[Sequence[Any]], count: int) -> Iterator[bytes | bytearray]:
        """The text of ``count`` records whose values stand in columns: lists, or arrays. In parts."""
        if columns and self._native is not None and all(hasattr(column, "dtype") for column in columns):
            from unitrace.output.lines import FROM, lines

            if count >= FROM:
                if self._cells is None:
                    self._cells = self._as_cells()
                yield from lines(self._cells, columns, count, self._listed_rows)
                return
        yield self._listed_rows(columns, count) if columns else self.row(()) * count

    def _listed_rows(self, columns: Sequence[Sequence[Any]], count: int) -> bytes:
        columns = [listed(column) for column in columns]
        if self._native is None:
            return b"".join(map(self.row, zip(*columns)))
        fitting = [_fitted(column, limits) for column, limits in zip(columns, self._limits)]
        return (self._native * count) % tuple(chain.from_iterable(zip(*fitting)))

    def _as_cells(self) -> list[bytes | Cell]:
        """The format for lines(); each conversion has a twin."""
        matches = iter(self._matches)
        return [piece if isinstance(piece, bytes) else _cell(next(matches)) for piece in self._pieces]


def _fitted(column: Sequence[Any], limits: _Limits | None) -> Sequence[Any]:
    """The column with each number wrapped to what its conversion prints; the same one where all fit."""
    if limits is None or not column or (limits[0] <= min(column) and max(column) <= limits[1]):
        return column
    _, most, bits = limits
    signed = most < (1 << bits) - 1
    return [wrapped(value, bits, signed) for value in column]


def _native(match: re.Match[bytes], of: Type) -> tuple[bytes, _Limits | None] | None:
    """The conversion as Python's ``bytes %`` has it, and the numbers for which the two agree; None where
    they don't."""
    flags, width, verb = _flags(match), match["width"], match["verb"]
    if width == b"*":
        return None
    if verb == b"s" and isinstance(of, Str):
        return b"%" + flags.replace(b"0", b"") + width + b"s", None
    if not isinstance(of, Int) or verb not in b"diuxX" or (b"#" in flags and verb in b"xX"):
        return None
    bits, signed = _width(match)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    shape = b"%" + flags.replace(b"#", b"") + width + (verb if verb in b"xX" else b"d")
    least, most = (-(1 << (of.bits - 1)), (1 << (of.bits - 1)) - 1) if of.signed else (0, (1 << of.bits) - 1)
    return shape, None if low <= least and most <= high else (low, high, bits)


def _cell(match: re.Match[bytes]) -> Cell:
    """The conversion as lines() has it. Another sign than "-" is nothing that it knows: such a number is
    refused there, and written by its twin."""
    from unitrace.output.lines import Cell

    flags, width = _flags(match), int(match["width"] or 0)
    left = b"-" in flags
    if match["verb"] == b"s":
        return Cell("s", width, left)
    bits, signed = _width(match)
    verb = match["verb"].decode() if match["verb"] in b"xX" else "d"
    if b"+" in flags or b" " in flags:
        verb = "signed"
    return Cell(verb, width, left, b"0" in flags, f"{'i' if signed else 'u'}{bits // 8}")


def _flags(match: re.Match[bytes]) -> bytes:
    """The flags that mean something here: a number without a sign has none to show."""
    flags = match["flags"].replace(b"'", b"")
    return flags if match["verb"] in b"di" else flags.replace(b"+", b"").replace(b" ", b"")


def _width(match: re.Match[bytes]) -> tuple[int, bool]:
    """Width and sign of the number that a conversion prints: C's, so an int's 32 bits where no length is
    given."""
    return _BITS[match["length"] or b""], match["verb"] in b"di"


def _piece(match: re.Match[bytes], of: Type, resolve: Resolver | None) -> Piece:
    verb = match["verb"]
    flags = _flags(match)
    pad = b"%" + flags.replace(b"0", b"").replace(b"#", b"") + match["width"].replace(b"*", b"") + b"s"
    if verb == b"s":
        return lambda value: pad % value_text(of, value, resolve)
    if isinstance(of, Symbol) and of.space != "kernel":  # a pair: address and process
        number = _piece(match, Int(64, False), resolve)
        return lambda value: number(value[0])
    if verb in (b"r", b"rx", b"rh"):
        return _buffer(verb, pad)
    if verb == b"gr":
        from unitrace.output.gfp import flags as names

        return lambda value: pad % names(int(value) & 0xFFFFFFFFFFFFFFFF)
    if verb == b"c":
        return lambda value: pad % bytes((int(value) & 0xFF,))
    if verb == b"p":
        return lambda value: pad % (b"0x%x" % (int(value) & 0xFFFFFFFFFFFFFFFF) if value else b"0")
    if verb in (b"d", b"i", b"u", b"x", b"X", b"o"):
        return _number(match, flags)
    return lambda value: pad % value_text(of, value, resolve)


def _buffer(verb: bytes, pad: bytes) -> Piece:
    if verb == b"rx":
        return lambda value: pad % b"".join(b"\\x%02x" % byte for byte in value)
    if verb == b"rh":
        return lambda value: pad % bytes(value).hex(" ").encode()
    return lambda value: pad % escaped(value)


def _number(match: re.Match[bytes], flags: bytes) -> Piece:
    verb = match["verb"]
    bits, signed = _width(match)
    python = {b"i": b"d", b"u": b"d"}.get(verb, verb)
    if b"#" in flags and verb == b"o":
        flags = flags.replace(b"#", b"")
        shape = b"%" + flags + match["width"].replace(b"*", b"") + b"s"
        return lambda value: shape % (b"0%o" % wrapped(int(value), bits, False))
    if python == b"d":
        flags = flags.replace(b"#", b"")
    shape = b"%" + flags + match["width"].replace(b"*", b"") + python
    if b"#" in flags:  # Python writes 0x0, C writes 0
        zero = b"%" + flags.replace(b"#", b"") + match["width"].replace(b"*", b"") + b"d"
        return lambda value: (shape if value else zero) % wrapped(int(value), bits, signed)
    return lambda value: shape % wrapped(int(value), bits, signed)
