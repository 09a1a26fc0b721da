"""The arguments of one probe event: each expression's field, made when it is first asked for.

Both ftrace and perf_event get their events so. A value of the current task has a field for every CPU
(kernel/current.py); a number in memory has strings that witness it (kernel/fetchargs.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from unitrace.contract.ir import Expr, Field, Probe, Site, Text
from unitrace.contract.machine import Machine
from unitrace.contract.model import Place
from unitrace.contract.probes import BY_NAME
from unitrace.contract.record import Record
from unitrace.contract.types import Enum, Int

from . import filters
from .arch import Architecture
from .current import CPUS_MAX, OF_TASK, call_argument, expanded, pointer, reads
from .fetchargs import USER_PROBES, Fetch, Sites, Unfetchable, fetched
from .fetched import Rule

__all__ = ["Arguments", "Value", "kept_argument"]

ARGUMENTS_MAX = 128
"""MAX_TRACE_ARGS, kernel/trace/trace_probe.h."""

ENTRIES_KEPT_SINCE = (6, 9)
"""From then on a return probe keeps arguments from the entry (25f00e40ce79, kernel/trace/trace_probe.c)."""

LAST = "$comm:string"
"""A string that there always is; without its type it is a number in event probes of 6.1."""

_GENERIC = filters.named_fields((), "")


class Value(Record):
    """Where an expression's value is: fields ``names`` of the event, one in all or one for each of ``cpus``,
    each with the fields that witness it. ``fetch``: how it is read; ``limit``: bytes of a string that
    count, its NUL included."""

    names: tuple[str, ...]
    checks: tuple[tuple[str, ...], ...]
    fetch: Fetch
    cpus: tuple[int, ...] = ()
    limit: int = 0

    @property
    def used(self) -> set[str]:
        """All fields that it needs."""
        return {*self.names, *(name for one in self.checks for name in one)}

    def place(self, fields: Mapping[str, Field], cpu: int = 0, base: int = 0) -> tuple[Place, Rule | None]:
        """Where CPU ``cpu``'s records have it, ``base`` bytes before the event's own; and what to do with
        what is read there. KeyError for a CPU that came later."""
        at = 0
        if self.cpus:
            if cpu not in self.cpus:
                raise KeyError(cpu)
            at = self.cpus.index(cpu)
        field, held = fields[self.names[at]], self.fetch
        checks = [_length(fields, name, text, base) for name, text in zip(self.checks[at], held.checks)]
        if held.how == "string":
            found = Place(base + field.offset, 4, field.how, base=base)
            if chained(held.text):
                checks = [_length(fields, field.name, held.text, base)]
        elif held.how == "int":
            mask = (1 << held.bit_size) - 1
            signed = held.signed and not held.bit_size
            found = Place(base + field.offset, held.size, "int", signed, shift=held.bit_offset, mask=mask)
        else:
            found = Place(base + field.offset, held.size, held.how)
        sign = held.bit_size if held.signed else 0
        if not (checks or sign or self.limit):
            return found, None
        return found, Rule(self.limit, tuple(checks), sign)


def chained(text: str) -> bool:
    """Whether a string is reached through pointers in memory. Where such a pointer can't be read, newer
    kernels (6.12, not yet 6.1) leave the string the length of all that follow: process_fetch_insn() returns
    before it is set. Only the next string's place tells how long it is then."""
    return text.count("(") > 1


def _length(fields: Mapping[str, Field], name: str, text: str, base: int) -> tuple[int, int]:
    """Where the length of a string is: its own data_loc, and the next string's (-1: not needed)."""
    at = fields[name].offset
    if not chained(text):
        return base + at, -1
    later = min(one.offset for one in fields.values() if one.how == "data_loc" and one.offset > at)
    return base + at, base + later


def kept_argument(machine: Machine, probe: Probe, site: Site) -> str | None:
    """What a kernel function was called with, at its return; None where ``site`` is something else. Raises
    Unfetchable."""
    number = site.key if site.name == "entry" else None
    if site.name == "args" and probe.kind == "fexit":
        number = next((field.offset for field in probe.fields if field.name == site.key), None)
    if not isinstance(number, int):
        return None
    if probe.kind in USER_PROBES or not BY_NAME[probe.kind].returns:
        raise Unfetchable(f"{probe.kind} probes don't know what the call was made with")
    if tuple(machine.fact("kernel.version")) < ENTRIES_KEPT_SINCE:
        raise Unfetchable("this kernel forgets what a call was made with", "a kernel from 6.9 on")
    return f"$arg{number + 1}"


