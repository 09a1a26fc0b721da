"""Strings: put somewhere, and compared."""

from __future__ import annotations

from unitrace.contract.ir import Cast, Choice, Const, Expr, Site, Text
from unitrace.contract.types import Array, Buffer, Int, Str, Type

from ..asm import FP, R0, R1, R2, R3, R6, Label
from .base import NAMES, CannotCompile
from .memory import Memory

__all__ = ["NAMED", "Strings", "is_text"]

NAMED = ("probe", "name")
"""What NAMES has of a probe."""

COMPARED = 1032
"""Strings longer than this aren't compared."""

CLEARED = 128
"""Bytes that are cleared by stores; more by a helper."""


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
            self._constant(expr, base, off, size, clean)
        elif isinstance(expr, Site) and expr.name in self.context.constants:
            self._constant(Const(expr.type, self.context.constants[expr.name]), base, off, size, clean)
        elif isinstance(expr, Site) and expr.name in NAMED and self.context.named:
            self._named(expr.name, base, off, size)
        elif isinstance(expr, Site) and expr.name == "comm":
            self._comm(base, off, size)
        elif isinstance(expr, Site) and expr.name == "args" and is_text(expr.type):
            self._field(expr, base, off, size, clean)
        elif isinstance(expr, Text):
            if clean:
                self.clear(base, off, size)
            self.read_text(expr, base, off, min(size, expr.type.size))
        elif isinstance(expr, Cast) and is_text(expr.operand.type) and expr.operand.type.size <= size:
            held = expr.operand.type.size
            self.text(expr.operand, base, off, held, clean=clean)
            if clean or isinstance(expr.operand.type, Array):
                self.clear(base, off + held, size - held)
        elif isinstance(expr, Cast) and isinstance(expr.operand.type, Str):
            self.text(expr.operand, base, off, size, clean=clean)
        elif isinstance(expr, Choice):
            otherwise, done = self.code.label(), self.code.label()
            self.truth(expr.condition, otherwise, False)
            self.text(expr.then, base, off, size, clean=clean)
            self.code.jump(done)
            self.code.place(otherwise)
            self.text(expr.otherwise, base, off, size, clean=clean)
            self.code.place(done)
        else:
            self.text_computed(expr, base, off, size, clean)

    def text_computed(self, expr: Expr, base: int, off: int, size: int, clean: bool) -> None:
        """A string that is somewhere in memory (values.py)."""
        raise CannotCompile(f"a string by {type(expr).__name__}")

    def in_place(self, expr: Expr, size: int) -> tuple[int, int] | None:
        """Where a string of at least ``size`` bytes lies already (values.py)."""
        return None

    def room(self, size: int) -> tuple[int, int]:
        """A place of ``size`` bytes (values.py)."""
        raise NotImplementedError

    def clear(self, base: int, off: int, size: int) -> None:
        """Zeros. R0-R5 may be lost: many are made by a read that fails, which clears."""
        if size <= CLEARED:
            self.zero(base, off, size)
        else:
            self.code.alui("mov", R3, 0)
            self.fetch("kernel", base, off, size)

    def _constant(self, expr: Const, base: int, off: int, size: int, clean: bool) -> None:
        if not isinstance(expr.value, bytes):
            raise CannotCompile("a number as a string")
        data = expr.value.partition(b"\0")[0][: size - 1]
        if size > CLEARED:
            most = min(size, -(-(len(data) + 1) // 8) * 8)
            if clean:
                self.clear(base, off + most, size - most)
            size = most
        data = data.ljust(size, b"\0")
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

    def _named(self, site: str, base: int, off: int, size: int) -> None:
        """The probe's name, by the number that came with the link."""
        code, missing, done = self.code, self.code.label(), self.code.label()
        before, room = sum(self.context.named[: NAMED.index(site)]), self.context.named[NAMED.index(site)]
        mark = self.frame.mark()
        code.mov(R1, R6)
        code.call("get_attach_cookie")
        number = self.spill()
        code.map(R1, NAMES)
        self.address(R2, FP, number)
        code.call("map_lookup_elem")
        code.jump_ifi("==", R0, 0, missing)
        code.mov(R1, R0)
        self.copy(R1, before, base, off, min(size, room))
        if size < room:
            code.storei(base, off + size - 1, 0, 1)
        self.zero(base, off + room, max(0, size - room))
        code.jump(done)
        code.place(missing)
        self.clear(base, off, size)
        code.place(done)
        self.frame.release(mark)

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
        mark = self.frame.mark()
        room = -(-(min(size, length) + 1) // 8) * 8
        if room > COMPARED + 8:
            raise CannotCompile(f"a char array of {length} bytes as a key")
        there, slot = self.room(room)
        self.clear(there, slot, room)
        self.record_text(field.offset, "value", there, slot, min(size, length) + 1)
        self.clear(base, off, size)
        self.copy(there, slot, base, off, min(size, length))
        self.frame.release(mark)

    def equal_text(self, left: Expr, right: Expr, to: Label, when: bool) -> None:
        """Jump to ``to`` if ``left == right`` is ``when``. Strings up to COMPARED bytes."""
        if isinstance(left, Const):
            left, right = right, left
        if isinstance(right, Site) and right.name in self.context.constants:
            right = Const(right.type, self.context.constants[right.name])
        code, mark = self.code, self.frame.mark()
        different = code.label() if when else to
        if isinstance(right, Const) and isinstance(right.value, bytes):
            self.differs(left, right.value.partition(b"\0")[0] + b"\0", different)
        else:
            size = max(left.type.size, right.type.size) + 1
            self.differ(left, right, size, different)
        if when:
            code.jump(to)
            code.place(different)
        self.frame.release(mark)

    def differs(self, left: Expr, wanted: bytes, different: Label) -> None:
        """Jump to ``different`` unless the string begins with these bytes."""
        code, size = self.code, len(wanted) + 1  # one byte more tells a longer string from an equal one
        if size > COMPARED:
            raise CannotCompile(f"a comparison with {len(wanted)} bytes")
        base, slot = self._held(left, size)
        at = 0
        while at < len(wanted):
            step = next(s for s in (8, 4, 2, 1) if s <= len(wanted) - at)
            code.load(R0, base, slot + at, step)
            code.const(R1, int.from_bytes(wanted[at : at + step], "little"))
            code.jump_if("!=", R0, R1, different)
            at += step

    def differ(self, left: Expr, right: Expr, size: int, different: Label) -> None:
        """Jump to ``different`` unless the first ``size`` bytes of two strings are the same."""
        if size > COMPARED:
            raise CannotCompile("a comparison of two long strings")
        code = self.code
        one, at_one = self._held(left, size, clean=True)
        two, at_two = self._held(right, size, clean=True)
        at = 0
        while at < size:
            step = next(s for s in (8, 4, 2, 1) if s <= size - at)
            code.load(R0, one, at_one + at, step)
            code.load(R1, two, at_two + at, step)
            code.jump_if("!=", R0, R1, different)
            at += step

    def _held(self, expr: Expr, size: int, *, clean: bool = False) -> tuple[int, int]:
        """The string in a place of at least ``size`` bytes, zeros to its end where it is new."""
        if not clean:
            found = self.in_place(expr, size)
            if found is not None:
                return found
        room = -(-max(size, 16) // 8) * 8
        base, slot = self.room(room)
        if isinstance(expr, Text):
            self.clear(base, slot, room)
            self.text(expr, base, slot, min(size, expr.type.size))
        elif isinstance(expr, Site) and expr.name == "args" and self.field(expr.key).how != "value":
            self.clear(base, slot, room)
            self.text(expr, base, slot, min(size, expr.type.size), clean=False)
        else:
            self.text(expr, base, slot, room)
        return base, slot

    def inline(self, expr: Expr, base: int, off: int) -> bool:
        """Raw bytes (arrays, buffers) of the event's record to ``base + off``; False: not one."""
        if isinstance(expr, Site) and expr.name == "args" and isinstance(expr.type, (Array, Buffer)):
            field = self.field(expr.key)
            if self.context.kind == "tracepoint" and field.how == "value" and field.offset >= 8:
                self.raw(base, off, expr.type.size, field.offset)
                return True
        return False
