"""Clauses whose event we make: probes on functions, and event probes on tracepoints.

Every column becomes a fetch argument, and so does what the filter tests.
"""

from __future__ import annotations

from collections.abc import Sequence

from unitrace.contract.ir import Call, Clause, Expr, Field, Load, Probe, Site, Text
from unitrace.contract.machine import Machine
from unitrace.contract.model import Column
from unitrace.contract.offer import Request, Share, conjuncts, share
from unitrace.contract.probes import BY_NAME
from unitrace.contract.types import Enum, Int, Pointer, Str
from unitrace.kernel import statics
from unitrace.kernel.arch import Architecture, architecture
from unitrace.kernel.arguments import Arguments, Value, kept_argument
from unitrace.kernel.current import OF_TASK
from unitrace.kernel.fetchargs import Unfetchable
from unitrace.kernel.filters import SHADOWED, filtered
from unitrace.kernel.formats import Format

from .hists import HIST, HIST_NS, hist
from .narrow import cpu_of, process_of
from .survey import first_missing
from .tap import Impossible, Source, Tap, common, follow, frame, func, lacks

__all__ = ["DYNAMIC", "eprobe", "function", "needs_eprobe", "profile", "static"]

DYNAMIC = {"kprobe": "p", "fentry": "p", "kretprobe": "r", "fexit": "r", "uprobe": "up", "uretprobe": "ur"}
"""Probe types that become dynamic events, and the kind that kernel.dynamic makes."""

KERNEL_PROBES = ("ftrace.kprobe_events", "kprobes.armed")
USER_PROBES = ("ftrace.uprobe_events",)
EPROBES = ("ftrace.eprobes",)

KPROBE_NS, EPROBE_NS, UPROBE_NS = 500, 700, 13_000
"""Cost of an event in the traced task, measured: with an int3 or ftrace hit and its fetches; with a second
event; with a trap from user space."""


def function(machine: Machine, request: Request, clause: Clause) -> tuple[Share, int]:
    """The share of a clause on a function, and its cost. Raises Impossible."""
    probe = clause.probe
    user = probe.kind in ("uprobe", "uretprobe")
    missing = first_missing(machine, USER_PROBES if user else KERNEL_PROBES)
    if not missing:
        if not user and probe.name and not probe.offset and machine.answer("ftrace.fprobe_events"):
            return _fprobe(machine, request, clause)
        raise Impossible(missing.reason, missing.remedy)
    if user:
        place, how, cost = f"{probe.scope}:{probe.address:#x}", "uprobe event", UPROBE_NS
    else:
        module = f"{probe.scope}:" if probe.scope and probe.scope != "vmlinux" else ""
        offset = f"+{probe.offset}" if probe.offset else ""
        place, how, cost = f"{module}{probe.name}{offset}", "kprobe event", KPROBE_NS
    architecture = _architecture(machine)
    tap = Tap(
        DYNAMIC[probe.kind], "", probe.name or "probe", (place,), (), "", (), request.options.pid * user
    )
    arguments = [Arguments(machine, probe, architecture)]
    return _kept(machine, request, clause, arguments[0], tap) or (
        _fetched(machine, clause, arguments, tap, how),
        cost,
    )


def _fprobe(machine: Machine, request: Request, clause: Clause) -> tuple[Share, int]:
    """The share of a clause on a kernel function where there are no kprobes: an fprobe event. Its arguments
    have numbers instead of registers (6.14 has no others)."""
    probe = clause.probe
    returns = BY_NAME[probe.kind].returns

    def numbered(site: Site) -> str | None:
        if site.name in ("register", "sarg"):
            raise Unfetchable(f"an fprobe event has no {site.name}", "a kernel with kprobes")
        kept = kept_argument(machine, probe, site)
        if kept is not None:
            return kept
        number: object = site.key
        if site.name == "args":
            number = next((field.offset for field in probe.fields if field.name == site.key), None)
        if site.name not in ("arg", "args") or returns or not isinstance(number, int):
            return None
        return f"$arg{number + 1}"

    arguments = Arguments(machine, probe, _architecture(machine), numbered)
    place = f"{probe.name}%return" if returns else probe.name
    tap = Tap("f", "", probe.name, (place,), (), "", ())
    kept = _kept(machine, request, clause, arguments, tap)
    if kept is not None:
        return kept
    one = _fetched(machine, clause, [arguments], tap, "fprobe event")
    if isinstance(one.plan, Tap) and one.plan.has("kstack"):
        raise Impossible("an fprobe event's stack begins at another instruction than a kprobe's")
    return one, KPROBE_NS


