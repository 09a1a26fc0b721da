"""Loops over maps in the kernel and in the engine, where the order of keys doesn't matter."""

from __future__ import annotations

import pytest
from ebpf_runs import MACHINE, needs
from unitrace_ebpf.survey import version

from tests.backends.equivalence.trial import RAW_PROBE, same
from unitrace.contract import ir
from unitrace.contract.types import BOOL, Aggregate, Int, Str, Tuple

pytestmark = pytest.mark.privileged

I64, I16, TEXT = Int(64, True), Int(16, True), Str(12)
ARGS = [ir.Site(I64, "arg", number) for number in range(4)]
EVENTS = [[3, 40, -1, 7], [4, 50, 2, 7], [3, 60, 5, 1], [-9, 1 << 40, 0, 2]]


@pytest.fixture(autouse=True)
def _able() -> None:
    needs("bpf.syscall", "bpf.raw_tracepoint")
    if version(MACHINE) < (5, 17):
        pytest.skip("loops over maps are compiled since 5.17")


def num(value: int) -> ir.Const:
    return ir.Const(I64, value)


def each(decl: ir.MapDecl, value: Int | Str, *body: ir.Stmt) -> ir.ForEach:
    key = decl.key[0] if len(decl.key) == 1 else Tuple(decl.key)
    return ir.ForEach("kv", decl.name, Tuple((key, value)), body)


def part(decl: ir.MapDecl, value: Int | Str, at: int) -> ir.Expr:
    key = decl.key[0] if len(decl.key) == 1 else Tuple(decl.key)
    pair = Tuple((key, value))
    return ir.MemberOf(pair.items[at], ir.Var(pair, "kv"), at)


def check(body: tuple[ir.Stmt, ...], *decls: ir.MapDecl) -> None:
    same(ir.Clause(0, RAW_PROBE, None, body), list(decls), EVENTS)


def test_keys_of_several_parts_and_small_values() -> None:
    held = ir.MapDecl("@a", (I64, TEXT), I16)
    total = ir.MapDecl("@b", (I64,), Aggregate("sum", True))
    word = ir.Choice(
        TEXT, ir.Binary(BOOL, ">", ARGS[2], num(0)), ir.Const(TEXT, b"one"), ir.Const(TEXT, b"other")
    )
    key = part(held, I16, 0)
    check(
        (
            ir.MapSet("@a", (ARGS[0], word), ir.Cast(I16, ARGS[1])),
            each(
                held,
                I16,
                ir.MapUpdate("@b", (ir.MemberOf(I64, key, 0),), (ir.Cast(I64, part(held, I16, 1)),)),
                ir.MapUpdate(
                    "@b", (ir.Cast(I64, ir.Call(Int(64), "strlen", (ir.MemberOf(TEXT, key, 1),))),), (num(1),)
                ),
            ),
        ),
        held,
        total,
    )


@pytest.mark.parametrize("function", ["count", "sum", "min", "max", "avg"])
@pytest.mark.parametrize("signed", [False, True])
def test_numbers_of_aggregates(function: str, signed: bool) -> None:
    held = ir.MapDecl("@a", (I64,), Aggregate(function, signed))
    number = Int(64, signed)
    copy = ir.MapDecl("@b", (I64,), number)
    given = () if function == "count" else (ir.Cast(number, ARGS[1]),)
    check(
        (
            ir.MapUpdate("@a", (ARGS[0],), given),
            each(held, number, ir.MapSet("@b", (part(held, number, 0),), part(held, number, 1))),
        ),
        held,
        copy,
    )


def test_break_continue_and_return() -> None:
    held, turns = ir.MapDecl("@a", (I64,), TEXT), ir.MapDecl("@b", (), Aggregate("count"))
    beyond = ir.Binary(BOOL, ">=", ir.Call(I64, "len", (ir.MapGet(TEXT, "@a", ()),)), num(3))
    check(
        (
            ir.MapSet("@a", (ARGS[0],), ir.Const(TEXT, b"x")),
            each(held, TEXT, ir.MapUpdate("@b", (), ()), ir.Break()),
            each(held, TEXT, ir.Continue(), ir.MapUpdate("@b", (), ())),
            each(held, TEXT, ir.If(beyond, (ir.Return(),)), ir.MapUpdate("@b", (), ())),
            ir.MapUpdate("@b", (), ()),
        ),
        held,
        turns,
    )


def test_a_loop_in_a_loop_and_deleting_on_the_way() -> None:
    one, two = ir.MapDecl("@a", (I64,), I64), ir.MapDecl("@b", (I64,), I64)
    turns = ir.MapDecl("@c", (I64,), Aggregate("count"))
    inner = ir.ForEach("two", "@b", Tuple((I64, I64)), (ir.MapUpdate("@c", (part(one, I64, 0),), ()),))
    check(
        (
            ir.MapSet("@a", (ARGS[0],), ARGS[1]),
            ir.MapSet("@b", (ARGS[3],), ARGS[1]),
            each(one, I64, inner, ir.MapDelete("@a", (part(one, I64, 0),))),
        ),
        one,
        two,
        turns,
    )
