"""Format strings of printf: which conversions they have, and whether the arguments fit."""

from __future__ import annotations

import re
from collections.abc import Sequence

from unitrace.contract.types import (
    Aggregate,
    Array,
    Bool,
    Buffer,
    Enum,
    Formatted,
    Int,
    Pointer,
    Stack,
    Str,
    Struct,
    Symbol,
    Tuple,
    Type,
    Void,
)

from .base import spelled

__all__ = ["check", "conversions"]

_CONVERSION = rb"%(?:%|[-+ #0]*(?P<width>\d*)(?:\.\d+)?(?:hh|h|ll|l|j|z|t)?(?P<kind>rx|rh|gr|r|[a-zA-Z])?)"
"""Left to re to compile and to keep: a run without a format needs none of it."""
_NUMBERS = frozenset(("d", "i", "u", "o", "x", "X", "c", "p"))


def conversions(form: bytes) -> list[str]:
    """The conversions of a format, each by its letters ("d", "s", "rx"); "" for one that is cut short."""
    return [(found["kind"] or b"").decode() for found in re.finditer(_CONVERSION, form) if found[0] != b"%%"]


def check(form: bytes, args: Sequence[Type]) -> tuple[str, str] | None:
    """What is wrong with a format and its arguments: message and remedy; None where nothing is."""
    for found in re.finditer(_CONVERSION, form):
        if len(found["width"] or b"") > 5:
            return f"width is too large: %{found['width'][:20].decode()}...", "it has five digits at most"
    wanted = conversions(form)
    if len(args) != len(wanted):
        word = "not enough" if len(args) < len(wanted) else "too many"
        return f"{word} arguments for format string ({len(args)} supplied, {len(wanted)} expected)", ""
    for kind, of in zip(wanted, args):
        if kind not in _NUMBERS and kind not in ("s", "r", "rx", "rh", "gr"):
            return f"unsupported format specifier: %{kind}", ""
        if isinstance(of, Void):
            return f"unable to print none type for specifier: %{kind}", ""
        if not _fits(kind, of):
            remedy = ""
            if kind in _NUMBERS:
                remedy = "%s prints it"
            elif kind.startswith("r"):
                remedy = "%r prints the bytes of buf()"
            return f"unsupported format specifier for type '{spelled(of)}': %{kind}", remedy
    return None


def _fits(kind: str, of: Type) -> bool:
    if kind in ("r", "rx", "rh"):
        return isinstance(of, (Buffer, Str, Array))
    if kind == "s":
        return True
    if kind in _NUMBERS or kind == "gr":
        return isinstance(of, (Int, Enum, Bool, Pointer, Aggregate, Symbol))
    return not isinstance(of, (Stack, Struct, Tuple, Formatted))
