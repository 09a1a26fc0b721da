"""What a program's debug information says: the arguments of its functions, its structs, its source lines.

It is in the file itself, or in a separate one: found by build id (/usr/lib/debug/.build-id), or by the name
in .gnu_debuglink, beside the file, in .debug, or in /usr/lib/debug (gdb's manual, "Debugging Information in
Separate Files"). Split units are in .dwo files, or packed into one .dwp.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from unitrace.contract.ir import Field
from unitrace.contract.types import Struct

from . import dwarf
from .dwarf import Die, Sections, Unit
from .dwarf_types import TYPEDEF, Types, peeled, spelled
from .elf import Elf

__all__ = ["DebugInfo"]

_SUBPROGRAM, _PARAMETER, _NAMESPACE = 0x2E, 0x05, 0x39
_STRUCTS = {"struct": 0x13, "class": 0x02, "union": 0x17}
"""DW_TAG_*"""

_SYSTEM = "/usr/lib/debug"


class DebugInfo:
    """The debug information of one file. OSError; ValueError where the file isn't ELF, or its DWARF is of a
    kind that isn't known. ``folders``: where to look for separate files first (--debuginfo); relative ones
    may be beside the file."""

    def __init__(self, path: str, folders: Sequence[str] = ()) -> None:
        self.path = path
        self._types = Types()
        self._split: dict[int, Unit | None] = {}
        self._functions: dict[Unit, dict[int, int]] = {}
        self._read: list[Unit] | None = None
        self._structs: dict[str, Struct | None] = {}
        self.sections: Sections | None = None
        for elf in _files(path, folders):
            if elf.section(".debug_info") is not None:
                self.sections = Sections(elf)
                break
            elf.close()

    def arguments(self, address: int) -> tuple[Field, ...]:
        """The arguments of the function that begins at ``address`` (before relocation): ``offset`` is the
        number of the first register of integers it comes in. () where nothing says."""
        fields: list[Field] = []
        slot = 0
        with self._sound():
            for name, die in self._parameters(address):
                of = self._types.of(die)
                if self._types.in_registers(die):
                    fields.append(Field(name or f"arg{len(fields)}", of, slot, of.size))
                    slot += -(-of.size // 8)
        return tuple(fields)

    def declared(self, address: int) -> tuple[str, ...]:
        """All of them as C declares them: ``const char* path``."""
        with self._sound():
            return tuple(f"{spelled(die)} {name}" for name, die in self._parameters(address))

    def struct(self, name: str) -> Struct | None:
        """The struct or union ``name`` ("struct point", "point") with its members."""
        if name not in self._structs:
            with self._sound():
                self._structs[name] = self._found(name)
        return self._structs[name]

    def complete(self, of: Struct) -> Struct | None:
        """A struct that came from here without its members (as pointers have them) with them; None for
        others."""
        die = self._types.gave.get((of.name, of.length))
        if die is None:
            return None
        if dwarf.DECLARATION in die.attributes:  # another unit defines it
            return self.struct(of.name)
        with self._sound():
            return self._types.struct(die, of.name)

    def line(self, file: str, line: int, column: int = 0) -> int | None:
        """The lowest address of code for a line of the source file whose path ends with ``file``; None where
        there is none. ValueError where several files fit."""
        from .dwarf_lines import rows

        files: dict[str, int | None] = {}
        with self._sound():
            for unit in self._units(split=False):
                start = unit.top.number(dwarf.STATEMENTS)
                if start is None:
                    continue
                for path, at, address, place in rows(unit, start):
                    if not _ends(path, file):
                        continue
                    files.setdefault(path, None)
                    known = files[path]
                    if at == line and column in (0, place) and (known is None or address < known):
                        files[path] = address
        if len(files) > 1:
            raise ValueError(f"several files fit {file}: {', '.join(sorted(files))}")
        return next(iter(files.values()), None)

    @contextmanager
    def _sound(self) -> Iterator[None]:
        """ValueError for an offset that leads nowhere."""
        try:
            yield
        except (IndexError, RecursionError):
            raise ValueError(f"{self.path}: its debug information is damaged") from None

    # --- units -----------------------------------------------------------------------------------

    def _units(self, split: bool = True) -> Iterator[Unit]:
        """The units of compilation; ``split``: with the split ones in the place of their skeletons."""
        if self._read is None:
            with self._sound():
                every = [*self.sections.units()] if self.sections is not None else []
            self._read = [unit for unit in every if unit.kind in (1, 4)]
        for unit in self._read:
            yield (self._whole(unit) if split else None) or unit

    def _whole(self, unit: Unit) -> Unit | None:
        name = unit.top.text(dwarf.SPLIT_NAME) or unit.top.text(dwarf.OLD_SPLIT_NAME)
        if not name:
            return None
        if unit.id not in self._split:
            self._split[unit.id] = self._split_unit(unit, name)
        return self._split[unit.id]

    def _split_unit(self, unit: Unit, name: str) -> Unit | None:
        folder = unit.top.text(dwarf.FOLDER)
        beside = os.path.join(os.path.dirname(self.path), os.path.basename(name))
        for path in (f"{self.path}.dwp", os.path.join(folder, name), beside):
            try:
                elf = Elf(path)
            except (OSError, ValueError):
                continue
            starts = _in_package(elf, unit.id)
            if starts is None:
                continue
            sections = Sections(elf, ".dwo", starts)
            if sections["info"]:
                return Unit(sections, starts.get("info", 0), unit)
        return None

    # --- entries ---------------------------------------------------------------------------------

    def _parameters(self, address: int) -> list[tuple[str, Die]]:
        function = self._function(address)
        whole = function.whole(dwarf.NAME) if function is not None else None
        if function is None or whole is None:
            return []
        found = []
        for die in function.inner():
            if die.tag == _PARAMETER:
                named, typed = die.whole(dwarf.NAME), die.whole(dwarf.TYPE)
                if typed is not None:
                    found.append((named.text() if named is not None else "", typed))
        return found

    def _function(self, address: int) -> Die | None:
        for unit in self._units():
            if not _covers(unit.skeleton.top, address):
                continue
            if unit not in self._functions:
                self._functions[unit] = {
                    low: die.offset
                    for die in unit.all()
                    if die.tag == _SUBPROGRAM and (low := die.address()) is not None
                }
            offset = self._functions[unit].get(address)
            if offset is not None:
                return unit.die(offset)
        return None

    def _found(self, name: str) -> Struct | None:
        word, _, bare = name.rpartition(" ")
        tags = [_STRUCTS[word]] if word in _STRUCTS else [*_STRUCTS.values()]
        if word == "struct":  # C++ lets the two words stand for each other
            tags.append(_STRUCTS["class"])
        elif not word:
            tags.append(TYPEDEF)
        for unit in self._units():
            for path, die in _named(unit.top, ""):
                if die.tag not in tags or dwarf.DECLARATION in die.attributes:
                    continue
                if bare in (die.text(), path):
                    struct = peeled(die)
                    if struct is not None and struct.tag in _STRUCTS.values():
                        return self._types.struct(struct, name)
        return None


def _named(inside: Die, path: str) -> Iterator[tuple[str, Die]]:
    """What a unit defines, outside of namespaces and in them, by its name with the namespaces' before it."""
    for die in inside.inner():
        if die.tag == _NAMESPACE:
            yield from _named(die, f"{path}{die.text()}::")
        else:
            yield f"{path}{die.text()}", die


