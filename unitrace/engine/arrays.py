"""Expressions of the IR over whole columns: integers, booleans and strings as numpy arrays.

An integer expression's array has the dtype of its type, so numpy's own arithmetic wraps as C does. What
has an effect where it isn't evaluated row by row (a division that may be by zero), reads a map,
or is of another type raises Unsupported when it is translated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from unitrace.contract import ir
from unitrace.contract.types import Bool, Str, Type

from .values import is_integer, shape, wrap

__all__ = ["Arrays", "Columns", "Unsupported", "compute"]


class Unsupported(Exception):
    """The clause has to be run row by row."""


class Columns:
    """Arrays of one length by column name."""

    __slots__ = ("arrays", "count")

    def __init__(self, count: int, arrays: dict[str, Any]) -> None:
        self.count = count
        self.arrays = arrays

    def where(self, mask: Any) -> Columns:
        """The rows where ``mask`` (of one value, or one a row) holds."""
        if len(mask) == 1 and self.count != 1:
            return self if mask[0] else Columns(0, {})
        chosen = {name: one[mask] for name, one in self.arrays.items()}
        return Columns(int(mask.sum()), chosen)

    def full(self, values: Any) -> Any:
        """``values`` as one a row, where it is a constant."""
        if len(values) == self.count:
            return values
        import numpy as np

        return np.broadcast_to(values, (self.count,))


Arrays = Callable[[Columns], Any]
"""Computes an array of one value a row, or of one value where it is constant."""


def compute(expr: ir.Expr, names: Mapping[ir.Expr, str], used: dict[str, None]) -> Arrays:
    """What computes ``expr`` over Columns. ``names``: columns by the expression they carry; those that
    are needed are added to ``used``."""
    if isinstance(expr, (ir.Site, ir.Load, ir.Text, ir.Call)) and expr in names:
        return _column(names[expr], expr.type, used)
    if isinstance(expr, ir.Const):
        return _constant(expr)
    if isinstance(expr, ir.Cast):
        return _cast(expr, compute(expr.operand, names, used))
    if isinstance(expr, ir.Unary):
        return _unary(expr, compute(expr.operand, names, used))
    if isinstance(expr, ir.Binary):
        return _binary(expr, names, used)
    if isinstance(expr, ir.Choice):
        return _choice(
            expr, *(compute(one, names, used) for one in (expr.condition, expr.then, expr.otherwise))
        )
    raise Unsupported


def dtype_of(of: Type) -> str:
    """numpy's name of an integer type or BOOL."""
    if isinstance(of, Bool):
        return "?"
    form = shape(of) if is_integer(of) else None
    if form is None:
        raise Unsupported
    return f"{'i' if form[1] else 'u'}{form[0] // 8}"


def _column(name: str, of: Type, used: dict[str, None]) -> Arrays:
    used[name] = None
    if isinstance(of, Str):
        return lambda columns: columns.arrays[name]
    kind = dtype_of(of)
    return lambda columns: columns.arrays[name].astype(kind, copy=False)


def _constant(expr: ir.Const) -> Arrays:
    value = expr.value
    if isinstance(value, bytes):
        if not isinstance(expr.type, Str):
            raise Unsupported
        value = value.split(b"\0", 1)[0]
        kind = f"S{max(1, len(value))}"
    else:
        kind = dtype_of(expr.type)
        form = shape(expr.type)
        assert form is not None
        value = bool(value) if kind == "?" else wrap(int(value), *form)
    made: list[Any] = []

    def constant(columns: Columns) -> Any:
        if not made:
            import numpy as np

            made.append(np.array([value], dtype=kind))
        return made[0]

    return constant


def _cast(expr: ir.Cast, operand: Arrays) -> Arrays:
    source, target = expr.operand.type, expr.type
    if isinstance(source, Str) and isinstance(target, Str) and source.length <= target.length:
        return operand
    dtype_of(source)
    if isinstance(target, Bool):
        return lambda columns: operand(columns) != 0
    kind = dtype_of(target)
    return lambda columns: operand(columns).astype(kind, copy=False)


