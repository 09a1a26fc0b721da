"""The rules of types: which type two values have in common, what a cast does to a constant.

bpftrace's, as of 0.27: a literal has the smallest signed type that holds it, and while it isn't
negative it is *flexible*: it takes the sign of what it meets. Arithmetic is done in 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from unitrace.contract.ir import Binary, Cast, Choice, Const, Expr, MemberOf, TupleOf, Unary, Value
from unitrace.contract.types import (
    BOOL,
    INT64,
    UINT64,
    Aggregate,
    Array,
    Bool,
    Buffer,
    Enum,
    Formatted,
    Int,
    Pointer,
    Stack,
    Str,
    Struct,
    Tuple,
    Type,
    Void,
)

__all__ = [
    "as_integer", "cast", "fold", "is_flexible", "is_number", "literal", "number_of", "promote", "signed",
    "smallest", "text", "truth", "wrap", "zero",
]  # fmt: skip

_SIGNED = {bits: Int(bits, True) for bits in (8, 16, 32, 64)}
_COMPARES = frozenset(("==", "!=", "<", "<=", ">", ">="))


def smallest(value: int) -> Int:
    """The type of an integer literal."""
    for bits in (8, 16, 32, 64):
        if -(1 << bits - 1) <= value < 1 << bits - 1:
            return _SIGNED[bits]
    return UINT64


def literal(value: int) -> Const:
    """An integer literal, wrapped to 64 bits where it must be."""
    if not -(1 << 63) <= value < 1 << 64:
        value = wrap(value, INT64)
    return Const(smallest(value), value)


def text(value: bytes) -> Const:
    """A string literal."""
    return Const(Str(len(value) + 1), value)


def wrap(value: int, to: Int | Enum) -> int:
    """``value`` in two's complement of a type's width."""
    value &= (1 << to.bits) - 1
    if to.signed and value >> to.bits - 1:
        value -= 1 << to.bits
    return value


def is_flexible(expr: Expr) -> bool:
    """Whether an expression is an integer literal that isn't negative."""
    return (
        isinstance(expr, Const)
        and type(expr.value) is int
        and expr.value >= 0
        and isinstance(expr.type, Int)
        and expr.type.signed
        and expr.type == smallest(expr.value)
    )


def is_number(of: Type) -> bool:
    """Whether values of a type can be reckoned with: integers, enums, bool, and aggregates' numbers."""
    return isinstance(of, (Int, Enum, Bool)) or (
        isinstance(of, Aggregate) and of.function not in ("hist", "lhist", "tseries")
    )


def signed(of: Type) -> bool:
    """Whether a number's type has a sign."""
    return isinstance(of, (Int, Enum, Aggregate)) and of.signed


def as_integer(of: Type) -> Type:
    """The plain integer type of a number: of an enum its width, of a bool int8, of an aggregate 64 bits."""
    if isinstance(of, Enum):
        return Int(of.bits, of.signed)
    if isinstance(of, Bool):
        return Int(8, False)
    if isinstance(of, Aggregate):
        return number_of(of)
    return of


def number_of(of: Aggregate) -> Int:
    """The type of an aggregate's number. count() is signed, as bpftrace has it."""
    return INT64 if of.signed or of.function == "count" else UINT64


Typed = tuple[Type, bool]


