"""Offers: which events a request's clauses need, and what of their predicates the kernel decides.

Each share's ``plan`` is a Tap (tap.py): what attach.py makes and reader.py reads for that clause. Existing
tracepoints are here; events that we make are in fetching.py.
"""

from __future__ import annotations

from unitrace.contract.ir import Clause, Expr, Field, Site
from unitrace.contract.machine import Machine
from unitrace.contract.model import Column
from unitrace.contract.offer import Answered, Offer, Refusal, Request, Share, conjuncts, share
from unitrace.contract.types import Array
from unitrace.kernel.filters import Naming, filtered, tracepoint_naming
from unitrace.kernel.formats import Format, read_format

from .fetching import DYNAMIC, eprobe, function, needs_eprobe, profile, static
from .follow import EVENTS
from .hists import HIST, HIST_NS, hist
from .narrow import cpu_of, process_of
from .survey import STREAM, first_missing
from .tap import FOLLOWED, Impossible, Source, Tap, common, follow, lacks

__all__ = ["Source", "Tap", "offer"]

Shared = dict[tuple[str, str], tuple[Expr, ...]]

TRACEPOINTS = ("tracepoint", "syscall")

TRACEPOINT_NS = 290
"""Cost of an event in the traced task, measured: a ring write."""


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
    followed = any(_tap(one).has(*FOLLOWED) for one in shares)
    return Offer("ftrace", request, tuple(shares), max(costs), 30 + (5 if followed else 0) + len(shares) // 4)


def _tap(one: Share) -> Tap:
    assert isinstance(one.plan, Tap)
    return one.plan


def _share(machine: Machine, request: Request, clause: Clause, shared: Shared) -> tuple[Share, int]:
    kind = clause.probe.kind
    if kind in TRACEPOINTS:
        return _tracepoint(machine, request, clause, shared)
    if kind == "usdt":
        return static(machine, request, clause)
    if kind == "profile":
        return profile(machine, request, clause)
    if kind not in DYNAMIC:
        raise Impossible(f"ftrace has no {kind} probes")
    return function(machine, request, clause)


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


def _tracepoint(machine: Machine, request: Request, clause: Clause, shared: Shared) -> tuple[Share, int]:
    category, name = event_of(clause)
    described = read_format(machine, category, name)
    parts: tuple[Expr, ...] = ()
    text = ""
    if machine.answer("ftrace.filters"):
        naming = tracepoint_naming(machine, category, name, described.fields)
        whole = _kept(machine, request, clause, described, naming)
        if whole is not None:
            return whole
        parts, text = filtered(shared[category, name], naming)
    ours, pid = process_of(clause)
    one = share(clause, accepts=(*parts, ours).__contains__, whole=False, how="tracefs event")
    if needs_eprobe(one.columns):
        return eprobe(machine, clause, category, name, described)
    sources = tuple(_recorded(column, category, described) for column in one.columns)
    follow(machine, sources, pid)
    tap = Tap("t", category, name, (), (), text, sources, pid, described, cpu=cpu_of(clause))
    return one.replace(plan=tap), TRACEPOINT_NS


def _kept(
    machine: Machine, request: Request, clause: Clause, described: Format, naming: Naming
) -> tuple[Share, int] | None:
    """The share where a hist trigger on the event does all of the clause."""
    kept = hist(machine, request, clause, naming)
    if kept is None:
        return None
    parts, text = filtered(conjuncts(clause.predicate), naming)
    one = share(clause, accepts=parts.__contains__, whole=True, how=HIST)
    if one.residual is not None:
        return None
    return one.replace(plan=Tap("t", *event_of(clause), (), (), text, (), 0, described, kept)), HIST_NS


def _recorded(column: Column, category: str, described: Format) -> Source:
    """A tracepoint's column: in the record, or known of every event."""
    source = common(column)
    if source is not None:
        if source.how == "kstack" and category == "syscalls":  # the caller's registers: no kernel frames
            return source.replace(value=0)
        return source
    site = column.value
    if isinstance(site, Site) and site.name == "args":
        field = _named(described, str(site.key))
        if field is not None:
            if isinstance(field.type, Array) and (field.how != "value" or not field.length):
                raise Impossible(f"field {field.name} is a list of numbers whose length varies")
            return Source(column.name, "field", field.name)
    raise Impossible(lacks(column), "the ebpf backend has it")


def _named(described: Format, name: str) -> Field | None:
    return next((field for field in (*described.fields, *described.common) if field.name == name), None)