def _unary(expr: ir.Unary, operand: Arrays) -> Arrays:
    dtype_of(expr.operand.type)
    if expr.op == "!":
        return lambda columns: operand(columns) == 0
    if isinstance(expr.type, Bool):
        raise Unsupported
    if expr.op == "-":
        return lambda columns: -operand(columns)
    if expr.op == "~":
        return lambda columns: ~operand(columns)
    raise Unsupported


def _binary(expr: ir.Binary, names: Mapping[ir.Expr, str], used: dict[str, None]) -> Arrays:
    import operator

    op = expr.op
    left, right = compute(expr.left, names, used), compute(expr.right, names, used)
    text = isinstance(expr.left.type, Str)
    if not text:
        kinds = {dtype_of(expr.left.type), dtype_of(expr.right.type)}
        if op in ("&&", "||"):
            join = operator.and_ if op == "&&" else operator.or_
            return lambda columns: join(left(columns) != 0, right(columns) != 0)
        if len(kinds) > 1 and op not in ("<<", ">>"):
            raise Unsupported
    compare = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}.get(op)
    if compare is not None and (not text or (op in ("==", "!=") and isinstance(expr.right.type, Str))):
        relation = getattr(operator, compare)
        return lambda columns: relation(left(columns), right(columns))
    if text or isinstance(expr.type, Bool) or dtype_of(expr.type) != dtype_of(expr.left.type):
        raise Unsupported
    simple = {"+": "add", "-": "sub", "*": "mul", "&": "and_", "|": "or_", "^": "xor"}.get(op)
    if simple is not None:
        work = getattr(operator, simple)
        return lambda columns: work(left(columns), right(columns))
    if op in ("<<", ">>"):
        return _shift(expr, left, right)
    if op in ("/", "%"):
        return _divide(expr, left)
    raise Unsupported


def _shift(expr: ir.Binary, left: Arrays, right: Arrays) -> Arrays:
    kind = dtype_of(expr.type)
    bits = int(kind[1:]) * 8
    rightward = expr.op == ">>"

    def shift(columns: Columns) -> Any:
        count = (right(columns) & (bits - 1)).astype(kind, copy=False)
        value = left(columns)
        return value >> count if rightward else value << count

    return shift


def _divide(expr: ir.Binary, left: Arrays) -> Arrays:
    """Division by a constant other than 0, truncating toward zero."""
    if not isinstance(expr.right, ir.Const) or not expr.right.value:
        raise Unsupported
    kind = dtype_of(expr.type)
    form = shape(expr.type)
    assert form is not None
    bits, signed = form
    divisor = wrap(int(expr.right.value), bits, signed)
    quotient = expr.op == "/"
    if divisor == 0:
        raise Unsupported

    def divide(columns: Columns) -> Any:
        import numpy as np

        value = left(columns)
        by = np.array([divisor], dtype=kind)
        if divisor == -1:  # the one that overflows: 0 - least wraps to least
            return -value if quotient else value & 0
        if not signed:
            return value // by if quotient else value % by
        floor = value // by
        rest = value - floor * by
        off = (rest != 0) & ((value < 0) != (divisor < 0))  # floor went one below
        if quotient:
            return floor + off.astype(kind)
        return np.where(off, rest - by, rest)

    return divide


def _choice(expr: ir.Choice, condition: Arrays, then: Arrays, other: Arrays) -> Arrays:
    dtype_of(expr.condition.type)
    if dtype_of(expr.then.type) != dtype_of(expr.type) or dtype_of(expr.otherwise.type) != dtype_of(
        expr.type
    ):
        raise Unsupported

    def choice(columns: Columns) -> Any:
        import numpy as np

        return np.where(condition(columns) != 0, then(columns), other(columns))

    return choice
