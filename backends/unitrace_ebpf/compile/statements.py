"""Statements that run in the kernel."""

from __future__ import annotations

from unitrace.contract.ir import (
    Act,
    Assign,
    Break,
    Const,
    Continue,
    Expr,
    ForRange,
    If,
    MapDelete,
    MapSet,
    MapUpdate,
    Return,
    Show,
    Stmt,
    Unroll,
)  # fmt: skip
from unitrace.contract.types import Type

from ..asm import FP, R0, R1, Label
from .base import CannotCompile, shape
from .layouts import in_register, slot
from .tables import Tables
from .values import Where

__all__ = ["MOST_TURNS", "Statements"]

MOST_TURNS = 256
"""Turns of a loop that the verifier is asked to walk through one by one."""


class Statements(Tables):
    """``end``: where a clause returns to. ``loops``: where break and continue lead, innermost last."""

    end: Label

    def __init__(self, *args: object, **named: object) -> None:
        super().__init__(*args, **named)
        self.loops: list[tuple[Label, Label]] = []

    def run(self, body: tuple[Stmt, ...]) -> None:
        for stmt in body:
            mark, span = self.frame.mark(), self.code.span
            self.code.span = getattr(stmt, "span", None) or span
            self.statement(stmt)
            self.code.span = span
            self.frame.release(mark)

    def statement(self, stmt: Stmt) -> None:
        if isinstance(stmt, MapUpdate):
            if stmt.map not in self.plans:
                raise CannotCompile(f"{stmt.map}: it can't be kept in the kernel")
            self.update(stmt)
        elif isinstance(stmt, MapSet):
            self.map_set(stmt)
        elif isinstance(stmt, MapDelete):
            self.map_delete(stmt)
        elif isinstance(stmt, If):
            self._if(stmt)
        elif isinstance(stmt, Assign):
            self._assign(stmt)
        elif isinstance(stmt, Return):
            self.code.jump(self.end)
        elif isinstance(stmt, (ForRange, Unroll)):
            self._loop(stmt)
        elif isinstance(stmt, (Break, Continue)):
            self.code.jump(self.loops[-1][isinstance(stmt, Continue)])
        elif isinstance(stmt, (Act, Show)):
            self.send(stmt)
        else:
            raise CannotCompile(f"a statement of kind {type(stmt).__name__.lower()}")

    def send(self, stmt: Act | Show) -> None:
        """Something for user space to do (sends.py)."""
        raise CannotCompile(f"{getattr(stmt, 'name', 'show')}()")

    def _if(self, stmt: If) -> None:
        otherwise, done = self.code.label(), self.code.label()
        mark = self.frame.mark()
        self.truth(stmt.condition, otherwise, False)
        self.frame.release(mark)
        self.run(stmt.then)
        if stmt.otherwise:
            self.code.jump(done)
        self.code.place(otherwise)
        self.run(stmt.otherwise)
        self.code.place(done)

    # --- variables --------------------------------------------------------------------------------

    def declare(self, name: str, types: list[Type]) -> None:
        """A variable's place, which starts as zero: a slot for a number, else room for the largest of the
        types that are assigned to it."""
        if all(map(in_register, types)):
            held = self.frame.take()
            self.variables[name] = held
            self.code.storei(FP, held, 0, 8)
            return
        parts = [slot(one) for one in types]
        widest = max(parts, key=lambda one: one.size)
        if any(
            type(one.type) is not type(widest.type) or bool(one.parts) != bool(widest.parts) for one in parts
        ):
            raise CannotCompile(f"${name}: values of unlike types")
        if widest.parts and any(one != widest for one in parts):
            raise CannotCompile(f"${name}: tuples of unlike types")
        base, at = self.room(widest.size)
        self.places[name] = Where(base, at, widest)
        self.clear(base, at, widest.size)

    def _assign(self, stmt: Assign) -> None:
        """An integer variable lives in a slot; one that is set only here or there starts as zero."""
        held = self.variables.get(stmt.name)
        if held is not None:
            shape(stmt.value.type)
            self.scalar(stmt.value)
            self.code.store(FP, held, R0, 8)
            return
        where = self.places[stmt.name]
        if self.refers(stmt.value, stmt.name):  # made beside it, as parts of it may be read late
            base, at = self.room(where.part.size)
            self.put(stmt.value, where.part, base, at)
            self.duplicate(base, at, where.base, where.off, where.part.size)
        else:
            self.put(stmt.value, where.part, where.base, where.off)

    # --- loops ------------------------------------------------------------------------------------

    def _loop(self, stmt: ForRange | Unroll) -> None:
        """A loop whose turns the verifier counts: the bounds, or how far apart they are, are known."""
        if not self.abilities.loops:
            raise CannotCompile("a loop (kernel 5.3)")
        code = self.code
        low, high, most = self._bounds(stmt)
        top, again, out = code.label(), code.label(), code.label()
        turn = self.frame.take()
        code.store(FP, turn, R0, 8)
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

    def _bounds(self, stmt: ForRange | Unroll) -> tuple[int, int, int]:
        """The first turn (also in R0), the slot of the end where it is computed (0: none), and the most
        turns."""
        if isinstance(stmt, Unroll):
            most = 100
            if isinstance(stmt.count, Const):
                most, held = min(100, int(stmt.count.value)), 0
            else:
                self.scalar(stmt.count)
                held = self.spill()
            self.code.alui("mov", R0, 0)
            return 0, held, most
        low, high = _constant(stmt.low), _constant(stmt.high)
        if low is None or high is None or high - low > MOST_TURNS or abs(low) > 1 << 30:
            raise CannotCompile(f"a loop of more than {MOST_TURNS} turns, or of a number not known before")
        self.code.const(R0, low)
        return low, 0, max(0, high - low)


def _constant(expr: Expr) -> int | None:
    return int(expr.value) if isinstance(expr, Const) and not isinstance(expr.value, bytes) else None
