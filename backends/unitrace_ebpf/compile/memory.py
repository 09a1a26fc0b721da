"""Reading memory: the probe_read helpers, by address space, of new kernels and old."""

from __future__ import annotations

import os

from unitrace.contract.ir import Expr, Load, Text

from ..asm import FP, R0, R1, R2, R3, R4
from .base import CONTEXT, CannotCompile, shape
from .sites import Sites

__all__ = ["Memory"]

_TAGGED = os.uname().machine == "aarch64"
"""Bit 55 says kernel or user on arm64 (the byte above may hold a tag), bit 63 elsewhere."""


class Memory(Sites):
    """Load and Text. A read that fails leaves zeros: the helpers clear what they can't fill."""

    def fetch(self, space: str, base: int, off: int, size: int, *, text: bool = False) -> None:
        """Copy ``size`` bytes (R2 where 0) from address R3 to ``base + off``; ``text``: up to the NUL."""
        code, suffix = self.code, "_str" if text else ""
        self.address(R1, base, off)
        if size:
            code.alui("mov", R2, size)
        if not self.abilities.split_reads:
            code.call("probe_read" + suffix)
        elif space:
            code.call(f"probe_read_{space}{suffix}")
        else:
            user, done = code.label(), code.label()
            code.mov(R4, R3)
            if _TAGGED:
                code.alui("<<", R4, 8)
            code.jump_ifi("s>=", R4, 0, user)
            code.call("probe_read_kernel" + suffix)
            code.jump(done)
            code.place(user)
            code.call("probe_read_user" + suffix)
            code.place(done)

    def raw(self, base: int, off: int, size: int, at: int) -> None:
        """Copy bytes of the event's record, by loads where they are aligned and few."""
        if at % 4 == 0 and size % 4 == 0 and off % 4 == 0 and size <= 64 and at >= 8:
            self.copy(CONTEXT, at, base, off, size)
        else:
            self.address(R3, CONTEXT, at)
            self.fetch("kernel", base, off, size)

    def pointer(self, expr: Expr, offset: int = 0) -> None:
        """An address into R3."""
        self.scalar(expr)
        self.code.mov(R3, R0)
        if offset:
            self.code.alui("+", R3, offset)

    def load(self, expr: Load) -> None:
        """Memory as an integer, into R0; a bit field is cut from the unit read."""
        bits, signed = shape(expr.type)
        used = self.frame.used
        slot = self.frame.take()
        self.pointer(expr.pointer, expr.offset)
        self.fetch(expr.space, FP, slot, bits // 8)
        self.code.load(R0, FP, slot, bits // 8)
        if expr.bit_size:
            self.code.alui("<<", R0, 64 - expr.bit_offset - expr.bit_size)
            self.code.alui("s>>" if signed else ">>", R0, 64 - expr.bit_size)
        else:
            self.code.extend(R0, bits, signed)
        self.frame.back(used)

    def load_bytes(self, expr: Load, base: int, off: int) -> None:
        """Memory as it is (a struct, an array), to ``base + off``."""
        self.pointer(expr.pointer, expr.offset)
        self.fetch(expr.space, base, off, expr.type.size)

    def read_text(self, expr: Text, base: int, off: int, size: int) -> None:
        """A string of at most ``size`` bytes, NUL counted, to ``base + off``. What lies beyond its
        NUL is not touched."""
        code, used = self.code, self.frame.used
        if expr.limit is None:
            self.pointer(expr.pointer)
            self.fetch(expr.space, base, off, size, text=True)
        else:
            self.scalar(expr.pointer)
            slot = self.spill()
            self.scalar(expr.limit)
            fits, some, done = code.label(), code.label(), code.label()
            code.jump_ifi("<=", R0, size, fits)
            code.alui("mov", R0, size)
            code.place(fits)
            code.jump_ifi("!=", R0, 0, some)
            code.storei(base, off, 0, 1)
            code.jump(done)
            code.place(some)
            code.mov(R2, R0)
            code.load(R3, FP, slot, 8)
            self.fetch(expr.space, base, off, 0, text=True)
            code.place(done)
        self.frame.back(used)

    def record_text(self, at: int, how: str, base: int, off: int, size: int) -> None:
        """A string in the event's record: in place, or where its u32 of length << 16 | offset says."""
        if how == "value":
            self.address(R3, CONTEXT, at)
        elif how in ("data_loc", "rel_loc"):
            if self.context.syscall:
                raise CannotCompile("a string inside a system call's event: BPF sees its arguments only")
            self.code.load(R3, CONTEXT, at, 4)
            self.code.alui("&", R3, 0xFFFF)
            if how == "rel_loc":
                self.code.alui("+", R3, at + 4)
            self.code.alu("+", R3, CONTEXT)
        else:
            raise CannotCompile(f"a field stored as {how}")
        self.fetch("kernel", base, off, size, text=True)