def static(machine: Machine, request: Request, clause: Clause) -> tuple[Share, int]:
    """The share of a clause on a USDT probe, and its cost. Raises Impossible, ProbeError."""
    missing = first_missing(machine, USER_PROBES)
    if not missing:
        raise Impossible(missing.reason, missing.remedy)
    probe, architecture = clause.probe, _architecture(machine)
    found = statics.places(probe)
    places = tuple(statics.place(probe, one) for one in found)
    arguments = [statics.StaticArguments(machine, probe, architecture, one) for one in found]
    tap = Tap("up", "", probe.name, places, (), "", (), request.options.pid)
    return _fetched(machine, clause, arguments, tap, "uprobe event at a static probe"), UPROBE_NS


def profile(machine: Machine, request: Request, clause: Clause) -> tuple[Share, int]:
    """The share of a clause on a timer, and its cost: a kprobe where perf's fires. Raises Impossible."""
    from unitrace.kernel import timers
    from unitrace.kernel.perf_events import sampled

    if request.options.pid:
        raise Impossible("ftrace has timers of all processes alone", "the perf or the ebpf backend has them")
    missing = first_missing(machine, (*KERNEL_PROBES, "kernel.timers"))
    if not missing:
        raise Impossible(f"ftrace has no timer: {missing.reason}", missing.remedy)
    architecture = _architecture(machine)
    arguments = Arguments(machine, clause.probe, architecture, _of_a_timer)
    try:
        id = timers.fired(machine, architecture, arguments)
    except Unfetchable as error:
        raise Impossible(error.reason, error.remedy) from None
    tap = Tap("p", "", "profile", (timers.FUNCTION,), (), "", ())
    tap = tap.replace(clock=sampled(clause.probe), clock_id=id.names[0])
    one = _fetched(machine, clause, [arguments], tap, f"kprobe event on {timers.FUNCTION}", (id,))
    if isinstance(one.plan, Tap) and one.plan.has("kstack"):
        raise Impossible("a timer's stack begins where it fires", "the perf or the ebpf backend has it")
    return one, KPROBE_NS


def _of_a_timer(site: Site) -> str | None:
    raise Unfetchable(f"a timer's event holds no {site.name}", "the perf or the ebpf backend has it")


def _kept(
    machine: Machine, request: Request, clause: Clause, arguments: Arguments, tap: Tap
) -> tuple[Share, int] | None:
    """The share where a hist trigger on the event does all of the clause."""
    kept = (
        None
        if tap.pid or not machine.answer("ftrace.filters")
        else hist(machine, request, clause, arguments.naming)
    )
    if kept is None:
        return None
    parts, text = filtered(conjuncts(clause.predicate), arguments.naming)
    one = share(clause, accepts=parts.__contains__, whole=True, how=HIST)
    if one.residual is not None:
        return None
    try:
        fetches = arguments.fetches((), " ".join((text, *kept.fields, kept.value)))
    except Unfetchable:
        return None
    return one.replace(plan=tap.replace(fetch=(fetches,), filter=text, hist=kept)), KPROBE_NS + HIST_NS


def needs_eprobe(columns: tuple[Column, ...]) -> bool:
    """Whether a tracepoint's record alone can't give these columns, and an event probe could."""
    return any(
        isinstance(one.value, (Text, Load))
        or (isinstance(one.value, Call) and one.value.function == "buf")
        or (isinstance(one.value, Site) and one.value.name in _OfFields.by_cpu)
        for one in columns
    )


def eprobe(
    machine: Machine, clause: Clause, category: str, name: str, described: Format
) -> tuple[Share, int]:
    """An event probe on the tracepoint. Raises Impossible."""
    missing = first_missing(machine, EPROBES)
    if not missing:
        reason = f"a tracepoint's pointers can't be followed: {missing.reason}"
        if category == "syscalls" and name.startswith("sys_enter_") and first_missing(machine, KERNEL_PROBES):
            try:
                return _entry(machine, clause, name)
            except Impossible as error:
                reason = f"{reason}; {error.answer.reason}"
        raise Impossible(reason, missing.remedy)
    fields = {field.name: field for field in (*described.fields, *described.common)}
    arguments = _OfFields(machine, clause.probe, _architecture(machine), fields)
    tap = Tap("e", "", name, (f"{category}.{name}",), (), "", ())
    return _fetched(machine, clause, [arguments], tap, "event probe on a tracepoint"), EPROBE_NS


