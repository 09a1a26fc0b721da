"""What ftrace can trace here, by pattern: for ``unitrace list`` and completion."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from unitrace.contract.backend import Listed
from unitrace.contract.errors import ProbeError
from unitrace.contract.ir import Field
from unitrace.contract.machine import Machine
from unitrace.contract.probes import BY_NAME
from unitrace.contract.types import name_of

from .survey import STREAM, first_missing

__all__ = ["listed"]

ARGUMENTS_UP_TO = 50
"""Tracepoints whose arguments are shown: reading a format costs 85 us, and there are thousands."""


def listed(machine: Machine, pattern: str) -> Iterator[Listed]:
    """The probes that match ``pattern``: "tracepoint:sched:*", "kprobe:vfs_*", "uprobe:/bin/bash:read*"."""
    if not first_missing(machine, STREAM):
        return
    kind, _, rest = pattern.partition(":")
    kind = BY_NAME[kind].name if kind in BY_NAME else kind
    if fnmatchcase("tracepoint", kind):
        yield from _tracepoints(machine, rest or "*")
    if fnmatchcase("syscall", kind) and kind != "*":
        yield from _syscalls(machine, rest or "*")
    for name in ("kprobe", "kretprobe"):
        if fnmatchcase(name, kind) and machine.answer("ftrace.kprobe_events"):
            yield from _functions(machine, name, rest or "*")
    for name in ("uprobe", "uretprobe"):
        if name == kind and rest and machine.answer("ftrace.uprobe_events"):
            yield from _symbols(name, rest)


def _tracepoints(machine: Machine, pattern: str) -> Iterator[Listed]:
    from unitrace.kernel.formats import tracepoints

    category, colon, event = pattern.partition(":")
    if not colon:  # "*open*" alone: anywhere in the event's name
        category, event = "*", pattern
    found = list(tracepoints(machine, category, event))
    for group, name in found:
        fields = _fields(machine, group, name) if len(found) <= ARGUMENTS_UP_TO else ()
        yield Listed(f"tracepoint:{group}:{name}", tuple(_declared(field) for field in fields))


def _syscalls(machine: Machine, pattern: str) -> Iterator[Listed]:
    from unitrace.kernel.formats import tracepoints

    found = list(tracepoints(machine, "syscalls", f"sys_enter_{pattern}"))
    for group, name in found:
        fields = _fields(machine, group, name) if len(found) <= ARGUMENTS_UP_TO else ()
        arguments = tuple(_declared(field) for field in fields if field.name != "__syscall_nr")
        yield Listed(f"syscall:{name.removeprefix('sys_enter_')}", arguments)


def _fields(machine: Machine, category: str, event: str) -> tuple[Field, ...]:
    from unitrace.kernel.formats import read_format

    try:
        return read_format(machine, category, event).fields
    except ProbeError:
        return ()


def _declared(field: Field) -> str:
    return f"{name_of(field.type)} {field.name}"


def _functions(machine: Machine, kind: str, pattern: str) -> Iterator[Listed]:
    from unitrace.kernel.functions import matching

    for name in matching(machine, pattern):
        yield Listed(f"{kind}:{name}")


def _symbols(kind: str, target: str) -> Iterator[Listed]:
    from unitrace.kernel.elf import resolve_file, symbols

    file, _, pattern = target.rpartition(":")
    try:
        path = resolve_file(file)
        for symbol in symbols(path):
            if symbol.is_func and fnmatchcase(symbol.name, pattern or "*"):
                yield Listed(f"{kind}:{path}:{symbol.name}")
    except (OSError, ValueError, ProbeError):
        return
