"""The offer: for each clause, how perf would have its events, and which part of the predicate it decides.

A tracepoint by its id, here; a probe on a function by the PMU or a tracefs event (probing.py).
"""

from __future__ import annotations

from unitrace.contract.backend import describe
from unitrace.contract.errors import BackendError, ProbeError
from unitrace.contract.ir import Clause, Load, Site, Text
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Answered, NotStreamable, Offer, Refusal, Request, Share, share
from unitrace.contract.probes import BY_NAME
from unitrace.kernel import filters, formats
from unitrace.kernel.current import OF_TASK
from unitrace.kernel.perf_events import SAMPLED

from . import columns as places
from .calls import by_call
from .columns import FIXED, Unserved
from .counted import COUNTED_MS, COUNTED_NS, counted
from .plan import Plan, need, pushed, stacks_of, tracked
from .probing import KERNEL, probe_share
from .sampling import sampled_share
from .static import usdt_share

__all__ = ["answer"]

EVENT_NS, REJECTED_NS, UPROBE_NS = 670, 164, 13000
"""Measured, ns in the traced task: a sample, an event that the filter drops, a uprobe's trap."""

EXITS_NS = 2000
"""What a probe at the end of all calls costs each of them, for the events of one (calls.py): estimated by its
fetches."""

BY_PROBE = OF_TASK | {"entry"}
"""Sites of a system call's tracepoint that a probe in its place has."""

_GENERIC = filters.named_fields((), "")


def answer(backend: str, machine: Machine, request: Request) -> Answered:
    """The offer for a request, or the refusal of the first clause that perf can't carry."""
    shares = []
    for clause in request.clauses:
        try:
            one = _share(machine, clause, request.options.pid)
            shares.append(counted(request, one) or one)
        except Unserved as no:
            return Refusal(backend, no.reason, no.remedy, clause)
        except NotStreamable as no:
            return Refusal(backend, f"perf only streams events, and {no}", "use --backend ebpf", clause)
        except (BackendError, ProbeError) as error:
            return Refusal(backend, error.message, error.remedy, clause)
    caveats = tuple(
        f"missed returns of {describe(one.clause.probe)} can't be counted without tracefs"
        for one in shares
        if isinstance(one.plan, Plan)
        and one.plan.way == "pmu"
        and one.clause.probe.kind in ("kretprobe", "fexit")
    )
    others = len(shares) - 1  # each probe is attached by itself
    if all(one.residual is None for one in shares):
        return Offer(
            backend,
            request,
            tuple(shares),
            COUNTED_NS,
            COUNTED_MS + others,
            exact=not caveats,
            caveats=caveats,
        )
    user = any(one.clause.probe.kind in ("uprobe", "uretprobe", "usdt") for one in shares)
    streamed = EVENT_NS if any(one.accepted is None for one in shares) else (EVENT_NS + REJECTED_NS) // 2
    cost = UPROBE_NS if user else streamed
    plans = [one.plan for one in shares if isinstance(one.plan, Plan)]
    cost += EXITS_NS * any(plan.held for plan in plans)
    dynamic = any(plan.way == "dynamic" for plan in plans)
    start_ms = (25 if dynamic else 10) + others
    return Offer(backend, request, tuple(shares), cost, start_ms, exact=not caveats, caveats=caveats)


def _share(machine: Machine, clause: Clause, pid: int) -> Share:
    kind = clause.probe.kind
    if kind in ("tracepoint", "syscall"):
        return _tracepoint(machine, clause)
    if kind in (*KERNEL, "uprobe", "uretprobe"):
        return probe_share(machine, clause)
    if kind in SAMPLED:
        return _sampled(machine, clause, pid)
    if kind == "usdt":
        return usdt_share(machine, clause)
    if BY_NAME[kind].by == "engine":
        raise Unserved(f"{kind} is fired in user space")
    raise Unserved(f"perf has no {kind} probes here", "use --backend ebpf")


def _sampled(machine: Machine, clause: Clause, pid: int) -> Share:
    try:
        return sampled_share(machine, clause, pid)
    except Unserved:
        if clause.probe.kind != "profile" or pid:
            raise
        from .clocked import clocked_share

        return clocked_share(machine, clause)


def _tracepoint(machine: Machine, clause: Clause) -> Share:
    need(machine.answer("perf.tracepoint"))
    category, event = clause.probe.scope, clause.probe.name
    if clause.probe.kind == "syscall":
        category, event = "syscalls", f"sys_enter_{event.removeprefix('sys_enter_')}"
    try:
        return _by_id(machine, clause, category, event)
    except Unserved as no:
        expr = no.expr
        memory = isinstance(expr, (Text, Load)) or (isinstance(expr, Site) and expr.name in BY_PROBE)
        if category != "syscalls" or not memory:
            raise
        try:
            return by_call(machine, clause, event)
        except Unserved as other:
            raise Unserved(f"{no.reason}; {other.reason}", other.remedy or no.remedy) from None


def _by_id(machine: Machine, clause: Clause, category: str, event: str) -> Share:
    format = formats.read_format(machine, category, event)
    fields = {field.name: field for field in (*format.common, *format.fields)}
    naming = _GENERIC
    if clause.predicate is not None:
        naming = filters.tracepoint_naming(machine, category, event, format.fields)
    taken, text = pushed(clause, naming)
    mine = share(clause, accepts=taken, whole=False, how="tracepoint")
    layout, stacks = dict(FIXED), stacks_of(mine.columns)
    for column in mine.columns:
        if column.name in dict(stacks):
            continue
        place = places.site_place(column, fields)
        if place is not None:
            layout[column.name] = place
    comm, tgid = tracked(machine, mine.columns)
    plan = Plan(
        "tracepoint",
        config=format.id,
        layout=tuple(layout.items()),
        stacks=stacks,
        filter=text,
        comm=comm,
        tgid=tgid,
    )
    return mine.replace(plan=plan)