def promote(one: Type, flexible: bool, other: Type, other_flexible: bool) -> Typed | None:
    """The type that holds values of both, and whether it is still flexible; None where there is none."""
    if one == other:
        return one, flexible and other_flexible
    if isinstance(one, (Int, Enum)) and isinstance(other, (Int, Enum)):
        return _promote_int(one, flexible, other, other_flexible)
    if isinstance(one, Int) and isinstance(other, Aggregate) and is_number(other):
        return promote(one, flexible, number_of(other), False)
    if isinstance(one, Aggregate) and isinstance(other, Int) and is_number(one):
        return promote(number_of(one), False, other, other_flexible)
    if type(one) is not type(other):
        return None
    if isinstance(one, Tuple) and isinstance(other, Tuple):
        made = _promote_tuple(one, other)
        return None if made is None else (made, False)
    if isinstance(one, (Str, Buffer)):
        return (one if one.size >= other.size else other), False
    if isinstance(one, Pointer) and isinstance(other, Pointer):
        return _promote_pointer(one, other)
    if isinstance(one, Stack) and isinstance(other, Stack):
        fits = one.space == other.space
        return (one.replace(depth=max(one.depth, other.depth)), False) if fits else None
    if isinstance(one, Formatted) and isinstance(other, Formatted):
        return (one if one.length >= other.length else other, False) if one.form == other.form else None
    if isinstance(one, Aggregate) and isinstance(other, Aggregate):
        if (one.function, one.parameters) != (other.function, other.parameters):
            return None
        return one.replace(signed=True), False
    return None


def _promote_int(one: Int | Enum, flexible: bool, other: Int | Enum, other_flexible: bool) -> Typed:
    both = flexible and other_flexible
    if one.signed == other.signed:
        return Int(max(one.bits, other.bits), one.signed), both
    if flexible or other_flexible:
        has_sign = (one.signed and not flexible) or (other.signed and not other_flexible)
        return Int(max(one.bits, other.bits), has_sign), both
    wide, narrow = (one, other) if one.signed else (other, one)
    if wide.bits > narrow.bits:
        return Int(wide.bits, True), False
    return Int(min(64, narrow.bits * 2), True), False


def _promote_tuple(one: Tuple, other: Tuple) -> Tuple | None:
    if len(one.items) != len(other.items) or set(one.names) != set(other.names):
        return None
    theirs: Sequence[Type] = other.items
    if one.names:
        theirs = [other.items[other.names.index(name)] for name in one.names]
    # the items of a tuple that came from literals can't be told from others here; both are kept wide
    made = [promote(a, _may_flex(a), b, _may_flex(b)) for a, b in zip(one.items, theirs)]
    if None in made:
        return None
    return Tuple(tuple(item[0] for item in made if item), one.names)


def _may_flex(of: Type) -> bool:
    return isinstance(of, Int) and of.signed and of.bits < 64


def _promote_pointer(one: Pointer, other: Pointer) -> Typed | None:
    space = one.space if one.space == other.space else ""
    if one.to == other.to:
        return Pointer(one.to, space), False
    if isinstance(one.to, Void):
        return Pointer(other.to, space), False
    if isinstance(other.to, Void) or _name(one.to) == _name(other.to):
        return Pointer(one.to, space), False
    if isinstance(one.to, Int) and isinstance(other.to, Int) and one.to.bits == other.to.bits:
        return Pointer(one.to, space), False
    return None


def _name(of: Type) -> object:
    return of.name if isinstance(of, Struct) else of


# --- casts -----------------------------------------------------------------------------------


def cast(expr: Expr, to: Type) -> Expr:
    """``expr`` as a value of ``to``: a constant is converted now; text keeps its bytes."""
    of = expr.type
    if of == to:
        return expr
    if isinstance(to, (Str, Buffer, Stack, Formatted, Struct)) and type(of) is type(to):
        if isinstance(expr, Const) and isinstance(to, Str):
            return Const(to, expr.value)
        return expr
    if isinstance(expr, Const) and isinstance(expr.value, (int, bool)):
        if isinstance(to, (Int, Enum)):
            return Const(to, wrap(int(expr.value), to))
        if isinstance(to, Pointer):
            return Const(to, wrap(int(expr.value), UINT64))
        if isinstance(to, Bool):
            return Const(to, bool(expr.value))
    if isinstance(to, Tuple) and isinstance(of, Tuple):
        return _cast_tuple(expr, of, to)
    if isinstance(to, Bool):
        return truth(expr)
    if isinstance(of, Aggregate):
        # an aggregate's number already has 64 bits
        return expr.replace(type=number_of(of)) if to == number_of(of) else Cast(to, expr)
    if isinstance(expr, Cast) and isinstance(of, Pointer) and expr.operand.type == to:
        return expr.operand  # there and back again
    return Cast(to, expr)


