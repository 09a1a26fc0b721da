"""Probes on functions: by the PMU, or by a tracefs event.

A PMU's probe goes away with its fd and needs no tracefs, but each CPU's is a probe of its own, its
misses aren't counted, and it can't filter by an argument. So with many CPUs, at returns (whose misses
happen), and for such a filter the tracefs event comes first.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from unitrace.contract.ir import Clause
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Share, conjuncts, share
from unitrace.contract.probes import BY_NAME
from unitrace.kernel import arch, filters
from unitrace.kernel.arguments import Arguments

from . import columns as places
from . import registers
from .columns import Unserved
from .events import function_name, probe_event
from .plan import Plan, constants_of, need, pushed, stacks_of, tracked

__all__ = ["probe_share"]

BY_BTF = ("fentry", "fexit")
"""Their place is a function's entry and return, as a kprobe's and kretprobe's; the types are known."""

KERNEL = ("kprobe", "kretprobe", *BY_BTF)

PMU_CPUS = 4
"""CPUs up to which a PMU probe (one a CPU, and one wait for RCU each when it's closed) is cheaper than
a tracefs event."""


def probe_share(machine: Machine, clause: Clause) -> Share:
    """The share of a clause on a function. Raises Unserved, NotStreamable."""
    kind = clause.probe.kind
    base = "kprobe" if kind in KERNEL else "uprobe"
    if kind in BY_BTF and any(field.type.size > 8 for field in clause.probe.fields):
        raise Unserved("an argument is passed in more than a register", "use --backend ebpf")
    if base == "kprobe":
        need(machine.answer("kprobes.armed"))
    pmu, events = machine.answer(f"perf.{base}_pmu"), machine.answer(f"perf.{base}_events")
    ways: list[Callable[[Machine, Clause], Share]] = [
        way for way, works in ((_pmu, pmu), (probe_event, events)) if works
    ]
    if not ways:
        need(pmu if pmu.errno != errno.ENODEV else events)
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
    if kind in ("kretprobe", "fexit") or len(machine.fact("cpus.online")) > PMU_CPUS:
        return True
    if kind not in KERNEL:
        return False
    arguments = Arguments(machine, clause.probe, arch.architecture(str(machine.fact("kernel.arch"))))
    for part in conjuncts(clause.predicate):
        before = len(arguments.fields)
        if filters.filter_text(part, arguments.naming) is not None and len(arguments.fields) > before:
            return True
    return False


def _pmu(machine: Machine, clause: Clause) -> Share:
    probe = clause.probe
    returns = BY_NAME[probe.kind].returns
    user = probe.kind not in KERNEL
    taken, text = pushed(clause, filters.named_fields((), ""))
    mine = share(clause, accepts=taken, whole=False, how=f"{'uprobe' if user else 'kprobe'} PMU")
    architecture = arch.architecture(str(machine.fact("kernel.arch")))
    stacks = stacks_of(mine.columns)
    constants = () if user else constants_of(machine, clause, mine.columns)
    apart = {name for name, _ in (*stacks, *constants)}
    columns = tuple(one for one in mine.columns if one.name not in apart)
    wanted = places.regs_wanted(columns, probe, architecture)
    if wanted:
        need(machine.answer("perf.regs"))
    mask = registers.mask_of(wanted.values())
    size = places.raw_size(returns)
    layout = places.register_layout(columns, wanted, mask, size)
    comm, tgid = tracked(machine, mine.columns)
    plan = Plan(
        "pmu",
        type=int(machine.fact(f"perf.{'u' if user else 'k'}probe_type")),
        config=int(returns),  # format/retprobe: config:0
        target=probe.scope if user else function_name(probe),
        offset=probe.address if user else probe.offset,
        regs=mask,
        layout=tuple(layout.items()),
        raw_size=size,
        constants=constants,
        stacks=stacks,
        filter=text,
        comm=comm,
        tgid=tgid,
    )
    return mine.replace(plan=plan)
