"""Types by their names: the language's own, the program's C definitions, the kernel's by BTF or headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from unitrace.contract.machine import Machine
from unitrace.contract.types import (
    BOOL,
    VOID,
    Array,
    Buffer,
    Enum,
    Formatted,
    Int,
    Pointer,
    Str,
    Struct,
    Symbol,
    Type,
)

from .rules import smallest

if TYPE_CHECKING:
    from unitrace.kernel.debuginfo import DebugInfo

__all__ = ["TypeNames", "bare"]

_INTEGERS: dict[str, Type] = {
    **{f"int{bits}": Int(bits, True) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": Int(bits, False) for bits in (8, 16, 32, 64)},
    **{f"int{bits}_t": Int(bits, True) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}_t": Int(bits, False) for bits in (8, 16, 32, 64)},
    **{f"{sign}{bits}": Int(bits, sign.endswith("s")) for sign in ("u", "s", "__u", "__s")
       for bits in (8, 16, 32, 64)},
    **{f"__{end}{bits}": Int(bits, False) for end in ("be", "le") for bits in (16, 32, 64)},
    "char": Int(8, True), "short": Int(16, True), "int": Int(32, True), "long": Int(64, True),
    "unsigned": Int(32, False), "size_t": Int(64, False), "ssize_t": Int(64, True), "pid_t": Int(32, True),
    "uid_t": Int(32, False), "gid_t": Int(32, False), "dev_t": Int(32, False), "loff_t": Int(64, True),
    "off_t": Int(64, True), "sector_t": Int(64, False), "umode_t": Int(16, False), "time_t": Int(64, True),
    "time64_t": Int(64, True), "ktime_t": Int(64, True), "uintptr_t": Int(64, False), "gfp_t": Int(32, False),
    "fmode_t": Int(32, False), "socklen_t": Int(32, False), "ino_t": Int(64, False), "mode_t": Int(16, False),
    "caddr_t": Int(64, False), "nlink_t": Int(32, False), "clock_t": Int(64, True),
    "sa_family_t": Int(16, False), "bool": BOOL, "_Bool": BOOL, "void": VOID,
    "float": Buffer(4), "double": Buffer(8),
}  # fmt: skip

_OTHERS: dict[str, Type] = {
    "mac_address": Formatted("mac", 6),
    "macaddr_t": Formatted("mac", 6),
    "cgroup_path_t": Formatted("cgroup", 16),
    "strerror_t": Formatted("strerror", 8),
    "timestamp": Formatted("timestamp", 16),
    "username_t": Formatted("username", 8),
    "ksym_t": Symbol("kernel"),
    "usym_t": Symbol("user"),
}


def bare(of: Type) -> Type:
    """A struct without its members, as pointers have it: they are looked up by its name."""
    return of.replace(members=()) if isinstance(of, Struct) and of.name and of.members else of


TASK = "struct task_struct"
"""What curtask points to."""


class TypeNames:
    """Finds types. ``structs``, ``typedefs``, ``enums``, ``constants``: what the program's C text defines.
    ``files``: programs whose functions are probed; ``folders``: where their debug files may be; ``text``: the
    program's, which says what of the kernel's headers it needs."""

    def __init__(self, machine: Machine, folders: Sequence[str] = (), text: str = "") -> None:
        self.machine = machine
        self.text = text
        self._asked = False
        self.folders = folders
        self.files: dict[str, DebugInfo | None] = {}
        self.structs: dict[str, Struct] = {}
        self.typedefs: dict[str, Type] = {}
        self.enums: dict[str, Enum] = {}
        self.constants: dict[str, tuple[Type, int]] = {}
        self._others: dict[str, Struct | None] = {}

    def plain(self, name: str) -> Type | None:
        """The type of a name as in C: ``unsigned long``, ``struct file``, ``pid_t``; None where unknown."""
        words = [word for word in name.split() if word not in ("const", "volatile", "restrict")]
        if not words:
            return None
        name = " ".join(words)
        if name in self.typedefs:
            return self.typedefs[name]
        found = _INTEGERS.get(name) or _OTHERS.get(name)
        if found is not None:
            return found
        if words[0] in ("struct", "union"):
            return self.struct(name)
        if words[0] == "enum":
            return self.enums.get(name)
        if set(words) <= {"unsigned", "signed", "long", "int", "short", "char"}:
            bits = 8 if "char" in words else 16 if "short" in words else 64 if "long" in words else 32
            return Int(bits, "unsigned" not in words)
        return self.structs.get(f"struct {name}") or self._typedef(name)

    def suffixed(self, name: str, suffixes: tuple[str | int, ...]) -> Type | None:
        """A type as the language writes it: a name, then * and [N] from left to right."""
        rest = list(suffixes)
        found: Type | None
        if name in ("string", "buffer", "inet"):
            size = rest.pop(0) if rest and isinstance(rest[0], int) else 0
            assert isinstance(size, int)
            found = Str(size or 64) if name == "string" else Buffer(size or 64)
            if name == "inet":
                found = Formatted("inet", 24)
        else:
            found = self.plain(name)
        if found is None and rest and name.split()[0] in ("struct", "union"):
            found = Struct(name, 0)  # a pointer to what isn't known is still a pointer
        for suffix in rest:
            if found is None:
                return None
            found = Pointer(bare(found)) if suffix == "*" else Array(found, int(suffix))
        return found

    def struct(self, name: str) -> Struct | None:
        """A struct or union by its full name, with its members; the program's own before the kernel's, and
        these before those of the programs that are probed."""
        if name in self.structs:
            return self.structs[name]
        if name not in self._others:
            self._others[name] = self._btf_struct(name) or self._debug_struct(name, self.files)
        return self._others[name]

    def complete(self, of: Struct) -> Struct:
        """A struct with its members: those of kernel structs are looked up when they are needed."""
        if of.members or not of.name:
            return of
        if of.name not in self.structs:
            for info in self.files.values():
                found = _known(info.complete, of) if info is not None else None
                if found is not None:
                    return found
        return self.struct(of.name) or of

    def debug(self, path: str) -> DebugInfo | None:
        """The debug information of a program; None where it has none that can be read."""
        found = self.files.get(path)
        if found is None:
            from unitrace.kernel.debuginfo import DebugInfo

            try:
                found = DebugInfo(path, self.folders)
            except (OSError, ValueError):
                return None
            self.files[path] = found
        return found

    def undefined(self, name: str) -> str:
        """Why the struct ``name`` isn't known, and what would help."""
        known = f"the kernel's BTF has no such type; define {name} at the top of the program"
        return self.unread(name) or known

    def unread(self, name: str = "it") -> str:
        """Where the kernel's own names can't be read, why, and how ``name`` becomes known; else ""."""
        if self.machine.answer("btf"):
            return ""
        from unitrace.kernel.btf import unread

        btf = unread(self.machine)
        remedy = f", or {btf.remedy}" if btf.remedy else ""
        return f"{btf.reason}; define {name} at the top of the program{remedy}"

    def _arch(self) -> str:
        try:
            return str(self.machine.fact("kernel.arch"))
        except KeyError:  # nobody has registered the general facts
            return ""

    def _btf_struct(self, name: str) -> Struct | None:
        from unitrace.kernel import btf

        self._prepare_headers()
        return btf.struct(self.machine, name)

    def _prepare_headers(self) -> None:
        """Without BTF kernel types are those of headers: these shall be the program's own, too."""
        if not self._asked and not self.machine.answer("btf"):
            from unitrace.kernel import headers

            headers.program(self.machine, self.text, {*_MACROS, *self.constants})
            self._asked = True

    def notices(self) -> Iterator[str]:
        """What is to be said of where types came from."""
        if self._asked:
            from unitrace.kernel import headers

            said = headers.notice(self.machine)
            if said:
                yield said

    def _debug_struct(self, name: str, paths: Iterable[str]) -> Struct | None:
        for path in list(paths):
            info = self.debug(path)
            found = _known(info.struct, name) if info is not None else None
            if found is not None:
                return found
        return None

    def _typedef(self, name: str) -> Type | None:
        return self.struct(name)

    def constant(self, name: str) -> tuple[Type, int] | None:
        """An enumerator's or a #define's type and value; None where there is none."""
        if name in self.constants:
            return self.constants[name]
        if name in _MACROS:
            return smallest(_MACROS[name]), _MACROS[name]
        from unitrace.kernel import btf, syscalls

        call = syscalls.named(self._arch(), name) if name.startswith(("__NR_", "SYS_")) else None
        if call is not None:
            return smallest(call), call
        self._prepare_headers()
        found = btf.constant(self.machine, name)
        if found is None:
            return None
        return found, dict(found.values)[name]


def _known(ask: Callable[[Any], Struct | None], of: object) -> Struct | None:
    """What debug information says; None where its DWARF isn't known, or damaged."""
    try:
        return ask(of)
    except ValueError:
        return None


_MACROS = {
    "AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "NULL": 0, "EPERM": 1, "ENOENT": 2, "EINTR": 4, "EAGAIN": 11,
    "S_IFMT": 0o170000, "S_IFREG": 0o100000, "S_IFDIR": 0o040000, "S_IFLNK": 0o120000, "S_IFCHR": 0o020000,
    "S_IFBLK": 0o060000, "S_IFIFO": 0o010000, "S_IFSOCK": 0o140000, "O_RDONLY": 0, "O_WRONLY": 1,
    "O_RDWR": 2, "SOCK_STREAM": 1, "SOCK_DGRAM": 2, "IPPROTO_TCP": 6, "IPPROTO_UDP": 17,
    "CLONE_THREAD": 0x10000, "MINORBITS": 20, "PAGE_SHIFT": 12,
}  # fmt: skip
"""Macros of kernel headers that scripts use: BTF has none, and the headers needn't be there. All are part
of the kernel's interface to programs (include/uapi), or the same wherever pages have 4 KiB."""
