"""printf(): a format compiled once, then applied to rows of values.

Where every conversion has a twin in Python's own ``bytes %``, rows are formatted by that alone, many
at once; else value by value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from unitrace.contract.types import Enum, Int, Str, Type
from unitrace.output.values import Resolver, escaped, value_text, wrapped

__all__ = ["Format"]

_CONVERSION = re.compile(
    rb"%(?P<flags>[-+ #0']*)(?P<width>\d*|\*)(?:\.\d+)?"
    rb"(?P<length>hh|h|ll|l|j|z|t)?(?P<verb>rx|rh|gr|r|[a-zA-Z%])"
)
_BITS = {b"hh": 8, b"h": 16, b"": 64, b"l": 64, b"ll": 64, b"j": 64, b"z": 64, b"t": 64}

Piece = Callable[[Any], bytes]


class Format:
    """A printf format for arguments of the given types."""

    def __init__(self, text: bytes, types: Sequence[Type], resolve: Resolver | None = None) -> None:
        self._pieces: list[Piece | bytes] = []
        native: list[bytes] | None = []
        at = taken = 0
        for match in _CONVERSION.finditer(text):
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
            twin = _native(match, of)
            if twin is None:
                native = None
            elif native is not None:
                native.append(twin)
        self._pieces.append(text[at:])
        if native is not None:
            native.append(text[at:].replace(b"%", b"%%"))
        self._native = None if native is None else b"".join(native)

    def row(self, values: Sequence[Any]) -> bytes:
        """The text of one record."""
        if self._native is not None:
            return self._native % tuple(values)
        given = iter(values)
        return b"".join(one if isinstance(one, bytes) else one(next(given)) for one in self._pieces)

    def rows(self, columns: Sequence[Sequence[Any]], count: int) -> bytes:
        """The text of ``count`` records whose values stand in columns."""
        if not columns:
            return self.row(()) * count
        rows: Iterable[tuple[Any, ...]] = zip(*columns)
        if self._native is not None:
            return (self._native * count) % tuple(chain.from_iterable(rows))
        return b"".join(map(self.row, rows))


def _native(match: re.Match[bytes], of: Type) -> bytes | None:
    """The conversion as Python's ``bytes %`` has it; None where it would print something else."""
    flags, width, verb = match["flags"], match["width"], match["verb"]
    if b"'" in flags or width == b"*":
        return None
    if verb == b"s" and isinstance(of, Str):
        return b"%" + flags.replace(b"0", b"") + width + b"s"
    plain = isinstance(of, Int) and _BITS[match["length"] or b""] == 64
    if plain and isinstance(of, Int):
        if verb in b"di" and (of.signed or of.bits < 64):
            return b"%" + flags + width + b"d"
        if verb in b"xX" and not match["length"] and of.bits == 64:
            return None
        if verb in b"uxX" and not of.signed and b"#" not in flags:
            return b"%" + flags + width + (b"d" if verb == b"u" else verb)
    return None


def _piece(match: re.Match[bytes], of: Type, resolve: Resolver | None) -> Piece:
    verb = match["verb"]
    flags = match["flags"].replace(b"'", b"")
    pad = b"%" + flags.replace(b"0", b"").replace(b"#", b"") + match["width"].replace(b"*", b"") + b"s"
    if verb == b"s":
        return lambda value: pad % value_text(of, value, resolve)
    if verb in (b"r", b"rx", b"rh"):
        return _buffer(verb, pad)
    if verb == b"c":
        return lambda value: pad % bytes((int(value) & 0xFF,))
    if verb == b"p":
        return lambda value: pad % (b"0x%x" % (int(value) & 0xFFFFFFFFFFFFFFFF))
    if verb in (b"d", b"i", b"u", b"x", b"X", b"o"):
        return _number(match, flags, of)
    return lambda value: pad % value_text(of, value, resolve)


def _buffer(verb: bytes, pad: bytes) -> Piece:
    if verb == b"rx":
        return lambda value: pad % b"".join(b"\\x%02x" % byte for byte in value)
    if verb == b"rh":
        return lambda value: pad % bytes(value).hex(" ").encode()
    return lambda value: pad % escaped(value)


def _number(match: re.Match[bytes], flags: bytes, of: Type) -> Piece:
    verb = match["verb"]
    signed = verb in b"di"
    bits = _BITS[match["length"] or b""]
    if verb in b"xXo" and not match["length"]:
        bits = 32  # C's unsigned int, and what bpftrace prints
    elif bits == 64 and not signed and isinstance(of, (Int, Enum)) and of.signed and of.bits <= 32:
        bits = 32  # C's promotion: an int8 of -1 prints as ffffffff
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
