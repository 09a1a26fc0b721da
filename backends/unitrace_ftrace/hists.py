"""Maps kept in the kernel: hist triggers, where they count exactly what the language counts.

Documentation/trace/histogram.rst, kernel/trace/trace_events_hist.c. Keys and values are 64 bits wide there,
a field's value extended by its own sign, and printed as unsigned numbers; so they are taken back to the
language's types here. What is kept: count(), sum() of a field, and lhist() where its edges are multiples
of its step (``.buckets``, 5.15). What isn't: hist() (``.log2`` rounds up), strings (the trigger prints them
padded and unescaped, and cuts them), ``.execname`` (a task's name when it was first seen).

A map is never cleared in the kernel: that would lose what is counted meanwhile. What was there is
subtracted instead.
"""

from __future__ import annotations

import re
from typing import Any

from unitrace.contract.ir import Cast, Clause, Const, Expr, MapUpdate, Site
from unitrace.contract.machine import Answer, Machine, fact
from unitrace.contract.model import lhist_bucket
from unitrace.contract.offer import Request
from unitrace.contract.record import Record
from unitrace.contract.types import Aggregate, Enum, Int, Pointer, Type
from unitrace.kernel import tracefs
from unitrace.kernel.filters import Named, Naming

from .instance import Instance

__all__ = ["HIST", "HIST_NS", "Hist", "Kept", "hist"]

HIST, HIST_NS = "hist trigger", 250
"""How a share says it; and what an event costs the traced task: a look-up and two additions."""

ALL = "common_type"
"""A key for maps without one: it is the same in every record of an event."""

SMALLEST, LARGEST = 1 << 7, 1 << 17
"""TRACING_MAP_BITS_MIN and _MAX, kernel/trace/tracing_map.h."""

SPECIAL = frozenset({"hitcount", "cpu", "stacktrace", "common_cpu", "common_timestamp", "common_stacktrace"})
"""Words that mean something else in a trigger, also where the event has a field of that name."""

KEYS_MAX = 3
"""TRACING_MAP_KEYS_MAX, of which one may be the bucket."""


@fact("ftrace.hist", "whether events can be counted in the kernel by hist triggers (4.7)")
def _hist(machine: Machine) -> Answer:
    from .survey import in_tracefs

    return in_tracefs(machine, "events/task/task_newtask/hist", "this kernel has no hist triggers")


@fact("ftrace.hist_buckets", "whether hist triggers have buckets of one size (5.15)")
def _buckets(machine: Machine) -> Answer:
    try:
        if ".buckets=" in machine.read(f"{tracefs.root(machine)}/README"):
            return Answer()
    except OSError:
        pass
    return Answer(1, "this kernel's hist triggers have no .buckets", "a kernel from 5.15 on")


class Hist(Record):
    """A map as a hist trigger. ``fields``: its keys, ALL alone where the map has none; ``constants``: values
    of key parts that are no field, by position; ``key``: the types of the map's key; ``value``: the summed
    field, or ""; ``step``: of buckets of the last field (0: none); ``entries``: keys that it may hold."""

    map: str
    fields: tuple[str, ...]
    constants: tuple[tuple[int, int], ...]
    key: tuple[Type, ...]
    of: Aggregate
    value: str
    step: int
    entries: int

    def trigger(self) -> str:
        """The trigger's text, without attributes and filter."""
        fields = list(self.fields)
        if self.step:
            fields[-1] += f".buckets={self.step}"
        values = f":vals={self.value}" if self.value else ""
        return f"hist:keys={','.join(fields)}{values}:size={self.entries}"


def hist(machine: Machine, request: Request, clause: Clause, naming: Naming) -> Hist | None:
    """The hist trigger that does exactly what ``clause``'s body does; None where there is none."""
    if len(clause.body) != 1 or not isinstance(clause.body[0], MapUpdate):
        return None
    update = clause.body[0]
    if update.map not in request.keepable or not machine.answer("ftrace.hist"):
        return None
    decl = request.map(update.map)
    of = decl.value
    if len(request.writers(update.map)) != 1 or not isinstance(of, Aggregate):
        return None
    if decl.entries & (decl.entries - 1) or not SMALLEST <= decl.entries <= LARGEST:
        return None
    fields: list[str] = []
    constants: list[tuple[int, int]] = []
    for at, (part, type) in enumerate(zip(update.key, decl.key)):
        if not isinstance(type, (Int, Enum, Pointer)):
            return None
        site = _plain(part)
        if isinstance(site, Const) and not isinstance(site.value, bytes):
            constants.append((at, int(site.value)))
            continue
        found = _field(machine, site, naming)
        if found is None or found.name in fields:
            return None
        fields.append(found.name)
    value, step = "", 0
    if of.function in ("sum", "lhist"):
        site = _plain(update.args[0])
        found = _field(machine, site, naming)
        if found is None or len(update.args) != 1 or not isinstance(site.type, (Int, Enum)):
            return None
        if found.size < 8 and found.signed != site.type.signed:
            return None
        if of.function == "sum":
            value = found.name
        else:
            low, high, step = of.parameters
            if found.signed or found.size == 8 or low < 0 or low % step or high % step:
                return None
            if found.name in fields or not machine.answer("ftrace.hist_buckets"):
                return None
            fields.append(found.name)
    elif of.function != "count":
        return None
    if len(fields) > KEYS_MAX:
        return None
    names = tuple(fields) or (ALL,)
    return Hist(update.map, names, tuple(constants), decl.key, of, value, step, decl.entries)


