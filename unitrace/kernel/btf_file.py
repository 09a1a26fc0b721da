"""BTF as it lies in /sys/kernel/btf: header, types, strings, and an index into them.

include/uapi/linux/btf.h. Types have numbers but no fixed size, so what number a type has is known only
by walking all that come before it: that walk (126,000 types: ~50 ms) is kept in the cache, with the
functions, the named types and the enumerators sorted by where their name lies in the strings.
"""

from __future__ import annotations

import mmap
import os
import struct
from bisect import bisect_left
from itertools import accumulate

from . import cache

__all__ = ["Btf", "module", "modules", "vmlinux"]

FOLDER = "/sys/kernel/btf"

(INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR,
 DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64) = range(1, 20)  # fmt: skip

# Words that follow a type's three, by kind: so many, and so many for each of vlen.
_MORE = {INT: 1, ARRAY: 3, VAR: 1, DECL_TAG: 1}
_EACH = {STRUCT: 3, UNION: 3, ENUM: 2, FUNC_PROTO: 2, DATASEC: 3, ENUM64: 3}
_NAMED = (STRUCT, UNION, ENUM, TYPEDEF, FWD, ENUM64)


TABLE_FROM = 64
"""Names from which on a table of all strings (50 ms, 15 MB) is quicker than looking for each (2 ms)."""


