"""``@map[key] = count()`` and its like: find the key's value on this CPU, and change it there."""

from __future__ import annotations

from unitrace.contract.ir import Expr, MapUpdate

from ..asm import FP, R0, R1, R2, R3, R4, Label
from ..maps import Kept, Part
from .base import CannotCompile, shape
from .records import Records, zeros_of

__all__ = ["Aggregates"]

INLINE = 64
"""Larger values start as a copy of a map's zeros, not the stack's."""


class Aggregates(Records):
    """Updates of kept maps; ``plans``: the layouts, and each map's number among the drop counters."""

    plans: dict[str, tuple[Kept, int]] = {}  # noqa: RUF012 (set once, for a whole clause)

    def update(self, stmt: MapUpdate) -> None:
        plan, number = self.plans[stmt.map]
        code, mark = self.code, self.frame.mark()
        value = weight = 0
        if plan.function != "count":
            self._value(stmt.args[0], plan)
            value = self.spill()
        if len(stmt.args) > 1:
            if plan.function != "hist":
                raise CannotCompile(f"{plan.function}() of two values")
            self.scalar(stmt.args[1])
            weight = self.spill()
        done = code.label()
        if plan.scalar:
            self.array_element(f"map:{plan.decl.name}")
            code.jump_ifi("==", R0, 0, done)
        else:
            self.element(plan, number, stmt.key, done)
        getattr(self, f"_{plan.function}")(plan, value, weight)
        code.place(done)
        self.frame.release(mark)

    def _value(self, expr: Expr, plan: Kept) -> None:
        shape(expr.type)
        self.scalar(expr)

    def key_place(self, plan: Kept, exprs: tuple[Expr, ...]) -> tuple[int, int]:
        """A new place with the key in it; the gaps between its parts are zero."""
        if not plan.parts:
            slot = self.frame.take(plan.key_size)
            self.zero(FP, slot, plan.key_size)
            return FP, slot
        if len(exprs) != len(plan.parts):
            raise CannotCompile("a computed key")
        base, at = self.room(plan.key_size)
        if sum(map(_covered, plan.parts)) < plan.key_size:
            self.clear(base, at, plan.key_size)
        for part, expr in zip(plan.parts, exprs):
            mark = self.frame.mark()
            self.put(expr, part, base, at, clean=True)
            self.frame.release(mark)
        return base, at

    def element(self, plan: Kept, number: int, exprs: tuple[Expr, ...], none: Label) -> None:
        """R0: the address of the value under a key, made where there was none. Where there is no room, that
        loss is counted, and it goes on at ``none``."""
        code, hit = self.code, self.code.label()
        base, key = self.key_place(plan, exprs)
        self._lookup(plan, key, base)
        code.jump_ifi("!=", R0, 0, hit)
        self._insert(plan, key, base)
        self._lookup(plan, key, base)
        code.jump_ifi("!=", R0, 0, hit)
        self.drop(number)
        code.jump(none)
        code.place(hit)

    def _lookup(self, plan: Kept, key: int, base: int = FP) -> None:
        self.code.map(R1, f"map:{plan.decl.name}")
        self.address(R2, base, key)
        self.code.call("map_lookup_elem")

    def _insert(self, plan: Kept, key: int, base: int) -> None:
        """Put a zero value under the key, unless another CPU has just done so (BPF_NOEXIST)."""
        code, used = self.code, self.frame.used
        if plan.value_size <= INLINE:
            slot = self.frame.take(plan.value_size)
            self.zero(FP, slot, plan.value_size)
            self.address(R3, FP, slot)
        else:
            there = code.label()
            self.array_element(zeros_of(plan.value_size))
            code.jump_ifi("!=", R0, 0, there)
            code.alui("mov", R0, 0)
            code.exit()  # never: an array has its element 0
            code.place(there)
            code.mov(R3, R0)
        code.map(R1, f"map:{plan.decl.name}")
        self.address(R2, base, key)
        code.alui("mov", R4, 1)
        code.call("map_update_elem")
        self.frame.back(used)

    def _add(self, at: int, reg: int) -> None:
        self.code.add_memory(R0, at, reg, atomic=self.context.atomic, scratch=R2)

    # --- what each function does to its value at R0 ----------------------------------------------

    def _count(self, plan: Kept, value: int, weight: int) -> None:
        self.code.alui("mov", R1, 1)
        self._add(0, R1)

    def _sum(self, plan: Kept, value: int, weight: int) -> None:
        self.code.load(R1, FP, value, 8)
        self._add(0, R1)
        if plan.scalar:
            self.code.alui("mov", R1, 1)
            self._add(8, R1)

    def _avg(self, plan: Kept, value: int, weight: int) -> None:
        self.code.load(R1, FP, value, 8)
        self._add(8, R1)
        self.code.alui("mov", R1, 1)
        self._add(0, R1)

    _stats = _avg

    def _extreme(self, plan: Kept, value: int, op: str) -> None:
        code = self.code
        put, done = code.label(), code.label()
        code.load(R1, FP, value, 8)
        code.load(R2, R0, 8, 8)
        code.jump_ifi("==", R2, 0, put)
        code.load(R2, R0, 0, 8)
        code.jump_if(f"s{op}" if plan.signed else op, R2, R1, done)
        code.place(put)
        code.store(R0, 0, R1, 8)
        code.storei(R0, 8, 1, 8)
        code.place(done)

    def _min(self, plan: Kept, value: int, weight: int) -> None:
        self._extreme(plan, value, "<=")

    def _max(self, plan: Kept, value: int, weight: int) -> None:
        self._extreme(plan, value, ">=")

    def _hist(self, plan: Kept, value: int, weight: int) -> None:
        """model.hist_bucket; the exponent by five halvings of what is left."""
        code = self.code
        bits = plan.parameters[0] if plan.parameters else 0
        low, large, found = code.label(), code.label(), code.label()
        code.load(R1, FP, value, 8)
        code.jump_ifi("s>=", R1, 0, low)
        code.alui("mov", R1, 0)
        code.jump(found)
        code.place(low)
        code.jump_ifi(">=", R1, 1 << bits, large)
        code.alui("+", R1, 1)
        code.jump(found)
        code.place(large)
        code.mov(R2, R1)
        code.alui("mov", R3, -bits)
        for step in (32, 16, 8, 4, 2, 1):
            small = code.label()
            code.const(R4, 1 << step)
            code.jump_if("<", R2, R4, small)
            code.alui(">>", R2, step)
            code.alui("+", R3, step)
            code.place(small)
        code.alui("&", R3, 63)
        code.alu(">>", R1, R3)  # value >> e
        code.alui("<<", R3, bits)
        code.alu("+", R1, R3)
        code.alui("+", R1, 1)
        code.place(found)
        self._bucket(plan, weight)

    def _lhist(self, plan: Kept, value: int, weight: int) -> None:
        """model.lhist_bucket, the value as int64 as for hist."""
        code = self.code
        low, high, step = plan.parameters
        above, inside, found = code.label(), code.label(), code.label()
        code.load(R1, FP, value, 8)
        code.const(R2, low)
        code.jump_if("s>=", R1, R2, above)
        code.alui("mov", R1, 0)
        code.jump(found)
        code.place(above)
        code.const(R2, high)
        code.jump_if("s<", R1, R2, inside)
        code.const(R1, plan.value_size // 8 - 1)
        code.jump(found)
        code.place(inside)
        code.const(R2, low)
        code.alu("-", R1, R2)
        code.const(R2, step)
        code.alu("/", R1, R2)
        code.alui("+", R1, 1)
        code.place(found)
        self._bucket(plan, weight)

    def _bucket(self, plan: Kept, weight: int) -> None:
        """Add to bucket R1 of the value at R0; the comparison is for the verifier."""
        code = self.code
        never, most = code.label(), plan.value_size // 8 - 1
        # Masked first: from what it knows of single bits the verifier (6.18) concludes wrongly, in a
        # comparison that can't hold, and goes on with a number out of bounds.
        code.alui("&", R1, (1 << most.bit_length()) - 1)
        code.jump_ifi(">", R1, most, never)
        code.alui("<<", R1, 3)
        code.alu("+", R0, R1)
        if weight:
            code.load(R1, FP, weight, 8)
        else:
            code.alui("mov", R1, 1)
        self._add(0, R1)
        code.place(never)


def _covered(part: Part) -> int:
    """Bytes of a key's part that are always written."""
    return sum(map(_covered, part.parts)) if part.parts else part.size
