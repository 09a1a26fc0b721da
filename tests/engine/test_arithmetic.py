"""Integers behave as C's do: held against ctypes and a C compiler's rules."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.programs import I8, I32, I64, U8, U32, U64, arg, num, op, value_and_messages, value_of
from unitrace.contract import ir
from unitrace.contract.types import BOOL, Int, Str
from unitrace.engine.values import divide, range_of, remainder, wrap

C = {
    (8, True): ctypes.c_int8, (8, False): ctypes.c_uint8,
    (16, True): ctypes.c_int16, (16, False): ctypes.c_uint16,
    (32, True): ctypes.c_int32, (32, False): ctypes.c_uint32,
    (64, True): ctypes.c_int64, (64, False): ctypes.c_uint64,
}  # fmt: skip

kinds = st.sampled_from([Int(bits, signed) for bits, signed in C])


def ints(of: Int) -> st.SearchStrategy[int]:
    low, high = range_of(of)
    edges = [value for value in (low, low + 1, -1, 0, 1, 2, high - 1, high) if low <= value <= high]
    return st.one_of(st.sampled_from(edges), st.integers(low, high))


typed = kinds.flatmap(lambda of: st.tuples(st.just(of), ints(of), ints(of)))


@given(st.integers(-(1 << 70), 1 << 70), kinds)
def test_wrap_is_c(value: int, of: Int) -> None:
    assert wrap(value, of.bits, of.signed) == C[of.bits, of.signed](value).value


@given(typed, st.sampled_from(["+", "-", "*", "&", "|", "^"]))
def test_operators_are_c(case: tuple[Int, int, int], sign: str) -> None:
    of, left, right = case
    exact = {"+": left + right, "-": left - right, "*": left * right,
             "&": left & right, "|": left | right, "^": left ^ right}[sign]  # fmt: skip
    expected = C[of.bits, of.signed](exact).value
    assert value_of(op(arg("a", of), sign, arg("b", of)), a=left, b=right) == expected
    assert value_of(op(arg("a", of), sign, num(right, of)), a=left) == expected


@given(typed, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
def test_comparisons(case: tuple[Int, int, int], sign: str) -> None:
    of, left, right = case
    expected = {"==": left == right, "!=": left != right, "<": left < right,
                "<=": left <= right, ">": left > right, ">=": left >= right}[sign]  # fmt: skip
    assert value_of(op(arg("a", of), sign, arg("b", of)), a=left, b=right) is expected


@given(typed, st.sampled_from(["/", "%"]))
def test_division_truncates_toward_zero(case: tuple[Int, int, int], sign: str) -> None:
    of, left, right = case
    if right == 0:
        return
    exact = int(divide(left, right)) if sign == "/" else remainder(left, right)
    assert divide(left, right) * right + remainder(left, right) == left
    assert abs(remainder(left, right)) < abs(right)
    expected = C[of.bits, of.signed](exact).value
    assert value_of(op(arg("a", of), sign, arg("b", of)), a=left, b=right) == expected
    assert value_of(op(arg("a", of), sign, num(right, of)), a=left) == expected


@pytest.mark.parametrize("sign", ["/", "%"])
@pytest.mark.parametrize("of", [I8, U64, I64])
def test_division_by_zero_is_one_and_warns(sign: str, of: Int) -> None:
    for right in (arg("b", of), num(0, of)):
        value, messages = value_and_messages(op(arg("a", of), sign, right), a=7, b=0)
        assert value == 1
        assert [one.level for one in messages] == ["warning"]
        assert messages[0].text.startswith("Divide or modulo by 0 detected.")
        assert messages[0].span == ir.Span(1, 0, 5)


def test_division_that_is_not_evaluated_does_not_warn() -> None:
    safe = op(op(arg("b"), "!=", num(0)), "&&", op(op(num(8), "/", arg("b")), "==", num(4)))
    assert value_of(safe, b=0) is False
    assert value_of(safe, b=2) is True
    chosen = ir.Choice(I64, op(arg("b"), "==", num(0)), num(-1), op(num(8), "/", arg("b")))
    assert value_of(chosen, b=0) == -1


def test_least_by_minus_one() -> None:
    least = -(1 << 63)
    assert value_of(op(arg("a"), "/", arg("b")), a=least, b=-1) == least
    assert value_of(op(arg("a"), "/", num(-1)), a=least) == least
    assert value_of(op(arg("a"), "%", num(-1)), a=least) == 0


@given(typed, st.sampled_from(["<<", ">>"]))
def test_shifts_use_the_count_modulo_the_width(case: tuple[Int, int, int], sign: str) -> None:
    of, left, count = case
    places = count & of.bits - 1
    expected = C[of.bits, of.signed](left << places if sign == "<<" else left >> places).value
    assert value_of(op(arg("a", of), sign, arg("b", of)), a=left, b=count) == expected
    assert value_of(op(arg("a", of), sign, num(count, of)), a=left) == expected


@given(typed)
def test_unary(case: tuple[Int, int, int]) -> None:
    of, value, _ = case
    kind = C[of.bits, of.signed]
    assert value_of(ir.Unary(of, "-", arg("a", of)), a=value) == kind(-value).value
    assert value_of(ir.Unary(of, "~", arg("a", of)), a=value) == kind(~value).value
    assert value_of(ir.Unary(BOOL, "!", arg("a", of)), a=value) is (value == 0)


@given(typed, kinds)
def test_casts(case: tuple[Int, int, int], to: Int) -> None:
    of, value, _ = case
    assert value_of(ir.Cast(to, arg("a", of)), a=value) == C[to.bits, to.signed](value).value
    assert value_of(ir.Cast(BOOL, arg("a", of)), a=value) is (value != 0)
    truth = op(arg("a", of), ">", num(0, of))
    assert value_of(ir.Cast(to, truth), a=value) == int(value > 0)


@given(typed, typed)
def test_wraps_at_every_step(one: tuple[Int, int, int], two: tuple[Int, int, int]) -> None:
    """(a * b + a) in 8 bits, widened, isn't the same as in the wide type."""
    _, a, b = one
    a, b = wrap(a, 8, True), wrap(b, 8, True)
    narrow = op(op(arg("a", I8), "*", arg("b", I8)), "+", arg("a", I8))
    expected = ctypes.c_int8(ctypes.c_int8(a * b).value + a).value
    assert value_of(ir.Cast(I64, narrow), a=a, b=b) == expected


def test_strings_compare_by_their_bytes() -> None:
    text = ir.Const(Str(64), b"sh\0ell")
    assert value_of(op(arg("s", Str(16)), "==", text), s=b"sh") is True
    assert value_of(op(arg("s", Str(16)), "!=", text), s=b"shell") is True
    assert value_of(ir.Cast(Str(4), arg("s", Str(16))), s=b"shell") == b"she"


def test_deep_expressions_compile() -> None:
    expr: ir.Expr = arg("a")
    for _ in range(150):
        expr = op(op(expr, "+", num(1)), "^", arg("a"))
    value = 5
    for _ in range(150):
        value = (value + 1) ^ 5
    assert value_of(expr, a=5) == value


def test_unsigned_and_signed_meet_in_casts() -> None:
    assert value_of(ir.Cast(U64, arg("a", I32)), a=-1) == (1 << 64) - 1
    assert value_of(ir.Cast(U32, arg("a", I8)), a=-1) == 0xFFFFFFFF
    assert value_of(ir.Cast(I64, arg("a", U8)), a=255) == 255
