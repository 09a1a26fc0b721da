"""Types of DWARF as the contract has them, and as C spells them."""

from __future__ import annotations

from unitrace.contract.types import (
    BOOL,
    VOID,
    Array,
    Buffer,
    Enum,
    Int,
    Member,
    Pointer,
    Str,
    Struct,
    Type,
)

from . import dwarf
from .dwarf import Die, leb

__all__ = ["TYPEDEF", "Types", "peeled", "spelled"]

ARRAY, CLASS, ENUM, POINTER, REFERENCE, STRUCT, TYPEDEF, UNION = (
    0x01,
    0x02,
    0x04,
    0x0F,
    0x10,
    0x13,
    0x16,
    0x17,
)
RANGE, BASE, CONST, ENUMERATOR, MEMBER, VOLATILE, RVALUE = 0x21, 0x24, 0x26, 0x28, 0x0D, 0x35, 0x42
INHERITANCE = 0x1C
"""DW_TAG_*"""

_THROUGH = frozenset((TYPEDEF, CONST, VOLATILE, 0x37, 0x47))  # restrict, atomic
_POINTERS = frozenset((POINTER, REFERENCE, RVALUE))
_WORDS = {STRUCT: "struct", CLASS: "struct", UNION: "union", ENUM: "enum"}
_SIGNED, _CHARS = (0x05, 0x06, 0x0D), (0x06, 0x08)  # DW_ATE_signed, signed_char, signed_fixed; unsigned_char
_NUMBERS = (*_SIGNED, 0x07, 0x08, 0x10)  # DW_ATE_unsigned, UTF
_BOOLEAN = 0x02


def peeled(die: Die | None) -> Die | None:
    """A type without typedefs and qualifiers; None for void."""
    while die is not None and die.tag in _THROUGH:
        die = die.entry(dwarf.TYPE)
    return die


class Types:
    """Makes types. ``gave``: by name and size, the structs that were given without their members, as pointers
    have them."""

    def __init__(self) -> None:
        self.gave: dict[tuple[str, int], Die] = {}

    def of(self, die: Die) -> Type:
        """The type of what ``die`` describes: a parameter, a member, a typedef, ..."""
        return self._type(die.entry(dwarf.TYPE), "")

    def in_registers(self, die: Die) -> bool:
        """Whether a parameter comes in registers of integers (System V AMD64, AAPCS64): floating point and
        large structs don't."""
        at = peeled(die.entry(dwarf.TYPE))
        if at is None or at.tag == BASE:
            return at is not None and at.number(dwarf.ENCODING) in (*_NUMBERS, _BOOLEAN)
        return at.tag in _POINTERS or at.tag == ENUM or (at.number(dwarf.SIZE) or 0) <= 16

    def struct(self, die: Die, name: str) -> Struct:
        """A struct, union or class with its members."""
        return Struct(name, die.number(dwarf.SIZE) or 0, tuple(self._members(die, 0)))

    def _type(self, die: Die | None, alias: str) -> Type:
        if die is None:
            return VOID
        if die.tag in _THROUGH:
            return self._type(die.entry(dwarf.TYPE), die.text() if die.tag == TYPEDEF else alias)
        size = die.number(dwarf.SIZE) or 0
        if die.tag == BASE:
            return _base(die.number(dwarf.ENCODING), size)
        if die.tag in _POINTERS:
            return Pointer(self._target(die.entry(dwarf.TYPE)))
        if die.tag == ARRAY:
            return self._array(die)
        if die.tag == ENUM:
            return _enum(die, size, alias)
        if die.tag in _WORDS:
            name = die.text()
            if not name and not alias:
                return self.struct(die, "")
            given = Struct(f"{_WORDS[die.tag]} {name}" if name else alias, size)
            self.gave[given.name, size] = die
            return given
        return VOID

    def _target(self, die: Die | None) -> Type:
        of = self._type(die, "")
        return VOID if isinstance(of, Struct) and not of.name else of

    def _array(self, die: Die) -> Type:
        of = self.of(die)
        inner = peeled(die.entry(dwarf.TYPE))
        char = inner is not None and inner.tag == BASE and inner.number(dwarf.ENCODING) in _CHARS
        counts = []
        for one in die.inner():
            if one.tag == RANGE:
                upper = one.number(dwarf.UPPER)
                counts.append(one.number(dwarf.COUNT) or (upper + 1 if upper is not None else 0))
        for count in reversed(counts):
            of = Str(count) if char and count and isinstance(of, Int) else Array(of, count)
        return of

    def _members(self, die: Die, base: int) -> list[Member]:
        """The members of a struct that starts at byte ``base``; those of unnamed ones inside among them."""
        found: list[Member] = []
        for one in die.inner():
            if one.tag == INHERITANCE:
                parent = peeled(one.entry(dwarf.TYPE))
                found += self._members(parent, base + _place(one)) if parent is not None else []
            if one.tag != MEMBER or dwarf.DECLARATION in one.attributes:
                continue
            at, bits = base + _place(one), one.number(dwarf.BIT_SIZE) or 0
            inner = peeled(one.entry(dwarf.TYPE))
            if not one.text():
                if inner is not None and inner.tag in _WORDS:
                    found += self._members(inner, at)
                continue
            of = self.of(one)
            if bits:
                found.append(_bit_field(one, of, base, bits))
            else:
                found.append(Member(one.text(), of, at))
        return found


