"""The language's pure functions, where the kernel can compute them."""

from __future__ import annotations

import os

from unitrace.contract.ir import Call, Cast, Const, Expr, MapGet, Site
from unitrace.contract.types import Formatted, Str

from ..asm import R0, R1
from .base import SWITCH, CannotCompile, shape
from .layouts import in_register
from .search import Searches

__all__ = ["Calls", "ON_MAPS"]

ON_MAPS = frozenset({"has_key", "delete", "len"})
"""Functions of a map, not of its value."""

_SAME = frozenset({"ksym", "kptr", "uptr", "strerror", "cgroup_path"})
"""What only prints differently."""

_OWN = frozenset({"abs", "bswap", "elapsed", "socket_cookie", "strcontains", "strlen", "strncmp", "strstr"})
"""Each by the method of its name."""


class Calls(Searches):
    """``number()`` of a Call, into R0."""

    def computed(self, expr: Expr) -> None:
        if isinstance(expr, Call):
            self._function(expr)
        elif isinstance(expr, MapGet):
            self.number_of(expr)
        else:
            super().computed(expr)

    def _function(self, expr: Call) -> None:
        name = expr.function
        if name in ON_MAPS and expr.args and isinstance(expr.args[0], MapGet):
            self.on_map(expr, expr.args[0])
        elif (name in _SAME and in_register(expr.type)) or (name == "usym" and in_register(expr.type)):
            self.scalar(_as(expr, expr.args[0]))
        elif name == "strftime" and isinstance(expr.type, Formatted):
            self.scalar(_as(expr, expr.args[-1]))
        elif name in _OWN:
            getattr(self, name)(expr)
        elif name == "strcap" and isinstance(expr.args[0].type, Str):
            self.code.const(R0, max(0, expr.args[0].type.length - 1))
        elif name == "ncpus":
            self.code.const(R0, os.cpu_count() or 1)
        else:
            raise CannotCompile(f"{name}()")

    def abs(self, expr: Call) -> None:
        bits, signed = shape(expr.type)
        positive = self.code.label()
        self.scalar(expr.args[0])
        self.code.jump_ifi("s>=", R0, 0, positive)
        self.code.alui("neg", R0, 0)
        self.code.place(positive)
        self.code.extend(R0, bits, signed)

    def elapsed(self, expr: Call) -> None:
        """Since the run began, at the time given."""
        if not self.abilities.direct_values:
            raise CannotCompile("elapsed (kernel 5.2)")
        later = self.code.label()
        self.scalar(expr.args[0])
        self.code.map_value(R1, SWITCH)
        self.code.load(R1, R1, 8, 8)
        self.code.alu("-", R0, R1)
        self.code.jump_ifi("s>=", R0, 0, later)
        self.code.alui("mov", R0, 0)
        self.code.place(later)

    def bswap(self, expr: Call) -> None:
        bits, signed = shape(expr.type)
        self.scalar(_as(expr, expr.args[0]))
        if bits > 8:
            self.code.swap(R0, bits)
        self.code.extend(R0, bits, signed)

    def socket_cookie(self, expr: Call) -> None:
        """bpf_get_socket_cookie takes pointers that the verifier knows (5.12): arguments themselves."""
        arg = expr.args[0]
        while isinstance(arg, Cast):
            arg = arg.operand
        if not (self.context.typed and isinstance(arg, Site) and arg.name == "args"):
            raise CannotCompile("socket_cookie() of anything but an argument of fentry and fexit")
        self.into(arg, R1)
        self.code.call("get_socket_cookie")

    def strncmp(self, expr: Call) -> None:
        """0 where the first bytes are the same, else 1."""
        left, right = expr.args[:2]
        count = expr.args[2] if len(expr.args) > 2 else Const(expr.type, 1 << 20)
        if not isinstance(count, Const):
            raise CannotCompile("strncmp() of a computed length")
        if isinstance(left, Const):
            left, right = right, left
        code, most = self.code, max(0, int(count.value))
        different, done = code.label(), code.label()
        mark = self.frame.mark()
        if isinstance(right, Const) and isinstance(right.value, bytes):
            wanted = right.value.partition(b"\0")[0]
            wanted = wanted[:most] if most <= len(wanted) else wanted + b"\0"
            if wanted:
                self.differs(left, wanted, different)
        else:
            size = min(most, max(left.type.size, right.type.size) + 1)
            if size:
                self.differ(left, right, size, different)
        self.frame.release(mark)
        code.alui("mov", R0, 0)
        code.jump(done)
        code.place(different)
        code.alui("mov", R0, 1)
        code.place(done)

    def number_of(self, expr: MapGet) -> None:
        """A map's number into R0 (tables.py)."""
        raise CannotCompile(f"reading {expr.map}")

    def on_map(self, expr: Call, target: MapGet) -> None:
        """has_key(), delete(), len() (tables.py)."""
        raise CannotCompile(f"{expr.function}({target.map})")


def _as(expr: Call, arg: Expr) -> Expr:
    """The argument, as a number of the call's width."""
    return arg if shape(arg.type) == shape(expr.type) else Cast(expr.type, arg)
