"""How a program reaches each kind of probe: mechanisms, their order, and what the program finds there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from unitrace.contract.backend import describe
from unitrace.contract.ir import Clause, Probe
from unitrace.contract.machine import Answer, Machine
from unitrace.contract.probes import BY_NAME
from unitrace.contract.record import Record
from unitrace.kernel.arch import architecture

from . import syscall
from .compile.base import Abilities, Context
from .compile.strings import NAMED
from .survey import version

if TYPE_CHECKING:
    from unitrace.kernel.usdt import Usdt

__all__ = [
    "EVENT",
    "KERNEL_FUNCTIONS",
    "MECHANISMS",
    "RAW",
    "TOGETHER",
    "Mechanism",
    "context",
    "has_cookies",
    "names_of",
    "own",
    "rooms_of",
    "way",
]


class Mechanism(Record):
    """A way to hang a program on a probe. ``how``: in words. ``facts``: all must hold. ``cost``: ns of an
    event that the program rejects. ``kind``: the program's type in the kernel (enum bpf_prog_type);
    ``expected``: what it is attached to (enum bpf_attach_type), where the kernel wants to know."""

    name: str
    how: str
    facts: tuple[str, ...]
    cost: int
    kind: int = syscall.KPROBE
    expected: int = 0


RAW = Mechanism("raw", "raw tracepoint", ("bpf.raw_tracepoint",), 80, syscall.RAW_TRACEPOINT)
EVENT = Mechanism("event", "BPF on a perf event", ("bpf.tracepoint_events",), 160, syscall.TRACEPOINT)
_KPROBE_MULTI = Mechanism(
    "kprobe_multi", "kprobe.multi link", ("bpf.kprobe", "bpf.kprobe_multi"), 150, syscall.KPROBE,
    syscall.ATTACH_KPROBE_MULTI,
)  # fmt: skip
_KPROBE_PMU = Mechanism("kprobe_pmu", "kprobe PMU", ("bpf.kprobe", "bpf.kprobe_pmu"), 200)
_KPROBE_EVENT = Mechanism("kprobe_event", "tracefs kprobe event", ("bpf.kprobe", "bpf.kprobe_events"), 200)
_UPROBE_MULTI = Mechanism(
    "uprobe_multi", "uprobe.multi link", ("bpf.kprobe", "bpf.uprobe_multi"), 12500, syscall.KPROBE,
    syscall.ATTACH_UPROBE_MULTI,
)  # fmt: skip
TOGETHER = (_KPROBE_MULTI, _UPROBE_MULTI)
"""Where one link takes all the places of a program."""

_UPROBE_PMU = Mechanism("uprobe_pmu", "uprobe PMU", ("bpf.kprobe", "bpf.uprobe_pmu"), 12500)
_UPROBE_EVENT = Mechanism("uprobe_event", "tracefs uprobe event", ("bpf.kprobe", "bpf.uprobe_events"), 12500)


def _sampled(fact: str) -> tuple[Mechanism, ...]:
    return (Mechanism("sampled", "BPF on perf events", (fact,), 100, syscall.PERF_EVENT),)


def _traced(name: str, expected: int) -> tuple[Mechanism, ...]:
    facts = (f"bpf.{'iter' if name == 'iter' else 'fentry'}",)
    how = "bpf_iter" if name == "iter" else "BPF trampoline"
    return (Mechanism(name, how, facts, 60, syscall.TRACING, expected),)


_UPROBES = (_UPROBE_MULTI, _UPROBE_PMU, _UPROBE_EVENT)

MECHANISMS = {
    "tracepoint": (EVENT,),
    "syscall": (EVENT,),
    "rawtracepoint": (RAW,),
    "kprobe": (_KPROBE_PMU, _KPROBE_EVENT),
    "kretprobe": (_KPROBE_PMU, _KPROBE_EVENT),
    "fentry": _traced("fentry", syscall.ATTACH_FENTRY),
    "fexit": _traced("fexit", syscall.ATTACH_FEXIT),
    "iter": _traced("iter", syscall.ATTACH_ITER),
    "uprobe": _UPROBES,
    "uretprobe": _UPROBES,
    "usdt": _UPROBES,
    "profile": _sampled("bpf.perf_software"),
    "software": _sampled("bpf.perf_software"),
    "hardware": _sampled("bpf.perf_hardware"),
    "watchpoint": _sampled("bpf.watchpoint"),
}
"""By kind of probe, the best first."""

MANY = 8
"""Functions from which one kprobe.multi link is quicker to make and to take down than events: it is by
fprobe, which takes whole functions alone, and knows less of what was missed."""

_MISSES_KNOWN = {"kprobe": (5, 18), "kretprobe": (6, 7)}
"""Since when a kprobe.multi link tells how many events it missed: of returns, since that can be asked."""

KERNEL_FUNCTIONS = ("kprobe", "kretprobe", "fentry", "fexit")
"""Probes whose function's address /proc/kallsyms tells where no helper does."""

