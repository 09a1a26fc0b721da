"""What the backend would take of a request: how each probe is reached, and what compiles."""

from __future__ import annotations

from collections.abc import Iterable

from unitrace.contract.backend import describe
from unitrace.contract.ir import Act, Clause, Expr, Probe, Show, Site
from unitrace.contract.machine import Machine
from unitrace.contract.offer import (
    Answered,
    NotStreamable,
    Offer,
    Refusal,
    Request,
    Share,
    columns_of,
    maps_used,
    share,
    statements,
    walk,
)  # fmt: skip
from unitrace.contract.probes import BY_NAME
from unitrace.contract.record import Record

from . import syscall
from .compile.base import Abilities, CannotCompile, Context
from .compile.program import NO_SCRATCH, Compiled, check, compile_record, compile_whole
from .compile.stacks import READERS
from .maps import Kept, kept
from .races import by_thread, racy
from .sampling import KINDS as SAMPLED
from .survey import abilities, version

__all__ = ["MECHANISMS", "Mechanism", "Plan", "offer"]


class Mechanism(Record):
    """A way to hang a program on a probe. ``how``: in words. ``facts``: all must hold. ``cost``: ns of an
    event that the program rejects."""

    name: str
    how: str
    facts: tuple[str, ...]
    cost: int

    @property
    def kind(self) -> int:
        """The program's type in the kernel (enum bpf_prog_type)."""
        return _PROGRAMS.get(self.name, syscall.KPROBE)


_PROGRAMS = {"raw": syscall.RAW_TRACEPOINT, "event": syscall.TRACEPOINT, "sampled": syscall.PERF_EVENT}

_RAW = Mechanism("raw", "raw tracepoint", ("bpf.raw_tracepoint",), 80)
_EVENT = Mechanism("event", "BPF on a perf event", ("bpf.tracepoint_events",), 160)
_KPROBE_PMU = Mechanism("kprobe_pmu", "kprobe PMU", ("bpf.kprobe", "bpf.kprobe_pmu"), 200)
_KPROBE_EVENT = Mechanism("kprobe_event", "tracefs kprobe event", ("bpf.kprobe", "bpf.kprobe_events"), 200)
_UPROBE_MULTI = Mechanism("uprobe_multi", "uprobe.multi link", ("bpf.kprobe", "bpf.uprobe_multi"), 12500)
_UPROBE_PMU = Mechanism("uprobe_pmu", "uprobe PMU", ("bpf.kprobe", "bpf.uprobe_pmu"), 12500)
_UPROBE_EVENT = Mechanism("uprobe_event", "tracefs uprobe event", ("bpf.kprobe", "bpf.uprobe_events"), 12500)
_SOFTWARE = Mechanism("sampled", "BPF on perf events", ("bpf.perf_software",), 400)
_HARDWARE = Mechanism("sampled", "BPF on perf events", ("bpf.perf_hardware",), 400)
_WATCHPOINT = Mechanism("sampled", "BPF on perf events", ("bpf.watchpoint",), 400)

MECHANISMS = {
    "tracepoint": (_EVENT,),
    "syscall": (_EVENT,),
    "kprobe": (_KPROBE_PMU, _KPROBE_EVENT),
    "kretprobe": (_KPROBE_PMU, _KPROBE_EVENT),
    "uprobe": (_UPROBE_MULTI, _UPROBE_PMU, _UPROBE_EVENT),
    "uretprobe": (_UPROBE_MULTI, _UPROBE_PMU, _UPROBE_EVENT),
    "profile": (_SOFTWARE,),
    "software": (_SOFTWARE,),
    "hardware": (_HARDWARE,),
    "watchpoint": (_WATCHPOINT,),
}
"""By kind of probe, the best first."""


class Plan(Record):
    """The backend's notes on a share: how to attach, and the program. ``kept``: the clause runs whole in
    the kernel, on ``maps`` (names and their numbers among the counters of drops); else it sends records."""

    mechanism: Mechanism
    compiled: Compiled
    kept: bool
    maps: tuple[tuple[str, int], ...] = ()


_NOT_RAW = frozenset({"args", "arg", *READERS})
"""Sites that a tracepoint has and its raw tracepoint hasn't, or not the same: BPF's own frames are on the
stack there."""