def _cast_tuple(expr: Expr, of: Tuple, to: Tuple) -> Expr:
    order = range(len(to.items))
    if to.names and to.names != of.names:
        order = [of.names.index(name) for name in to.names]  # type: ignore[assignment]
    parts = [expr.items[i] if isinstance(expr, TupleOf) else MemberOf(of.items[i], expr, i) for i in order]
    return TupleOf(to, tuple(cast(part, item) for part, item in zip(parts, to.items)))


def truth(expr: Expr) -> Expr:
    """``expr`` as a condition: whether it isn't zero."""
    of = expr.type
    if isinstance(of, Bool):
        return expr
    if isinstance(expr, Const):
        return Const(BOOL, bool(expr.value))
    if isinstance(of, Aggregate):
        return Binary(BOOL, "!=", expr, Const(number_of(of), 0))
    if isinstance(of, Pointer):
        return Binary(BOOL, "!=", expr, Const(of, 0))
    return Binary(BOOL, "!=", expr, Const(of, 0))


def zero(of: Type) -> Expr:
    """The zero value of a type."""
    if isinstance(of, Bool):
        return Const(of, False)
    if isinstance(of, (Str, Buffer)):
        return Const(of, b"")
    if isinstance(of, Tuple):
        return TupleOf(of, tuple(map(zero, of.items)))
    if isinstance(of, Array):
        return TupleOf(of, tuple(zero(of.of) for _ in range(min(of.count, 64))))
    return Const(of, 0)


# --- constants -------------------------------------------------------------------------------


def fold(expr: Expr) -> Expr:
    """A Unary, Binary or Choice whose operands are constants, computed; else itself."""
    if isinstance(expr, Choice) and isinstance(expr.condition, Const):
        return expr.then if expr.condition.value else expr.otherwise
    if isinstance(expr, Unary) and isinstance(expr.operand, Const):
        return _fold_unary(expr, expr.operand)
    if not isinstance(expr, Binary) or not isinstance(expr.left, Const):
        return expr
    if expr.op in ("&&", "||"):
        decided = bool(expr.left.value) == (expr.op == "||")
        return Const(BOOL, expr.op == "||") if decided else expr.right
    if not isinstance(expr.right, Const):
        return expr
    value = _compute(expr.op, expr.left.value, expr.right.value, expr.left.type)
    if value is None:
        return expr
    if isinstance(expr.type, (Int, Enum)):
        return Const(expr.type, wrap(int(value), expr.type))
    return Const(expr.type, value)


def _fold_unary(expr: Unary, operand: Const) -> Expr:
    if expr.op == "!":
        return Const(BOOL, not operand.value)
    if not isinstance(operand.value, int):
        return expr
    value = -operand.value if expr.op == "-" else ~operand.value
    if isinstance(expr.type, (Int, Enum)):
        return Const(expr.type, wrap(value, expr.type))
    return expr


def _compute(op: str, left: Value, right: Value, of: Type) -> Value | None:
    if op in _COMPARES:
        if isinstance(left, bytes) != isinstance(right, bytes):
            return None
        if op in ("==", "!="):
            return (left == right) is (op == "==")
        a, b = left, right
        return bool(a < b if op == "<" else a <= b if op == "<=" else a > b if op == ">" else a >= b)  # type: ignore[operator]
    if isinstance(left, bytes) or isinstance(right, bytes):
        return None
    bits = of.bits if isinstance(of, (Int, Enum)) else 64
    if op == "+":
        return left + right
    if op == "-":
        return left - right
    if op == "*":
        return left * right
    if op == "&":
        return left & right
    if op == "|":
        return left | right
    if op == "^":
        return left ^ right
    if op == "<<":
        return left << right % bits
    if op == ">>":
        return left >> right % bits
    if right == 0:
        return None  # bpftrace's 1, with a warning where it runs
    quotient = abs(left) // abs(right)
    quotient = -quotient if (left < 0) != (right < 0) else quotient
    return quotient if op == "/" else left - quotient * right
