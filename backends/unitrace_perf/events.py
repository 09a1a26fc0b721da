"""Probes through tracefs: a dynamic event with fetch arguments, opened by its id. Strings, memory and stack
arguments need it.
"""

from __future__ import annotations

from collections.abc import Sequence

from unitrace.contract.ir import Clause, Probe, Site
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Share, share
from unitrace.contract.probes import BY_NAME
from unitrace.kernel import arch, fetchargs
from unitrace.kernel.arguments import Arguments, Value

from .columns import FIXED, TRACKED, Unserved
from .plan import Plan, constants_of, pushed, stacks_of, tracked, user_address

__all__ = ["by_event", "function_name", "probe_event"]


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


def by_event(
    machine: Machine,
    clause: Clause,
    places: Sequence[tuple[str, Arguments]],
    kind: str,
    how: str,
    only: str = "",
    also: tuple[Value, ...] = (),
) -> Share:
    """The share of a clause whose event is made at ``places``, with the arguments that each has there;
    ``only``: a filter for the events that are the clause's; ``also``: what is fetched besides. Raises
    Unserved, NotStreamable."""
    first = places[0][1]
    taken, text = pushed(clause, first.naming)
    text = " && ".join(part for part in (only, text) if part)
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
        fetches = [first.fetches((*also, *(value for _, value in values)), text)]
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
