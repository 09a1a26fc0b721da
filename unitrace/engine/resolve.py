"""Values as people read them: symbols, stacks, addresses, times, cgroups.

These are looked up when something is printed, from what the machine knows then, as bpftrace does.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from unitrace.contract.types import Formatted, Stack, Symbol, Type

from .runtime import Runtime

__all__ = ["Resolver"]

Table = tuple[list[int], list[bytes]]
"""Addresses, ascending, and the symbols that start there."""

EMPTY: Table = ([], [])


class Resolver:
    """Renders one value of a type that numbers alone don't say; call it with (type, value)."""

    def __init__(self, to_wall: int, files: tuple[str, ...] = ()) -> None:
        """``files``: the programs that are probed, for addresses of processes that are gone by now."""
        self._to_wall = to_wall
        self._programs = files
        self._fixed: list[tuple[int, int, bytes]] | None = None
        self._kernel: Table | None = None
        self._files: dict[str, Table] = {}
        self._places: dict[int, list[tuple[int, int, int, str]]] = {}
        self._builds: dict[str, bytes] = {}
        self._cgroups: dict[int, bytes] = {}

    def __call__(self, of: Type, value: Any) -> bytes:
        """The text of ``value``; a plain number in hexadecimal where nothing is known of it."""
        if isinstance(of, Symbol):
            return self._symbol(of.space, value, offsets=False)
        if isinstance(of, Stack):
            return self._stack(of, value)
        if isinstance(of, Formatted):
            render = _FORMS.get(of.form)
            if render is not None:
                return render(self, of, value)
        return b"0x%x" % value if isinstance(value, int) else value if isinstance(value, bytes) else b""

    # --- symbols -----------------------------------------------------------------------------

    def _symbol(self, space: str, value: Any, offsets: bool) -> bytes:
        address, pid = value if isinstance(value, tuple) else (value, 0)
        found = self._in_kernel(address) if space == "kernel" else self._in_process(address, pid)
        if found is None:
            return b"0x%x" % address
        name, past = found
        return b"%s+%d" % (name, past) if offsets else name

    def _stack(self, of: Stack, value: Any) -> bytes:
        """One line a frame, after a line break: indented by eight blanks; mode "perf" has the address and
        the file too, mode "raw" the address alone, mode "build_id" that of the file and the place in it."""
        user = of.space == "user"
        pid = value[0] if user and value else 0
        lines = []
        for address in value[1 : of.depth + 1] if user else value[: of.depth]:
            if of.mode == "raw":
                lines.append(b"%x\n" % address)
                continue
            if of.mode == "build_id":
                lines.append(self._in_build(address, pid))
                continue
            text = self._symbol(of.space, (address, pid) if user else address, offsets=True)
            if of.mode == "perf":
                file = self._file_at(address, pid) if user else b""
                lines.append(b"\t%x %s%s\n" % (address, text, b" (%s)" % file if file else b""))
            else:
                lines.append(b"        %s\n" % text)
        return b"\n" + b"".join(lines)

    def _in_kernel(self, address: int) -> tuple[bytes, int] | None:
        if self._kernel is None:
            self._kernel = _kernel_symbols()
        return _nearest(self._kernel, address)

    def _in_process(self, address: int, pid: int) -> tuple[bytes, int] | None:
        found = self._mapped(address, pid)
        if found is None:
            return None if self._places.get(pid) else self._in_programs(address)
        start, offset, path = found
        if path not in self._files:
            self._files[path] = _file_symbols(path)
        return _nearest(self._files[path], address - start + offset)

    def _in_programs(self, address: int) -> tuple[bytes, int] | None:
        """The function at ``address`` in a probed program that is always loaded at the same place."""
        if self._fixed is None:
            self._fixed = sorted(one for path in self._programs for one in _fixed_symbols(path))
        at = bisect_right(self._fixed, (address, 1 << 64, b"")) - 1
        if at < 0 or address >= self._fixed[at][1]:
            return None
        return self._fixed[at][2], address - self._fixed[at][0]

    def _mapped(self, address: int, pid: int) -> tuple[int, int, str] | None:
        """The mapping that holds ``address``: its start, its offset in the file, the file. What a process
        has mapped is read again where nothing is found: it may have loaded a library since."""
        for again in (False, True):
            if again or pid not in self._places:
                self._places[pid] = _mappings(pid) or self._places.get(pid, [])
            for start, end, offset, path in self._places[pid]:
                if start <= address < end:
                    return start, offset, path
        return None

    def _in_build(self, address: int, pid: int) -> bytes:
        found = self._mapped(address, pid)
        if found is None:
            return b"0x%x\n" % address
        start, offset, path = found
        if path not in self._builds:
            self._builds[path] = _build_id(path)
        return b"%s 0x%x\n" % (self._builds[path], address - start + offset)

    def _file_at(self, address: int, pid: int) -> bytes:
        found = self._mapped(address, pid)
        return b"[unknown]" if found is None else os.fsencode(found[2])

    # --- forms -------------------------------------------------------------------------------

    def _inet(self, of: Formatted, value: bytes) -> bytes:
        import socket

        family = socket.AF_INET6 if len(value) == 16 else socket.AF_INET
        try:
            return socket.inet_ntop(family, value).encode()
        except ValueError:
            return b""

    def _mac(self, of: Formatted, value: bytes) -> bytes:
        return b":".join(b"%02X" % byte for byte in value)

    def _timestamp(self, of: Formatted, value: int) -> bytes:
        return Runtime.strftime(of.detail.encode("latin-1"), value + self._to_wall)

    def _strerror(self, of: Formatted, value: int) -> bytes:
        return os.strerror(value & 0x7FFFFFFF).encode()

    def _username(self, of: Formatted, value: int) -> bytes:
        import pwd

        try:
            return pwd.getpwuid(value).pw_name.encode()
        except KeyError:
            return b""

    def _cgroup(self, of: Formatted, value: int) -> bytes:
        """ "unified:/path" of the cgroup v2 with that id, the inode number of its directory."""
        if value not in self._cgroups:
            self._cgroups[value] = b""
            for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
                if not os.path.exists(f"{root}/cgroup.controllers"):
                    continue
                for path, _, _ in os.walk(root):
                    try:
                        if os.stat(path).st_ino == value:
                            self._cgroups[value] = b"unified:" + os.fsencode(path[len(root) :] or "/")
                            return self._cgroups[value]
                    except OSError:
                        continue
        return self._cgroups[value]


