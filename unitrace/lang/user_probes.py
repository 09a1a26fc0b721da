"""Attach points in programs and libraries."""

from __future__ import annotations

from unitrace.contract.errors import UnitraceError
from unitrace.contract.ir import Probe
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
        if len(rest) == 1 and "@" in rest[0]:
            raise self.error("a place in the source (FILE@LINE) is not supported", "name a function")
        if len(rest) == 1 and self.pid and rest[0]:
            rest = [f"/proc/{self.pid}/exe", rest[0]]
        self.count(kind, rest, 2, 2)
        file, target = rest
        if not file:
            raise self.error(f"{kind} should have a target", BY_NAME[kind].syntax)
        if not target:
            raise self.error(f"{kind} should be attached to a function", BY_NAME[kind].syntax)
        path = self.file(file)
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
            raise self.error(f"{file} has no symbol {name}", suggest(name, names))
        if not found.is_func:
            raise self.error(f"{name} in {file} is data, not a function")
        if offset and offset >= found.size:
            raise self.error(f"Offset outside the function bounds ('{name}' size is {found.size})")
        return [self.user(kind, file, path, name, offset, found.offset_in_file + offset)]

    _uretprobe = _uprobe

    def file(self, name: str) -> str:
        """The absolute path of a program or library."""
        from unitrace.kernel import elf

        try:
            return elf.resolve_file(name, self.pid if not name.startswith("/proc/") else 0)
        except UnitraceError as error:
            raise self.error(error.message, error.remedy) from None

    def at(self, path: str, address: int) -> int:
        """The offset in the file of a virtual address."""
        from unitrace.kernel import elf

        try:
            with elf.Elf(path) as file:
                found = file.file_offset(address)
        except (OSError, ValueError) as error:
            raise self.error(f"{path}: {_reason(error)}") from None
        if found is None:
            raise self.error(f"{path} has nothing at address {address:#x}")
        return found

    def user(self, kind: str, file: str, path: str, name: str, offset: int, address: int) -> Probe:
        """A probe on a user function."""
        place = f"+{offset}" if offset else ""
        label = f"{kind}:{file}:{name}{place}"
        return self.made(kind, label, scope=path, name=name, offset=offset, address=address)

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

    def _usdt(self, kind: str, rest: list[str]) -> list[Probe]:
        self.count(kind, rest, 2, 3)
        file, (provider, name) = rest[0], (rest[1:] if len(rest) == 3 else ("", rest[1]))
        if not name:
            raise self.error("usdt probe must have a target function or wildcard")
        path = self.file(file)
        label = f"{kind}:{file}:{provider + ':' if provider else ''}{name}"
        return [self.made(kind, label, scope=path, name=f"{provider}:{name}" if provider else name)]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) or "not an ELF file"
