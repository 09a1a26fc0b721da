"""The types in LLVM's debug metadata, as BTF: what pahole makes of DWARF for the kernel itself.

A module printed as text has them as numbered nodes (LangRef, "Specialized Metadata Nodes"), much the same
since LLVM 3.7:

    !11 = !DIDerivedType(tag: DW_TAG_member, name: "pid", scope: !10, baseType: !12, size: 32, offset: 96)

All numbers of bits. Functions and where things were written are left out.
"""

from __future__ import annotations

import re
import struct

from . import btf_file as btf

__all__ = ["VALUE", "to_btf"]

VALUE = "unitrace_value_"
"""What enumerators are called that stand for a constant of that name, be it a macro's."""

FOREIGN = '"/virtual/include/'
"""Where bcc has headers of its own instead of the kernel's: linux/bpf.h, of the newest kernel that it knows.
What they define isn't this kernel's, so it is only declared."""

_NODE = re.compile(r"^!(\d+) = (?:distinct )?!(?:(DI\w+)\((.*)\)|\{(.*)\})$", re.MULTILINE)
_FIELD = re.compile(r'(\w+): ("[^"]*"|[^,]+)')

_THROUGH = {
    "DW_TAG_pointer_type": btf.PTR,
    "DW_TAG_typedef": btf.TYPEDEF,
    "DW_TAG_const_type": btf.CONST,
    "DW_TAG_volatile_type": btf.VOLATILE,
    "DW_TAG_restrict_type": btf.RESTRICT,
    "DW_TAG_atomic_type": btf.VOLATILE,
}
"""Types that stand before another one."""

_COMPOUND = {"DW_TAG_structure_type": btf.STRUCT, "DW_TAG_union_type": btf.UNION}
_SIGNED, _BOOL = 1, 4  # BTF_INT_SIGNED, BTF_INT_BOOL; include/uapi/linux/btf.h
_ENCODINGS = {"DW_ATE_signed": _SIGNED, "DW_ATE_signed_char": _SIGNED, "DW_ATE_boolean": _BOOL}

Fields = dict[str, str]


def to_btf(text: str) -> bytes:
    """The BTF of all types in a module's text; without any type where the text is something else."""
    nodes: dict[int, Fields] = {}
    lists: dict[int, list[int]] = {}
    for number, kind, fields, items in _NODE.findall(text):
        if kind:
            nodes[int(number)] = {"kind": kind, **dict(_FIELD.findall(fields))}
        else:
            lists[int(number)] = [int(one[1:]) for one in items.split(", ") if one[1:].isdigit()]
    return _Conversion(nodes, lists).blob()