_USER = ("uprobe", "uretprobe", "usdt")


def way(machine: Machine, probe: Probe, many: bool) -> Mechanism | Answer:
    """How the probe is reached here, or why it can't be. ``many``: it is one of MANY at least."""
    ways = MECHANISMS.get(probe.kind)
    if ways is None:
        return Answer(1, f"BPF has no {probe.kind} probes")
    if probe.kind == "usdt" and version(machine) < (4, 20) and any(one.semaphore for one in _places(probe)):
        return Answer(1, "the kernel raises a USDT probe's semaphore since 4.20", "kernel 4.20 or later")
    if probe.kind == "kretprobe" and version(machine) < (6, 7):
        ways = ways[::-1]  # only tracefs tells how many returns were missed there
    if many and probe.kind in _MISSES_KNOWN and version(machine) >= _MISSES_KNOWN[probe.kind]:
        ways = (_KPROBE_MULTI, *ways)
    said = []
    for one in ways:
        answers = [machine.answer(name) for name in one.facts]
        if all(answers):
            return one
        said.append(next(answer for answer in answers if not answer))
    reasons = dict.fromkeys(f"{one.how}: {answer.reason}" for one, answer in zip(ways, said))
    remedy = next((answer.remedy for answer in said if answer.remedy), "")
    return Answer(1, "; ".join(reasons), remedy)


def has_cookies(machine: Machine, one: Mechanism) -> bool:
    """Whether links of this kind hand the program a number of their own."""
    if one.kind != syscall.KPROBE and one.name not in ("event", "sampled"):
        return False
    if not machine.answer("bpf.cookies"):
        return False
    return one.expected != 0 or bool(machine.answer("bpf.perf_link"))


def own(probe: Probe) -> object:
    """What a program depends on besides its probe's kind and fields: None where nothing."""
    if probe.kind in ("usdt", "fentry", "fexit", "iter"):
        return probe.kind, probe.scope, probe.name
    return None


def context(
    machine: Machine,
    probe: Probe,
    abilities: Abilities,
    *,
    cookie: bool,
    named: tuple[int, ...],
    tgid: int,
    address: int,
) -> Context:
    """What a program on anything but a tracepoint finds in R1. ``tgid``: of -p; ``address``: the
    function's, where it must be known. CannotCompile where the probe's arguments can't be read."""
    fields = {field.name: field for field in probe.fields}
    constants = {} if named else names_of(probe)
    if probe.kind == "rawtracepoint":
        return Context("raw", fields, constants, atomic=True, slots=len(probe.fields) or 12)
    if probe.kind in ("fentry", "fexit"):
        slots = max((one.offset + max(1, -(-one.length // 8)) for one in probe.fields), default=0)
        result = 8 * slots if probe.kind == "fexit" else -1
        func = "helper" if abilities.func_ip else ""
        return Context(
            "raw",
            fields,
            constants,
            result=result,
            atomic=True,
            slots=slots,
            typed=True,
            func=func,
            address=address,
        )
    if probe.kind == "iter":
        return Context("iter", fields, constants, atomic=True, scratch="task")
    arch = architecture()
    returns = BY_NAME[probe.kind].returns
    user = probe.kind in _USER
    plain = not returns and MECHANISMS[probe.kind][0].kind != syscall.PERF_EVENT
    return Context(
        "function",
        fields if plain else {},
        constants,
        tuple(arch.offsets[name] for name in arch.arguments) if plain else (),
        arch.offsets[arch.result] if returns else -1,
        atomic=user,
        cookie=cookie,
        tgid=tgid if user else 0,
        user=user,
        scratch="task" if user else "cpu",
        func=_func(machine, probe, abilities, arch.ip),
        address=address,
        static=_places(probe) if probe.kind == "usdt" else (),
        named=named,
    )


def names_of(probe: Probe) -> dict[str, bytes]:
    """The values of a probe's sites ``probe`` and ``name``."""
    return {"probe": describe(probe).encode(), "name": probe.name.encode()}


def rooms_of(clauses: Iterable[Clause]) -> tuple[int, ...]:
    """The room that each site of NAMED needs for all of the clauses' probes, a NUL included."""
    names = [names_of(one.probe) for one in clauses]
    return tuple(max(len(one[site]) // 8 * 8 + 8 for one in names) for site in NAMED)


def _places(probe: Probe) -> tuple[Usdt, ...]:
    from .usdt import places

    return tuple(places(probe))


def _func(machine: Machine, probe: Probe, abilities: Abilities, ip: str) -> str:
    """Where the probe's program finds the address of its function (compile.base.Context.func)."""
    if probe.kind == "uprobe":
        return ip
    if probe.kind == "uretprobe":  # 6.6 for uprobe.multi, 6.7 for others: 686328d80c43, a3c485a5d8d4
        return "helper" if version(machine) >= (6, 7) else ""
    return "helper" if abilities.func_ip and not probe.offset else ""