OLD_KEY_MOST = 512
"""A hash's largest key before 5.11 (commit c6bde958a62b lifted MAX_BPF_STACK as the limit)."""


class _Refused(Exception):
    def __init__(self, clause: Clause, reason: str, remedy: str = "") -> None:
        self.refusal = Refusal("ebpf", reason, remedy, clause)


class _Unstreamable(_Refused):
    """A clause can run only whole, and can't."""


def _streamable(clause: Clause) -> bool:
    try:
        columns_of(clause)
    except NotStreamable:
        return False
    return True


def event_of(probe: Probe) -> tuple[str, str]:
    """The tracepoint behind a tracepoint or syscall probe: category, name."""
    if probe.kind == "syscall":
        return "syscalls", f"sys_enter_{probe.name}"
    return probe.scope, probe.name


def offer(machine: Machine, request: Request) -> Answered:
    """All of the request, as much of it in the kernel as compiles; or the reason why not."""
    answer = machine.answer("bpf.syscall")
    if not answer:
        return Refusal("ebpf", answer.reason, answer.remedy)
    answer = machine.answer("bpf.percpu_maps")
    if not answer:
        return Refusal("ebpf", answer.reason, answer.remedy)
    try:
        return _Offering(machine, request).offer()
    except _Refused as refused:
        return refused.refusal