class _Conversion:
    """Gives each type its BTF number, then writes them in that order."""

    def __init__(self, nodes: dict[int, Fields], lists: dict[int, list[int]]) -> None:
        self._nodes, self._lists = nodes, lists
        self._numbers: dict[int, int] = {}
        self._strings = bytearray(b"\0")
        self._places = {"": 0}
        self._types = bytearray()
        last = 0
        for at, fields in nodes.items():
            count = self._takes(fields)
            if count:
                last += count
                self._numbers[at] = last

    def blob(self) -> bytes:
        """The BTF: header, types, strings."""
        for at in self._numbers:
            self._write(self._nodes[at])
        types, strings = len(self._types), len(self._strings)
        head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, types, types, strings)
        return head + self._types + self._strings

    def _takes(self, fields: Fields) -> int:
        """How many types of BTF a node takes: one for each dimension of an array, none if it is no type."""
        kind, tag = fields["kind"], fields.get("tag", "")
        if tag == "DW_TAG_array_type":
            return max(1, len(self._items(fields)))
        known = kind == "DIBasicType" or tag in _THROUGH or tag in _COMPOUND
        return int(known or tag == "DW_TAG_enumeration_type")

    def _write(self, fields: Fields) -> None:
        tag, name = fields.get("tag", ""), _name(fields)
        if fields["kind"] == "DIBasicType":
            self._basic(fields)
        elif tag in _THROUGH:
            self._add(_THROUGH[tag], name, self._number(fields))
        elif tag == "DW_TAG_array_type":
            self._array(fields)
        elif tag == "DW_TAG_enumeration_type":
            self._enumeration(fields)
        elif "DIFlagFwdDecl" in fields.get("flags", "") or self._is_foreign(fields):
            self._add(btf.FWD, name, 0, flag=_COMPOUND[tag] == btf.UNION)
        else:
            self._compound(_COMPOUND[tag], fields)

    def _basic(self, fields: Fields) -> None:
        bits, encoding = _count(fields, "size"), fields.get("encoding", "")
        if encoding == "DW_ATE_float":
            self._add(btf.FLOAT, _name(fields), bits // 8)
        else:
            self._add(btf.INT, _name(fields), bits // 8, (_ENCODINGS.get(encoding, 0) << 24 | bits,))

    def _array(self, fields: Fields) -> None:
        """From the innermost dimension out. The type of indexes, which nobody reads, is left void."""
        of = self._number(fields)
        ranges = [self._nodes.get(at, {}) for at in self._items(fields)] or [{}]
        for one in reversed(ranges):
            # -1: of no length that is known (a flexible array), as is one whose length is an expression's
            of = self._add(btf.ARRAY, "", 0, (of, 0, max(0, _count(one, "count"))))

    def _enumeration(self, fields: Fields) -> None:
        size = _count(fields, "size") // 8
        items = [] if self._is_foreign(fields) else self._items(fields)
        values = [(_name(self._nodes[at]), _count(self._nodes[at], "value")) for at in items]
        words: list[int] = []
        kind = btf.ENUM64 if size > 4 else btf.ENUM
        for name, value in values:
            words += (self._text(name.removeprefix(VALUE)), value & 0xFFFFFFFF)
            if kind == btf.ENUM64:
                words.append(value >> 32 & 0xFFFFFFFF)
        signed = any(value < 0 for _, value in values)
        self._add(kind, _name(fields), size, tuple(words), len(values), signed)

    def _compound(self, kind: int, fields: Fields) -> None:
        """A struct or union. Where it has bit fields, an offset's high byte is the width."""
        members = [self._nodes[at] for at in self._items(fields)]
        members = [one for one in members if one.get("tag") == "DW_TAG_member"]
        packed = any(_is_bit_field(one) for one in members)
        words: list[int] = []
        for one in members:
            width = _count(one, "size") if _is_bit_field(one) else 0
            words += (self._text(_name(one)), self._number(one), _count(one, "offset") | width << 24)
        self._add(kind, _name(fields), _count(fields, "size") // 8, tuple(words), len(members), packed)

    def _is_foreign(self, fields: Fields) -> bool:
        file = self._nodes.get(_reference(fields, "file"), {})
        return file.get("filename", "").startswith(FOREIGN)

    def _items(self, fields: Fields) -> list[int]:
        return self._lists.get(_reference(fields, "elements"), [])

    def _number(self, fields: Fields) -> int:
        """The BTF number of the type behind; 0, void, for what isn't written (functions)."""
        return self._numbers.get(_reference(fields, "baseType"), 0)

    def _text(self, name: str) -> int:
        if name not in self._places:
            self._places[name] = len(self._strings)
            self._strings += name.encode() + b"\0"
        return self._places[name]

    def _add(
        self, kind: int, name: str, size: int, more: tuple[int, ...] = (), count: int = 0, flag: bool = False
    ) -> int:
        info = kind << 24 | count | flag << 31
        self._types += struct.pack(f"<3I{len(more)}I", self._text(name), info, size, *more)
        self._written += 1
        return self._written

    _written = 0


def _is_bit_field(fields: Fields) -> bool:
    return "DIFlagBitField" in fields.get("flags", "")


def _name(fields: Fields) -> str:
    return fields.get("name", "")[1:-1]


def _count(fields: Fields, key: str) -> int:
    """A number; 0 where there is none, or where it is in another node."""
    text = fields.get(key, "")
    return int(text) if text.removeprefix("-").isdigit() else 0


def _reference(fields: Fields, key: str) -> int:
    """The number of another node; -1 where there is none."""
    text = fields.get(key, "")[1:]
    return int(text) if text.isdigit() else -1
