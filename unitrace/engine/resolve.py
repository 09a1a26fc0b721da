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

    def __init__(self, to_wall: int) -> None:
        self._to_wall = to_wall
        self._kernel: Table | None = None
        self._files: dict[str, Table] = {}
        self._places: dict[int, list[tuple[int, int, int, str]]] = {}
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
        """One line a frame: indented by four blanks, after a line break; mode "perf" has addresses too."""
        lines = []
        for address in value[: of.depth]:
            if of.mode == "raw":
                lines.append(b"    %x\n" % address)
            elif of.mode == "perf":
                lines.append(b"\t%x %s\n" % (address, self._symbol(of.space, address, offsets=True)))
            else:
                lines.append(b"    %s\n" % self._symbol(of.space, address, offsets=True))
        return b"\n" + b"".join(lines)

    def _in_kernel(self, address: int) -> tuple[bytes, int] | None:
        if self._kernel is None:
            self._kernel = _kernel_symbols()
        return _nearest(self._kernel, address)

    def _in_process(self, address: int, pid: int) -> tuple[bytes, int] | None:
        if pid not in self._places:
            self._places[pid] = _mappings(pid)
        for start, end, offset, path in self._places[pid]:
            if start <= address < end:
                if path not in self._files:
                    self._files[path] = _file_symbols(path)
                return _nearest(self._files[path], address - start + offset)
        return None

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
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.split(None, 5)
                if len(fields) == 6 and "x" in fields[1] and fields[5].startswith("/"):
                    start, _, end = fields[0].partition("-")
                    made.append((int(start, 16), int(end, 16), int(fields[2], 16), fields[5].rstrip("\n")))
    except OSError:
        pass
    return made


def _file_symbols(path: str) -> Table:
    """The functions of an ELF file by their offsets in it."""
    from unitrace.contract.errors import UnitraceError
    from unitrace.kernel import elf

    try:
        pairs = sorted((one.offset_in_file, one.name.encode()) for one in elf.symbols(path) if one.is_func)
    except (OSError, UnitraceError, ValueError):
        return EMPTY
    return [offset for offset, _ in pairs], [name for _, name in pairs]
