"""printf's formats, as far as cat() and system() need them for the names that they build."""

from __future__ import annotations

import re
from typing import Any

from unitrace.contract.types import Bool, Enum, Type

from .values import shape

__all__ = ["formatted"]

_SPEC = re.compile(rb"%([-+ #0]*)(\d*)(?:\.(\d+))?(hh|h|ll|l|j|z|t)?([a-zA-Z%])")
_BITS = {b"hh": 8, b"h": 16, b"": 64, b"l": 64, b"ll": 64, b"j": 64, b"z": 64, b"t": 64}


def formatted(form: bytes, types: tuple[Type, ...], values: tuple[Any, ...]) -> bytes:
    """``form`` with its %-specifiers replaced by ``values``; missing values count as empty."""
    given = iter(zip(types, values))

    def one(found: re.Match[bytes]) -> bytes:
        flags, width, _, size, letter = found.groups()
        if letter == b"%":
            return b"%"
        of, value = next(given, (None, b""))
        if letter in b"diuxXopc" and isinstance(value, int):
            text = _number(letter, flags, size or b"", int(value), of)
        else:
            text = _plain(of, value)
        places = int(width or 0)
        if b"-" in flags:
            return text.ljust(places)
        if b"0" in flags and letter in b"diuxXo":
            return text.zfill(places)
        return text.rjust(places)

    return _SPEC.sub(one, form)


def _number(letter: bytes, flags: bytes, size: bytes, value: int, of: Type | None) -> bytes:
    bits = _BITS[size]
    form = shape(of) if of is not None else None
    mask = (1 << (min(bits, form[0]) if form and not size else bits)) - 1
    if letter in b"di":
        value &= (1 << bits) - 1
        value -= (1 << bits) if value >> bits - 1 else 0
        return b"%+d" % value if b"+" in flags else b"%d" % value
    value &= mask
    if letter == b"c":
        return bytes((value & 0xFF,))
    if letter == b"p":
        return b"0x%x" % value
    if letter == b"u":
        return b"%d" % value
    sharp = b"#" in flags
    return {b"x": b"%#x" if sharp else b"%x", b"X": b"%#X" if sharp else b"%X", b"o": b"%o"}[letter] % value


def _plain(of: Type | None, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(of, Bool):
        return b"true" if value else b"false"
    if isinstance(of, Enum):
        for name, number in of.values:
            if number == value:
                return name.encode()
    return str(value).encode()
