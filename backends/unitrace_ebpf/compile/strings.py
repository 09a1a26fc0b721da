"""Strings: put somewhere, and compared."""

from __future__ import annotations

from unitrace.contract.ir import Cast, Choice, Const, Expr, Site, Text
from unitrace.contract.types import Array, Buffer, Int, Str, Type

from ..asm import FP, R0, R1, Label
from .base import CannotCompile, shape
from .memory import Memory

__all__ = ["Strings", "is_text"]

COMPARED = 128
"""Strings longer than this, or two computed ones of more in sum, aren't compared on the stack."""


def is_text(of: Type) -> bool:
    """Whether values of the type are strings: also a char array that the front end left as one."""
    return isinstance(of, Str) or (isinstance(of, Array) and of.of == Int(8, True))


class Strings(Memory):
    """String values as bytes in memory: the string, a NUL, and (``clean``) zeros to the end."""

    def truth(self, expr: Expr, to: Label, when: bool) -> None:
        """Jump to ``to`` if the truth of ``expr`` is ``when`` (scalars.py)."""
        raise NotImplementedError

    def text(self, expr: Expr, base: int, off: int, size: int, *, clean: bool = True) -> None:
        """``expr``'s first ``size - 1`` bytes and a NUL to ``base + off``; where the whole type has
        ``size`` bytes and no NUL, all of them."""
        if isinstance(expr, Const):
            self._constant(expr, base, off, size)
        elif isinstance(expr, Site) and expr.name in self.context.constants:
            self._constant(Const(expr.type, self.context.constants[expr.name]), base, off, size)
        elif isinstance(expr, Site) and expr.name == "comm":
            self._comm(base, off, size)
        elif isinstance(expr, Site) and expr.name == "args" and is_text(expr.type):
            self._field(expr, base, off, size, clean)
        elif isinstance(expr, Text):
            if clean:
                self.zero(base, off, size)
            self.read_text(expr, base, off, min(size, expr.type.size))
        elif isinstance(expr, Cast) and is_text(expr.operand.type) and expr.operand.type.size <= size:
            self.text(expr.operand, base, off, expr.operand.type.size, clean=clean)
            self.zero(base, off + expr.operand.type.size, size - expr.operand.type.size)
        elif isinstance(expr, Choice):
            otherwise, done = self.code.label(), self.code.label()
            self.truth(expr.condition, otherwise, False)
            self.text(expr.then, base, off, size, clean=clean)
            self.code.jump(done)
            self.code.place(otherwise)
            self.text(expr.otherwise, base, off, size, clean=clean)
            self.code.place(done)
        else:
            raise CannotCompile(f"a string by {type(expr).__name__}")

    def _constant(self, expr: Const, base: int, off: int, size: int) -> None:
        if not isinstance(expr.value, bytes):
            raise CannotCompile("a number as a string")
        data = expr.value.partition(b"\0")[0][: size - 1].ljust(size, b"\0")
        at = 0
        while at < size:
            step = next(s for s in (8, 4, 2, 1) if s <= size - at and (off + at) % s == 0)
            value = int.from_bytes(data[at : at + step], "little")
            if step < 8 or value == 0:
                self.code.storei(base, off + at, value, step)
            else:
                self.code.const(R0, value)
                self.code.store(base, off + at, R0, 8)
            at += step

    def _comm(self, base: int, off: int, size: int) -> None:
        held = self.helpers.get("comm")
        if held is not None:
            self.copy(FP, held, base, off, min(size, 16))
        else:
            self.current_comm(base, off, min(size, 16))
        if size > 16:
            self.zero(base, off + 16, size - 16)

    def _field(self, expr: Site, base: int, off: int, size: int, clean: bool) -> None:
        field = self.field(expr.key)
        if self.context.kind != "tracepoint":
            raise CannotCompile(f"args.{field.name} as a string: it is a pointer")
        if field.how != "value":
            if clean:
                self.zero(base, off, size)
            self.record_text(field.offset, field.how, base, off, size)
            return
        length = field.length or expr.type.size
        if not clean and size >= length:
            self.raw(base, off, length, field.offset)
            return
        # room for a NUL of its own: an array that is full to the last byte has none
        used = self.frame.used
        room = -(-(min(size, length) + 1) // 8) * 8
        if room > COMPARED + 8:
            raise CannotCompile(f"a char array of {length} bytes as a key")
        slot = self.frame.take(room)
        self.zero(FP, slot, room)
        self.record_text(field.offset, "value", FP, slot, min(size, length) + 1)
        self.zero(base, off, size)
        self.copy(FP, slot, base, off, min(size, length))
        self.frame.back(used)

    def equal_text(self, left: Expr, right: Expr, to: Label, when: bool) -> None:
        """Jump to ``to`` if ``left == right`` is ``when``. Strings up to COMPARED bytes."""
        if isinstance(left, Const):
            left, right = right, left
        if isinstance(right, Site) and right.name in self.context.constants:
            right = Const(right.type, self.context.constants[right.name])
        code, used = self.code, self.frame.used
        different = code.label() if when else to
        if isinstance(right, Const) and isinstance(right.value, bytes):
            wanted = right.value.partition(b"\0")[0]
            size = len(wanted) + 2  # one byte more tells a longer string from an equal one
            if size > COMPARED:
                raise CannotCompile(f"a comparison with {len(wanted)} bytes")
            slot = self._held(left, size)
            at = 0
            data = (wanted + b"\0").ljust(size, b"\0")
            compared = len(wanted) + 1
            while at < compared:
                step = next(s for s in (8, 4, 2, 1) if s <= compared - at)
                code.load(R0, FP, slot + at, step)
                code.const(R1, int.from_bytes(data[at : at + step], "little"))
                code.jump_if("!=", R0, R1, different)
                at += step
        else:
            size = max(left.type.size, right.type.size) + 1
            if size > COMPARED:
                raise CannotCompile("a comparison of two long strings")
            one, two = self._held(left, size), self._held(right, size)
            for at in range(0, -(-size // 8) * 8, 8):
                code.load(R0, FP, one + at, 8)
                code.load(R1, FP, two + at, 8)
                code.jump_if("!=", R0, R1, different)
        if when:
            code.jump(to)
            code.place(different)
        self.frame.back(used)

    def _held(self, expr: Expr, size: int) -> int:
        """The string in a new slot of at least ``size`` bytes, zeros to its end."""
        room = -(-max(size, 16) // 8) * 8
        slot = self.frame.take(room)
        if isinstance(expr, Text):
            self.zero(FP, slot, room)
            self.text(expr, FP, slot, min(size, expr.type.size))
        elif isinstance(expr, Site) and expr.name == "args" and self.field(expr.key).how != "value":
            self.zero(FP, slot, room)
            self.text(expr, FP, slot, min(size, expr.type.size), clean=False)
        else:
            self.text(expr, FP, slot, room)
        return slot

    def inline(self, expr: Expr, base: int, off: int) -> bool:
        """Raw bytes (arrays, buffers) of the event's record to ``base + off``; False: not one."""
        if isinstance(expr, Site) and expr.name == "args" and isinstance(expr.type, (Array, Buffer)):
            field = self.field(expr.key)
            if self.context.kind == "tracepoint" and field.how == "value" and field.offset >= 8:
                self.raw(base, off, expr.type.size, field.offset)
                return True
        return False

    def integer(self, of: Type) -> bool:
        """Whether a register holds values of the type."""
        try:
            shape(of)
        except CannotCompile:
            return False
        return True