class Arguments:
    """What one event fetches. ``fields``: name to fetch argument. ``by_cpu``: sites that are found by each
    CPU's own variables."""

    by_cpu = OF_TASK

    def __init__(
        self, machine: Machine, probe: Probe, architecture: Architecture, sites: Sites | None = None
    ) -> None:
        self.machine = machine
        self.probe = probe
        self.arch = architecture
        self.sites = sites or self._kept
        self.fields: dict[str, str] = {}
        self._by_text: dict[str, str] = {}
        self._values: dict[Expr, Value] = {}

    def value(self, expr: Expr) -> Value:
        """Where ``expr`` will be. Raises Unfetchable."""
        found = self._values.get(expr)
        if found is None:
            found = self._values[expr] = self._made(expr)
        return found

    def plain(self, expr: Expr, text: str, how: str) -> Value:
        """A value whose fetch argument is ``text``; ``how`` as in Fetch."""
        found = self._values.get(expr)
        if found is None:
            one = Fetch(text, how, expr.type.size if how == "int" else 4, text.rpartition(":")[2][0] == "s")
            found = self._values[expr] = Value((self._name(text),), ((),), one)
        return found

    def naming(self, site: Site) -> filters.Named | None:
        """What a filter calls a value: what every event has, or an integer that is fetched."""
        generic = _GENERIC(site)
        if generic is not None or not isinstance(site.type, (Int, Enum)) or site.name in self.by_cpu:
            return generic
        try:
            (name,) = self.value(site).names
        except Unfetchable:
            return None
        return filters.Named(name, site.type.size, site.type.signed)

    def fetches(self, values: Iterable[Value], text: str = "") -> tuple[tuple[str, str], ...]:
        """(name, fetch argument) of the fields that ``values`` or the filter ``text`` name. Strings come
        first: before 6.5 a number that couldn't be read spoilt those behind it."""
        used = {name for value in values for name in value.used} | _words(text)
        if any(chained(how) and _is_string(how) for name, how in self.fields.items() if name in used):
            used.add(self._name(LAST))  # so that each string has one after it
        pairs = [(name, how) for name, how in self.fields.items() if name in used]
        pairs.sort(key=lambda pair: (not _is_string(pair[1]), pair[1] == LAST))
        if len(pairs) > ARGUMENTS_MAX:
            raise Unfetchable(f"an event has {ARGUMENTS_MAX} arguments at most, not {len(pairs)}")
        return tuple(pairs)

    def _made(self, expr: Expr) -> Value:
        limit = 0
        if isinstance(expr, Text):
            shorter = int(getattr(expr.limit, "value", expr.type.size))
            limit = max(1, min(expr.type.size, shorter))
        if not reads(expr, self.by_cpu):
            one = fetched(expr, self.probe, self.arch, self.sites)
            return Value((self._name(one.text),), (tuple(map(self._name, one.checks)),), one, (), limit)
        if self.probe.kind in USER_PROBES:
            raise Unfetchable("a uprobe event can't read kernel memory, where the current task is")
        online = self.machine.fact("cpus.online")
        cpus = tuple(online) if isinstance(online, (list, tuple)) else ()
        if not cpus:
            raise Unfetchable("the current task can't be had: which CPUs there are isn't recorded")
        if len(cpus) > CPUS_MAX:
            raise Unfetchable(f"the current task is looked up for each CPU, and {len(cpus)} are too many")
        sure = isinstance(expr, Site)
        if isinstance(expr, Site) and expr.name not in ("curtask", "entry"):
            expr = expanded(self.machine, expr)
        names, checks = [], []
        for cpu in cpus:
            one = fetched(expr, self.probe, self.arch, self._of_cpu(cpu), sure=sure)
            names.append(self._name(one.text))
            checks.append(tuple(map(self._name, one.checks)))
        return Value(tuple(names), tuple(checks), one, cpus, limit)

    def _of_cpu(self, cpu: int) -> Sites:
        def place(site: Site) -> str | None:
            if site.name == "curtask":
                return pointer(self.machine, cpu)
            if site.name == "entry" and "entry" in self.by_cpu:
                return call_argument(self.machine, self.arch, cpu, int(site.key or 0))
            return self.sites(site)

        return place

    def _kept(self, site: Site) -> str | None:
        return kept_argument(self.machine, self.probe, site)

    def _name(self, text: str) -> str:
        name = self._by_text.get(text)
        if name is None:
            name = self._by_text[text] = f"v{len(self.fields)}"
            self.fields[name] = text
        return name


def _is_string(how: str) -> bool:
    return how == "$comm" or how.endswith("string")


def _words(text: str) -> set[str]:
    return set(text.replace("(", " ").replace(")", " ").replace("!", " ").split())
