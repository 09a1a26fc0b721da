"""Sampled events: profile, software, hardware and watchpoint probes.

One event a CPU; with a process (-p), one for each of its threads and CPUs, inherited by the threads and
processes that they make. Their names and numbers: unitrace.kernel.perf_events.
"""

from __future__ import annotations

from unitrace.contract.ir import Clause, Probe, Site
from unitrace.contract.machine import Machine
from unitrace.contract.model import Place
from unitrace.contract.offer import Share, share
from unitrace.kernel import arch, perf_events

from . import columns as places
from . import records, registers
from .columns import Unserved
from .plan import Plan, need, stacks_of, tracked

__all__ = ["sampled_share"]

TID = Place(records.TGID + 4, 4)
"""Of the sample itself: there is no raw data."""


def sampled_share(machine: Machine, clause: Clause, pid: int) -> Share:
    """The share of a clause on a sampled event. Raises Unserved, NotStreamable."""
    probe = clause.probe
    need(machine.answer("perf.hardware" if probe.kind == "hardware" else "perf.software"))
    mine = share(clause, accepts=lambda _: False, whole=False, how=f"perf {probe.kind} event")
    stacks = stacks_of(mine.columns)
    columns = tuple(
        one
        for one in mine.columns
        if one.name not in dict(stacks) and not (isinstance(one.value, Site) and one.value.name == "usermode")
    )
    architecture = arch.architecture(str(machine.fact("kernel.arch")))
    wanted = places.regs_wanted(columns, probe, architecture)
    if wanted:
        need(machine.answer("perf.regs"))
    mask = registers.mask_of(wanted.values())
    layout = places.register_layout(columns, wanted, mask, records.NO_RAW)
    layout["tid"] = TID
    comm, tgid = tracked(machine, mine.columns)
    if not (comm or tgid):
        need(machine.answer("perf.initial_pid_namespace"))
    plan = Plan(
        "sampled",
        regs=mask,
        layout=tuple(layout.items()),
        stacks=stacks,
        usermode=len(columns) + len(stacks) < len(mine.columns),
        comm=comm,
        tgid=True,
        pid=pid,
    )
    return mine.replace(plan=_opened(plan, probe))


def _opened(plan: Plan, probe: Probe) -> Plan:
    """The plan, with what perf_event_attr needs. Raises Unserved."""
    try:
        event = perf_events.sampled(probe)
    except KeyError:
        raise Unserved(f"perf has no event {probe.name}") from None
    return plan.replace(
        type=event.type,
        config=event.address if event.breakpoint else event.config,
        period=event.period,
        hertz=event.hertz,
        breakpoint=event.breakpoint,
        offset=event.length,
    )
