"""profile probes that read memory: a kprobe where the timer fires, instead of its samples."""

from __future__ import annotations

from unitrace.contract.ir import Clause, Site
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Share
from unitrace.contract.types import Stack
from unitrace.kernel import arch, timers
from unitrace.kernel.arguments import Arguments
from unitrace.kernel.fetchargs import Unfetchable
from unitrace.kernel.perf_events import sampled

from .columns import Unserved
from .events import by_event
from .plan import Plan, need

__all__ = ["clocked_share"]


def clocked_share(machine: Machine, clause: Clause) -> Share:
    """The share of a profile clause by way of a kprobe. Raises Unserved, NotStreamable."""
    for name in ("perf.kprobe_events", "kprobes.armed", "kernel.timers"):
        need(machine.answer(name))
    architecture = arch.architecture(str(machine.fact("kernel.arch")))
    arguments = Arguments(machine, clause.probe, architecture, _none)
    try:
        id = timers.fired(machine, architecture, arguments)
    except Unfetchable as no:
        raise Unserved(no.reason, no.remedy) from None
    place, how = [(timers.FUNCTION, arguments)], f"tracefs event on {timers.FUNCTION}"
    made = by_event(machine, clause, place, "p", how, also=(id,))
    if any(isinstance(column.type, Stack) for column in made.columns):
        raise Unserved("a timer's sample holds stacks or memory, not both", "use --backend ebpf")
    assert isinstance(made.plan, Plan)
    return made.replace(plan=made.plan.replace(clock=sampled(clause.probe), clock_id=id.names[0]))


def _none(site: Site) -> str | None:
    raise Unfetchable(f"a timer's sample that reads memory holds no {site.name}", "use --backend ebpf")