class _Offering:
    """One request, being answered."""

    def __init__(self, machine: Machine, request: Request) -> None:
        self.machine = machine
        self.request = request
        self.sites = {expr.name for expr in walk(request.clauses) if isinstance(expr, Site)}
        self.abilities: Abilities = abilities(machine, self.sites)
        self.checked: dict[object, str] = {}
        self.records: dict[object, Compiled] = {}
        self.wholes: dict[int, tuple[Compiled, bool, tuple[tuple[str, int], ...]]] = {}
        self.compiled: dict[object, tuple[Compiled, bool] | CannotCompile] = {}
        self.reasons: dict[int, str] = {}
        self.caveats: dict[int, str] = {}
        self.next_ordinal = request.spare
        self.lax = False

    def offer(self) -> Offer:
        """Strictly, where that can be: what user space sees late is left to it. Only a program that can't
        be streamed gets acts on a map as it is when they are done, as bpftrace has them."""
        ways = {clause.ordinal: self._way(clause) for clause in self.request.clauses}
        try:
            return self._offer(ways)
        except _Unstreamable:
            self.lax = True
            return self._offer(ways)

    def _offer(self, ways: dict[int, Mechanism]) -> Offer:
        clauses = self.request.clauses
        plans = self._kept_maps()
        self.wholes.clear()
        self.caveats.clear()
        while True:  # a map is kept by all clauses that use it, or by none
            spoilt = {name for clause in clauses for name in self._spoils(clause, plans)}
            if not spoilt:
                break
            plans = {name: plan for name, plan in plans.items() if name not in spoilt}
        for clause in clauses:
            if clause.ordinal not in self.wholes and self._better_whole(clause):
                self._whole(clause, plans)
        shares = tuple(self._share(clause, ways[clause.ordinal]) for clause in clauses)
        cost = max((one.mechanism.cost + (100 if one.kept else 190) for one in _plans(shares)), default=0)
        caveats = tuple(dict.fromkeys(self.caveats.values()))
        return Offer("ebpf", self.request, shares, cost, 5 + len(shares), not caveats, caveats)

    def _better_whole(self, clause: Clause) -> bool:
        """A clause without kept maps is streamed: user space does the rest as cheaply. But not where it
        can't be, nor where it ends a run whose maps are in the kernel."""
        if not _streamable(clause):
            return True
        ends = any(isinstance(stmt, Act) and stmt.name == "exit" for stmt in statements(clause.body))
        return ends and bool(self.wholes) and not maps_used(clause)

    def _way(self, clause: Clause) -> Mechanism:
        """How the probe is reached here."""
        ways = MECHANISMS.get(clause.probe.kind)
        if ways is None:
            raise _Refused(clause, f"BPF programs on {clause.probe.kind} probes aren't done yet")
        if clause.probe.kind == "kretprobe" and version(self.machine) < (6, 7):
            ways = ways[::-1]  # only tracefs tells how many returns were missed there
        said = []
        for way in ways:
            answers = [self.machine.answer(name) for name in way.facts]
            if all(answers):
                return way
            said.append(next(one for one in answers if not one))
        reasons = dict.fromkeys(f"{way.how}: {one.reason}" for way, one in zip(ways, said))
        remedy = next((one.remedy for one in said if one.remedy), "")
        raise _Refused(clause, "; ".join(reasons), remedy)

    def context(self, clause: Clause, *, raw: bool = False, cookie: bool = False) -> Context:
        """What the clause's program finds in R1."""
        probe = clause.probe
        fields = {field.name: field for field in probe.fields}
        constants = {"probe": describe(probe).encode(), "name": probe.name.encode()}
        if probe.kind in ("tracepoint", "syscall"):
            return Context(
                "tracepoint",
                fields,
                constants,
                syscall=event_of(probe)[0] == "syscalls",
                atomic=raw and len(self.request.clauses) > 1,
                cookie=cookie,
                scratch="" if raw else "cpu",
            )
        from unitrace.kernel.arch import architecture

        arch = architecture()
        returns = probe.kind in ("kretprobe", "uretprobe")
        user = probe.kind in ("uprobe", "uretprobe")
        return Context(
            "function",
            {} if returns else fields,
            constants,
            () if returns or probe.kind in SAMPLED else tuple(arch.offsets[name] for name in arch.arguments),
            arch.offsets[arch.result] if returns else -1,
            atomic=user,
            cookie=cookie,
            tgid=self.request.options.pid if user else 0,
            user=user,
            scratch="task" if user else "cpu",
            func=self._func(probe, arch.ip),
            address=self._address(probe),
        )

    def _func(self, probe: Probe, ip: str) -> str:
        """Where the probe's program finds the address of its function (compile.base.Context.func)."""
        user, returns = probe.kind in ("uprobe", "uretprobe"), BY_NAME[probe.kind].returns
        if user and not returns:
            return ip
        if user:  # 6.6 for uprobe.multi, 6.7 for others: commits 686328d80c43, a3c485a5d8d4
            return "helper" if version(self.machine) >= (6, 7) else ""
        return "helper" if self.abilities.func_ip and not probe.offset else ""

    def _address(self, probe: Probe) -> int:
        """A kernel function's address where no helper tells it (before 5.15); 0 where it isn't needed."""
        if "func" not in self.sites or probe.kind not in ("kprobe", "kretprobe") or self.abilities.func_ip:
            return 0
        from unitrace.kernel.functions import address

        return address(self.machine, probe.name) + probe.offset

    def _kept_maps(self) -> dict[str, tuple[Kept, int]]:
        """The maps that may be kept and have a layout, numbered among the counters of drops (0 counts lost
        records). Which key goes from a full map that evicts, the kernel decides by a rule of its own
        (Documentation/bpf/map_lru_hash_update.dot), near enough to ours only where ours can't be had."""
        found: dict[str, tuple[Kept, int]] = {}
        for decl in self.request.maps:
            if decl.evicts and not self.lax:
                continue
            if decl.name in self.request.keepable | self.request.resident:
                try:
                    plan = kept(decl)
                    if plan.key_size <= OLD_KEY_MOST or version(self.machine) >= (5, 11):
                        found[decl.name] = plan, len(found) + NO_SCRATCH + 1
                except CannotCompile:
                    pass
        return found

    def accepts(self, clause: Clause, expr: Expr) -> bool:
        """Whether the kernel can decide a conjunct."""
        probe = clause.probe
        key = (probe.kind, probe.scope == "syscalls", probe.fields, expr)
        if key not in self.checked:
            self.checked[key] = check(self.context(clause), self.abilities, expr)
        return not self.checked[key]

    def _spoils(self, clause: Clause, plans: dict[str, tuple[Kept, int]]) -> frozenset[str]:
        """The maps that can't be kept because this clause can't run whole. Its program otherwise."""
        self.wholes.pop(clause.ordinal, None)
        used = maps_used(clause)
        if used and not (used <= set(plans) and self._whole(clause, plans)):
            return used & set(plans)
        return frozenset()

    def _whole(self, clause: Clause, plans: dict[str, tuple[Kept, int]]) -> bool:
        """Whether the clause runs in the kernel, to its last statement."""
        key = self._key(clause)
        used = tuple((name, plans[name][1]) for name in sorted(maps_used(clause)) if name in plans)
        known = (key, used, self.lax)
        found = self.compiled.get(known)
        if found is None:
            try:
                found = self._compiled(clause, plans)
            except CannotCompile as error:
                found = error
            self.compiled[known] = found
        if isinstance(found, CannotCompile):
            self.reasons.setdefault(clause.ordinal, found.reason)
            return False
        self.wholes[clause.ordinal] = (*found, used)
        return True

    def _compiled(self, clause: Clause, plans: dict[str, tuple[Kept, int]]) -> tuple[Compiled, bool]:
        """The program, and whether it is a raw tracepoint's."""
        name = racy(clause)
        if name:
            text = f"two CPUs may set {name} at once, and one not see the other's value"
            if not self.lax:
                raise CannotCompile(text)
            self.caveats[clause.ordinal] = text
        ways = [False]
        if self._raw(clause, (clause.predicate, clause.body)) and not by_thread(clause):
            ways = [True, False]
        for raw in ways:
            try:
                found = compile_whole(
                    self.context(clause, raw=raw), self.abilities, clause.predicate, clause, plans,
                    ordinal=self.next_ordinal, lax=self.lax,
                )  # fmt: skip
            except CannotCompile:
                if not raw:
                    raise
                continue
            self.next_ordinal += len(found.sent)
            return found, raw
        raise AssertionError("the last way returns or raises")

    def _raw(self, clause: Clause, reads: object) -> bool:
        """Whether a raw tracepoint will do: no field is read, and it isn't a system call's (there is one
        for all of them)."""
        probe = clause.probe
        if probe.kind != "tracepoint" or probe.scope == "syscalls":
            return False
        if any(isinstance(expr, Site) and expr.name in _NOT_RAW for expr in walk(reads)):
            return False
        return bool(self.machine.answer("bpf.raw_tracepoint"))

    def _key(self, clause: Clause) -> object:
        """Equal for clauses that differ in nothing but their place, and so may share programs."""
        probe = clause.probe
        shows = any(isinstance(stmt, Show) for stmt in statements(clause.body))
        if shows or "probe" in self.sites or "name" in self.sites or self._address(probe):
            return clause.ordinal
        return probe.kind, probe.fields, probe.scope == "syscalls", clause.predicate, clause.body

    def _share(self, clause: Clause, way: Mechanism) -> Share:
        whole = self.wholes.get(clause.ordinal)
        if whole is not None:
            compiled, raw, used = whole
            way = _RAW if raw else way
            sends = tuple(sent for sent, _ in compiled.sent)
            return Share(clause, clause.predicate, None, (), way.how, Plan(way, compiled, True, used), sends)
        try:
            draft = share(clause, accepts=lambda one: self.accepts(clause, one), whole=False, how=way.how)
        except NotStreamable as error:
            raise _Unstreamable(clause, self.reasons.get(clause.ordinal) or str(error)) from None
        if self._raw(clause, (draft.accepted, tuple(column.value for column in draft.columns))):
            way = _RAW
        return draft.replace(how=way.how, plan=Plan(way, self._record(clause, way, draft), False))

    def _record(self, clause: Clause, way: Mechanism, draft: Share) -> Compiled:
        """The program that sends records; clauses that differ in nothing but their place share it."""
        probe = clause.probe
        key: object = (
            way.name,
            probe.kind,
            probe.fields,
            probe.scope == "syscalls",
            draft.accepted,
            draft.columns,
        )
        if "probe" in self.sites or "name" in self.sites or self._address(probe):
            key = clause.ordinal
        found = self.records.get(key)
        if found is None:
            context = self.context(clause, raw=way is _RAW, cookie=self._cookies(way))
            try:
                found = compile_record(context, self.abilities, draft.accepted, draft.columns, clause)
            except CannotCompile as error:
                raise _Refused(clause, f"BPF can't give {error.reason}") from None
            self.records[key] = found
        return found

    def _cookies(self, way: Mechanism) -> bool:
        """Whether a program can learn from its link which clause it runs for."""
        if len(self.request.clauses) < 2 or way is _RAW or not self.machine.answer("bpf.cookies"):
            return False
        return way is _UPROBE_MULTI or bool(self.machine.answer("bpf.perf_link"))


def _plans(shares: Iterable[Share]) -> Iterable[Plan]:
    for one in shares:
        assert isinstance(one.plan, Plan)
        yield one.plan