def _place(die: Die) -> int:
    """Where a member begins: a number of bytes; before DWARF 3 an expression that adds it."""
    value = die.attributes.get(dwarf.PLACE, (0, 0))[1]
    if isinstance(value, bytes):
        return leb(value, 1)[0] if value[:1] == b"\x23" else 0  # DW_OP_plus_uconst
    return int(value)


def _bit_field(die: Die, of: Type, base: int, bits: int) -> Member:
    """A bit field within a unit of its type's size (DW_AT_data_bit_offset; before DWARF 4 DW_AT_bit_offset,
    which counts from the other end)."""
    place, unit = die.number(dwarf.BIT_PLACE), max(1, of.size) * 8
    if place is None:
        high = die.number(0x0C) or 0
        place = _place(die) * 8 + unit - high - bits
    place += base * 8
    start = place // unit * unit
    if place + bits > start + unit:  # it straddles two units
        start = place // 8 * 8
    return Member(die.text(), of, start // 8, place - start, bits)


def _base(encoding: int | None, size: int) -> Type:
    if encoding == _BOOLEAN:
        return BOOL
    if encoding in _NUMBERS and size in (1, 2, 4, 8):
        return Int(8 * size, encoding in _SIGNED)
    return Buffer(size)


def _enum(die: Die, size: int, alias: str) -> Enum:
    values = [(one.text(), one.number(dwarf.VALUE) or 0) for one in die.inner() if one.tag == ENUMERATOR]
    signed = any(number < 0 for _, number in values)
    return Enum(f"enum {die.text()}" if die.text() else alias or "enum", 8 * size, signed, tuple(values))


def spelled(die: Die) -> str:
    """The type of what ``die`` describes, as C spells it."""
    return _spelled(die.entry(dwarf.TYPE))


def _spelled(die: Die | None) -> str:
    if die is None:
        return "void"
    if die.tag in (BASE, TYPEDEF):
        return die.text()
    if die.tag in _POINTERS:
        return f"{_spelled(die.entry(dwarf.TYPE))}{'*' if die.tag == POINTER else '&'}"
    if die.tag in _WORDS:
        return f"{_WORDS[die.tag]} {die.text() or '<anonymous>'}"
    if die.tag == ARRAY:
        return f"{spelled(die)}[]"
    if die.tag in _THROUGH:
        inner, word = die.entry(dwarf.TYPE), {CONST: "const", VOLATILE: "volatile"}.get(die.tag, "restrict")
        behind = inner is not None and inner.tag in _POINTERS
        return f"{_spelled(inner)} {word}" if behind else f"{word} {_spelled(inner)}"
    return "?"
