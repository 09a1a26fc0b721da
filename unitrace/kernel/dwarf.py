"""DWARF: the debugging entries of a file's units (DWARF 2 to 5, dwarfstd.org; split ones, too).

An entry's attributes are kept as they stand, with their form, and looked into when somebody asks. Sections
are read where they are needed; nothing is indexed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .elf import Elf

__all__ = ["Die", "Sections", "Unit", "leb"]

NAME, SIZE, STATEMENTS, LOW, HIGH, FOLDER, VALUE = 0x03, 0x0B, 0x10, 0x11, 0x12, 0x1B, 0x1C
SIBLING, BIT_SIZE, UPPER, ORIGIN, COUNT, PLACE, DECLARATION = 0x01, 0x0D, 0x2F, 0x31, 0x37, 0x38, 0x3C
ENCODING, SPECIFICATION, TYPE, RANGES, BIT_PLACE = 0x3E, 0x47, 0x49, 0x55, 0x6B
STR_BASE, ADDR_BASE, SPLIT_NAME, OLD_SPLIT_NAME, OLD_SPLIT_ID = 0x72, 0x73, 0x76, 0x2130, 0x2131
"""DW_AT_*"""

_FIXED = {
    0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x1C: 4, 0x1E: 16,
    0x20: 8, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4,
}  # fmt: skip
"""Forms (DW_FORM_*) of a size that is always the same: data, flag, ref, strx1-4, addrx1-4."""

_OFFSETS = frozenset((0x0E, 0x17, 0x1D, 0x1F, 0x1F20, 0x1F21))  # strp, sec_offset, line_strp, ...
_LEBS = frozenset((0x0F, 0x15, 0x1A, 0x1B, 0x22, 0x23, 0x1F01, 0x1F02))  # udata, ref_udata, strx, addrx, ...
_BLOCKS = {0x03: 2, 0x04: 4, 0x0A: 1}
_REFERENCES = frozenset((0x11, 0x12, 0x13, 0x14, 0x15))
_STRING_INDEXES = frozenset((0x1A, 0x25, 0x26, 0x27, 0x28, 0x1F02))
_ADDRESS_INDEXES = frozenset((0x1B, 0x29, 0x2A, 0x2B, 0x2C, 0x1F01))


def leb(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def signed_leb(data: bytes, at: int) -> tuple[int, int]:
    """A signed one."""
    start = at
    value, at = leb(data, at)
    bits = 7 * (at - start)
    return value - (1 << bits) if value >> (bits - 1) else value, at


def text_at(data: bytes, at: int) -> str:
    """The NUL-ended string at ``at``."""
    return data[at : data.find(b"\0", at)].decode(errors="replace")


class Sections:
    """One file's sections by their names without ``.debug_``, b"" where there are none. ``suffix``: ".dwo"
    of split ones. ``starts``: where a unit's part of each begins, in a package of many."""

    def __init__(self, elf: Elf, suffix: str = "", starts: dict[str, int] | None = None) -> None:
        self.elf = elf
        self.suffix = suffix
        self.starts = starts or {}
        self._read: dict[str, bytes] = {}

    def __getitem__(self, name: str) -> bytes:
        if name not in self._read:
            found = self.elf.section(f".debug_{name}{self.suffix}")
            self._read[name] = self.elf.content(found) if found is not None else b""
        return self._read[name]

    def units(self) -> Iterator[Unit]:
        """The units of the info section, in order."""
        at = self.starts.get("info", 0)
        while at + 11 < len(self["info"]):
            unit = Unit(self, at)
            yield unit
            at = unit.end


