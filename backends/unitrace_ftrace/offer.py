"""Offers: which events a request's clauses need, and what of their predicates the kernel decides.

Each share's ``plan`` is a Tap: what attach.py makes and reader.py reads for that clause.
"""

from __future__ import annotations

from unitrace.contract.ir import Clause, Const, Expr, Field, Site, Text
from unitrace.contract.machine import Answer, Machine
from unitrace.contract.model import Column
from unitrace.contract.offer import (
    Answered,
    Offer,
    Refusal,
    Request,
    Share,
    columns_of,
    conjuncts,
    share,
    walk,
)
from unitrace.contract.record import Record
from unitrace.contract.types import Array, Int, Pointer, Str
from unitrace.kernel.arch import Architecture, architecture
from unitrace.kernel.fetchargs import Unfetchable, fetch
from unitrace.kernel.filters import FILTER_MAX, Named, Naming, filter_text, named_fields, tracepoint_naming
from unitrace.kernel.formats import Format, read_format

from .follow import EVENTS
from .survey import STREAM, first_missing

__all__ = ["DYNAMIC", "Source", "Tap", "offer"]

Shared = dict[tuple[str, str], tuple[Expr, ...]]

TRACEPOINTS = ("tracepoint", "syscall")
DYNAMIC = {"kprobe": "p", "fentry": "p", "kretprobe": "r", "fexit": "r", "uprobe": "up", "uretprobe": "ur"}
"""Probe types that become dynamic events, and the kind that kernel.dynamic makes."""

KERNEL_PROBES = ("ftrace.kprobe_events", "kprobes.armed")
USER_PROBES = ("ftrace.uprobe_events",)
EPROBES = ("ftrace.eprobes",)

TRACEPOINT_NS, KPROBE_NS, EPROBE_NS, UPROBE_NS = 290, 500, 700, 13_000
"""Cost of an event in the traced task, measured: a ring write; with an int3 or ftrace hit and its
fetches; with a second event; with a trap from user space."""


class Source(Record):
    """Where a column comes from. ``how``: "time", "cpu", "comm", "pid" (followed, by tid), or "field"
    ``field`` of the record. ``limit``: of a string, bytes that count, its NUL included; 0: all."""

    column: str
    how: str
    field: str = ""
    limit: int = 0


class Tap(Record):
    """What one clause needs of the kernel. ``kind``: "t" an existing event ``category:name``, or a kind
    of kernel.dynamic at ``place`` with ``fetch`` (name, text) arguments; ``filter``: an event filter
    or "". ``pid``: only this process's events are wanted (0: all). ``described``: of an existing event."""

    kind: str
    category: str
    name: str
    place: str
    fetch: tuple[tuple[str, str], ...]
    filter: str
    sources: tuple[Source, ...]
    pid: int = 0
    described: Format | None = None


class Impossible(Exception):
    """A clause that ftrace can't do; ``answer`` has the reason and the remedy."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.answer = Answer(1, reason, remedy)


def offer(machine: Machine, request: Request) -> Answered:
    """Shares for all of the request's clauses, or the first one's Refusal."""
    missing = first_missing(machine, STREAM)
    if not missing:
        return Refusal("ftrace", missing.reason, missing.remedy)
    shared = _shared_filters(request)
    shares: list[Share] = []
    costs: list[int] = []
    for clause in request.clauses:
        try:
            one, cost = _share(machine, request, clause, shared)
        except Impossible as error:
            return Refusal("ftrace", error.answer.reason, error.answer.remedy, clause)
        shares.append(one)
        costs.append(cost)
    follow = any(s.how in ("comm", "pid") for one in shares for s in _tap(one).sources)
    return Offer("ftrace", request, tuple(shares), max(costs), 30 + (5 if follow else 0) + len(shares) // 4)


def _tap(one: Share) -> Tap:
    assert isinstance(one.plan, Tap)
    return one.plan


def _share(machine: Machine, request: Request, clause: Clause, shared: Shared) -> tuple[Share, int]:
    kind = clause.probe.kind
    if kind in TRACEPOINTS:
        return _tracepoint(machine, clause, shared)
    if kind not in DYNAMIC:
        raise Impossible(f"ftrace has no {kind} probes")
    facts = USER_PROBES if kind in ("uprobe", "uretprobe") else KERNEL_PROBES
    missing = first_missing(machine, facts)
    if not missing:
        raise Impossible(missing.reason, missing.remedy)
    return _function(machine, request, clause)


# --- tracepoints -------------------------------------------------------------------------------


def event_of(clause: Clause) -> tuple[str, str]:
    """Category and name of a tracepoint clause's event."""
    probe = clause.probe
    if probe.kind == "syscall":
        name = probe.name if probe.name.startswith("sys_enter_") else f"sys_enter_{probe.name}"
        return "syscalls", name
    return probe.scope, probe.name