_FORMS: dict[str, Callable[[Resolver, Formatted, Any], bytes]] = {
    "cgroup": Resolver._cgroup,
    "inet": Resolver._inet,
    "mac": Resolver._mac,
    "strerror": Resolver._strerror,
    "timestamp": Resolver._timestamp,
    "username": Resolver._username,
}


def _nearest(table: Table, address: int) -> tuple[bytes, int] | None:
    """The symbol at or before ``address``, and how far past its start that is."""
    addresses, names = table
    at = bisect_right(addresses, address) - 1
    return None if at < 0 else (names[at], address - addresses[at])


def _kernel_symbols() -> Table:
    """Text symbols of /proc/kallsyms; none where addresses are hidden (kptr_restrict)."""
    import re

    try:
        with open("/proc/kallsyms", "rb") as file:
            text = file.read()
    except OSError:
        return EMPTY
    found = re.findall(rb"^([0-9a-f]+) [tTwW] (\S+)", text, re.MULTILINE)
    pairs = sorted((int(address, 16), name) for address, name in found)
    if not pairs or pairs[-1][0] == 0:
        return EMPTY
    return [address for address, _ in pairs], [name for _, name in pairs]


def _mappings(pid: int) -> list[tuple[int, int, int, str]]:
    """(start, end, file offset, path) of a process's executable file mappings."""
    made = []
    try:
        apart = os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    except OSError:
        apart = False
    root = f"/proc/{pid}/root" if apart else ""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.split(None, 5)
                if len(fields) == 6 and "x" in fields[1] and fields[5].startswith("/"):
                    start, _, end = fields[0].partition("-")
                    path = root + fields[5].rstrip("\n")
                    made.append((int(start, 16), int(end, 16), int(fields[2], 16), path))
    except OSError:
        pass
    return made


def _build_id(path: str) -> bytes:
    """The build id of a file in hex; zeros where it has none."""
    from unitrace.kernel import elf

    try:
        with elf.Elf(path) as file:
            return file.build_id().encode() or b"0" * 40
    except (OSError, ValueError):
        return b"0" * 40


def _fixed_symbols(path: str) -> list[tuple[int, int, bytes]]:
    """(address, end, name) of the functions of a program of type ET_EXEC (2); of others none."""
    from unitrace.contract.errors import UnitraceError
    from unitrace.kernel import elf

    try:
        with elf.Elf(path) as file:
            if file.type != 2:
                return []
        found = (one for one in elf.symbols(path) if one.is_func)
        return [(one.address, one.address + one.size, one.name.encode()) for one in found]
    except (OSError, UnitraceError, ValueError):
        return []


def _file_symbols(path: str) -> Table:
    """The functions of an ELF file by their offsets in it."""
    from unitrace.contract.errors import UnitraceError
    from unitrace.kernel import elf

    try:
        found = (one for one in elf.symbols(path) if one.is_func)  # name@VERSION in .dynsym
        pairs = sorted((one.offset_in_file, one.name.partition("@")[0].encode()) for one in found)
    except (OSError, UnitraceError, ValueError):
        return EMPTY
    return [offset for offset, _ in pairs], [name for _, name in pairs]
