"""The kernel's functions: which can be traced.

available_filter_functions is the list to ask: a function that was inlined everywhere isn't in it, nor
one that is marked notrace. Where it can't be read (no function tracer, lockdown, no privilege),
/proc/kallsyms is the next best: it also holds what only runs at boot or can't be probed.

The lists are some megabytes, and slow to make for the kernel: they are kept as text and searched as
bytes, on disk where there is a cache (kernel/cache.py).
"""

from __future__ import annotations

import mmap
import re

from unitrace.contract.errors import BackendError
from unitrace.contract.machine import Machine

from . import cache, tracefs

__all__ = ["exists", "matching", "near"]

Names = bytes | mmap.mmap

_live: Names | None = None


def exists(machine: Machine, name: str, module: str = "") -> bool:
    """Whether the kernel has a function ``name`` that can be traced (in ``module``, if given)."""
    names, wanted = _names(machine), name.encode()
    if module and module != "vmlinux":
        return names.find(b"\n%s [%s]\n" % (wanted, module.encode())) >= 0
    if names.find(b"\n%s\n" % wanted) >= 0:
        return True
    return not module and names.find(b"\n%s [" % wanted) >= 0


def modules_of(machine: Machine, name: str) -> list[str]:
    """The modules that have a function ``name``; "" stands for the kernel itself."""
    found = re.findall(rb"\n%s(?: \[(\w+)\])?(?=\n)" % re.escape(name.encode()), _names(machine))
    return sorted({module.decode() for module in found})


def matching(machine: Machine, pattern: str) -> list[str]:
    """The functions that match ``pattern`` (``*``, ``?``, ``[...]``), sorted, each once."""
    search = re.compile(rb"(?m)^(%s)(?: \[\w+\])?$" % _expression(pattern).encode())
    return sorted({found.decode() for found in search.findall(_names(machine))})


def _expression(pattern: str) -> str:
    """A shell pattern as a regular expression that stays within a name."""
    parts = re.split(r"(\*|\?|\[[^\]]+\])", pattern)
    special = {"*": r"[^\n ]*", "?": r"[^\n ]"}
    sets = (p if not p.startswith("[!") else f"[^{p[2:]}" for p in parts)
    return "".join(special.get(p) or (p if len(p) > 2 and p[0] == "[" else re.escape(p)) for p in sets)


def near(machine: Machine, name: str, count: int = 5) -> list[str]:
    """Names close to one that doesn't exist, best first."""
    names, wanted = _names(machine), name.encode()
    found: dict[str, None] = {}
    for piece in _pieces(wanted):
        for match in re.finditer(rb"\n([^\n ]*%s[^\n ]*)" % re.escape(piece), names):
            found[match[1].decode()] = None
            if len(found) > 2000:
                break
        if len(found) > 20:
            break
    import difflib

    return difflib.get_close_matches(name, found, count, 0.6)


def _pieces(name: bytes) -> list[bytes]:
    """Parts of a name that a misspelled one still shares with the right one, the most telling first."""
    words = sorted((word for word in name.split(b"_") if len(word) > 3), key=len, reverse=True)
    half = max(4, len(name) // 2)
    return [name, name[:half], name[-half:], *words[:3], *(word[:4] for word in words[:2])]


def _names(machine: Machine) -> Names:
    """All names, one a line ("name" or "name [module]"), a newline first."""
    global _live
    if not machine.live:
        return _recorded(machine)
    if _live is None:
        source = _source(machine)
        _live = cache.kept(
            f"functions-{source.strip('/').replace('/', '-')}", cache.modules_key(), lambda: _list(source)
        )
    return _live


def _source(machine: Machine) -> str:
    try:
        path = f"{tracefs.root(machine)}/available_filter_functions"
        with open(path, "rb", buffering=0) as file:
            if file.read(1):
                return path
    except (OSError, BackendError):
        pass
    return "/proc/kallsyms"


def _list(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        text = file.readall()
    return _from_kallsyms(text) if path.endswith("kallsyms") else b"\n" + text


def _from_kallsyms(text: bytes) -> bytes:
    """The text symbols, without those of modules' and the kernel's init sections, and of BPF."""
    first, last = _bounds(text, b"_sinittext"), _bounds(text, b"_einittext")
    lines = re.findall(rb"^([0-9a-f]+) [tTwW] ([^\t\n]+)(?:\t(\[\w+\]))?$", text, re.M)
    init = range(first, last)
    names = []
    for address, name, module in lines:
        if first < last and int(address, 16) in init:
            continue
        if module:
            if module not in (b"[bpf]", b"[__builtin__ftrace]"):
                names.append(name + b" " + module)
        else:
            names.append(name)
    return b"\n" + b"\n".join(names) + b"\n"


def _bounds(text: bytes, symbol: bytes) -> int:
    found = re.search(rb"^([0-9a-f]+) \w %s$" % symbol, text, re.M)
    return int(found[1], 16) if found else 0


def _recorded(machine: Machine) -> bytes:
    for place in tracefs.PLACES:
        held = machine.files.get(f"{place}/available_filter_functions")
        if isinstance(held, str):
            return b"\n" + held.encode()
    held = machine.files.get("/proc/kallsyms")
    return _from_kallsyms(held.encode()) if isinstance(held, str) else b"\n"
