"""Compiled clauses and the engine give equal results: the same clause, the same events, equal maps.

The compiled program runs by BPF_PROG_TEST_RUN (raw tracepoints, 5.10), its context eight words.
"""

from __future__ import annotations

import os

import pytest
from ebpf_runs import I32, I64, U32, U64, decl, needs, num, op
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.backends.equivalence.maker import Maker
from tests.backends.equivalence.trial import RAW_PROBE, CannotCompile, in_kernel, same
from unitrace.contract import ir

pytestmark = pytest.mark.privileged

EXAMPLES = int(os.environ.get("UNITRACE_EXAMPLES", "150"))
slow = settings(
    deadline=None,
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
seeds = st.integers(0, (1 << 64) - 1).map(Maker)


@pytest.fixture(autouse=True)
def _able() -> None:
    needs("bpf.raw_tracepoint", "bpf.percpu_maps")


def clause(*body: ir.Stmt, when: ir.Expr | None = None) -> ir.Clause:
    return ir.Clause(0, RAW_PROBE, when, body)


@slow
@given(seeds)
def test_numbers(make: Maker) -> None:
    """Every value that an expression takes is a key."""
    expr = make.number(make.kind(), make.random.randrange(1, 5))
    same(clause(ir.MapUpdate("@", (expr,), ())), [decl("@", "count", expr.type)], make.events())


@slow
@given(seeds)
def test_predicates(make: Maker) -> None:
    body = ir.MapUpdate("@", (ir.Site(I64, "arg", 0),), ())
    same(clause(body, when=make.truth(4)), [decl("@", "count", I64)], make.events())


FUNCTIONS = [("sum", ()), ("min", ()), ("max", ()), ("avg", ()), ("stats", ()), ("hist", (0,)), ("hist", (3,)),
             ("lhist", (-10, 100, 7)), ("lhist", (0, 1000, 100)), ("lhist", (5, 40, 5))]  # fmt: skip


@slow
@given(seeds)
def test_aggregates(make: Maker) -> None:
    name, parameters = make.random.choice(FUNCTIONS)
    of = make.random.choice((I64, I32, U32, U64))
    value = make.number(of, 2)
    keys = () if make.random.random() < 0.3 else (make.number(make.kind(), 1),)
    one = decl("@a", name, *(part.type for part in keys), signed=of.signed, parameters=parameters)
    same(clause(ir.MapUpdate("@a", keys, (value,))), [one], make.events())


@slow
@given(seeds)
def test_keys_of_several_parts(make: Maker) -> None:
    parts = tuple(make.number(make.kind(), 1) for _ in range(make.random.randrange(2, 5)))
    same(
        clause(ir.MapUpdate("@", parts, ())),
        [decl("@", "count", *(one.type for one in parts))],
        make.events(),
    )


@slow
@given(seeds)
def test_statements(make: Maker) -> None:
    """Variables, if and return."""
    body = (
        ir.Assign("x", make.number(I64, 2)),
        ir.If(
            make.truth(2), (ir.Assign("x", op(ir.Var(I64, "x"), "+", make.number(I64, 2))),), (ir.Return(),)
        ),
        ir.MapUpdate("@", (ir.Var(I64, "x"),), ()),
    )
    same(clause(*body), [decl("@", "count", I64)], make.events())


@slow
@given(seeds)
def test_whole_clauses(make: Maker) -> None:
    """Strings, tuples, maps that are set, loops, what is printed."""
    when, body, decls = make.whole()
    try:
        same(clause(*body, when=when), decls, make.events())
    except CannotCompile:
        pass


def test_a_word() -> None:
    """One example whose result is known."""
    half = op(ir.Cast(I32, ir.Site(I64, "arg", 1)), "/", num(-2, I32))
    body = ir.MapUpdate("@", (half,), ())
    found, _ = in_kernel(
        clause(body), [decl("@", "count", I32)], [[0, -7], [0, 7], [0, 6], [0, (1 << 31) - 1]]
    )
    assert found["@"] == {(3,): 1, (-3,): 2, (-1073741823,): 1}
