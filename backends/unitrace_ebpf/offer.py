"""What the backend would take of a request: how each probe is reached, and what compiles."""

from __future__ import annotations

from collections.abc import Iterable

from unitrace.contract.ir import Act, Clause, Expr, Field, MapSet, Probe, Show, Site
from unitrace.contract.machine import Answer, Machine
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
from unitrace.contract.record import Record

from .compile.base import SIGNALS, Abilities, CannotCompile, Context
from .compile.records import NO_SCRATCH, Compiled, check, compile_record
from .compile.stacks import READERS
from .compile.strings import NAMED
from .maps import Kept, kept
from .survey import abilities, version
from .ways import (
    KERNEL_FUNCTIONS,
    MANY,
    MECHANISMS,
    RAW,
    TOGETHER,
    Mechanism,
    context,
    has_cookies,
    names_of,
    own,
    rooms_of,
    way,
)  # fmt: skip

__all__ = ["MECHANISMS", "Mechanism", "Plan", "offer"]


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
    if any(isinstance(stmt, Act) and stmt.name in SIGNALS for stmt in statements(clause.body)):
        return False
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
        self.named = not self.sites.isdisjoint(NAMED)
        self.abilities: Abilities = abilities(machine, self.sites)
        self.many: dict[tuple[str, str], int] = {}
        for probe in (clause.probe for clause in request.clauses):
            self.many[probe.kind, probe.scope] = self.many.get((probe.kind, probe.scope), 0) + 1
        self.checked: dict[object, str] = {}
        self.records: dict[object, Compiled] = {}
        self.wholes: dict[int, tuple[Compiled, bool, tuple[tuple[str, int], ...]]] = {}
        self.compiled: dict[object, tuple[Compiled, bool] | CannotCompile] = {}
        self.reasons: dict[int, str] = {}
        self.used = {clause.ordinal: maps_used(clause) for clause in request.clauses}
        self.races: dict[int, str] = {}
        self.next_ordinal = request.spare
        self.ways: dict[int, Mechanism] = {}
        self.rooms: tuple[int, ...] = ()
        self.lax = False

    def offer(self) -> Offer:
        """Strictly, where that can be: what user space sees late is left to it. Only a program that can't
        be streamed gets acts on a map as it is when they are done, as bpftrace has them."""
        self.ways = {clause.ordinal: self._way(clause) for clause in self.request.clauses}
        try:
            return self._offer()
        except _Unstreamable:
            self.lax = True
            self.reasons.clear()
            return self._offer()

    def _offer(self) -> Offer:
        clauses = self.request.clauses
        plans = self._kept_maps()
        self.wholes.clear()
        while True:  # a map is kept by all clauses that use it, or by none
            spoilt = {name for clause in clauses for name in self._spoils(clause, plans)}
            if not spoilt:
                break
            plans = {name: plan for name, plan in plans.items() if name not in spoilt}
        for clause in clauses:
            if clause.ordinal not in self.wholes and self._better_whole(clause):
                self._whole(clause, plans)
        shares = tuple(self._share(clause, self.ways[clause.ordinal], plans) for clause in clauses)
        cost = max((one.mechanism.cost + (100 if one.kept else 190) for one in _plans(shares)), default=0)
        apart = sum(one.mechanism not in TOGETHER for one in _plans(shares))
        return Offer("ebpf", self.request, shares, cost, 6 + max(0, apart - 1) + len(shares) // 100)

    def _better_whole(self, clause: Clause) -> bool:
        """A clause without kept maps is streamed: user space does the rest as cheaply. But not where it
        can't be, nor where it ends a run whose maps are in the kernel."""
        if not _streamable(clause):
            return True
        ends = any(isinstance(stmt, Act) and stmt.name == "exit" for stmt in statements(clause.body))
        return ends and bool(self.wholes) and not self.used[clause.ordinal]

    def _way(self, clause: Clause) -> Mechanism:
        """How the probe is reached here."""
        probe = clause.probe
        many = self.many.get((probe.kind, probe.scope), 0) >= MANY and not probe.offset and not probe.address
        found = way(self.machine, probe, many)
        if isinstance(found, Answer):
            raise _Refused(clause, found.reason, found.remedy)
        return found

    def context(
        self, clause: Clause, *, raw: bool = False, cookie: bool = False, named: tuple[int, ...] = ()
    ) -> Context:
        """What the clause's program finds in R1."""
        probe = clause.probe
        fields = {field.name: field for field in probe.fields}
        if probe.kind in ("tracepoint", "syscall"):
            return Context(
                "tracepoint",
                fields,
                {} if named else names_of(probe),
                syscall=event_of(probe)[0] == "syscalls",
                atomic=raw and len(self.request.clauses) > 1,
                cookie=cookie,
                scratch="" if raw else "cpu",
                named=named,
            )
        return context(
            self.machine, probe, self.abilities,
            cookie=cookie, named=named, tgid=self.request.options.pid, address=self._address(probe),
        )  # fmt: skip

    def _address(self, probe: Probe) -> int:
        """A kernel function's address where no helper tells it (before 5.15); 0 where it isn't needed."""
        if "func" not in self.sites or probe.kind not in KERNEL_FUNCTIONS or self.abilities.func_ip:
            return 0
        from unitrace.kernel.functions import address

        return address(self.machine, probe.name) + probe.offset

    def _kept_maps(self) -> dict[str, tuple[Kept, int]]:
        """The maps that may be kept and have a layout, numbered among the counters of drops (0 counts lost
        records). Which key goes from a full map that evicts, the kernel decides by a rule of its own
        (Documentation/bpf/map_lru_hash_update.dot), near enough to ours only where ours can't be had."""
        found: dict[str, tuple[Kept, int]] = {}
        if self.request.options.cautious and not self.lax:
            return found
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
        key = (probe.kind, probe.scope == "syscalls", self._fields(probe), own(probe), expr)
        if key not in self.checked:
            self.checked[key] = check(self.context(clause), self.abilities, expr)
        return not self.checked[key]

    def _spoils(self, clause: Clause, plans: dict[str, tuple[Kept, int]]) -> frozenset[str]:
        """The maps that can't be kept because this clause can't run whole. Its program otherwise."""
        self.wholes.pop(clause.ordinal, None)
        used = self.used[clause.ordinal]
        if used and not (used <= set(plans) and self._whole(clause, plans)):
            return used & set(plans)
        return frozenset()

    def _whole(self, clause: Clause, plans: dict[str, tuple[Kept, int]]) -> bool:
        """Whether the clause runs in the kernel, to its last statement."""
        key = self._key(clause)
        used = tuple((name, plans[name][1]) for name in sorted(self.used[clause.ordinal]) if name in plans)
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
        from .compile.program import compile_whole

        ways = [False]
        if not self._by_thread(clause) and self._raw(clause, (clause.predicate, clause.body)):
            ways = [True, False]
        for raw in ways:
            try:
                context = self.context(clause, raw=raw, named=self._named(clause))
                found = compile_whole(
                    context, self.abilities, clause.predicate, clause, plans,
                    ordinal=self.next_ordinal, lax=self.lax,
                )  # fmt: skip
            except CannotCompile:
                if not raw:
                    raise
                continue
            self.next_ordinal += len(found.sent)
            return found, raw
        raise AssertionError("the last way returns or raises")

    def _by_thread(self, clause: Clause) -> bool:
        """Whether what the clause sets is safe by the thread's id alone. CannotCompile where it isn't."""
        if not any(isinstance(stmt, MapSet) for stmt in statements(clause.body)):
            return False
        from .races import by_thread, racy

        name = racy(clause)
        if name:
            text = f"two CPUs may set {name} at once, and one not see the other's value"
            if not self.lax:
                raise CannotCompile(text)
            self.races[clause.ordinal] = text  # as bpftrace has it; said by -v and explain
        return by_thread(clause)

    def _raw(self, clause: Clause, reads: object) -> bool:
        """Whether a raw tracepoint will do: no field is read, and it isn't a system call's (there is one
        for all of them)."""
        probe = clause.probe
        if probe.kind != "tracepoint" or probe.scope == "syscalls":
            return False
        if any(isinstance(expr, Site) and expr.name in _NOT_RAW for expr in walk(reads)):
            return False
        return bool(self.machine.answer("bpf.raw_tracepoint"))

    def _fields(self, probe: Probe) -> tuple[Field, ...]:
        """The probe's arguments, where anybody reads them."""
        return probe.fields if "args" in self.sites else ()

    def _key(self, clause: Clause) -> object:
        """Equal for clauses that differ in nothing but their place, and so may share programs."""
        probe = clause.probe
        shows = any(isinstance(stmt, Show) for stmt in statements(clause.body))
        if shows or (self.named and not self._named(clause)) or self._address(probe):
            return clause.ordinal
        syscall = probe.scope == "syscalls"
        return probe.kind, self._fields(probe), syscall, own(probe), clause.predicate, clause.body

    def _named(self, clause: Clause) -> tuple[int, ...]:
        """The room for the probe's names in an array of them, where a program of many clauses finds its
        own there; () where each has a program with its names in it."""
        if not self.named or any(isinstance(stmt, Act) for stmt in statements(clause.body)):
            return ()
        if self._raw(clause, (clause.predicate, clause.body)) or not self._cookies(self.ways[clause.ordinal]):
            return ()
        self.rooms = self.rooms or rooms_of(self.request.clauses)
        return self.rooms

    def _share(self, clause: Clause, way: Mechanism, plans: dict[str, tuple[Kept, int]]) -> Share:
        if clause.ordinal in self.wholes:
            return self._whole_share(clause, way)
        try:
            return self._streamed(clause, way)
        except _Refused:  # a column that BPF can't give as such: a value of any length, say
            if not (self.used[clause.ordinal] <= set(plans) and self._whole(clause, plans)):
                raise
            return self._whole_share(clause, way)

    def _whole_share(self, clause: Clause, way: Mechanism) -> Share:
        compiled, raw, used = self.wholes[clause.ordinal]
        way = RAW if raw else way
        sends = tuple(sent for sent, _ in compiled.sent)
        how = "; ".join(filter(None, (way.how, self.races.get(clause.ordinal, ""))))
        return Share(clause, clause.predicate, None, (), how, Plan(way, compiled, True, used), sends)

    def _streamed(self, clause: Clause, way: Mechanism) -> Share:
        if not _streamable(clause) and clause.ordinal in self.reasons:
            raise _Unstreamable(clause, self.reasons[clause.ordinal])
        try:
            draft = share(clause, accepts=lambda one: self.accepts(clause, one), whole=False, how=way.how)
        except NotStreamable as error:
            raise _Unstreamable(clause, self.reasons.get(clause.ordinal) or str(error)) from None
        if self._raw(clause, (draft.accepted, tuple(column.value for column in draft.columns))):
            way = RAW
        return draft.replace(how=way.how, plan=Plan(way, self._record(clause, way, draft), False))

    def _record(self, clause: Clause, way: Mechanism, draft: Share) -> Compiled:
        """The program that sends records; clauses that differ in nothing but their place share it."""
        probe = clause.probe
        key: object = (
            way.name,
            probe.kind,
            self._fields(probe),
            probe.scope == "syscalls",
            own(probe),
            draft.accepted,
            draft.columns,
        )
        predicate = (one.name for one in walk(draft.accepted) if isinstance(one, Site))
        if (self.named and not set(NAMED).isdisjoint(predicate)) or self._address(probe):
            key = clause.ordinal
        found = self.records.get(key)
        if found is None:
            context = self.context(clause, raw=way is RAW, cookie=self._cookies(way))
            try:
                found = compile_record(context, self.abilities, draft.accepted, draft.columns, clause)
            except CannotCompile as error:
                raise _Refused(clause, f"BPF can't give {error.reason}") from None
            self.records[key] = found
        return found

    def _cookies(self, way: Mechanism) -> bool:
        """Whether a program can learn from its link which clause it runs for."""
        return len(self.request.clauses) > 1 and has_cookies(self.machine, way)


def _plans(shares: Iterable[Share]) -> Iterable[Plan]:
    for one in shares:
        assert isinstance(one.plan, Plan)
        yield one.plan
