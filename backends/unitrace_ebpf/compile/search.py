"""Strings looked through in the kernel: their letters, strlen(), strstr(), strcontains()."""

from __future__ import annotations

from unitrace.contract.ir import Call, Const, Expr, Index
from unitrace.contract.types import Str

from ..asm import FP, R0, R1, R2, R3, R4, R5, Label
from .base import CannotCompile, shape
from .strings import is_text
from .values import Values

__all__ = ["Searches"]

COMPARISONS = 5000
"""Bytes of one string times bytes of the other, up to which one is looked for in the other."""

ONES, HIGHS = 0x0101010101010101, 0x8080808080808080


class Searches(Values):
    """Every byte has instructions of its own: there is no loop for the verifier to follow."""

    def _bytes_of(self, expr: Expr) -> tuple[int, int, int]:
        """Where a string lies, zeros behind it, and how many bytes of it there can be."""
        if not is_text(expr.type):
            raise CannotCompile("a search in what is no string")
        base, at = self._held(expr, expr.type.size + 1, clean=True)
        return base, at, expr.type.size

    def computed(self, expr: Expr) -> None:
        if isinstance(expr, Index) and isinstance(expr.operand.type, Str):
            self._letter(expr)
        else:
            super().computed(expr)

    def _letter(self, expr: Index) -> None:
        """One byte of a string; 0 behind its end, and for a place that no string of the type has."""
        code, mark, done = self.code, self.frame.mark(), self.code.label()
        base, at, size = self._bytes_of(expr.operand)
        slot = self.frame.take()
        self.scalar(expr.index)
        inside = code.label()
        code.jump_ifi("<", R0, size, inside)
        code.alui("mov", R0, 0)
        code.jump(done)
        code.place(inside)
        self.address(R3, base, at)
        code.alu("+", R3, R0)
        self.fetch("kernel", FP, slot, 1)
        code.load(R0, FP, slot, 1)
        code.extend(R0, *shape(expr.type))
        code.place(done)
        self.frame.release(mark)

    def strlen(self, expr: Call) -> None:
        """Eight bytes at a time: ``(word - ONES) & ~word & HIGHS`` has the top bit of the first byte that is
        zero, and of none before it."""
        code, mark = self.code, self.frame.mark()
        found, done = code.label(), code.label()
        base, at, size = self._bytes_of(expr.args[0])
        code.const(R2, ONES)
        code.const(R3, HIGHS)
        for word in range(-(-(size + 1) // 8)):
            code.load(R0, base, at + 8 * word, 8)
            code.mov(R1, R0)
            code.alu("-", R1, R2)
            code.alui("^", R0, -1)
            code.alu("&", R1, R0)
            code.alu("&", R1, R3)
            code.alui("mov", R4, 8 * word)
            code.jump_ifi("!=", R1, 0, found)
        code.alui("mov", R0, size)
        code.jump(done)
        code.place(found)
        for bits in (32, 16, 8):
            lower = code.label()
            code.const(R5, (1 << bits) - 1)
            code.alu("&", R5, R1)
            code.jump_ifi("!=", R5, 0, lower)
            code.alui(">>", R1, bits)
            code.alui("+", R4, bits // 8)
            code.place(lower)
        code.mov(R0, R4)
        code.place(done)
        self.frame.release(mark)

    def strstr(self, expr: Call) -> None:
        """Where the second string begins in the first, or -1."""
        code, mark = self.code, self.frame.mark()
        found, done = code.label(), code.label()
        self._search(expr.args[0], expr.args[1], found)
        code.alui("mov", R0, -1)
        code.jump(done)
        code.place(found)
        # a number that the verifier doesn't know: it would go on from each place by itself
        code.alu("^", R1, R1)
        code.mov(R0, R4)
        code.alu("+", R0, R1)
        code.place(done)
        self.frame.release(mark)

    def strcontains(self, expr: Call) -> None:
        """Whether the first string has the second in it."""
        code, mark = self.code, self.frame.mark()
        found, done = code.label(), code.label()
        self._search(expr.args[0], expr.args[1], found)
        code.alui("mov", R0, 0)
        code.jump(done)
        code.place(found)
        code.alui("mov", R0, 1)
        code.place(done)
        self.frame.release(mark)

    def _search(self, hay: Expr, needle: Expr, found: Label) -> None:
        """Go to ``found`` with the place in R4 and some byte in R1, or on."""
        base, at, size = self._bytes_of(hay)
        if isinstance(needle, Const) and isinstance(needle.value, bytes):
            self._search_constant(base, at, size, needle.value.partition(b"\0")[0], found)
        else:
            self._search_computed(base, at, size, needle, found)

    def _search_constant(self, base: int, at: int, size: int, wanted: bytes, found: Label) -> None:
        """The last bytes that were read, up to eight, are held in R0 and compared at once."""
        code, window = self.code, min(8, len(wanted))
        if size * max(1, len(wanted) - window) > COMPARISONS:
            raise CannotCompile(f"a search for {len(wanted)} bytes in {size}")
        code.const(R2, int.from_bytes(wanted[:window], "big"))
        code.const(R3, (1 << 8 * window) - 1)
        code.alui("mov", R0, 0)
        code.alui("mov", R4, 0)
        code.alui("mov", R1, 0)
        if not wanted:
            code.jump(found)
        for end in range(1, size + 1 - (len(wanted) - window)):
            code.load(R1, base, at + end - 1, 1)
            code.alui("<<", R0, 8)
            code.alu("|", R0, R1)
            if end < window:
                continue
            code.alu("&", R0, R3)
            code.alui("mov", R4, end - window)
            if len(wanted) == window:
                code.jump_if("==", R0, R2, found)
                continue
            further = code.label()
            code.jump_if("!=", R0, R2, further)
            for number, byte in enumerate(wanted[window:]):
                code.load(R1, base, at + end + number, 1)
                code.jump_ifi("!=", R1, byte, further)
            code.jump(found)
            code.place(further)

    def _search_computed(self, base: int, at: int, size: int, needle: Expr, found: Label) -> None:
        code = self.code
        other, there, length = self._bytes_of(needle)
        if size * length > COMPARISONS:
            raise CannotCompile(f"a search for a string of {length} bytes in one of {size}")
        for start in range(size):
            further = code.label()
            code.alui("mov", R4, start)
            for number in range(length + 1):
                code.load(R1, other, there + number, 1)
                code.jump_ifi("==", R1, 0, found)
                if start + number >= size:
                    break
                code.load(R0, base, at + start + number, 1)
                code.jump_if("!=", R0, R1, further)
            code.place(further)