def _entry(machine: Machine, clause: Clause, name: str) -> tuple[Share, int]:
    """A system call's entry where there are no event probes: by a kprobe on its function."""
    from unitrace.kernel.entries import at_entry

    try:
        function, arguments = at_entry(machine, clause.probe, name)
    except Unfetchable as error:
        raise Impossible(error.reason, error.remedy) from None
    tap = Tap("p", "", name, (function,), (), "", ())
    one = _fetched(machine, clause, [arguments], tap, f"kprobe event on {function}")
    assert isinstance(one.plan, Tap)
    # its registers are the caller's: a system call's tracepoint has no kernel frames
    sources = tuple(each.replace(value=0) if each.how == "kstack" else each for each in one.plan.sources)
    return one.replace(plan=one.plan.replace(sources=sources)), KPROBE_NS


class _OfFields(Arguments):
    """Arguments in terms of a tracepoint's fields ("$filename"), and of the system call that exits."""

    by_cpu = OF_TASK | {"entry"}

    def __init__(self, machine: Machine, probe: Probe, arch: Architecture, fields: dict[str, Field]) -> None:
        super().__init__(machine, probe, arch, self._place)
        self._fields = fields

    def value(self, expr: Expr) -> Value:
        """A field of the record itself, or memory that one points to."""
        if isinstance(expr, Site) and expr.name == "args":
            return self.plain(expr, *self._of(expr))
        return super().value(expr)

    def _of(self, site: Site) -> tuple[str, str]:
        field = self._fields.get(str(site.key))
        if field is None or field.name in SHADOWED or field.name.lower() in ("comm", "cpu"):
            raise Unfetchable(f"an event probe can't fetch {site.key}")
        if isinstance(field.type, Str):
            return f"${field.name}:string", "string"
        if isinstance(field.type, (Int, Enum, Pointer)) and field.how == "value":
            signed = isinstance(field.type, (Int, Enum)) and field.type.signed
            return f"${field.name}:{'s' if signed else 'u'}{field.type.size * 8}", "int"
        raise Unfetchable("an event probe can't fetch what isn't a number or a string")

    def _place(self, site: Site) -> str:
        field = self._fields.get(str(site.key)) if site.name == "args" else None
        if field is None or field.how != "value" or field.length != 8:
            raise Unfetchable(f"{site.key or site.name} is not a pointer in the tracepoint's record")
        return f"${field.name}"


def _architecture(machine: Machine) -> Architecture:
    try:
        return architecture(str(machine.fact("kernel.arch")))
    except KeyError:
        raise Impossible("this architecture's registers aren't known") from None


def _fetched(
    machine: Machine,
    clause: Clause,
    each: Sequence[Arguments],
    tap: Tap,
    how: str,
    also: tuple[Value, ...] = (),
) -> Share:
    """The share, with ``tap`` completed; ``each``: the arguments at each of its places; ``also``: what is
    fetched besides."""
    probe, arguments = clause.probe, each[0]
    parts: tuple[Expr, ...] = ()
    text = ""
    if clause.predicate is not None and machine.answer("ftrace.filters"):
        parts, text = filtered(conjuncts(clause.predicate), arguments.naming)
    ours, pid = process_of(clause)
    if tap.pid and tap.pid != pid:
        ours, pid = None, tap.pid
    one = share(clause, accepts=(*parts, ours).__contains__, whole=False, how=how)
    sources: list[Source] = []
    values: list[Value] = []
    wanted: list[Column] = []
    try:
        for column in one.columns:
            site = column.value
            if isinstance(site, Site) and site.name == "comm" and tap.kind != "e":
                value = arguments.plain(site, "$comm", "string")
            else:
                source = common(column) or func(machine, column, probe) or frame(column, probe.kind)
                if source is not None:
                    sources.append(source)
                    continue
                if isinstance(site, Site) and site.name == "ustack":
                    raise Impossible(lacks(column), "the perf or the ebpf backend has it")
                value = arguments.value(site)
            values.append(value)
            wanted.append(column)
            sources.append(Source(column.name, "fetched", fetched=value))
        fetches = [arguments.fetches((*also, *values), text)]
        for others in each[1:]:  # what the filter names is made in the same order everywhere
            filtered(conjuncts(clause.predicate), others.naming)
            same = [others.value(one.value) for one in wanted]
            if [one.names for one in same] != [value.names for value in values]:
                raise Unfetchable("the probe's places have arguments of different kinds")
            fetches.append(others.fetches(same, text))
    except Unfetchable as error:
        raise Impossible(error.reason, error.remedy or "the ebpf backend has it") from None
    follow(machine, tuple(sources), pid)
    made = tap.replace(fetch=tuple(fetches), filter=text, sources=tuple(sources), pid=pid, cpu=cpu_of(clause))
    return one.replace(plan=made)