def _shared_filters(request: Request) -> Shared:
    """For each event: the conjuncts that all of its clauses have. Those alone may be the one filter of the
    one enabled event. Task events have none: comm and pid are followed by all of them."""
    found: Shared = dict.fromkeys(EVENTS, ())
    for clause in request.clauses:
        if clause.probe.kind in TRACEPOINTS:
            event, parts = event_of(clause), conjuncts(clause.predicate)
            found[event] = tuple(part for part in found.get(event, parts) if part in parts)
    return found


def _tracepoint(machine: Machine, clause: Clause, shared: Shared) -> tuple[Share, int]:
    category, name = event_of(clause)
    described = read_format(machine, category, name)
    accepted: list[Expr] = []
    text = ""
    if shared[category, name]:
        naming = tracepoint_naming(machine, category, name, described.fields)
        accepted, text = _filter(machine, shared[category, name], naming)
    one = share(clause, accepts=accepted.__contains__, whole=False, how="tracefs event")
    if any(isinstance(column.value, Text) for column in one.columns):
        return _eprobe(machine, clause, category, name, described)
    sources = tuple(_recorded(column, described) for column in one.columns)
    _follow(machine, sources)
    tap = Tap("t", category, name, "", (), text, sources, 0, described)
    return one.replace(plan=tap), TRACEPOINT_NS


def _filter(machine: Machine, parts: tuple[Expr, ...], naming: Naming) -> tuple[list[Expr], str]:
    """The parts that make a filter, and its text."""
    accepted: list[Expr] = []
    texts: list[str] = []
    room = FILTER_MAX
    if parts and machine.answer("ftrace.filters"):
        for part in dict.fromkeys(parts):
            text = filter_text(part, naming)
            if text is not None and len(text) + 8 < room:
                room -= len(text) + 8
                accepted.append(part)
                texts.append(f"({text})")
    return accepted, " && ".join(texts)


def _recorded(column: Column, described: Format) -> Source:
    """A tracepoint's column: in the record, or known of every event."""
    common = _common(column)
    if common is not None:
        return common
    site = column.value
    if isinstance(site, Site) and site.name == "args":
        field = _named(described, str(site.key))
        if field is not None:
            if isinstance(field.type, Array) and (field.how != "value" or not field.length):
                raise Impossible(f"field {field.name} is a list of numbers whose length varies")
            return Source(column.name, "field", field.name)
    raise Impossible(_lacks(column), "the ebpf backend has it")


def _common(column: Column) -> Source | None:
    site = column.value
    if not isinstance(site, Site):
        return None
    if site.name == "nsecs":
        return Source(column.name, "time")
    if site.name == "tid":
        return Source(column.name, "field", "common_pid")
    if site.name in ("cpu", "comm", "pid"):
        return Source(column.name, site.name)
    return None


def _named(described: Format, name: str) -> Field | None:
    return next((field for field in (*described.fields, *described.common) if field.name == name), None)


def _lacks(column: Column) -> str:
    value = column.value
    if isinstance(value, Site):
        if value.name in ("kstack", "ustack"):
            return f"ftrace's events carry no {value.name} column"
        return f"ftrace's events don't carry {column.name}"
    return f"ftrace can't read memory as {column.name} needs: what can't be read isn't 0 there"


def _follow(machine: Machine, sources: tuple[Source, ...]) -> None:
    """Whether tasks can be followed, where a column needs it."""
    for source in sources:
        if source.how in ("comm", "pid"):
            missing = machine.answer("ftrace.task_events")
            if not missing:
                raise Impossible(f"{source.how} can't be had: {missing.reason}", missing.remedy)


# --- tracepoints with strings behind pointers ----------------------------------------------------


def _eprobe(
    machine: Machine, clause: Clause, category: str, name: str, described: Format
) -> tuple[Share, int]:
    """An event probe on the tracepoint: all columns become fetch arguments."""
    missing = first_missing(machine, EPROBES)
    if not missing:
        raise Impossible(f"a tracepoint's pointers can't be followed: {missing.reason}", missing.remedy)
    columns = columns_of(clause)
    arguments: dict[Expr, tuple[str, str]] = {}
    for expr in [column.value for column in columns] + [*_sites(clause.predicate)]:
        if _common(Column("", expr, expr.type)) is None and expr not in arguments:
            try:
                arguments[expr] = (f"a{len(arguments)}", _field_fetch(expr, described))
            except Unfetchable as error:
                if any(column.value == expr for column in columns):
                    raise Impossible(str(error), "the ebpf backend has it") from None
    return _fetched(
        machine, clause, "e", name, f"{category}.{name}", arguments, "event probe on a tracepoint", EPROBE_NS
    )


