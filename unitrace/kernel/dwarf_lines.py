"""Line tables of DWARF: which line of which source file an address belongs to (DWARF 2 to 5, section 6.2)."""

from __future__ import annotations

import os
from collections.abc import Iterator

from . import dwarf
from .dwarf import Unit, leb, signed_leb, text_at

__all__ = ["rows"]

_PATH, _FOLDER = 1, 2  # DW_LNCT_path, DW_LNCT_directory_index
_OFFSETS = (0x0E, 0x1F)  # DW_FORM_strp, DW_FORM_line_strp


def rows(unit: Unit, start: int) -> Iterator[tuple[str, int, int, int]]:
    """The rows of the table at ``start`` in the line section: path, line, address, column. Addresses are
    before relocation; rows that only end a piece are left out."""
    return _Table(unit, start).rows()


class _Table:
    """One unit's table."""

    def __init__(self, unit: Unit, start: int) -> None:
        self.unit = unit
        self.data = data = unit.sections["line"]
        wide = data[start : start + 4] == b"\xff\xff\xff\xff"
        self.width = 8 if wide else 4
        at = start + (12 if wide else 4)
        self.end = at + int.from_bytes(data[at - self.width : at], "little")
        self.version = int.from_bytes(data[at : at + 2], "little")
        if not 2 <= self.version <= 5:
            raise ValueError(f"{unit.sections.elf.path}: a line table of version {self.version} is not known")
        at += 2 + (2 if self.version >= 5 else 0)
        self.program = at + self.width + int.from_bytes(data[at : at + self.width], "little")
        at += self.width
        self.step = data[at]
        at += 2 if self.version >= 4 else 1  # maximum operations an instruction: 1 but for VLIW
        self.base = data[at + 1] - 256 if data[at + 1] > 127 else data[at + 1]
        self.range, self.opcodes = data[at + 2], data[at + 3]
        self.lengths = data[at + 4 : at + 3 + self.opcodes]
        at += 3 + self.opcodes
        self.files = self._files_5(at) if self.version >= 5 else self._files(at)

    def rows(self) -> Iterator[tuple[str, int, int, int]]:
        """Run the program."""
        data, at = self.data, self.program
        address, file, line, column = 0, 1, 1, 0
        while at < self.end:
            opcode = data[at]
            at += 1
            if opcode >= self.opcodes:  # a special one
                opcode -= self.opcodes
                address += opcode // self.range * self.step
                line += self.base + opcode % self.range
                yield self._path(file), line, address, column
            elif opcode == 0:  # an extended one
                length, at = leb(data, at)
                kind, body, at = data[at], data[at + 1 : at + length], at + length
                if kind == 1:  # DW_LNE_end_sequence
                    address, file, line, column = 0, 1, 1, 0
                elif kind == 2:  # DW_LNE_set_address
                    address = int.from_bytes(body, "little")
            elif opcode == 1:  # DW_LNS_copy
                yield self._path(file), line, address, column
            elif opcode == 2:  # DW_LNS_advance_pc
                value, at = leb(data, at)
                address += value * self.step
            elif opcode == 3:  # DW_LNS_advance_line
                value, at = signed_leb(data, at)
                line += value
            elif opcode == 4:  # DW_LNS_set_file
                file, at = leb(data, at)
            elif opcode == 5:  # DW_LNS_set_column
                column, at = leb(data, at)
            elif opcode == 8:  # DW_LNS_const_add_pc
                address += (255 - self.opcodes) // self.range * self.step
            elif opcode == 9:  # DW_LNS_fixed_advance_pc
                address += int.from_bytes(data[at : at + 2], "little")
                at += 2
            else:
                for _ in range(self.lengths[opcode - 1]):
                    _, at = leb(data, at)

    def _path(self, file: int) -> str:
        return self.files[file] if 0 <= file < len(self.files) else ""

    def _files(self, at: int) -> list[str]:
        """Before DWARF 5: folders, then files, which are counted from 1."""
        folders = [self.unit.top.text(dwarf.FOLDER)]
        while self.data[at]:
            folders.append(text_at(self.data, at))
            at = self.data.find(b"\0", at) + 1
        files, at = [""], at + 1
        while self.data[at]:
            name = text_at(self.data, at)
            folder, at = leb(self.data, self.data.find(b"\0", at) + 1)
            _, at = leb(self.data, at)
            _, at = leb(self.data, at)
            files.append(self._joined(folders, folder, name))
        return files

    def _files_5(self, at: int) -> list[str]:
        """Since DWARF 5: both with forms of their own; folder 0 is the unit's."""
        folders, at = self._entries(at)
        names = [name for name, _ in folders]
        files, _ = self._entries(at)
        return [self._joined(names, folder, name) for name, folder in files]

    def _entries(self, at: int) -> tuple[list[tuple[str, int]], int]:
        forms = []
        kinds, at = self.data[at], at + 1
        for _ in range(kinds):
            content, at = leb(self.data, at)
            form, at = leb(self.data, at)
            forms.append((content, form))
        count, at = leb(self.data, at)
        found = []
        for _ in range(count):
            path, folder = "", 0
            for content, form in forms:
                value, at = self._value(form, at)
                if content == _PATH:
                    path = value if isinstance(value, str) else self.unit.text(form, value)
                elif content == _FOLDER and isinstance(value, int):
                    folder = value
            found.append((path, folder))
        return found, at

    def _value(self, form: int, at: int) -> tuple[int | str, int]:
        data = self.data
        if form == 0x08:  # DW_FORM_string
            return text_at(data, at), data.find(b"\0", at) + 1
        if form == 0x0F:  # DW_FORM_udata
            return leb(data, at)
        size = self.width if form in _OFFSETS else {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16}.get(form)
        if size is None:
            raise ValueError(f"{self.unit.sections.elf.path}: form {form:#x} in a line table is not known")
        return int.from_bytes(data[at : at + size], "little"), at + size

    def _joined(self, folders: list[str], folder: int, name: str) -> str:
        inside = folders[folder] if folder < len(folders) else ""
        return os.path.normpath(os.path.join(self.unit.top.text(dwarf.FOLDER), inside, name))
