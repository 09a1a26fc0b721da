"""Probes through tracefs: a dynamic event with fetch arguments, opened by its id.

Strings, memory and stack arguments need it. So do the strings that a system call's tracepoint points to: perf
can't follow a tracepoint's pointer, and an eprobe, which could, never fires for perf (eprobe_register()
has nothing to do at TRACE_REG_PERF_REGISTER, 5.15 to 7.3). But the call's entry function gets the
same arguments, in the caller's struct pt_regs, right after the tracepoint, whenever the tracepoint
fires: ``__x64_sys_openat`` for ``syscalls:sys_enter_openat``, both made by SYSCALL_DEFINE.
"""

from __future__ import annotations

from collections.abc import Sequence

from unitrace.contract.ir import Clause, Probe, Site
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Share, share
from unitrace.contract.probes import BY_NAME
from unitrace.kernel import arch, fetchargs, functions
from unitrace.kernel.arguments import Arguments, Value

from .columns import FIXED, TRACKED, Unserved
from .plan import Plan, constants_of, need, pushed, stacks_of, tracked, user_address

__all__ = ["by_event", "function_name", "probe_event", "syscall_entry"]


def probe_event(machine: Machine, clause: Clause) -> Share:
    """The share of a clause on a function. Raises Unserved, NotStreamable."""
    probe = clause.probe
    arguments = Arguments(machine, probe, arch.architecture(str(machine.fact("kernel.arch"))))
    returns, user = BY_NAME[probe.kind].returns, probe.kind.startswith("u")
    kind = ("u" if user else "") + ("r" if returns else "p")
    place = f"{probe.scope}:{probe.address:#x}" if user else function_name(probe)
    if probe.offset and not user:
        place = f"{place}+{probe.offset}"
    return by_event(machine, clause, [(place, arguments)], kind, "tracefs event")


def function_name(probe: Probe) -> str:
    """A kernel function as kprobes want it: with its module, where one was given."""
    return f"{probe.scope}:{probe.name}" if probe.scope not in ("", "vmlinux") else probe.name


def syscall_entry(machine: Machine, clause: Clause, event: str) -> Share:
    """The share of a clause on ``syscalls:<event>``, by a kprobe on the call's entry function. Raises
    Unserved, NotStreamable."""
    for name in ("perf.kprobe_events", "kprobes.armed"):
        need(machine.answer(name))
    if not event.startswith("sys_enter_"):
        raise Unserved(f"{event} is no system call's entry")
    architecture = arch.architecture(str(machine.fact("kernel.arch")))
    function = architecture.syscall_prefix + event.removeprefix("sys_enter_")
    if not functions.exists(machine, function):
        raise Unserved(f"this kernel has no function {function}")
    numbers = {
        field.name: number
        for number, field in enumerate(one for one in clause.probe.fields if one.name != "__syscall_nr")
    }
    regs = architecture.argument(0)

    def from_regs(site: Site) -> str | None:
        number = numbers.get(str(site.key)) if site.name == "args" else None
        if number is None or number >= len(architecture.syscall_arguments):
            raise fetchargs.Unfetchable(f"{function} gets no {site.key or site.name}")
        offset = architecture.register_offset(architecture.syscall_arguments[number])
        return f"+{offset}({regs})"

    arguments = Arguments(machine, clause.probe, architecture, from_regs)
    return by_event(machine, clause, [(function, arguments)], "p", f"tracefs event on {function}")


def by_event(
    machine: Machine, clause: Clause, places: Sequence[tuple[str, Arguments]], kind: str, how: str
) -> Share:
    """The share of a clause whose event is made at ``places``, with the arguments that each has there.
    Raises Unserved, NotStreamable."""
    first = places[0][1]
    taken, text = pushed(clause, first.naming)
    mine = share(clause, accepts=taken, whole=False, how=how)
    stacks, constants = stacks_of(mine.columns), constants_of(machine, clause, mine.columns)
    apart = {name for name, _ in (*stacks, *constants)}
    pairs: list[tuple[str, str]] = []
    wanted = []
    for column in mine.columns:
        expr = column.value
        if isinstance(expr, Site) and (expr.name in FIXED or expr.name in TRACKED or column.name in apart):
            continue
        if isinstance(expr, Site) and expr.name == "func" and user_address(column):
            pairs.append((column.name, "__probe_func" if kind == "ur" else "__probe_ip"))
            continue
        wanted.append(column)
    try:
        values = [(column.name, first.value(column.value)) for column in wanted]
        fetches = [first.fetches((value for _, value in values), text)]
        for _, others in places[1:]:  # what the filter names is made in the same order everywhere
            pushed(clause, others.naming)
            same: list[Value] = [others.value(column.value) for column in wanted]
            if [one.names for one in same] != [value.names for _, value in values]:
                raise Unserved("the probe's places have arguments of different kinds")
            fetches.append(others.fetches(same, text))
    except fetchargs.Unfetchable as no:
        raise Unserved(no.reason, no.remedy) from None
    comm, tgid = tracked(machine, mine.columns)
    plan = Plan(
        "dynamic",
        kind=kind,
        places=tuple(place for place, _ in places),
        fetch=tuple(fetches),
        values=tuple(values),
        pairs=tuple(pairs),
        constants=constants,
        stacks=stacks,
        filter=text,
        comm=comm,
        tgid=tgid,
    )
    return mine.replace(plan=plan)