def _field_fetch(expr: Expr, described: Format) -> str:
    """A fetch argument in terms of a tracepoint's fields ("$filename")."""
    if isinstance(expr, Text):
        if not isinstance(expr.pointer, Site) or expr.pointer.name != "args":
            raise Unfetchable("an event probe follows only a field's own pointer")
        if expr.limit is not None and not isinstance(expr.limit, Const):
            raise Unfetchable("a string's length is computed at run time")
        field = _named(described, str(expr.pointer.key))
        if field is None or not isinstance(field.type, Pointer) or field.length != 8:
            raise Unfetchable(f"{expr.pointer.key} is not a pointer")
        return f"+0(${field.name}):{'ustring' if expr.space == 'user' else 'string'}"
    if isinstance(expr, Site) and expr.name == "args":
        field = _named(described, str(expr.key))
        if field is not None and field.name.lower() not in ("comm", "cpu"):
            if isinstance(field.type, Str):
                return f"${field.name}:string"
            if isinstance(field.type, (Int, Pointer)):
                signed = isinstance(field.type, Int) and field.type.signed
                return f"${field.name}:{'s' if signed else 'u'}{field.type.size * 8}"
    raise Unfetchable("an event probe can't fetch what isn't a number or a string")


# --- functions -----------------------------------------------------------------------------------


def _function(machine: Machine, request: Request, clause: Clause) -> tuple[Share, int]:
    """A probe event with a fetch argument for each column, and for what its filter tests."""
    probe = clause.probe
    try:
        arch = architecture(str(machine.fact("kernel.arch")))
    except KeyError:
        raise Impossible("this architecture's registers aren't known") from None
    columns = columns_of(clause)
    arguments: dict[Expr, tuple[str, str]] = {}
    for expr in [column.value for column in columns] + [*_sites(clause.predicate)]:
        if isinstance(expr, Site) and expr.name == "comm":
            arguments.setdefault(expr, ("comm", "$comm"))
        elif _common(Column("", expr, expr.type)) is None and expr not in arguments:
            try:
                arguments[expr] = (f"a{len(arguments)}", _fetch(expr, clause, arch))
            except Unfetchable as error:
                if any(column.value == expr for column in columns):
                    raise Impossible(error.reason, error.remedy or "the ebpf backend has it") from None
    pid = 0
    if probe.kind in ("uprobe", "uretprobe"):
        place, cost, how, pid = (
            f"{probe.scope}:{probe.address:#x}",
            UPROBE_NS,
            "uprobe event",
            request.options.pid,
        )
    else:
        module = f"{probe.scope}:" if probe.scope and probe.scope != "vmlinux" else ""
        offset = f"+{probe.offset}" if probe.offset else ""
        place, cost, how = f"{module}{probe.name}{offset}", KPROBE_NS, "kprobe event"
    return _fetched(
        machine, clause, DYNAMIC[probe.kind], probe.name or "probe", place, arguments, how, cost, pid
    )


def _fetch(expr: Expr, clause: Clause, arch: Architecture) -> str:
    return fetch(expr, clause.probe, arch)


def _sites(predicate: Expr | None) -> list[Site]:
    """The sites that a predicate reads: a filter needs them in the record."""
    return [expr for expr in walk(predicate) if isinstance(expr, Site)]


def _limit(expr: Expr) -> int:
    """Bytes of a string that count, its NUL included: the kernel sends it whole. 0 for other values."""
    if not isinstance(expr, Text):
        return 0
    shorter = int(expr.limit.value) if isinstance(expr.limit, Const) else expr.type.size
    return max(1, min(expr.type.size, shorter))


_generic = named_fields((), "")
"""What every filter knows, whatever the event: tid, cpu, comm."""


def _fetched(
    machine: Machine,
    clause: Clause,
    kind: str,
    name: str,
    place: str,
    arguments: dict[Expr, tuple[str, str]],
    how: str,
    cost: int,
    pid: int = 0,
) -> tuple[Share, int]:
    """The share of a clause whose event we make, with ``arguments`` for its columns."""

    def naming(site: Site) -> Named | None:
        generic = _generic(site)
        if generic is not None:
            return generic
        argument = arguments.get(site)
        if argument is None or not isinstance(site.type, Int):
            return None
        return Named(argument[0], site.type.size, site.type.signed)

    accepted, text = _filter(machine, conjuncts(clause.predicate), naming)
    one = share(clause, accepts=accepted.__contains__, whole=False, how=how)
    sources: list[Source] = []
    used: set[Expr] = {site for part in accepted for site in _sites(part) if _generic(site) is None}
    for column in one.columns:
        common = _common(column)
        if column.value in arguments:
            used.add(column.value)
            sources.append(Source(column.name, "field", arguments[column.value][0], _limit(column.value)))
        elif common is not None:
            sources.append(common)
        else:
            raise Impossible(_lacks(column), "the ebpf backend has it")
    _follow(machine, tuple(sources))
    if pid:
        _follow(machine, (Source("pid", "pid"),))
    taken = tuple(argument for expr, argument in arguments.items() if expr in used)
    tap = Tap(kind, "", name, place, taken, text, tuple(sources), pid)
    return one.replace(plan=tap), cost
