"""What can be traced, for ``list`` and completion."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from unitrace.contract.backend import Listed
from unitrace.contract.machine import Machine
from unitrace.contract.probes import BY_NAME
from unitrace.kernel import elf, formats, functions

__all__ = ["listed"]


def listed(machine: Machine, pattern: str) -> Iterator[Listed]:
    """The probes that match ``pattern`` ("tracepoint:sched:*"); nothing for types that this machine
    doesn't give."""
    word, _, target = pattern.partition(":")
    kinds = [BY_NAME[word].name] if word in BY_NAME else [k for k in _KINDS if fnmatchcase(k, word)]
    for kind in kinds:
        if kind in _KINDS:
            yield from _KINDS[kind](machine, kind, target or "*")


def _tracepoints(machine: Machine, kind: str, target: str) -> Iterator[Listed]:
    if not machine.answer("perf.tracepoint"):
        return
    category, colon, event = target.partition(":")
    for group, name in formats.tracepoints(machine, category, event if colon else "*"):
        yield Listed(f"{kind}:{group}:{name}")


def _functions(machine: Machine, kind: str, target: str) -> Iterator[Listed]:
    if machine.answer("perf.kprobe_pmu") or machine.answer("perf.kprobe_events"):
        for name in functions.matching(machine, target.rpartition(":")[2]):
            yield Listed(f"{kind}:{name}")


def _user_functions(machine: Machine, kind: str, target: str) -> Iterator[Listed]:
    file, _, name = target.rpartition(":")
    if not file or not (machine.answer("perf.uprobe_pmu") or machine.answer("perf.uprobe_events")):
        return
    path = elf.resolve_file(file)
    for symbol in sorted({one.name for one in elf.symbols(path) if one.is_func}):
        if fnmatchcase(symbol, name):
            yield Listed(f"{kind}:{path}:{symbol}")


_KINDS = {
    "tracepoint": _tracepoints,
    "kprobe": _functions,
    "kretprobe": _functions,
    "uprobe": _user_functions,
    "uretprobe": _user_functions,
}
