"""Choosing: exact before cheap, reasons kept, groups that share maps stay together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from unitrace.contract.ir import (
    Act,
    Binary,
    Clause,
    Const,
    Expr,
    MapDecl,
    MapGet,
    MapUpdate,
    Probe,
    Program,
    Show,
    Site,
    Stmt,
    Text,
)  # fmt: skip
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Offer, Options, Refusal, Request, columns_of, conjuncts, join, share
from unitrace.contract.types import BOOL, COMM, INT64, UINT32, Aggregate, Int, Pointer, Str
from unitrace.plan.choose import NoBackend, choose
from unitrace.plan.explain import Explanation, lines_of
from unitrace.plan.groups import components, keepable
from unitrace.plan.show import only

COUNT = Aggregate("count")
DEFAULT = Options()
PID = Site(UINT32, "pid")
NAME = Text(Str(64), Site(Pointer(Int(8, True)), "args", "f"))


def clause(ordinal: int, *body: Stmt, kind: str = "tracepoint", predicate: Expr | None = None) -> Clause:
    return Clause(ordinal, Probe(kind, "a", f"e{ordinal}", label=f"{kind}:a:e{ordinal}"), predicate, body)


def program(*clauses: Clause, maps: tuple[str, ...] = ()) -> Program:
    return Program(clauses, tuple(MapDecl(name, (), COUNT) for name in maps))


class Stub:
    """A backend that takes clauses whose every column ``can`` read, at a price."""

    api = 1
    title = "stub"

    def __init__(
        self, name: str, ns: int, can: Callable[[Any], bool] = lambda value: True, exact: bool = True
    ) -> None:
        self.name, self.ns, self.can, self.exact = name, ns, can, exact
        self.cost = ns
        self.asked = 0

    def survey(self, machine: Machine) -> list[Any]:
        return []

    def probes(self, machine: Machine, pattern: str) -> list[Any]:
        return []

    def offer(self, machine: Machine, request: Request) -> Offer | Refusal:
        self.asked += 1
        shares = []
        for one in request.clauses:
            for column in columns_of(one):
                if not self.can(column.value):
                    return Refusal(self.name, f"can't read {column.name}", "buy another", one)
            shares.append(share(one, accepts=lambda part: True, whole=False, how="stub"))
        return Offer(self.name, request, tuple(shares), self.ns, 0, self.exact, () if self.exact else ("hm",))

    def attach(self, machine: Machine, offer: Offer) -> Any:
        raise AssertionError("planning attaches nothing")


def chosen(what: Program, *backends: Stub, options: Options = DEFAULT) -> Any:
    return choose(what, {one.name: one for one in backends}, Machine(live=False), options)


def test_the_cheapest_exact_one() -> None:
    what = program(clause(0, Act("printf")))
    assert chosen(what, Stub("dear", 300), Stub("cheap", 200)).backends == ("cheap",)
    assert chosen(what, Stub("dear", 300), Stub("rough", 100, exact=False)).backends == ("dear",)
    approx = Options(approximate=True)
    assert chosen(what, Stub("rough", 100, exact=False), options=approx).backends == ("rough",)
    with pytest.raises(NoBackend, match="no backend can run this here"):
        chosen(what, Stub("rough", 100, exact=False), Stub("rougher", 100, exact=False))


def test_who_cant_be_better_isnt_asked() -> None:
    what = program(clause(0, Act("printf")))
    cheap, dear = Stub("cheap", 1), Stub("dear", 9)
    assert chosen(what, dear, cheap).backends == ("cheap",)
    assert (cheap.asked, dear.asked) == (1, 0)
    plan = choose(what, {"dear": dear, "cheap": cheap}, Machine(live=False), DEFAULT, ask_all=True)
    assert plan.backends == ("cheap",) and (cheap.asked, dear.asked) == (2, 1)


def test_refusals_keep_their_reasons() -> None:
    what = program(clause(0, Act("printf", (PID,))))
    with pytest.raises(NoBackend) as caught:
        chosen(what, Stub("x", 1, lambda v: v != PID), Stub("y", 1, lambda v: v != PID))
    assert caught.value.notes == ("x: can't read pid (buy another)", "y: can't read pid (buy another)")
    with pytest.raises(NoBackend, match="x can't run this: can't read pid") as caught:
        chosen(what, Stub("x", 1, lambda v: v != PID))
    assert caught.value.remedy == "buy another"
    text = "\n".join(lines_of(Explanation("", None, caught.value)))
    assert "x: refuses: can't read pid" in text and "buy another" in text


def test_groups_may_end_on_different_backends() -> None:
    what = program(
        clause(0, MapUpdate("m", (), ())), clause(1, Act("printf", (PID,))), clause(2, MapUpdate("m", (), ())),
        maps=("m",),
    )  # fmt: skip
    pids = Stub("pids", 9, lambda v: v != Site(UINT32, "tid"))
    # "first" can't do pid, "pids" can do all: one backend for all.
    assert chosen(what, Stub("first", 1, lambda v: v != PID), pids).backends == ("pids",)
    first = Stub("first", 1, lambda v: v != PID)
    second = Stub("second", 9, lambda v: v == PID or getattr(v, "name", "") == "nsecs")
    tid = clause(3, Act("printf", (Site(UINT32, "tid"),)))
    mixed = program(*what.clauses, tid, maps=("m",))
    plan = chosen(mixed, first, Stub("second", 9, lambda v: v != Site(UINT32, "tid")))
    shares = {part.offer.backend: [s.clause.ordinal for s in part.offer.shares] for part in plan.parts}
    assert shares == {"first": [0, 2, 3], "second": [1]}
    assert second.asked == 0


def test_a_bare_probes_string_becomes_a_pointer_and_is_said() -> None:
    what = program(clause(0, Show(("cpu", "f"), (Site(UINT32, "cpu"), NAME))))
    can = chosen(what, Stub("strings", 5), Stub("plain", 9, lambda v: not isinstance(v, Text)))
    assert can.backends == ("strings",) and not can.notices
    plan = chosen(what, Stub("plain", 1, lambda v: not isinstance(v, Text)))
    assert plan.backends == ("plain",)
    assert plan.notices == ("f: shown as an address, not as a string (can't read str(args.f, 64))",)
    written = program(clause(0, Act("printf", (NAME,))))
    with pytest.raises(NoBackend):
        chosen(written, Stub("plain", 1, lambda v: not isinstance(v, Text)))


def test_a_better_one_that_refuses_is_named() -> None:
    what = program(clause(0, Act("printf", (PID,))))
    plan = chosen(what, Stub("quick", 1, lambda v: v != PID), Stub("slow", 9))
    assert plan.notices == ("by slow, as quick can't here: can't read pid",)
    assert not chosen(what, Stub("quick", 1), Stub("slow", 9, lambda v: v != PID)).notices


def test_user_space_alone_needs_no_backend() -> None:
    stub = Stub("x", 1)
    assert chosen(program(clause(0, Act("printf"), kind="begin")), stub).parts == () and stub.asked == 0


def test_components() -> None:
    clauses = (
        clause(0, MapUpdate("a", (), ())), clause(1, MapUpdate("b", (), ())),
        clause(2, MapUpdate("c", (), (MapGet(INT64, "a", ()),))), clause(3),
    )  # fmt: skip
    groups = [[one.ordinal for one in group] for group in components(clauses)]
    assert groups == [[0, 2], [1], [3]]


def test_keepable_maps() -> None:
    update = clause(0, MapUpdate("m", (), ()))
    assert keepable(program(update, maps=("m",))) == {"m"}
    prints = clause(1, Act("print", map="m"), Act("clear", map="m"), kind="interval")
    assert keepable(program(update, prints, maps=("m",))) == {"m"}
    reads = clause(1, Act("printf", (MapGet(INT64, "m", ()),)), kind="interval")
    assert keepable(program(update, reads, maps=("m",))) == set()
    writes = clause(1, MapUpdate("m", (), ()), kind="begin")
    assert keepable(program(update, writes, maps=("m",))) == set()


def test_only_limits_bare_probes() -> None:
    what = program(clause(0, Show((), ()), predicate=Const(BOOL, True)), clause(1, Act("printf")))
    limited = only(what, 7, written=False)
    assert conjuncts(limited.clauses[0].predicate)[0] == Binary(BOOL, "==", PID, Const(UINT32, 7))
    assert limited.clauses[1] == what.clauses[1]
    everywhere = only(
        program(clause(0, Act("printf")), clause(1, Act("printf"), kind="uprobe")), 7, written=True
    )
    ours = Binary(BOOL, "==", PID, Const(UINT32, 7))
    assert [one.predicate for one in everywhere.clauses] == [ours, None]


def test_the_law_holds_for_share() -> None:
    parts = tuple(Binary(BOOL, "==", PID, Const(UINT32, n)) for n in range(4))
    one = clause(0, Act("printf", (Site(COMM, "comm"),)), predicate=join(parts))
    for taken in ((), parts[:1], parts[1:3], parts):
        for whole in (False, True):
            made = share(one, accepts=lambda part: part in taken, whole=whole, how="x")  # noqa: B023
            left = made.residual.predicate if made.residual else None
            assert set(conjuncts(made.accepted)) | set(conjuncts(left)) == set(parts)
            assert (made.residual is None) == (whole and taken == parts)
