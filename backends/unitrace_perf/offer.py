"""The offer: for each clause, how perf would have its events, and which part of the predicate it decides.

Three ways: a tracepoint by its id; a probe of the kprobe or uprobe PMU, with registers in its samples;
a probe made through tracefs, with fetch arguments, opened by its id. The PMU's probe goes away with its
fd and needs no tracefs, but each CPU's is a probe of its own, its misses aren't counted, and it can't
filter by an argument. So with many CPUs, at returns (whose misses happen), and for a filter the
tracefs event comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from unitrace.contract.backend import describe
from unitrace.contract.errors import BackendError, ProbeError
from unitrace.contract.ir import Clause, Expr, Probe, Site, Text
from unitrace.contract.machine import Answer, Machine
from unitrace.contract.model import Column, Place
from unitrace.contract.offer import (
    Answered,
    NotStreamable,
    Offer,
    Refusal,
    Request,
    Share,
    conjuncts,
    share,
)
from unitrace.contract.probes import BY_NAME
from unitrace.contract.record import Record
from unitrace.contract.types import Enum, Int
from unitrace.kernel import arch, fetchargs, filters, formats

from . import columns as places
from . import registers, syscall
from .columns import FIXED, TRACKED, Unserved

__all__ = ["Plan", "answer"]

PMU_CPUS = 4
"""CPUs up to which a PMU probe (one a CPU, and one wait for RCU each when it's closed) is cheaper than
a tracefs event."""

EVENT_NS, REJECTED_NS, UPROBE_NS = 670, 164, 13000
"""Measured, ns in the traced task: a sample, an event that the filter drops, a uprobe's trap."""


class Plan(Record):
    """How one clause's event is opened, and read: this backend's notes in a Share.

    ``way``: "tracepoint", "pmu" or "dynamic". ``type``, ``config``, ``target``, ``offset``, ``regs``: of
    perf_event_attr (``target``: the function or path of a PMU probe). ``kind``, ``place``, ``fetch``
    (field to fetch argument), ``fields`` (column to field), ``cut`` (column to the most bytes of its
    string): of a tracefs event, whose layout is known when it is made. ``layout``: column to Place,
    else; ``raw_size``: what that counts on, 0: nothing. ``filter``: as text. ``comm``, ``tgid``:
    whether those columns are asked for.
    """

    way: str
    type: int = syscall.TYPE_TRACEPOINT
    config: int = 0
    target: str = ""
    offset: int = 0
    regs: int = 0
    kind: str = ""
    place: str = ""
    fetch: tuple[tuple[str, str], ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    cut: tuple[tuple[str, int], ...] = ()
    layout: tuple[tuple[str, Place], ...] = ()
    raw_size: int = 0
    filter: str = ""
    comm: bool = False
    tgid: bool = False


def answer(backend: str, machine: Machine, request: Request) -> Answered:
    """The offer for a request, or the refusal of the first clause that perf can't carry."""
    shares = []
    for clause in request.clauses:
        try:
            shares.append(_share(machine, clause))
        except Unserved as no:
            return Refusal(backend, no.reason, no.remedy, clause)
        except NotStreamable as no:
            return Refusal(backend, f"perf only streams events, and {no}", "use --backend ebpf", clause)
        except (BackendError, ProbeError) as error:
            return Refusal(backend, error.message, error.remedy, clause)
    caveats = tuple(
        f"missed returns of {describe(one.clause.probe)} can't be counted without tracefs"
        for one in shares
        if isinstance(one.plan, Plan) and one.plan.way == "pmu" and one.clause.probe.kind == "kretprobe"
    )
    user = any(one.clause.probe.kind in ("uprobe", "uretprobe") for one in shares)
    streamed = EVENT_NS if any(one.accepted is None for one in shares) else (EVENT_NS + REJECTED_NS) // 2
    cost = UPROBE_NS if user else streamed
    dynamic = any(isinstance(one.plan, Plan) and one.plan.way == "dynamic" for one in shares)
    start_ms = 25 if dynamic else 10
    return Offer(backend, request, tuple(shares), cost, start_ms, exact=not caveats, caveats=caveats)


def _share(machine: Machine, clause: Clause) -> Share:
    kind = clause.probe.kind
    if kind in ("tracepoint", "syscall"):
        return _tracepoint(machine, clause)
    if kind in ("kprobe", "kretprobe", "uprobe", "uretprobe"):
        return _probe(machine, clause)
    if BY_NAME[kind].by == "engine":
        raise Unserved(f"{kind} is fired in user space")
    raise Unserved(f"perf has no {kind} probes here", "use --backend ebpf")


def _need(answer: Answer) -> None:
    if not answer:
        raise Unserved(answer.reason, answer.remedy)


def _tracked(machine: Machine, columns: tuple[Column, ...]) -> tuple[bool, bool]:
    """Whether comm and pid are asked for; they are another's in a container."""
    names = {column.value.name for column in columns if isinstance(column.value, Site)}
    comm, tgid = "comm" in names, "pid" in names
    if comm or tgid:
        _need(machine.answer("perf.initial_pid_namespace"))
    return comm, tgid


# --- tracepoints -----------------------------------------------------------------------------


def _tracepoint(machine: Machine, clause: Clause) -> Share:
    _need(machine.answer("perf.tracepoint"))
    category, event = clause.probe.scope, clause.probe.name
    if clause.probe.kind == "syscall":
        category, event = "syscalls", f"sys_enter_{event.removeprefix('sys_enter_')}"
    format = formats.read_format(machine, category, event)
    fields = {field.name: field for field in (*format.common, *format.fields)}
    naming = filters.tracepoint_naming(machine, category, event, format.fields)
    taken, text = _pushed(clause, naming)
    mine = share(clause, accepts=taken, whole=False, how="tracepoint")
    layout = dict(FIXED)
    for column in mine.columns:
        place = places.site_place(column, fields)
        if place is not None:
            layout[column.name] = place
    comm, tgid = _tracked(machine, mine.columns)
    plan = Plan(
        "tracepoint", config=format.id, layout=tuple(layout.items()), filter=text, comm=comm, tgid=tgid
    )
    return mine.replace(plan=plan)


def _pushed(clause: Clause, naming: filters.Naming) -> tuple[Callable[[Expr], bool], str]:
    """Which conjuncts of the predicate the kernel's filter decides, and that filter."""
    texts: dict[Expr, str] = {}
    room = filters.FILTER_MAX
    for part in conjuncts(clause.predicate):
        text = filters.filter_text(part, naming)
        if text is not None and part not in texts and len(text) + 6 <= room:
            texts[part] = text
            room -= len(text) + 6
    whole = " && ".join(f"({text})" for text in texts.values()) if len(texts) > 1 else "".join(texts.values())
    return texts.__contains__, whole


# --- probes ----------------------------------------------------------------------------------


def _probe(machine: Machine, clause: Clause) -> Share:
    kind = clause.probe.kind
    base = kind.replace("retprobe", "probe")
    if base == "kprobe":
        _need(machine.answer("kprobes.armed"))
    pmu, events = machine.answer(f"perf.{base}_pmu"), machine.answer(f"perf.{base}_events")
    ways: list[Callable[[Machine, Clause], Share]] = [
        way for way, works in ((_pmu, pmu), (_dynamic, events)) if works
    ]
    if not ways:
        _need(pmu if pmu.errno != 19 else events)
    if len(ways) == 2 and _prefers_dynamic(machine, clause):
        ways.reverse()
    refused: list[Unserved] = []
    for way in ways:
        try:
            return way(machine, clause)
        except Unserved as no:
            refused.append(no)
    if not events:  # registers can't, and what could isn't there
        raise Unserved(f"{refused[0].reason}; {events.reason}", events.remedy)
    raise refused[-1]


def _prefers_dynamic(machine: Machine, clause: Clause) -> bool:
    kind = clause.probe.kind
    if kind == "kretprobe" or len(machine.fact("cpus.online")) > PMU_CPUS:
        return True
    if kind != "kprobe":
        return False
    architecture = arch.architecture(str(machine.fact("kernel.arch")))
    fetched = _Fetched(clause.probe, architecture)
    for part in conjuncts(clause.predicate):
        before = len(fetched.fields)
        if filters.filter_text(part, fetched.naming) is not None and len(fetched.fields) > before:
            return True
    return False


def _pmu(machine: Machine, clause: Clause) -> Share:
    probe = clause.probe
    returns = BY_NAME[probe.kind].returns
    taken, text = _pushed(clause, filters.named_fields((), ""))
    mine = share(clause, accepts=taken, whole=False, how=f"{probe.kind} PMU")
    architecture = arch.architecture(str(machine.fact("kernel.arch")))
    wanted = places.regs_wanted(mine.columns, probe, architecture)
    if wanted:
        _need(machine.answer("perf.regs"))
    user = probe.kind.startswith("u")
    func = any(isinstance(one.value, Site) and one.value.name == "func" for one in mine.columns)
    if func and (user or probe.offset):
        raise Unserved("the address of the function isn't in a PMU probe's sample")
    mask = registers.mask_of(wanted.values())
    size = places.raw_size(returns)
    layout = places.register_layout(mine.columns, wanted, mask, size)
    comm, tgid = _tracked(machine, mine.columns)
    plan = Plan(
        "pmu",
        type=int(machine.fact(f"perf.{'u' if user else 'k'}probe_type")),
        config=int(returns),  # format/retprobe: config:0
        target=probe.scope if user else _function(probe),
        offset=probe.address if user else probe.offset,
        regs=mask,
        layout=tuple(layout.items()),
        raw_size=size,
        filter=text,
        comm=comm,
        tgid=tgid,
    )
    return mine.replace(plan=plan)


def _function(probe: Probe) -> str:
    return f"{probe.scope}:{probe.name}" if probe.scope not in ("", "vmlinux") else probe.name


class _Fetched:
    """The fetch arguments of one probe, each made when it is first asked for. ``fields``: expression
    to (name in the event, fetch argument)."""

    def __init__(self, probe: Probe, architecture: arch.Architecture) -> None:
        self.probe = probe
        self.arch = architecture
        self.fields: dict[Expr, tuple[str, str]] = {}

    def field(self, expr: Expr) -> str:
        """The event's field that holds ``expr``. Raises Unfetchable."""
        found = self.fields.get(expr)
        if found is None:
            text = fetchargs.fetch(expr, self.probe, self.arch)
            found = self.fields[expr] = (f"v{len(self.fields)}", text)
        return found[0]

    def naming(self, site: Site) -> filters.Named | None:
        """What a filter calls a value: what every event has, or an integer that is fetched."""
        generic = _GENERIC(site)
        if generic is not None or not isinstance(site.type, (Int, Enum)):
            return generic
        try:
            return filters.Named(self.field(site), site.type.size, site.type.signed)
        except fetchargs.Unfetchable:
            return None


_GENERIC = filters.named_fields((), "")


def _dynamic(machine: Machine, clause: Clause) -> Share:
    probe = clause.probe
    architecture = arch.architecture(str(machine.fact("kernel.arch")))
    fetched = _Fetched(probe, architecture)
    taken, text = _pushed(clause, fetched.naming)
    mine = share(clause, accepts=taken, whole=False, how="tracefs event")
    named: dict[str, str] = {}
    cut: dict[str, int] = {}
    for column in mine.columns:
        expr = column.value
        if isinstance(expr, Site) and (expr.name in FIXED or expr.name in TRACKED):
            continue
        try:
            named[column.name] = fetched.field(expr)
        except fetchargs.Unfetchable as no:
            raise Unserved(no.reason, no.remedy) from None
        if isinstance(expr, Text):
            limit = getattr(expr.limit, "value", None)
            cut[column.name] = max(0, min([expr.type.size, *([limit] if isinstance(limit, int) else [])]) - 1)
    used = _used(fetched, named, text)
    comm, tgid = _tracked(machine, mine.columns)
    returns, user = BY_NAME[probe.kind].returns, probe.kind.startswith("u")
    plan = Plan(
        "dynamic",
        kind=("u" if user else "") + ("r" if returns else "p"),
        place=f"{probe.scope}:{probe.address:#x}" if user else _place(probe),
        fetch=tuple(used.items()),
        cut=tuple(cut.items()),
        fields=tuple(named.items()),
        filter=text,
        comm=comm,
        tgid=tgid,
    )
    return mine.replace(plan=plan)


def _place(probe: Probe) -> str:
    return f"{_function(probe)}+{probe.offset}" if probe.offset else _function(probe)


def _used(fetched: _Fetched, named: Mapping[str, str], text: str) -> dict[str, str]:
    """Field to fetch argument, of the fields that a column or the filter names."""
    columns = set(named.values())
    words = set(text.replace("(", " ").replace(")", " ").replace("!", " ").split())
    return {name: how for name, how in fetched.fields.values() if name in columns or name in words}
