"""What there is to trace: every probe type's places that match a pattern, and the kernel's structs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase, translate

from unitrace.contract.backend import Listed
from unitrace.contract.errors import ProbeError
from unitrace.contract.ir import Field
from unitrace.contract.machine import Machine
from unitrace.contract.probes import BY_NAME, EVENTS
from unitrace.contract.types import name_of

__all__ = ["ARGUMENTS_UP_TO", "listing"]

ARGUMENTS_UP_TO = 2000
"""How many probes of a type are listed with their arguments: a prototype takes half a millisecond."""

WILD = re.compile(r"[*?\[]")
IN_FILES = ("uprobe", "uretprobe", "usdt")


def listing(
    machine: Machine, patterns: str, pid: int = 0, arguments: bool = False, debug: Sequence[str] = ()
) -> Iterator[Listed]:
    """What matches any of ``patterns`` (commas part them), type after type.

    A pattern is TYPE:TARGET, either with wildcards; a word without a colon is looked for in all
    that the kernel has; "struct NAME" gives its definition. ``pid``: whose files are looked into
    where none is named. ``arguments``: find them out too; ``debug``: where programs' debug files may be.
    """
    for pattern in patterns.split(","):
        pattern = pattern.strip()
        if pattern.startswith(("struct ", "union ", "enum ")):
            yield from _definition(machine, pattern)
            continue
        word, colon, target = pattern.partition(":")
        wanted = BY_NAME[word].name if word in BY_NAME else word
        matches = re.compile(translate(pattern)).match
        for kind, source in _SOURCES.items():
            if colon and not fnmatchcase(kind, wanted):
                continue
            if kind in IN_FILES:
                found = _in_files(kind, target if colon else "*", pid, debug if arguments else None)
            else:
                found = source(machine, kind, target if colon else "*", arguments)
            yield from found if colon or pattern == "*" else (one for one in found if matches(one.label))


def _functions(machine: Machine, kind: str, target: str, arguments: bool) -> Iterator[Listed]:
    from unitrace.kernel.functions import located

    module, colon, name = target.rpartition(":")
    name = name.partition("+")[0]
    found = [
        (one, where)
        for one, where in located(machine, name)
        if not one.startswith("__ftrace_invalid_address__")
        and (not colon or fnmatchcase(where or "vmlinux", module))
    ]
    typed = kind in ("fentry", "fexit")
    known = ARGUMENTS_UP_TO if arguments else 0
    for at, (one, where) in enumerate(found):
        place = f"{where or 'vmlinux'}:{one}" if typed or where else one
        yield Listed(f"{kind}:{place}", _prototype(machine, kind, one, where) if at < known else ())


def _prototype(machine: Machine, kind: str, function: str, module: str = "") -> tuple[str, ...]:
    from unitrace.kernel.btf import prototype

    found = prototype(machine, function, module)
    if found is None:
        return ()
    result = (f"{name_of(found.result)} retval",)
    if kind == "kretprobe":
        return result
    if kind == "kprobe":
        return tuple(f"{name_of(one.type)} arg{at}" for at, one in enumerate(found.fields))
    if kind == "rawtracepoint":  # the first is the data of whoever is attached
        return _declared(found.fields[1:])
    return _declared(found.fields) + (result if kind == "fexit" else ())


def _tracepoints(machine: Machine, kind: str, target: str, arguments: bool) -> Iterator[Listed]:
    from unitrace.kernel.formats import read_format, tracepoints

    category, colon, event = target.partition(":")
    known = ARGUMENTS_UP_TO if arguments else 0
    found = tracepoints(machine, category if colon else "*", event if colon else "*")
    if not colon:  # "tracepoint:*open*": wherever it stands, in the category or the event
        found = (pair for pair in found if fnmatchcase(":".join(pair), target) or pair[0] == target)
    for at, (group, name) in enumerate(found):
        fields = read_format(machine, group, name).fields if at < known else ()
        yield Listed(f"tracepoint:{group}:{name}", _declared(fields))


def _raw_tracepoints(machine: Machine, kind: str, target: str, arguments: bool) -> Iterator[Listed]:
    from unitrace.kernel.formats import tracepoints

    module, _, event = target.rpartition(":")
    if "/" in module:  # a file, of any type of probe
        return
    names = sorted({name for group, name in tracepoints(machine, "*", event) if group != "syscalls"})
    known = ARGUMENTS_UP_TO if arguments else 0
    for at, name in enumerate(names):
        declared = _prototype(machine, kind, f"__traceiter_{name}") if at < known else ()
        yield Listed(f"rawtracepoint:{name}", declared)


def _syscalls(machine: Machine, kind: str, target: str, arguments: bool) -> Iterator[Listed]:
    for one in _tracepoints(machine, "tracepoint", f"syscalls:sys_enter_{target}", arguments):
        yield Listed("syscall:" + one.label.partition("sys_enter_")[2], one.args[1:])


def _fixed(machine: Machine, kind: str, target: str, arguments: bool) -> Iterator[Listed]:
    wanted = target.partition(":")[0]
    for event in EVENTS[kind]:
        if fnmatchcase(event, wanted):
            yield Listed(f"{kind}:{event}:")


def _plain(machine: Machine, kind: str, target: str, arguments: bool) -> Iterator[Listed]:
    if target in ("", "*"):
        yield Listed(kind)


def _in_files(kind: str, target: str, pid: int, debug: Sequence[str] | None) -> Iterator[Listed]:
    from unitrace.kernel.elf import symbols
    from unitrace.kernel.usdt import probes

    info = None
    file, _, name = target.partition(":")
    for shown, path in _files(file, pid):
        try:
            if kind == "usdt":
                found = {f"{one.provider}:{one.name}": 0 for one in probes(path)}
                wanted = name if ":" in name else f"*:{name or '*'}" if name != "*" else "*"
            else:
                found = {one.name: one.address for one in symbols(path) if one.is_func}
                wanted = name.partition("+")[0] or "*"
                if debug is not None and kind == "uprobe":
                    from unitrace.kernel.debuginfo import DebugInfo

                    info = DebugInfo(path, debug)
        except (OSError, ValueError):
            continue  # a map of something else than a program
        for one in sorted(found):
            if fnmatchcase(one, wanted):
                yield Listed(f"{kind}:{shown}:{one}", info.declared(found[one]) if info is not None else ())


def _files(file: str, pid: int) -> list[tuple[str, str]]:
    """The files that ``file`` means, as they are shown and as they are opened."""
    from unitrace.kernel.elf import resolve_file

    if file in ("", "*"):
        return _mapped(pid) if pid else []
    if WILD.search(file):
        return [(path, path) for path in sorted(glob.glob(file)) if os.path.isfile(path)]
    try:
        path = resolve_file(file, pid)
    except ProbeError:
        return []
    return [(file if "/" in file else path, path)]


def _mapped(pid: int) -> list[tuple[str, str]]:
    try:
        with open(f"/proc/{pid}/maps", errors="surrogateescape") as maps:
            lines = [line.split(maxsplit=5) for line in maps]
    except OSError as error:
        raise ProbeError(f"process {pid}: {error.strerror}") from None
    paths = sorted({line[5].rstrip("\n") for line in lines if len(line) > 5 and "x" in line[1]})
    return [(path, f"/proc/{pid}/root{path}") for path in paths if path.startswith("/")]


def _definition(machine: Machine, written: str) -> Iterator[Listed]:
    from unitrace.kernel.btf import struct

    found = struct(machine, written)
    if found is not None:
        members = "".join(f"\t{name_of(one.type)} {one.name};\n" for one in found.members)
        yield Listed(f"vmlinux: {written} {{\n{members}}};\n")


def _declared(fields: tuple[Field, ...]) -> tuple[str, ...]:
    return tuple(f"{name_of(field.type)} {field.name}" for field in fields)


Source = Callable[[Machine, str, str, bool], Iterator[Listed]]

_SOURCES: dict[str, Source] = {
    **dict.fromkeys(("kprobe", "kretprobe", "fentry", "fexit"), _functions),
    "tracepoint": _tracepoints,
    "rawtracepoint": _raw_tracepoints,
    "syscall": _syscalls,
    **dict.fromkeys(IN_FILES, _plain),
    **dict.fromkeys(EVENTS, _fixed),
    **dict.fromkeys(("begin", "end"), _plain),
}
