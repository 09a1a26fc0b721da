"""Compiled clauses and the engine give equal results: the same clause, the same events, equal maps.

The compiled program runs by BPF_PROG_TEST_RUN (raw tracepoints, 5.10), its context eight words.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from ebpf_runs import CONTEXT_WORDS, I32, I64, RAW_PROBE, U32, U64, decl, needs, num, op, run_on_contexts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unitrace.contract import ir
from unitrace.contract.model import RowBatch
from unitrace.contract.offer import columns_of
from unitrace.contract.types import BOOL, Int
from unitrace.engine.engine import Engine
from unitrace.output.records import Message, Out, Printed
from unitrace.output.rows import single

pytestmark = pytest.mark.privileged

EXAMPLES = int(os.environ.get("UNITRACE_EXAMPLES", "150"))
KINDS = [Int(bits, signed) for bits in (8, 16, 32, 64) for signed in (False, True)]
EDGES = (0, 1, 2, -1, -2, 7, 63, 64, 127, 128, 255, 256, 1 << 31, (1 << 31) - 1, 1 << 32, -(1 << 31), -(1 << 63),
         (1 << 63) - 1, 0xFFFF, 0xFFFFFFFF, -129)  # fmt: skip
ARITHMETIC = ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"]
COMPARE = ["==", "!=", "<", "<=", ">", ">="]


class Maker:
    """Clauses by chance: small pieces, drawn from one generator, so that a seed tells all."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def word(self) -> int:
        return self.random.choice(
            (
                self.random.choice(EDGES),
                self.random.randrange(-(1 << 63), 1 << 63),
                self.random.randrange(-40, 41),
                self.random.randrange(-(1 << 33), 1 << 33),
            )
        )

    def events(self) -> list[list[int]]:
        return [[self.word() for _ in range(CONTEXT_WORDS)] for _ in range(self.random.randrange(1, 9))]

    def kind(self) -> Int:
        return self.random.choice(KINDS)

    def leaf(self, of: Int) -> ir.Expr:
        if self.random.random() < 0.4:
            value = self.word() & (1 << of.bits) - 1
            return num(value - (1 << of.bits) if of.signed and value >> of.bits - 1 else value, of)
        site = ir.Site(I64, "arg", self.random.randrange(CONTEXT_WORDS))
        return site if of == I64 else ir.Cast(of, site)

    def number(self, of: Int, depth: int) -> ir.Expr:
        """An expression of an integer type."""
        choice = self.random.randrange(10) if depth else 0
        if choice == 0:
            return self.leaf(of)
        if choice < 6:
            sign = self.random.choice(ARITHMETIC)
            return op(self.number(of, depth - 1), sign, self.number(of, depth - 1))
        if choice == 6:
            return ir.Unary(of, self.random.choice("-~"), self.number(of, depth - 1))
        if choice == 7:
            return ir.Cast(of, self.number(self.kind(), depth - 1))
        if choice == 8:
            return ir.Choice(
                of, self.truth(depth - 1), self.number(of, depth - 1), self.number(of, depth - 1)
            )
        return ir.Cast(of, self.truth(depth - 1))

    def truth(self, depth: int) -> ir.Expr:
        """A condition."""
        choice = self.random.randrange(5) if depth else 0
        if choice < 2:
            of, below = self.kind(), max(0, depth - 1)
            return op(self.number(of, below), self.random.choice(COMPARE), self.number(of, below))
        if choice == 2:
            return ir.Unary(BOOL, "!", self.truth(depth - 1))
        return op(self.truth(depth - 1), self.random.choice(("&&", "||")), self.truth(depth - 1))


def in_engine(
    clause: ir.Clause, decls: list[ir.MapDecl], events: list[list[int]]
) -> tuple[dict[str, Any], list[Out]]:
    """The maps, and what was emitted."""
    program = ir.Program((clause,), tuple(decls))
    columns = columns_of(clause)
    out: list[Out] = []
    engine = Engine(program, {0: (clause, columns)}, {}, out.append)
    held: dict[str, list[Any]] = {"nsecs": list(range(len(events)))}
    for column in columns:
        site = column.value
        if isinstance(site, ir.Site) and site.name == "arg":
            held[column.name] = [event[int(site.key or 0)] for event in events]
    engine.feed([RowBatch(0, held)], None)
    return {name: dict(content) for name, content in engine.maps().items()}, [
        one for record in out for one in single(record)
    ]


def same(clause: ir.Clause, decls: list[ir.MapDecl], events: list[list[int]]) -> None:
    """Equal maps, equal records in equal order; a warning is one wherever it comes, and however often."""
    wanted, shown = in_engine(clause, decls, events)
    found, emitted = run_on_contexts(clause, decls, events)
    assert {name: dict(content) for name, content in found.items()} == {
        one.name: wanted.get(one.name, {}) for one in decls
    }
    assert _told(emitted) == _told(shown)


def _told(records: list[Out]) -> tuple[list[Any], set[str]]:
    told = [(one.format, tuple(one.values)) for one in records if isinstance(one, Printed)]
    return told, {one.text for one in records if isinstance(one, Message)}


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


def test_a_word() -> None:
    """One example whose result is known."""
    half = op(ir.Cast(I32, ir.Site(I64, "arg", 1)), "/", num(-2, I32))
    body = ir.MapUpdate("@", (half,), ())
    found, _ = run_on_contexts(
        clause(body), [decl("@", "count", I32)], [[0, -7], [0, 7], [0, 6], [0, (1 << 31) - 1]]
    )
    assert found["@"] == {(3,): 1, (-3,): 2, (-1073741823,): 1}