class Die:
    """A debugging information entry: ``tag`` (DW_TAG_*), ``attributes`` (DW_AT_* to form and value),
    ``children``: whether it has any; ``after``: where the next entry begins."""

    __slots__ = ("after", "attributes", "children", "offset", "tag", "unit")

    def __init__(self, unit: Unit, offset: int, tag: int, children: bool) -> None:
        self.unit = unit
        self.offset = offset
        self.tag = tag
        self.children = children
        self.attributes: dict[int, tuple[int, Any]] = {}
        self.after = offset

    def number(self, attribute: int) -> int | None:
        """An attribute as a number; None where it has none, or it is an expression."""
        value = self.attributes.get(attribute, (0, None))[1]
        return value if isinstance(value, int) else None

    def text(self, attribute: int = NAME) -> str:
        """An attribute as text; "" where it has none."""
        form, value = self.attributes.get(attribute, (0, None))
        return "" if value is None else self.unit.text(form, value)

    def address(self, attribute: int = LOW) -> int | None:
        """An attribute as an address (before relocation)."""
        form, value = self.attributes.get(attribute, (0, None))
        return self.unit.address(value) if form in _ADDRESS_INDEXES else value

    def entry(self, attribute: int) -> Die | None:
        """The entry that an attribute refers to; None where there is none, or it is in another file."""
        form, value = self.attributes.get(attribute, (0, None))
        if value is None:
            return None
        if form in _REFERENCES:
            return self.unit.die(self.unit.start + value)
        if form != 0x10:  # DW_FORM_ref_addr: of any unit
            return None
        units = self.unit.sections.units()
        return next((one.die(value) for one in units if one.start <= value < one.end), None)

    def whole(self, attribute: int) -> Die | None:
        """The entry that has ``attribute``: this, or the one it is an instance or the definition of."""
        at: Die | None = self
        for _ in range(4):
            if at is None or attribute in at.attributes:
                return at
            at = at.entry(ORIGIN) or at.entry(SPECIFICATION)
        return None

    def inner(self) -> Iterator[Die]:
        """Its children, in order."""
        at = self.after
        while self.children:
            child = self.unit.die(at)
            if child is None:
                return
            yield child
            at = self.unit.past(child)


