"""Attach points in programs and libraries."""

from __future__ import annotations

import os

from unitrace.contract.errors import ProbeError, UnitraceError
from unitrace.contract.ir import Field, Probe
from unitrace.contract.probes import BY_NAME

from .lexer import decode_number
from .places import WILD, Places
from .source import suggest

__all__ = ["UserProbes"]


class UserProbes(Places):
    """Resolves functions and static probes of programs."""

    # -- functions of programs ------------------------------------------------------------------

    def _uprobe(self, kind: str, rest: list[str]) -> list[Probe]:
        if len(rest) == 3 and rest[1] in ("cpp", "c"):
            rest = [rest[0], rest[2]]
        if rest and "@" in rest[0] and len(rest) in (2, 3):
            return [self.source_line(kind, rest)]
        if len(rest) == 1 and self.pid and rest[0]:
            rest = [f"/proc/{self.pid}/exe", rest[0]]
        self.count(kind, rest, 2, 2)
        file, target = rest
        if not file:
            raise self.error(f"{kind} should have a target", BY_NAME[kind].syntax)
        if not target:
            raise self.error(f"{kind} should be attached to a function", BY_NAME[kind].syntax)
        if file == "*" or WILD.search(file):
            found: list[Probe] = []
            for shown, path in self.static_files(kind, file):
                try:
                    found += self.in_file(kind, shown, path, target)
                except ProbeError:
                    continue
            if not found:
                raise self.error(f"No matches for {kind} {file}:{target}.")
            return found
        return self.in_file(kind, file, self.file(file), target)

    _uretprobe = _uprobe

    def in_file(self, kind: str, file: str, path: str, target: str) -> list[Probe]:
        """The probes of one file, which is shown as ``file``."""
        if target[0].isdigit():
            try:
                address = decode_number(target)
            except ValueError as error:
                raise self.error(f"Invalid function/address argument: {error}") from None
            return [self.user(kind, file, path, target, 0, self.at(path, address))]
        name, offset = self.offset(target)
        if offset and kind != "uprobe":
            raise self.error("uretprobes can not be attached to a function offset")
        if WILD.search(name):
            return self.wild_symbols(kind, file, path, name)
        from unitrace.kernel import elf

        try:
            found = elf.find(path, name)
        except (OSError, ValueError) as error:
            raise self.error(f"{file}: {_reason(error)}") from None
        if found is None:
            names = (one.name for one in elf.symbols(path) if one.is_func)
            near = suggest(name, names) if self.suggesting else ""
            raise self.error(f"No matches for {kind} {file}:{name}.", near)
        if not found.is_func:
            raise self.error(f"{name} in {file} is data, not a function")
        if offset and offset >= found.size:
            raise self.error(f"Offset outside the function bounds ('{name}' size is {found.size})")
        return [self.user(kind, file, path, name, offset, found.offset_in_file + offset)]

    def source_line(self, kind: str, rest: list[str]) -> Probe:
        """``FILE@SOURCE:LINE[:COLUMN]``, by the line table of its debug information."""
        file, _, source = rest[0].rpartition("@")
        if kind != "uprobe":
            raise self.error(f"{kind} can not be attached to a line of the source")
        path, label = self.file(file), f"{kind}:{':'.join(rest)}"
        try:
            line, column = (decode_number(one) for one in (*rest[1:], "0")[:2])
        except ValueError as error:
            raise self.error(f"Invalid line or column: {error}") from None
        info = self.unit.types.debug(path)
        if info is None or info.sections is None:
            raise self.error(
                f"No debug information in {file}", "compile with -g, or name its place: --debuginfo"
            )
        try:
            address = info.line(source, line, column)
        except ValueError as error:
            raise self.error(str(error)) from None
        if address is None:
            raise self.error(f"Unable to map '{source}:{':'.join(rest[1:])}' to address")
        return self.made(
            kind, label, scope=path, name=":".join((source, *rest[1:])), address=self.at(path, address)
        )

    def file(self, name: str) -> str:
        """The absolute path of a program or library."""
        from unitrace.kernel import elf

        try:
            return elf.resolve_file(name, self.pid if not name.startswith("/proc/") else 0)
        except UnitraceError as error:
            raise self.error(error.message, error.remedy) from None

    def at(self, path: str, address: int) -> int:
        """The offset in the file of a virtual address. With --unsafe a file needn't be an ELF file: then it
        is mapped as it is."""
        from unitrace.kernel import elf

        try:
            with elf.Elf(path) as file:
                found = file.file_offset(address)
        except (OSError, ValueError) as error:
            if self.unlisted and isinstance(error, ValueError):
                return address
            raise self.error(f"{path}: {_reason(error)}") from None
        if found is None:
            raise self.error(f"Could not resolve address: {path}:{address:#x}")
        return found

    def user(self, kind: str, file: str, path: str, name: str, offset: int, address: int) -> Probe:
        """A probe on a user function."""
        place = f"+{offset}" if offset else ""
        label = f"{kind}:{file}:{name}{place}"
        self.unit.types.files.setdefault(path, None)
        fields = self.debugged(path, address) if kind == "uprobe" and self.typed and not offset else ()
        return self.made(kind, label, scope=path, name=name, offset=offset, address=address, fields=fields)

    def debugged(self, path: str, offset: int) -> tuple[Field, ...]:
        """The arguments of the function at ``offset`` in a file, by its debug information."""
        from unitrace.kernel.elf import loaded_at

        info = self.unit.types.debug(path)
        address = loaded_at(path, offset) if info is not None else None
        try:
            return info.arguments(address) if info is not None and address is not None else ()
        except ValueError:  # DWARF that isn't known, or damaged
            return ()

    def wild_symbols(self, kind: str, file: str, path: str, pattern: str) -> list[Probe]:
        """All functions of a file that match."""
        from fnmatch import fnmatchcase

        from unitrace.kernel import elf

        try:
            found = [one for one in elf.symbols(path) if one.is_func and fnmatchcase(one.name, pattern)]
        except (OSError, ValueError) as error:
            raise self.error(f"{file}: {_reason(error)}") from None
        if not found:
            raise self.error(f"No matches for {kind} {file}:{pattern}.")
        places = {one.offset_in_file: one for one in sorted(found, key=lambda one: one.name, reverse=True)}
        return [
            self.user(kind, file, path, one.name, 0, one.offset_in_file)
            for one in sorted(places.values(), key=lambda one: one.name)
        ]

    # -- static probes of programs --------------------------------------------------------------

    def _usdt(self, kind: str, rest: list[str]) -> list[Probe]:
        """Each probe once, however many places it has. Without a file: those of all that the process of -p
        has mapped, or (``*``) of all that anybody has."""
        if self.pid and len(rest) == 1:
            rest = ["", rest[0]]
        self.count(kind, rest, 2, 3)
        file, (provider, name) = rest[0], (rest[1:] if len(rest) == 3 else ("", rest[1]))
        if not name:
            raise self.error("usdt probe must have a target function or wildcard")
        files = self.static_files(kind, file)
        found: list[Probe] = []
        names: set[str] = set()
        for shown, path in files:
            for one in self.statics(path, sure=len(files) == 1):
                names.add(one[1])
                if fits(one[0], provider or "*") and fits(one[1], name):
                    label = f"{kind}:{shown}:{one[0]}:{one[1]}"
                    found.append(self.made(kind, label, scope=path, name=":".join(one)))
        if not found:
            near = "" if WILD.search(name) else suggest(name, names)
            raise self.error(f"No matches for {kind} {':'.join(rest)}.", near)
        return found

    def static_files(self, kind: str, file: str) -> list[tuple[str, str]]:
        """The files that are meant: as they are shown, and where they are."""
        import glob

        from unitrace.kernel.usdt import mapped

        if file in ("", "*"):
            if not file and not self.pid:
                raise self.error(f"{kind} probe must have a target", BY_NAME[kind].syntax)
            return mapped(self.pid)
        if WILD.search(file):
            return [(one, os.path.abspath(one)) for one in sorted(glob.glob(file)) if os.path.isfile(one)]
        return [(file, self.file(file))]

    def statics(self, path: str, sure: bool) -> list[tuple[str, str]]:
        """Provider and name of the static probes of a file; none where it has none, or (not ``sure``) can't
        be read."""
        from unitrace.kernel.usdt import probes

        try:
            return sorted({(one.provider, one.name) for one in probes(path)})
        except (OSError, ValueError) as error:
            if sure:
                raise self.error(f"{path}: {_reason(error)}") from None
            return []


def fits(name: str, pattern: str) -> bool:
    """Whether a name is meant by a pattern; one without wildcards is meant to the letter."""
    from fnmatch import fnmatchcase

    return fnmatchcase(name, pattern) if WILD.search(pattern) else name == pattern


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) or "not an ELF file"
