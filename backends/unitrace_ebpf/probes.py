"""What can be traced: for ``unitrace list`` and completion."""

from __future__ import annotations

from collections.abc import Iterator

from unitrace.contract.backend import Listed
from unitrace.contract.machine import Machine
from unitrace.contract.probes import BY_NAME

from .ways import MECHANISMS

__all__ = ["listed"]


def listed(machine: Machine, pattern: str) -> Iterator[Listed]:
    """Probes that match ``kind:scope:name`` or ``kind:name``, of the kinds that this backend attaches."""
    kind, _, rest = pattern.partition(":")
    known = BY_NAME.get(kind)
    kinds = list(MECHANISMS) if kind == "*" else [known.name] if known and known.name in MECHANISMS else []
    for one in kinds:
        ways = MECHANISMS[one]
        if any(all(machine.answer(fact) for fact in way.facts) for way in ways):
            yield from _of_kind(machine, one, rest)


def _of_kind(machine: Machine, kind: str, rest: str) -> Iterator[Listed]:
    if kind == "tracepoint":
        from unitrace.kernel.formats import tracepoints

        category, _, event = rest.partition(":")
        for group, name in tracepoints(machine, category or "*", event or "*"):
            yield Listed(f"tracepoint:{group}:{name}")
    elif kind == "syscall":
        from unitrace.kernel.formats import tracepoints

        for _, name in tracepoints(machine, "syscalls", f"sys_enter_{rest or '*'}"):
            yield Listed(f"syscall:{name.removeprefix('sys_enter_')}")
    elif kind in ("kprobe", "kretprobe"):
        from unitrace.kernel.functions import matching

        for name in matching(machine, rest or "*"):
            yield Listed(f"{kind}:{name}")
    elif kind in ("software", "hardware", "profile"):
        from unitrace.contract.probes import EVENTS

        for name in EVENTS[kind]:
            yield Listed(f"{kind}:{name}:")
    elif "/" in rest:
        from fnmatch import fnmatchcase

        from unitrace.kernel.elf import symbols

        path, _, wanted = rest.rpartition(":")
        for symbol in symbols(path):
            if symbol.is_func and fnmatchcase(symbol.name, wanted or "*"):
                yield Listed(f"{kind}:{path}:{symbol.name}")
