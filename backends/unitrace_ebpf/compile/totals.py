"""What an aggregating map holds, read by a program: over all CPUs, as they are at this moment."""

from __future__ import annotations

from unitrace.contract.ir import Call, Expr, MapGet
from unitrace.kernel.cpus import possible

from ..asm import FP, R0, R1, R2, R3, R4, Label
from ..maps import Kept
from .base import CannotCompile, shape
from .tables import Tables

__all__ = ["Totals"]

CPUS = 128
"""Each has instructions of its own."""


class Totals(Tables):
    """``lax``: what another CPU is about to do to a map may be missed, as in bpftrace."""

    lax = False

    def number_of(self, expr: MapGet) -> None:
        found = self.plans.get(expr.map)
        if found is None or found[0].plain:
            super().number_of(expr)
            return
        plan = found[0]
        mark = self.frame.mark()
        if plan.scalar:
            at = self.frame.take()
            self.code.storei(FP, at, 0, 4)
            self.total(plan, FP, at)
        else:
            self.total(plan, *self.key_place(plan, expr.key))
        self.code.extend(R0, *shape(expr.type))
        self.frame.release(mark)

    def total(self, plan: Kept, base: int, at: int) -> None:
        """R0: the number under the key at ``base + at``, all CPUs merged; 0 where there is none."""
        self.must_be_lax(plan)
        if plan.function not in ("count", "sum", "min", "max", "avg"):
            raise CannotCompile(f"{plan.decl.name}: what {plan.function}() holds as a number")
        if not self.abilities.other_cpus or possible() > CPUS:
            raise CannotCompile(f"{plan.decl.name}: reading it on all CPUs (kernel 5.19)")
        code = self.code
        number, often = self.frame.take(), self.frame.take()
        code.storei(FP, number, 0, 8)
        code.storei(FP, often, 0, 8)
        for cpu in range(possible()):
            none = code.label()
            code.map(R1, f"map:{plan.decl.name}")
            self.address(R2, base, at)
            code.alui("mov", R3, cpu)
            code.call("map_lookup_percpu_elem")
            code.jump_ifi("==", R0, 0, none)
            if plan.function in ("min", "max"):
                self._further(plan, number, often, none)
            else:
                total, count = (8, 0) if plan.function == "avg" else (0, 0)
                self._added_from(total, number)
                self._added_from(count, often)
            code.place(none)
        code.load(R0, FP, number, 8)
        if plan.function == "avg":
            nothing = code.label()
            code.load(R1, FP, often, 8)
            code.jump_ifi("==", R1, 0, nothing)
            self._divide("/", None, plan.signed)
            code.place(nothing)

    def _added_from(self, at: int, slot: int) -> None:
        self.code.load(R1, R0, at, 8)
        self.code.load(R2, FP, slot, 8)
        self.code.alu("+", R2, R1)
        self.code.store(FP, slot, R2, 8)

    def _further(self, plan: Kept, number: int, often: int, none: Label) -> None:
        """Keep the smallest or largest of the values that are set."""
        code, first = self.code, self.code.label()
        code.load(R1, R0, 8, 8)
        code.jump_ifi("==", R1, 0, none)
        code.load(R1, R0, 0, 8)
        code.load(R2, FP, often, 8)
        code.storei(FP, often, 1, 8)
        code.jump_ifi("==", R2, 0, first)
        code.load(R2, FP, number, 8)
        op = "<=" if plan.function == "min" else ">="
        code.jump_if(f"s{op}" if plan.signed else op, R2, R1, none)
        code.place(first)
        code.store(FP, number, R1, 8)

    def on_map(self, expr: Call, target: MapGet) -> None:
        if expr.function == "len":
            self._len(target)
        else:
            super().on_map(expr, target)

    def _len(self, target: Expr) -> None:
        """R0: how many keys; bpf_for_each_map_elem() counts how often it calls a function, which does
        nothing else."""
        assert isinstance(target, MapGet)
        found = self.plans.get(target.map)
        if found is None or not self.abilities.callbacks:
            raise CannotCompile(f"len({target.map})")
        self.must_be_lax(found[0])
        code, start = self.code, self.code.label()
        code.map(R1, f"map:{target.map}")
        code.callback(R2, start)
        code.alui("mov", R3, 0)
        code.alui("mov", R4, 0)
        code.call("for_each_map_elem")
        since = code.here()
        code.alui("mov", R0, 0)
        code.exit()
        code.take_apart(start, since, FP, FP)

    def must_be_lax(self, plan: Kept) -> None:
        """CannotCompile where the moment counts."""
        if not self.lax:
            raise CannotCompile(f"{plan.decl.name} as all CPUs have it at one moment")
