"""How values lie in memory: in keys, in maps' values, in variables.

Integers at their size (8 bytes as a variable or a map's value, extended by their sign), strings at their
full length with a NUL within, arrays and structs as C has them, stacks and user symbols as stacks.py says,
a tuple's items one after the other, each at its alignment. An address for ntop() is a u64, the family, and
16 bytes; a buffer a u64, its length, and its bytes.
"""

from __future__ import annotations

from unitrace.contract.record import Record
from unitrace.contract.types import (
    UINT64,
    Array,
    Bool,
    Buffer,
    Enum,
    Formatted,
    Int,
    Member,
    Pointer,
    Str,
    Struct,
    Symbol,
    Tuple,
    Type,
)  # fmt: skip

from .base import CannotCompile, shape
from .stacks import is_words, room

__all__ = ["Part", "in_register", "laid_out", "slot"]

ADDRESS = Array(Int(8), 16)


class Part(Record):
    """A value's place: its type, where it lies, how many bytes it takes; ``parts`` of a tuple, and of an
    address and a buffer, whose first part is a number."""

    type: Type
    offset: int
    size: int = 0
    parts: tuple[Part, ...] = ()

    def moved(self, by: int) -> Part:
        """The same, further on."""
        return Part(self.type, self.offset + by, self.size, tuple(one.moved(by) for one in self.parts))


def in_register(of: Type) -> bool:
    """Whether a register holds values of the type."""
    try:
        shape(of)
    except CannotCompile:
        return False
    return True


def slot(of: Type) -> Part:
    """A variable, or a map's value: it starts at 0, and its size is a multiple of 8."""
    if in_register(of):
        return Part(of, 0, 8)
    (part,), end = laid_out((of,), 0)
    return part.replace(size=-(-end // 8) * 8)


def laid_out(types: tuple[Type, ...], at: int) -> tuple[tuple[Part, ...], int]:
    """Values one after the other from ``at`` on, and where they end. CannotCompile for a type without a
    place."""
    found = []
    for one in types:
        part = _part(one, at)
        found.append(part)
        at = part.offset + part.size
    return tuple(found), at


def _part(of: Type, at: int) -> Part:
    wide = -(-at // 8) * 8
    if isinstance(of, Tuple):
        inner, end = laid_out(of.items, wide)
        return Part(of, wide, end - wide, inner)
    if is_words(of):
        return Part(of, wide, room(of))
    if isinstance(of, (Int, Enum, Pointer, Bool, Symbol)) and of.size:
        return Part(of, -(-at // of.size) * of.size, of.size)
    if isinstance(of, Formatted) and in_register(of):
        return Part(of, wide, 8)
    if isinstance(of, Formatted) and of.form == "inet":
        return Part(of, wide, 24, (Part(UINT64, wide, 8), Part(ADDRESS, wide + 8, 16)))
    if isinstance(of, Formatted) and of.form == "mac":
        return Part(of, wide, 6)
    if isinstance(of, Buffer) and of.length:
        return Part(of, wide, 8 + of.length, (Part(UINT64, wide, 8), Part(of, wide + 8, of.length)))
    if isinstance(of, (Str, Array, Struct)) and of.size:
        return Part(of, wide, of.size)
    raise CannotCompile(f"a value of type {type(of).__name__} in memory")


def member(part: Part, of: Member) -> Part:
    """A struct's member in it."""
    return Part(of.type, part.offset + of.offset, of.type.size)