def _covers(top: Die, address: int) -> bool:
    """Whether a unit may have code at ``address``: where it is in several pieces, it may."""
    low, high = top.address(), top.number(dwarf.HIGH)
    if low is None or high is None or dwarf.RANGES in top.attributes:
        return True
    form = top.attributes[dwarf.HIGH][0]
    return low <= address < (high if form == 0x01 else low + high)  # DW_FORM_addr, or a length


def _files(path: str, folders: Sequence[str]) -> Iterator[Elf]:
    """The file itself, then its separate debug files. Those that aren't there are left out."""
    main = Elf(path)
    build, link = main.build_id(), _link(main)
    yield main
    beside = os.path.dirname(os.path.realpath(path))
    folders = [*folders, *(os.path.join(beside, one) for one in folders if not os.path.isabs(one))]
    by_id = f".build-id/{build[:2]}/{build[2:]}.debug"
    names = [f"{folder}/{by_id}" for folder in (*folders, _SYSTEM)] if build else []
    for base in filter(None, (link, f"{os.path.basename(path)}.debug")):
        names += [f"{folder}/{base}" for folder in folders]
        names += [f"{beside}/{base}", f"{beside}/.debug/{base}", f"{_SYSTEM}{beside}/{base}"]
    for name in dict.fromkeys(names):
        try:
            other = Elf(name)
        except (OSError, ValueError):
            continue
        if build and other.build_id() not in ("", build):
            other.close()
            continue
        yield other


def _link(elf: Elf) -> str:
    section = elf.section(".gnu_debuglink")
    return dwarf.text_at(elf.content(section), 0) if section is not None else ""


def _in_package(elf: Elf, number: int) -> dict[str, int] | None:
    """Where the parts of unit ``number`` begin in each section of a .dwp file; {} in a .dwo file; None where
    the package hasn't it (DWARF 5, 7.3.5)."""
    section = elf.section(".debug_cu_index")
    if section is None:
        return {}
    data = elf.content(section)
    words = memoryview(data[: len(data) // 4 * 4]).cast("I")
    columns, slots = words[1], words[3]
    names = {1: "info", 3: "abbrev", 4: "line", 6: "str_offsets", 8: "rnglists"}
    for slot in range(slots):
        if int.from_bytes(data[16 + 8 * slot : 24 + 8 * slot], "little") != number:
            continue
        rows = 4 + 2 * slots
        row = words[rows + slot]
        if not row:
            continue
        head = rows + slots
        parts = head + columns * row
        return {
            names[words[head + at]]: words[parts + at] for at in range(columns) if words[head + at] in names
        }
    return None


def _ends(path: str, file: str) -> bool:
    """Whether a path is, or ends with the whole parts of, ``file``."""
    return path == file or path.endswith("/" + file.removeprefix("./"))
