"""Loops: short ones that the verifier walks through, others a function of their own that the kernel calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from unitrace.contract.ir import Const, Expr, ForEach, ForRange, Loop, MapUpdate, Unroll
from unitrace.contract.offer import Sent, statements

from ..asm import FP, R0, R1, R2, R3, R4, R6, R7, R8, R9, Label
from ..maps import Kept
from .base import CannotCompile, shape
from .layouts import in_register
from .records import Layout
from .statements import Statements
from .values import Where

__all__ = ["Layout", "Loops"]

WALKED = 256
"""Turns of a loop that the verifier is asked to walk through one by one."""

STEPS = 4000
"""Instructions times turns up to which it is."""

MOST_STEPS = 100_000
"""The same where there is no other way: the verifier walks a million, but branches part its ways."""

MOST_TURNS = 1 << 23
"""BPF_MAX_LOOPS, include/linux/bpf.h; the engine's limit too."""


class Loops(Statements):
    """``depth``: callbacks around the present place. ``steps``: what the verifier walks beside what is
    written once. ``sent``, ``next_ordinal``: the records so far. In a callback R9 stands for the program's
    R10, so that all find their values where they are."""

    depth = 0
    steps = 0
    next_ordinal = 0
    sent: list[tuple[Sent, Layout]]

    def loop(self, stmt: ForRange | Unroll | Loop) -> None:
        most = self._turns(stmt)
        # In a callback the count would lie in its caller's stack, whose values the verifier doesn't follow
        # exactly before 6.8 (commit 41f6f64e6999): it takes the second turn for an endless loop.
        if most is not None and most <= WALKED and not self.depth:
            before, first = self.code.so_far(), len(self.code.rows)
            mark, sent, ordinal = self.frame.mark(), len(self.sent), self.next_ordinal
            deepest, steps = self.deepest, self.steps
            self.steps = 0
            self._walked(stmt, most)
            once = len(self.code.rows) - first + self.steps
            self.steps = steps + (most - 1) * once
            must = not self.abilities.callbacks and not self._branching(stmt)
            if most * once <= (MOST_STEPS if must else STEPS):
                return
            self.steps = steps
            self.code.back_to(before)  # again, apart
            del self.sent[sent:]
            self.frame.release(mark)
            self.next_ordinal, self.deepest = ordinal, deepest
        self._apart(stmt)

    def _branching(self, stmt: ForRange | Unroll | Loop) -> bool:
        """Whether each turn parts the verifier's ways many times: a histogram's bucket does."""
        updates = (one for one in statements(stmt.body) if isinstance(one, MapUpdate))
        return any(self.plans[one.map][0].function in ("hist", "lhist") for one in updates)

    def _turns(self, stmt: ForRange | Unroll | Loop) -> int | None:
        """The most turns, where that is known."""
        if isinstance(stmt, Loop):
            return None
        if isinstance(stmt, Unroll):
            return min(100, int(stmt.count.value)) if isinstance(stmt.count, Const) else 100
        low, high = _constant(stmt.low), _constant(stmt.high)
        if low is None or high is None or abs(low) > 1 << 30 or abs(high) > 1 << 30:
            return None
        return max(0, high - low)

    # --- in the program itself --------------------------------------------------------------------

    def _walked(self, stmt: ForRange | Unroll | Loop, most: int) -> None:
        if not self.abilities.loops:
            raise CannotCompile("a loop (kernel 5.3)")
        code = self.code
        low = _constant(stmt.low) or 0 if isinstance(stmt, ForRange) else 0
        high = 0
        if isinstance(stmt, Unroll) and not isinstance(stmt.count, Const):
            self.scalar(stmt.count)
            high = self.spill()
        top, again, out = code.label(), code.label(), code.label()
        turn = self.frame.take()
        code.storei(FP, turn, low, 8)
        mark = self.frame.mark()
        code.place(top)
        code.load(R0, FP, turn, 8)
        code.jump_ifi("s>=", R0, low + most, out)
        if high:
            code.load(R1, FP, high, 8)
            code.jump_if("s>=", R0, R1, out)
        if isinstance(stmt, ForRange):
            code.store(FP, self.variables[stmt.name], R0, 8)
        self.loops.append((out, again))
        self.run(stmt.body)
        self.loops.pop()
        self.frame.release(mark)
        code.place(again)
        code.load(R0, FP, turn, 8)
        code.alui("+", R0, 1)
        code.store(FP, turn, R0, 8)
        code.jump(top)
        code.place(out)

    # --- functions that the kernel calls back -----------------------------------------------------

    def _apart(self, stmt: ForRange | Unroll | Loop) -> None:
        """By bpf_loop()."""
        if not self.abilities.callbacks:
            raise CannotCompile("a loop of many turns, or of a number not known before (kernel 5.17)")
        code, start, none = self.code, self.code.label(), self.code.label()
        saved = self._saved()
        low = self._turn_count(stmt)
        code.jump_ifi("s<=", R0, 0, none)
        code.mov(R1, R0)
        code.callback(R2, start)
        code.mov(R3, FP)
        code.alui("mov", R4, 0)
        code.call("loop")
        self._returned(saved)
        code.place(none)
        with self._called_back(start, R2, saved) as out:
            if isinstance(stmt, ForRange):
                code.load(R0, FP, low, 8)
                code.alui("<<", R1, 32)  # a u32
                code.alui(">>", R1, 32)
                code.alu("+", R0, R1)
                code.store(FP, self.variables[stmt.name], R0, 8)
            elif isinstance(stmt, Loop):
                self.truth(stmt.condition, out, False)
            self.run(stmt.body)

    def each(self, stmt: ForEach) -> None:
        """By bpf_for_each_map_elem(), in the kernel's own order."""
        plan = self.plans[stmt.map][0] if stmt.map in self.plans else None
        if plan is None or plan.scalar or not self.abilities.callbacks:
            raise CannotCompile(f"a loop over {stmt.map} (kernel 5.17)")
        self.must_be_lax(plan)
        code, start = self.code, self.code.label()
        saved = self._saved()
        code.map(R1, f"map:{stmt.map}")
        code.callback(R2, start)
        code.mov(R3, FP)
        code.alui("mov", R4, 0)
        code.call("for_each_map_elem")
        self._returned(saved)
        with self._called_back(start, R4, saved):
            self._pair(plan, self.places[stmt.name])
            self.run(stmt.body)

    def _pair(self, plan: Kept, where: Where) -> None:
        """The key at R2 and the value at R3 into the loop's variable."""
        code, mark = self.code, self.frame.mark()
        key, value = where.part.parts
        code.mov(R7, R3)
        if not plan.plain:
            base, at = self.room(plan.key_size)
            self.duplicate(R2, 0, base, at, plan.key_size)
            self.duplicate(base, at, where.base, where.off + key.offset, key.size)
            self.total(plan, base, at)
            code.store(where.base, where.off + value.offset, R0, value.size)
            self.frame.release(mark)
            return
        self.duplicate(R2, 0, where.base, where.off + key.offset, key.size)
        if in_register(value.type):
            code.load(R0, R7, 0, 8)
            code.store(where.base, where.off + value.offset, R0, value.size)
        else:
            self.duplicate(R7, 0, where.base, where.off + value.offset, value.size)

    def _saved(self) -> tuple[int, int, int]:
        """Slots for what a function finds through the program's frame: whether it leaves the whole program,
        the context, and the scratch (0: there is none)."""
        code, leave, context = self.code, self.frame.take(), self.frame.take()
        code.storei(FP, leave, 0, 8)
        code.store(FP, context, R6, 8)
        scratch = self.frame.take() if self.frame.scratch else 0
        if scratch:
            code.store(FP, scratch, R8, 8)
        return leave, context, scratch

    def _returned(self, saved: tuple[int, int, int]) -> None:
        """After the call: the program may be left."""
        self.code.load(R0, FP, saved[0], 8)
        self.code.jump_ifi("!=", R0, 0, self.end)

    @contextmanager
    def _called_back(self, start: Label, frame: int, saved: tuple[int, int, int]) -> Iterator[Label]:
        """What is emitted inside is a function of its own, whose register ``frame`` has the program's frame.
        Yields where to go to end the loop; the function's end is its next turn."""
        code, (leave, context, scratch) = self.code, saved
        since, end, mark = code.here(), self.end, self.frame.mark()
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        again, out, self.end = code.label(), code.label(), code.label()
        code.mov(R9, frame)
        code.load(R6, FP, context, 8)
        if scratch:
            code.load(R8, FP, scratch, 8)
        self.loops.append((out, again))
        yield out
        self.loops.pop()
        code.place(again)
        code.alui("mov", R0, 0)
        code.exit()
        code.place(self.end)  # return: the program ends, not only the loop
        code.storei(FP, leave, 1, 8)
        code.place(out)
        code.alui("mov", R0, 1)
        code.exit()
        code.take_apart(start, since, FP, R9)
        self.end = end
        self.depth -= 1
        self.frame.release(mark)

    def _turn_count(self, stmt: ForRange | Unroll | Loop) -> int:
        """How many turns, into R0; the slot of the first number of a range."""
        code, low = self.code, 0
        if isinstance(stmt, Unroll):
            self.scalar(stmt.count)
            most = 100
        elif isinstance(stmt, ForRange):
            _, signed = shape(stmt.low.type)
            self.scalar(stmt.low)
            low = self.spill()
            self.scalar(stmt.high)
            code.load(R1, FP, low, 8)
            some, counted = code.label(), code.label()
            code.jump_if("s>" if signed else ">", R0, R1, some)
            code.alui("mov", R0, 0)
            code.jump(counted)
            code.place(some)
            code.alu("-", R0, R1)
            code.place(counted)
            most = MOST_TURNS
        else:
            code.const(R0, MOST_TURNS)
            return 0
        fits = code.label()
        code.jump_ifi("s<=" if isinstance(stmt, Unroll) else "<=", R0, most, fits)
        code.const(R0, most)
        code.place(fits)
        return low


def _constant(expr: Expr) -> int | None:
    return int(expr.value) if isinstance(expr, Const) and not isinstance(expr.value, bytes) else None