class Btf:
    """One BTF blob. ``base``: the kernel's own, where this is a module's: numbers and string offsets go
    on from the base's. Type 0 is void. ValueError where it is no BTF that we know."""

    __slots__ = (
        "_asked",
        "_enumerators",
        "_functions",
        "_named",
        "_names",
        "_offsets",
        "_raw",
        "_string_base",
        "_string_length",
        "_strings",
        "_words",
        "base",
        "first",
    )  # fmt: skip

    def __init__(self, raw: bytes | mmap.mmap, base: Btf | None = None, key: str = "") -> None:
        if len(raw) < 24:
            raise ValueError("too short for BTF")
        magic, version, _, header, types, length, strings, string_length = struct.unpack_from(
            "<HBBIIIII", raw
        )
        if magic != 0xEB9F or version != 1:
            raise ValueError("not BTF")
        self.base, self._raw = base, raw
        self._asked = 0
        self._names: dict[bytes, int] | None = None
        self._words = memoryview(raw)[header + types : header + types + length].cast("I")
        self._strings, self._string_length = header + strings, string_length
        self.first = len(base) if base else 1
        self._string_base = base.string_end() if base else 0
        index = cache.kept("btf", key, self._walk) if key else self._walk()
        whole = memoryview(index).cast("I")
        counts = [2 * n if at else n for at, n in enumerate(whole[:4].tolist())]
        ends = [4 + sum(counts[: n + 1]) for n in range(4)]
        self._offsets = whole[4 : ends[0]]
        self._functions, self._named = whole[ends[0] : ends[1]], whole[ends[1] : ends[2]]
        self._enumerators = whole[ends[2] : ends[3]]

    def __len__(self) -> int:
        """One more than the highest type number."""
        return self.first + len(self._offsets)

    def string_end(self) -> int:
        """Where a module's strings go on."""
        return int(self._string_base + self._string_length)

    def _walk(self) -> bytes:
        words, at, number = self._words.tolist(), 0, self.first
        more = [_MORE.get(kind, 0) + 3 for kind in range(32)]
        each = [_EACH.get(kind, 0) for kind in range(32)]
        wanted = [kind in _NAMED for kind in range(32)]
        offsets, functions, named, enumerators = [], [], [], []
        end = len(words)
        while at < end:
            info = words[at + 1]
            kind = info >> 24 & 31
            offsets.append(at)
            if kind == FUNC:
                functions.append((words[at], number))
            elif wanted[kind] and words[at]:
                named.append((words[at], number))
            if kind in (ENUM, ENUM64):
                members = words[at + 3 : at + 3 + each[kind] * (info & 0xFFFF) : each[kind]]
                enumerators += [(name, number) for name in members]
            at += more[kind] + each[kind] * (info & 0xFFFF)
            number += 1
        functions.sort()
        named.sort()
        enumerators.sort()
        flat = [len(offsets), len(functions), len(named), len(enumerators), *offsets]
        for pairs in (functions, named, enumerators):
            flat += [name for name, _ in pairs]
            flat += [one for _, one in pairs]
        return struct.pack(f"<{len(flat)}I", *flat)

    # --- reading -----------------------------------------------------------------------------

    def words(self, number: int, count: int, skip: int = 0) -> list[int]:
        """``count`` words of type ``number``, from its ``skip``-th: name, info, size or type, ..."""
        if number < self.first and self.base is not None:
            return self.base.words(number, count, skip)
        at = self._offsets[number - self.first] + skip
        return self._words[at : at + count].tolist()

    def kind(self, number: int) -> int:
        """Its kind (INT, PTR, ...); 0 for void."""
        return self.words(number, 1, 1)[0] >> 24 & 31 if number else 0

    def text(self, offset: int) -> str:
        """The string at ``offset``."""
        if self.base is not None:
            if offset < self._string_base:
                return self.base.text(offset)
            offset -= self._string_base
        at = self._strings + offset
        return self._raw[at : self._raw.find(b"\0", at)].decode(errors="replace")

    def name(self, number: int) -> str:
        """A type's name; "" where it has none."""
        return self.text(self.words(number, 1)[0])

    # --- finding -----------------------------------------------------------------------------

    def function(self, name: str) -> int:
        """The number of the FUNC ``name``; 0 where there is none."""
        found = self._find(name, self._functions)
        return found[0] if found else 0

    def enumeration(self, name: str) -> int:
        """The number of the first enumeration that has ``name`` among its values; 0 where there is none."""
        found = self._find(name, self._enumerators)
        return found[0] if found else self.base.enumeration(name) if self.base is not None else 0

    def named(self, name: str, kinds: tuple[int, ...]) -> int:
        """The number of the type ``name`` of one of ``kinds``, the first of them preferred; else 0."""
        found = {self.kind(number): number for number in reversed(self._find(name, self._named))}
        own = next((found[kind] for kind in kinds if kind in found), 0)
        return own or (self.base.named(name, kinds) if self.base is not None else 0)

    def _find(self, name: str, table: memoryview[int]) -> list[int]:
        offset = self.offset_of(name)
        if offset < 0:
            return []
        half = len(table) // 2
        at, found = bisect_left(table, offset, 0, half), []
        while at < half and table[at] == offset:
            found.append(table[half + at])
            at += 1
        return found

    def offset_of(self, name: str) -> int:
        self._asked += 1
        if self._asked > TABLE_FROM:
            return self._by_table(name)
        wanted, start = b"\0" + name.encode() + b"\0", self._strings
        at = self._raw.find(wanted, start, start + self._string_length)
        if at >= 0:
            return int(self._string_base + at + 1 - start)
        return -1 if self.base is None else int(self.base.offset_of(name))

    def _by_table(self, name: str) -> int:
        """The same from a table of all strings, which pays where many are asked for."""
        if self._names is None:
            strings = bytes(self._raw[self._strings : self._strings + self._string_length]).split(b"\0")
            starts = accumulate((len(one) + 1 for one in strings), initial=self._string_base)
            self._names = dict(zip(strings, starts))
        found = self._names.get(name.encode(), -1)
        return found if found >= 0 or self.base is None else self.base.offset_of(name)


_loaded: dict[str, Btf | None] = {}


def vmlinux() -> Btf | None:
    """The running kernel's BTF; None where it has none that can be read."""
    if "vmlinux" not in _loaded:
        _loaded["vmlinux"] = _load("vmlinux", None, cache.build_id())
    return _loaded["vmlinux"]


def module(name: str) -> Btf | None:
    """A module's BTF (5.11)."""
    if name not in _loaded:
        base = vmlinux()
        _loaded[name] = _load(name, base, "") if base is not None else None
    return _loaded[name]


def modules() -> list[str]:
    """The modules that have BTF."""
    try:
        return sorted(name for name in os.listdir(FOLDER) if name != "vmlinux")
    except OSError:
        return []


def _load(name: str, base: Btf | None, key: str) -> Btf | None:
    try:
        with open(f"{FOLDER}/{name}", "rb", buffering=0) as file:
            try:
                raw: bytes | mmap.mmap = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            except (OSError, ValueError):  # sysfs lets it be mapped since 6.16
                raw = file.readall()
        return Btf(raw, base, key)
    except (OSError, ValueError):
        return None
