"""Variables put in where memory is read through them: nothing else changes.

Bodies are made by chance and run by a small interpreter, before and after; what they do must be the same. A
site and memory say one thing for the whole event, so it doesn't matter when they are asked.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from unitrace.contract.ir import (
    Assign,
    Binary,
    Cast,
    Const,
    Expr,
    ForRange,
    If,
    Load,
    MapGet,
    MapSet,
    Return,
    Site,
    Stmt,
    Var,
)
from unitrace.contract.offer import NotStreamable, columns_of
from unitrace.contract.types import BOOL, INT64, UINT64, Pointer, Struct
from unitrace.lang.substitute import substituted

WORD = (1 << 64) - 1
NAMES = ("a", "b", "c")
SITES = (Site(UINT64, "arg", 0), Site(UINT64, "arg", 1), Site(UINT64, "curtask"))


def run(body: tuple[Stmt, ...]) -> tuple[dict[int, int], list[tuple[int, int]]]:
    """The map, and what was written to it in order."""
    held: dict[int, int] = {}
    written: list[tuple[int, int]] = []
    variables: dict[str, int] = {}

    def value(expr: Expr) -> int:
        if isinstance(expr, Const):
            return int(expr.value)
        if isinstance(expr, Site):
            return 1000 * (SITES.index(expr) + 1)
        if isinstance(expr, Var):
            return variables.get(expr.name, 0)
        if isinstance(expr, MapGet):
            return held.get(value(expr.key[0]), 0)
        if isinstance(expr, Cast):
            return value(expr.operand)
        if isinstance(expr, Load):
            return (value(expr.pointer) + expr.offset) * 2654435761 % 4093
        assert isinstance(expr, Binary)
        left, right = value(expr.left), value(expr.right)
        return int(left < right) if expr.op == "<" else (left + right) & WORD

    def block(body: tuple[Stmt, ...]) -> bool:
        for stmt in body:
            if isinstance(stmt, Assign):
                variables[stmt.name] = value(stmt.value)
            elif isinstance(stmt, MapSet):
                key, new = value(stmt.key[0]), value(stmt.value)
                held[key] = new
                written.append((key, new))
            elif isinstance(stmt, If):
                if block(stmt.then if value(stmt.condition) else stmt.otherwise):
                    return True
            elif isinstance(stmt, ForRange):
                for number in range(value(stmt.low), value(stmt.high)):
                    variables[stmt.name] = number
                    if block(stmt.body):
                        return True
            elif isinstance(stmt, Return):
                return True
        return False

    block(body)
    return held, written


def deeper(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.one_of(
        st.builds(lambda one, at: Load(UINT64, one, at), inner, st.sampled_from((0, 8))),
        st.builds(lambda one: Cast(Pointer(Struct("struct x", 8)), one), inner),
        st.builds(lambda one, other: Binary(UINT64, "+", one, other), inner, inner),
        st.builds(lambda one: MapGet(UINT64, "@", (one,)), inner),
    )


exprs = st.recursive(
    st.one_of(
        st.sampled_from(SITES),
        st.builds(lambda name: Var(UINT64, name), st.sampled_from(NAMES)),
        st.builds(lambda number: Const(UINT64, number), st.integers(0, 3)),
    ),
    deeper,
    max_leaves=4,
)
conditions = st.builds(lambda left, right: Binary(BOOL, "<", left, right), exprs, exprs)


def blocks(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Stmt]:
    body = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(
        st.builds(If, conditions, body, body),
        st.builds(
            lambda name, low, high, body: ForRange(name, Const(INT64, low), Const(INT64, high), body),
            st.sampled_from(NAMES), st.integers(0, 1), st.integers(0, 3), body,
        ),
    )  # fmt: skip


statements = st.recursive(
    st.one_of(
        st.builds(Assign, st.sampled_from(NAMES), exprs),
        st.builds(lambda key, value: MapSet("@", (key,), value), exprs, exprs),
        st.just(Return()),
    ),
    blocks,
    max_leaves=6,
)


@given(st.lists(statements, max_size=6).map(tuple))
def test_nothing_else_changes(body: tuple[Stmt, ...]) -> None:
    assert run(substituted(body)) == run(body)


def test_an_alias_becomes_streamable() -> None:
    from unitrace.contract.ir import Clause, Probe

    pointer = Cast(Pointer(Struct("struct x", 8)), SITES[0])
    use = MapSet("@", (Load(UINT64, Var(UINT64, "p"), 8),), Const(UINT64, 1))
    once = (Assign("p", pointer), use)
    assert columns_of(Clause(0, Probe("kprobe", "", "f"), None, substituted(once)))
    for body in ((use, *once), (Assign("p", SITES[1]), *once), (If(Const(BOOL, True), once[:1]), use)):
        try:
            columns_of(Clause(0, Probe("kprobe", "", "f"), None, substituted(body)))
        except NotStreamable:
            continue
        raise AssertionError("it isn't an alias")
