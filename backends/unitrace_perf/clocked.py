"""profile probes that read memory: a kprobe on the timer's own function.

A sample holds registers and stacks, but nothing of the current task's memory. Each time a cpu-clock event's
timer fires, ``perf_swevent_hrtimer`` (kernel/events/core.c) is called with it in the same interrupt. So the
event runs without a ring, and a kprobe there fetches what is asked for, filtered by the event's id. (Where
samples are written would be no place: the probe's own are.)
"""

from __future__ import annotations

from unitrace.contract.ir import Clause, Site
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Share
from unitrace.contract.types import UINT64, Stack
from unitrace.kernel import arch, functions
from unitrace.kernel.arguments import Arguments
from unitrace.kernel.current import member_offset
from unitrace.kernel.fetchargs import Unfetchable

from .columns import Unserved
from .events import by_event
from .plan import Plan, need
from .sampling import opened

__all__ = ["clocked_share"]

TIMER = "perf_swevent_hrtimer"


def clocked_share(machine: Machine, clause: Clause) -> Share:
    """The share of a profile clause by way of a kprobe. Raises Unserved, NotStreamable."""
    for name in ("perf.software", "perf.kprobe_events", "kprobes.armed"):
        need(machine.answer(name))
    if not functions.exists(machine, TIMER):
        raise Unserved(f"this kernel has no function {TIMER} that can be probed")
    architecture = arch.architecture(str(machine.fact("kernel.arch")))
    arguments = Arguments(machine, clause.probe, architecture, _none)
    try:
        id = arguments.plain(Site(UINT64, "id"), f"{_id(machine, architecture)}:u64", "int")
    except Unfetchable as no:
        raise Unserved(no.reason, no.remedy) from None
    made = by_event(machine, clause, [(TIMER, arguments)], "p", f"tracefs event on {TIMER}", also=(id,))
    if any(isinstance(column.type, Stack) for column in made.columns):
        raise Unserved("a timer's sample holds stacks or memory, not both", "use --backend ebpf")
    assert isinstance(made.plan, Plan)
    clock = opened(Plan("sampled"), clause.probe)
    return made.replace(plan=made.plan.replace(clock=clock, clock_id=id.names[0]))


def _none(site: Site) -> str | None:
    raise Unfetchable(f"a timer's sample that reads memory holds no {site.name}", "use --backend ebpf")


def _id(machine: Machine, architecture: arch.Architecture) -> str:
    """The id of the event whose timer fires: of the struct perf_event that the timer is a part of."""
    timer = member_offset(machine, "struct perf_event", "hw")
    timer += member_offset(machine, "struct hw_perf_event", "hrtimer")
    return f"{member_offset(machine, 'struct perf_event', 'id') - timer:+d}({architecture.argument(0)})"