class Unit:
    """One unit. ``skeleton``: the unit in the main file that a split unit belongs to. ValueError for a
    version that isn't known."""

    def __init__(self, sections: Sections, start: int, skeleton: Unit | None = None) -> None:
        self.sections = sections
        self.start = start
        self.info = data = sections["info"]
        self.wide = data[start : start + 4] == b"\xff\xff\xff\xff"
        at = start + (12 if self.wide else 4)
        self.offset_size = 8 if self.wide else 4
        length = int.from_bytes(data[at - self.offset_size : at], "little")
        self.end = at + length
        self.version = int.from_bytes(data[at : at + 2], "little")
        if not 2 <= self.version <= 5:
            raise ValueError(f"{sections.elf.path}: DWARF {self.version} is not known")
        self.kind, self.id = 1, 0
        if self.version >= 5:
            self.kind, self.address_size = data[at + 2], data[at + 3]
            at += 4 + self.offset_size
            abbreviations = int.from_bytes(data[at - self.offset_size : at], "little")
            if self.kind in (4, 5):  # DW_UT_skeleton, DW_UT_split_compile
                self.id = int.from_bytes(data[at : at + 8], "little")
                at += 8
            elif self.kind in (2, 6):  # type units: a signature, and where its type is
                at += 8 + self.offset_size
        else:
            at += 2 + self.offset_size
            abbreviations = int.from_bytes(data[at - self.offset_size : at], "little")
            self.address_size = data[at]
            at += 1
        self.first = at
        self._abbreviations = sections.starts.get("abbrev", 0) + abbreviations
        self._forms: dict[int, tuple[int, bool, list[tuple[int, int, int]]]] = {}
        self._next = self._abbreviations
        self.skeleton = skeleton or self
        header = 2 * self.offset_size if self.version >= 5 else 0
        self.strings = sections.starts.get("str_offsets", 0) + header
        self.addresses = 0
        top = self.die(self.first)
        assert top is not None
        self.top = top
        self.strings = top.number(STR_BASE) or self.strings
        self.addresses = self.skeleton.addresses if skeleton else top.number(ADDR_BASE) or 0
        self.id = self.id or top.number(OLD_SPLIT_ID) or 0

    # --- entries ---------------------------------------------------------------------------------

    def die(self, offset: int) -> Die | None:
        """The entry at ``offset``; None for what ends a list of children."""
        number, at = leb(self.info, offset)
        if not number:
            return None
        tag, children, forms = self._form(number)
        die = Die(self, offset, tag, children)
        attributes = die.attributes
        for name, form, constant in forms:
            if form == 0x21:  # DW_FORM_implicit_const
                attributes[name] = form, constant
                continue
            if form == 0x16:  # DW_FORM_indirect
                form, at = leb(self.info, at)
            value, at = self._value(form, at)
            attributes[name] = form, value
        die.after = at
        return die

    def past(self, die: Die) -> int:
        """Where what follows ``die`` and all that is inside it begins."""
        if not die.children:
            return die.after
        sibling = die.number(SIBLING)
        if sibling is not None:
            return self.start + sibling
        at, depth = die.after, 1
        while depth:
            one = self.die(at)
            if one is None:
                depth -= 1
                at = leb(self.info, at)[1]
            else:
                depth += one.children
                at = one.after
        return at

    def all(self) -> Iterator[Die]:
        """All its entries, those inside others after them."""
        at = self.first
        while at < self.end:
            die = self.die(at)
            if die is None:
                at += 1
                continue
            yield die
            at = die.after

    def _form(self, number: int) -> tuple[int, bool, list[tuple[int, int, int]]]:
        """Tag, whether there are children, and attributes of an abbreviation."""
        data, at = self.sections["abbrev"], self._next
        while number not in self._forms:
            code, at = leb(data, at)
            if not code:
                raise ValueError(f"{self.sections.elf.path}: damaged DWARF")
            tag, at = leb(data, at)
            children, at, forms = bool(data[at]), at + 1, []
            while True:
                name, at = leb(data, at)
                form, at = leb(data, at)
                constant = 0
                if form == 0x21:
                    constant, at = signed_leb(data, at)
                if not name and not form:
                    break
                forms.append((name, form, constant))
            self._forms[code] = tag, children, forms
            self._next = at
        return self._forms[number]

    def _value(self, form: int, at: int) -> tuple[Any, int]:
        data = self.info
        size = _FIXED.get(form)
        if size is None and form in _OFFSETS:
            size = self.offset_size
        if size is None and form == 0x01:  # DW_FORM_addr
            size = self.address_size
        if size is None and form == 0x10:
            size = self.address_size if self.version == 2 else self.offset_size
        if size is not None:
            return int.from_bytes(data[at : at + size], "little"), at + size
        if form in _LEBS:
            return leb(data, at)
        if form == 0x0D:  # DW_FORM_sdata
            return signed_leb(data, at)
        if form == 0x19:  # DW_FORM_flag_present
            return 1, at
        if form == 0x08:  # DW_FORM_string
            end = data.find(b"\0", at)
            return data[at:end], end + 1
        if form in (0x09, 0x18):  # DW_FORM_block, DW_FORM_exprloc
            length, at = leb(data, at)
        else:
            width = _BLOCKS.get(form)
            if width is None:
                raise ValueError(f"{self.sections.elf.path}: form {form:#x} of DWARF is not known")
            length, at = int.from_bytes(data[at : at + width], "little"), at + width
        return data[at : at + length], at + length

    # --- what values mean ------------------------------------------------------------------------

    def text(self, form: int, value: int | bytes) -> str:
        """A string, wherever its form has it."""
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        if form in _STRING_INDEXES:
            at = self.strings + value * self.offset_size
            value = int.from_bytes(self.sections["str_offsets"][at : at + self.offset_size], "little")
            return text_at(self.sections["str"], value)
        return text_at(self.sections["line_str" if form == 0x1F else "str"], value)

    def address(self, index: int) -> int:
        """Entry ``index`` of the address table, which is in the main file."""
        main = self.skeleton
        at = self.addresses + index * main.address_size
        return int.from_bytes(main.sections["addr"][at : at + main.address_size], "little")
