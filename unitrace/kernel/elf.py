"""ELF files: where a symbol lies, and which file a short name means.

Symbols come from .symtab, else .dynsym, else separate debug files (by build id) and .gnu_debugdata. A
single symbol is found by searching the string table as bytes: no table is built. elf(5); 64-bit
little-endian files only, as the architectures we know have them.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

from unitrace.contract.errors import ProbeError
from unitrace.contract.record import Record

__all__ = ["Elf", "Section", "Symbol", "find", "loaded_at", "resolve_file", "symbols"]

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SYMBOL = struct.Struct("<IBBHQQ")

_PT_LOAD, _SHT_SYMTAB, _SHT_DYNSYM, _SHT_NOBITS = 1, 2, 11, 8
_SHF_COMPRESSED = 0x800
_FUNCTIONS = (2, 10)  # STT_FUNC, STT_GNU_IFUNC
_DATA = (0, 1)  # STT_NOTYPE, STT_OBJECT


class Symbol(Record):
    """``offset_in_file``: what a uprobe wants. ``address``: as the file says (before relocation)."""

    name: str
    offset_in_file: int
    address: int
    size: int
    is_func: bool


class Section(Record):
    """One section: ``offset`` and ``size`` in the file, ``link`` to another; ``type``: SHT_*, ``flags``:
    SHF_*."""

    name: str
    type: int
    address: int
    offset: int
    size: int
    link: int
    flags: int = 0


class Elf:
    """An ELF file, mapped. Use it as a context manager. OSError; ValueError where it is something else."""

    def __init__(self, path: str, content: bytes | None = None) -> None:
        self.path = path
        self.data: bytes | mmap.mmap = _map(path) if content is None else content
        if len(self.data) < _HEADER.size or self.data[:6] != b"\x7fELF\x02\x01":
            self.close()
            raise ValueError(f"{path} is not a 64-bit little-endian ELF file")
        head = _HEADER.unpack_from(self.data)
        self.type, self.machine = head[1], head[2]
        _, _, _, _, _, segments, sections, _, _, size, count, width, number, names = head
        at = (segments + n * size for n in range(count))
        self.segments = [_SEGMENT.unpack_from(self.data, place) for place in at]
        self.sections = self._read_sections(sections, width, number, names)

    def _read_sections(self, start: int, width: int, number: int, names: int) -> list[Section]:
        if not start or start + number * width > len(self.data):
            return []
        raw = [_SECTION.unpack_from(self.data, start + n * width) for n in range(number)]
        strings = raw[names][4] if names < len(raw) else 0
        return [
            Section(self._text(strings + name), kind, address, offset, size, link, flags)
            for name, kind, flags, address, offset, size, link, *_ in raw
        ]

    def _text(self, at: int) -> str:
        return self.data[at : self.data.find(b"\0", at)].decode(errors="replace")

    def __enter__(self) -> Elf:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap it."""
        if isinstance(self.data, mmap.mmap):
            self.data.close()

    def section(self, name: str) -> Section | None:
        """The section called ``name``."""
        return next((one for one in self.sections if one.name == name), None)

    def content(self, section: Section) -> bytes:
        """A section's bytes; b"" where the file has none (.bss). ValueError where they are packed by
        something that Python doesn't know."""
        if section.type == _SHT_NOBITS:
            return b""
        found = self.data[section.offset : section.offset + section.size]
        return _unpacked(found) if section.flags & _SHF_COMPRESSED else found

    def file_offset(self, address: int) -> int | None:
        """Where in the file the byte at ``address`` lies; None outside of what is loaded."""
        for kind, _, offset, start, _, in_file, _, _ in self.segments:
            if kind == _PT_LOAD and start <= address < start + in_file:
                return int(offset + address - start)
        return None

    def build_id(self) -> str:
        """The GNU build id in hex; "" where there is none."""
        for kind, _, offset, _, _, size, _, _ in self.segments:
            if kind == 4:  # PT_NOTE
                notes = self.data[offset : offset + size]
                at = notes.find(b"\x03\0\0\0GNU\0")
                if at >= 4:
                    return notes[at + 8 : at + 8 + int.from_bytes(notes[at - 4 : at], "little")].hex()
        return ""

    def _tables(self) -> list[tuple[Section, Section]]:
        """Symbol tables with their strings, the full one first."""
        kinds = (_SHT_SYMTAB, _SHT_DYNSYM)
        found = [one for kind in kinds for one in self.sections if one.type == kind]
        return [(one, self.sections[one.link]) for one in found if one.link < len(self.sections)]

    def named(self, name: str) -> Iterator[tuple[int, int, int]]:
        """(address, size, type) of each defined symbol ``name``."""
        wanted = name.encode() + b"\0"
        for table, strings in self._tables():
            start, end = strings.offset, strings.offset + strings.size
            at = self.data.find(wanted, start, end)
            while at >= 0:  # a name may be another's tail, so each find is a candidate
                yield from self._at_name(table, at - start)
                at = self.data.find(wanted, at + 1, end)

    def _at_name(self, table: Section, index: int) -> Iterator[tuple[int, int, int]]:
        word, end = struct.pack("<I", index), table.offset + table.size
        at = self.data.find(word, table.offset, end)
        while at >= 0:
            if (at - table.offset) % _SYMBOL.size == 0:
                _, info, _, section, address, size = _SYMBOL.unpack_from(self.data, at)
                if section:
                    yield address, size, info & 15
            at = self.data.find(word, at + 1, end)

    def every(self) -> Iterator[tuple[str, int, int, int]]:
        """(name, address, size, type) of all defined symbols."""
        for table, strings in self._tables():
            text = bytes(self.data[strings.offset : strings.offset + strings.size])
            body = bytes(self.data[table.offset : table.offset + table.size // 24 * 24])
            for name, info, _, section, address, size in _SYMBOL.iter_unpack(body):
                if section and name:
                    yield (
                        text[name : text.find(b"\0", name)].decode(errors="replace"),
                        address,
                        size,
                        info & 15,
                    )


def _unpacked(data: bytes) -> bytes:
    """What a section with SHF_COMPRESSED holds: a header (Elf64_Chdr) says how, and how much."""
    if data[:4] != b"\1\0\0\0":
        raise ValueError("a section is packed, and not by zlib")
    import zlib

    try:
        return zlib.decompress(data[24:])
    except zlib.error as error:
        raise ValueError(f"a packed section: {error}") from None


def _map(path: str) -> mmap.mmap:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    finally:
        os.close(fd)


def _debug_files(elf: Elf) -> Iterator[Elf]:
    """Where else this file's symbols may be: its debug file, then the table that Fedora packs into it."""
    name = elf.build_id()
    if name:
        path = f"/usr/lib/debug/.build-id/{name[:2]}/{name[2:]}.debug"
        try:
            yield Elf(path)
        except (OSError, ValueError):
            pass
    section = elf.section(".gnu_debugdata")
    if section is not None:
        import lzma

        try:
            yield Elf(elf.path, lzma.decompress(elf.content(section)))
        except (lzma.LZMAError, ValueError):
            pass


def find(path: str, symbol: str) -> Symbol | None:
    """The symbol called ``symbol`` in the file ``path``: a function if there is one of that name, else data.

    OSError, or ValueError for a file that isn't ELF.
    """
    with Elf(path) as elf:
        best = _best(elf, elf, symbol)
        if best is None:
            for other in _debug_files(elf):
                with other:
                    best = best or _best(elf, other, symbol)
        return best


def loaded_at(path: str, offset: int) -> int | None:
    """The address (before relocation) of the byte at ``offset`` in the file; None where it isn't loaded."""
    with Elf(path) as elf:
        for kind, _, start, address, _, in_file, _, _ in elf.segments:
            if kind == _PT_LOAD and start <= offset < start + in_file:
                return int(address + offset - start)
    return None


def _best(elf: Elf, table: Elf, symbol: str) -> Symbol | None:
    best = None
    for address, size, kind in table.named(symbol):
        offset = elf.file_offset(address)
        if kind in _FUNCTIONS and offset is not None:
            return Symbol(symbol, offset, address, size, True)
        if kind in _DATA and best is None:
            best = Symbol(symbol, offset or 0, address, size, False)
    return best


def symbols(path: str) -> Iterator[Symbol]:
    """All symbols of the file, each name once, in the order of its tables. Errors as ``find``."""
    with Elf(path) as elf:
        seen = set()
        for table in (elf, *_debug_files(elf)):
            for name, address, size, kind in table.every():
                if name in seen or kind not in _FUNCTIONS + _DATA:
                    continue
                offset = elf.file_offset(address)
                if kind in _FUNCTIONS and offset is None:
                    continue
                seen.add(name)
                yield Symbol(name, offset or 0, address, size, kind in _FUNCTIONS)


def resolve_file(name: str, pid: int = 0) -> str:
    """The absolute path of the file that a user probe names: a path, a program on $PATH, or a library
    ("libc", "c", "libc.so.6"). With ``pid``: as that process sees it, through /proc/PID/root.

    ProbeError where there is none.
    """
    root = f"/proc/{pid}/root" if pid else ""
    if "/" in name:
        path = f"{root}{name}" if os.path.isabs(name) else os.path.abspath(name)
        if os.path.isfile(path):
            return path
        raise ProbeError(f"no file {name}")
    for folder in os.environ.get("PATH", "/usr/bin:/bin").split(":"):
        path = f"{root}{folder or '.'}/{name}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.abspath(path)
    found = _library(name, root)
    if found:
        return found
    raise ProbeError(f"no program or library {name}", remedy="give the file's full path")


def _library(name: str, root: str) -> str:
    stem = name if name.startswith("lib") else f"lib{name}"
    file = stem if ".so" in stem else f"{stem}.so"
    try:
        with open(f"{root}/etc/ld.so.cache", "rb") as source:
            cached = source.read()
    except OSError:
        cached = b""
    # pairs of NUL-ended strings (name, path) follow the table; ld.so takes the first that fits
    at = cached.find(b"/" + file.encode())
    while at >= 0:
        path = cached[cached.rfind(b"\0", 0, at) + 1 : cached.find(b"\0", at)].decode(errors="replace")
        base = path.rpartition("/")[2]
        if (base == file or base.startswith(f"{file}.")) and _fits(root + path):
            return root + path
        at = cached.find(b"/" + file.encode(), at + 1)
    machine = os.uname().machine
    for folder in (f"/lib/{machine}-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib", "/lib", "/usr/local/lib"):
        try:
            there = sorted(os.listdir(root + folder))
        except OSError:
            continue
        for base in there:
            path = f"{root}{folder}/{base}"
            if (base == file or base.startswith(f"{file}.")) and _fits(path):
                return path
    return ""


def _fits(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(6) == b"\x7fELF\x02\x01"
    except OSError:
        return False
