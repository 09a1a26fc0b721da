"""Probes through tracefs: a dynamic event with fetch arguments, opened by its id.

Strings and stack arguments need it. So do the strings that a system call's tracepoint points to: perf
can't follow a tracepoint's pointer, and an eprobe, which could, never fires for perf (eprobe_register()
has nothing to do at TRACE_REG_PERF_REGISTER, 5.15 to 7.3). But the call's entry function gets the
same arguments, in the caller's struct pt_regs, right after the tracepoint, whenever the tracepoint
fires: ``__x64_sys_openat`` for ``syscalls:sys_enter_openat``, both made by SYSCALL_DEFINE.
"""

from __future__ import annotations

from collections.abc import Mapping

from unitrace.contract.ir import Clause, Expr, Probe, Site, Text
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Share, share
from unitrace.contract.probes import BY_NAME
from unitrace.contract.types import Enum, Int
from unitrace.kernel import arch, fetchargs, filters, functions

from .columns import FIXED, TRACKED, Unserved
from .plan import Plan, need, pushed, tracked

__all__ = ["Fetched", "function_name", "probe_event", "syscall_entry"]

_GENERIC = filters.named_fields((), "")


class Fetched:
    """The fetch arguments of one probe, each made when it is first asked for. ``fields``: expression
    to (name in the event, fetch argument)."""

    def __init__(
        self, probe: Probe, architecture: arch.Architecture, sites: fetchargs.Sites | None = None
    ) -> None:
        self.probe = probe
        self.arch = architecture
        self.sites = sites
        self.fields: dict[Expr, tuple[str, str]] = {}

    def field(self, expr: Expr) -> str:
        """The event's field that holds ``expr``. Raises Unfetchable."""
        found = self.fields.get(expr)
        if found is None:
            text = fetchargs.fetch(expr, self.probe, self.arch, self.sites)
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


def probe_event(machine: Machine, clause: Clause) -> Share:
    """The share of a clause on a function. Raises Unserved, NotStreamable."""
    probe = clause.probe
    fetched = Fetched(probe, arch.architecture(str(machine.fact("kernel.arch"))))
    returns, user = BY_NAME[probe.kind].returns, probe.kind.startswith("u")
    kind = ("u" if user else "") + ("r" if returns else "p")
    place = f"{probe.scope}:{probe.address:#x}" if user else function_name(probe)
    if probe.offset and not user:
        place = f"{place}+{probe.offset}"
    return _by_event(machine, clause, fetched, kind, place, "tracefs event")


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

    fetched = Fetched(clause.probe, architecture, from_regs)
    return _by_event(machine, clause, fetched, "p", function, f"tracefs event on {function}")


def _by_event(machine: Machine, clause: Clause, fetched: Fetched, kind: str, place: str, how: str) -> Share:
    taken, text = pushed(clause, fetched.naming)
    mine = share(clause, accepts=taken, whole=False, how=how)
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
            most = min(expr.type.size, limit) if isinstance(limit, int) else expr.type.size
            cut[column.name] = max(0, most - 1)
    used = _used(fetched, named, text)
    comm, tgid = tracked(machine, mine.columns)
    plan = Plan(
        "dynamic",
        kind=kind,
        place=place,
        fetch=tuple(used.items()),
        cut=tuple(cut.items()),
        fields=tuple(named.items()),
        filter=text,
        comm=comm,
        tgid=tgid,
    )
    return mine.replace(plan=plan)


def _used(fetched: Fetched, named: Mapping[str, str], text: str) -> dict[str, str]:
    """Field to fetch argument, of the fields that a column or the filter names."""
    columns = set(named.values())
    words = set(text.replace("(", " ").replace(")", " ").replace("!", " ").split())
    return {name: how for name, how in fetched.fields.values() if name in columns or name in words}
