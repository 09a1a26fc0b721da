"""Integers: arithmetic to the bit of ir.py's rules, and conditions as jumps."""

from __future__ import annotations

from unitrace.contract.ir import Binary, Cast, Choice, Const, Expr, Index, Load, Site, Unary, Var
from unitrace.contract.types import Array, Bool

from ..asm import FP, R0, R1, R2, R6, Label
from ..insn import OPPOSITE, signed32
from .base import CannotCompile, shape
from .strings import Strings, is_text

__all__ = ["Scalars"]

_COMPARE = ("==", "!=", "<", "<=", ">", ">=")
_STAYS = ("&", "|", "^", ">>")
"""Operators whose result is extended as its operands were."""


class Scalars(Strings):
    """Expressions into R0; what must outlive a call waits in a slot of the stack."""

    divided = 0
    """The slot of how often something was divided by zero; 0: it isn't counted."""

    def __init__(self, *args: object, **named: object) -> None:
        super().__init__(*args, **named)  # type: ignore[arg-type]
        self.variables: dict[str, int] = {}

    def scalar(self, expr: Expr) -> None:
        if isinstance(expr, Const):
            if isinstance(expr.value, bytes):
                raise CannotCompile("a string as a number")
            self.code.const(R0, int(expr.value))
        elif isinstance(expr, Site):
            shape(expr.type)
            self.site(expr)
        elif isinstance(expr, Load):
            self.load(expr)
        elif isinstance(expr, Cast):
            self._cast(expr)
        elif isinstance(expr, Unary) and expr.op != "!":
            self._unary(expr)
        elif isinstance(expr, Binary) and expr.op not in _COMPARE and expr.op not in ("&&", "||"):
            self._arithmetic(expr)
        elif isinstance(expr, (Unary, Binary)):
            self._boolean(expr)
        elif isinstance(expr, Choice):
            self._choice(expr)
        elif isinstance(expr, Index) and _is_field(expr.operand):
            self._element(expr)
        elif isinstance(expr, Var):
            shape(expr.type)
            if expr.name not in self.variables:
                raise CannotCompile(f"${expr.name} before it is set")
            self.code.load(R0, FP, self.variables[expr.name], 8)
        else:
            self.computed(expr)

    def computed(self, expr: Expr) -> None:
        """A number in memory, or a function's (values.py and above)."""
        raise CannotCompile(f"{type(expr).__name__.lower()} as a number")

    def truth(self, expr: Expr, to: Label, when: bool) -> None:
        if isinstance(expr, Unary) and expr.op == "!":
            self.truth(expr.operand, to, not when)
        elif isinstance(expr, Binary) and expr.op in ("&&", "||"):
            if (expr.op == "&&") is when:  # the left side alone can't bring us there
                after = self.code.label()
                self.truth(expr.left, after, not when)
                self.truth(expr.right, to, when)
                self.code.place(after)
            else:
                self.truth(expr.left, to, when)
                self.truth(expr.right, to, when)
        elif isinstance(expr, Binary) and expr.op in _COMPARE:
            self._compare(expr, to, when)
        else:
            self.scalar(expr)
            self.code.jump_ifi("!=" if when else "==", R0, 0, to)

    def pair(self, left: Expr, right: Expr) -> int | None:
        """``left`` into R0 and ``right`` into R1; or the value of ``right`` where an immediate holds it."""
        if isinstance(right, Const) and not isinstance(right.value, bytes):
            value = int(right.value) & (1 << 64) - 1
            value -= (value >> 63) << 64
            if signed32(value):
                self.scalar(left)
                return value
        if self.light(right):
            self.scalar(left)
            self.into(right, R1)
            return None
        used = self.frame.used
        self.scalar(left)
        slot = self.spill()
        self.scalar(right)
        self.code.mov(R1, R0)
        self.code.load(R0, FP, slot, 8)
        self.frame.back(used)
        return None

    def _compare(self, expr: Binary, to: Label, when: bool) -> None:
        if is_text(expr.left.type) or is_text(expr.right.type):
            if expr.op not in ("==", "!="):
                raise CannotCompile(f"strings by {expr.op}")
            self.equal_text(expr.left, expr.right, to, when is (expr.op == "=="))
            return
        _, signed = shape(expr.left.type)
        op = expr.op if expr.op in ("==", "!=") or not signed else f"s{expr.op}"
        value = self.pair(expr.left, expr.right)
        op = op if when else OPPOSITE[op]
        if value is None:
            self.code.jump_if(op, R0, R1, to)
        else:
            self.code.jump_ifi(op, R0, value, to)

    def _boolean(self, expr: Expr) -> None:
        no, done = self.code.label(), self.code.label()
        self.truth(expr, no, False)
        self.code.alui("mov", R0, 1)
        self.code.jump(done)
        self.code.place(no)
        self.code.alui("mov", R0, 0)
        self.code.place(done)

    def _choice(self, expr: Choice) -> None:
        otherwise, done = self.code.label(), self.code.label()
        self.truth(expr.condition, otherwise, False)
        self.scalar(expr.then)
        self.code.jump(done)
        self.code.place(otherwise)
        self.scalar(expr.otherwise)
        self.code.place(done)

    def _cast(self, expr: Cast) -> None:
        bits, signed = shape(expr.type)
        if isinstance(expr.type, Bool):
            self._boolean(expr.operand if isinstance(expr.operand.type, Bool) else _nonzero(expr.operand))
            return
        source, source_signed = shape(expr.operand.type)
        self.scalar(expr.operand)
        if bits < source or (bits < 64 and source_signed and not signed) or (bits == source and bits < 64):
            self.code.extend(R0, bits, signed)

    def _unary(self, expr: Unary) -> None:
        bits, signed = shape(expr.type)
        self.scalar(expr.operand)
        if expr.op == "-":
            self.code.alui("neg", R0, 0)
        elif expr.op == "~":
            self.code.alui("^", R0, -1)
        else:
            raise CannotCompile(f"the operator {expr.op}")
        self.code.extend(R0, bits, signed)

    def _arithmetic(self, expr: Binary) -> None:
        code, op = self.code, expr.op
        bits, signed = shape(expr.type)
        value = self.pair(expr.left, expr.right)
        if op in ("/", "%"):
            self._divide(op, value, signed)
        elif op in ("<<", ">>"):
            how = "s>>" if op == ">>" and signed else op
            if value is None:
                code.alui("&", R1, bits - 1)
                code.alu(how, R0, R1)
            else:
                code.alui(how, R0, value & bits - 1)
        elif op in ("+", "-", "*", "&", "|", "^"):
            if value is None:
                code.alu(op, R0, R1)
            else:
                code.alui(op, R0, value)
        else:
            raise CannotCompile(f"the operator {op}")
        if op not in _STAYS:
            code.extend(R0, bits, signed)

    def _divide(self, op: str, value: int | None, signed: bool) -> None:
        """R0 by R1 (or ``value``): BPF divides unsigned (signed came with 6.6), and yields 0 by zero,
        where we yield 1."""
        code = self.code
        if not value and not self.warns:
            raise CannotCompile("a division whose divisor may be 0: the warning would go unreported")
        if value == 0:
            self._divided_by_zero()
            return
        if value is not None:
            code.const(R1, value)
        done = code.label()
        if value is None:
            nonzero = code.label()
            code.jump_ifi("!=", R1, 0, nonzero)
            self._divided_by_zero()
            code.jump(done)
            code.place(nonzero)
        if not signed:
            code.alu(op, R0, R1)
            code.place(done)
            return
        positive, right, keep = code.label(), code.label(), code.label()
        code.mov(R2, R0)  # the sign of the result: of both, or of the dividend
        if op == "/":
            code.alu("^", R2, R1)
        code.jump_ifi("s>=", R0, 0, positive)
        code.alui("neg", R0, 0)
        code.place(positive)
        code.jump_ifi("s>=", R1, 0, right)
        code.alui("neg", R1, 0)
        code.place(right)
        code.alu(op, R0, R1)
        code.jump_ifi("s>=", R2, 0, keep)
        code.alui("neg", R0, 0)
        code.place(keep)
        code.place(done)

    def _divided_by_zero(self) -> None:
        """The result is 1, and it is counted."""
        if self.divided:
            self.code.load(R0, FP, self.divided, 8)
            self.code.alui("+", R0, 1)
            self.code.store(FP, self.divided, R0, 8)
        self.code.alui("mov", R0, 1)

    def _element(self, expr: Index) -> None:
        """``args.array[constant]``: a number in the event's record."""
        array = expr.operand
        assert isinstance(array, Site) and isinstance(array.type, Array)
        if not isinstance(expr.index, Const) or self.context.kind != "tracepoint":
            raise CannotCompile("an element of a computed array")
        field, number = self.field(array.key), int(expr.index.value)
        if field.how != "value" or field.offset < 8:
            raise CannotCompile(f"an element of args.{field.name}")
        if not 0 <= number < array.type.count:
            self.code.const(R0, 0)
            return
        bits, signed = shape(array.type.of)
        at = field.offset + number * bits // 8
        if at % (bits // 8) == 0:
            self.code.load(R0, R6, at, bits // 8)
        else:
            slot = self.frame.take()
            self.raw(FP, slot, bits // 8, at)
            self.code.load(R0, FP, slot, bits // 8)
        self.code.extend(R0, bits, signed)


def _is_field(expr: Expr) -> bool:
    """Whether it is an array among the probe's arguments."""
    return isinstance(expr, Site) and expr.name == "args" and isinstance(expr.type, Array)


def _nonzero(expr: Expr) -> Expr:
    return Binary(Bool(), "!=", expr, Const(expr.type, 0))