def _field(machine: Machine, site: Expr, naming: Naming) -> Named | None:
    """What a trigger calls a value; None where it can't see it."""
    if not isinstance(site, Site):
        return None
    if site.name == "cpu":  # named so since 5.15, commit 1e3bac71c505
        version = tuple(machine.fact("kernel.version"))
        return Named("common_cpu", 4) if version >= (5, 15) else None
    found = naming(site)
    return None if found is None or found.text or found.name in SPECIAL else found


def _plain(expr: Expr) -> Expr:
    """What is under casts that keep a value, or take the same 64 bits otherwise."""
    while isinstance(expr, Cast) and isinstance(expr.type, (Int, Enum, Pointer)):
        inner = expr.operand.type
        if not isinstance(inner, (Int, Enum, Pointer)):
            break
        signed = isinstance(inner, (Int, Enum)) and inner.signed
        into_signed = isinstance(expr.type, (Int, Enum)) and expr.type.signed
        wider = expr.type.size > inner.size and (into_signed or not signed or expr.type.size == 8)
        if not (wider or expr.type.size == inner.size == 8 or expr.type == inner):
            break
        expr = expr.operand
    return expr


Key = tuple[Any, ...]


class Counted:
    """``hits`` of a key, and the ``value`` of the aggregate."""

    __slots__ = ("hits", "value")

    def __init__(self, value: Any) -> None:
        self.hits = 0
        self.value = value


class Kept:
    """A hist trigger in place, paused. BackendError where the kernel refuses it."""

    __slots__ = ("_base", "_condition", "_event", "_instance", "_shown", "_text", "hist")

    def __init__(self, instance: Instance, event: str, hist: Hist, filter: str) -> None:
        self.hist = hist
        self._instance = instance
        self._event = event
        self._text = hist.trigger()
        self._base: dict[Key, Counted] = {}
        self._shown: set[Key] = set()
        condition = f" if {filter}" if filter else ""
        self._condition = condition
        self._write("pause")

    def start(self) -> None:
        """Let it count."""
        self._write("cont")

    def stop(self) -> None:
        """It counts no more; what it holds can be read."""
        self._write("pause")

    def dropped(self) -> int:
        """Events that found no room for a new key."""
        found = re.search(r"^ *Dropped: (\d+)", self._text_now(), re.MULTILINE)
        return int(found[1]) if found else 0

    def snapshot(self) -> dict[Key, Any]:
        """The map's content, by the language's keys."""
        made = {}
        for key, now in self._read().items():
            before = self._base.get(key)
            if before is None:
                made[key] = now.value
            elif now.hits != before.hits or key in self._shown:
                made[key] = self._less(now.value, before.value)
        return made

    def clear(self) -> None:
        """From here on only what comes is there."""
        self._base, self._shown = self._read(), set()

    def zero(self) -> None:
        """All that is there stays, at zero."""
        self._shown = set(self.snapshot())
        self._base = self._read()

    def _less(self, value: Any, before: Any) -> Any:
        if isinstance(value, dict):
            parts = {bucket: count - before.get(bucket, 0) for bucket, count in value.items()}
            return {bucket: count for bucket, count in parts.items() if count}
        left = value - before
        return _as(left, 64, self.hist.of.signed) if self.hist.of.function == "sum" else left

    def _write(self, attribute: str) -> None:
        self._instance.append(f"events/{self._event}/trigger", f"{self._text}:{attribute}{self._condition}")

    def _text_now(self) -> str:
        return self._instance.read(f"events/{self._event}/hist")

    def _read(self) -> dict[Key, Counted]:
        made: dict[Key, Counted] = {}
        of = self.hist.of
        for numbers, count, total in entries(self._text_now(), self.hist):
            found = made.setdefault(self._key(numbers), Counted({} if of.function == "lhist" else 0))
            found.hits += count
            if of.function == "lhist":
                bucket = lhist_bucket(numbers[-1], *of.parameters)
                found.value[bucket] = found.value.get(bucket, 0) + count
            elif of.function == "sum":
                found.value = _as(found.value + total, 64, of.signed)
            else:
                found.value += count
        return made

    def _key(self, numbers: tuple[int, ...]) -> tuple[Any, ...]:
        known = dict(self.hist.constants)
        left = iter(numbers)
        parts = []
        for at, of in enumerate(self.hist.key):
            number = known[at] if at in known else next(left)
            signed = isinstance(of, (Int, Enum)) and of.signed
            parts.append(_as(number, 8 * of.size, signed))
        return tuple(parts)


def entries(text: str, hist: Hist) -> list[tuple[tuple[int, ...], int, int]]:
    """(keys, hitcount, sum) of each line of a ``hist`` file."""
    keys = ", ".join(
        rf"{re.escape(name)}: +(?:~ )?(\d+)(?:-\d+)?" if hist.step and name == hist.fields[-1]
        else rf"{re.escape(name)}: +(\d+)"
        for name in hist.fields
    )  # fmt: skip
    value = rf" +{re.escape(hist.value)}: +(\d+)" if hist.value else "()"
    found = re.findall(rf"^\{{ {keys} *\}} hitcount: +(\d+){value}", text, re.MULTILINE)
    count = len(hist.fields)
    return [(tuple(map(int, one[:count])), int(one[count]), int(one[count + 1] or 0)) for one in found]


def _as(value: int, bits: int, signed: bool) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value
