"""Statements that run in the kernel."""

from __future__ import annotations

from unitrace.contract.ir import (
    Act,
    Assign,
    Break,
    Continue,
    ForEach,
    ForRange,
    If,
    Loop,
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
from .totals import Totals
from .values import Where

__all__ = ["Statements"]


class Statements(Totals):
    """``loops``: where break and continue lead, innermost last."""

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
        elif isinstance(stmt, (ForRange, Unroll, Loop)):
            self.loop(stmt)
        elif isinstance(stmt, ForEach):
            self.each(stmt)
        elif isinstance(stmt, (Break, Continue)):
            self.code.jump(self.loops[-1][isinstance(stmt, Continue)])
        elif isinstance(stmt, (Act, Show)):
            self.send(stmt)
        else:
            raise CannotCompile(f"a statement of kind {type(stmt).__name__.lower()}")

    def send(self, stmt: Act | Show) -> None:
        """Something for user space to do (sends.py)."""
        raise CannotCompile(f"{getattr(stmt, 'name', 'show')}()")

    def loop(self, stmt: ForRange | Unroll | Loop) -> None:
        """(loops.py)"""
        raise CannotCompile("a loop")

    def each(self, stmt: ForEach) -> None:
        """(loops.py)"""
        raise CannotCompile("a loop over a map")

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
            self.code.alui("mov", R0, 0)
            self._veil(name)
            self.code.store(FP, held, R0, 8)
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

    def _veil(self, name: str) -> None:
        """R0 as it is, but no number that the verifier knows: of a variable that a loop changes it would
        follow each value."""
        if name in self.looped and self.abilities.callbacks:
            self.code.load(R1, FP, self.opaque, 8)
            self.code.alu("+", R0, R1)

    def _assign(self, stmt: Assign) -> None:
        """An integer variable lives in a slot; one that is set only here or there starts as zero."""
        held = self.variables.get(stmt.name)
        if held is not None:
            shape(stmt.value.type)
            self.scalar(stmt.value)
            self._veil(stmt.name)
            self.code.store(FP, held, R0, 8)
            return
        where = self.places[stmt.name]
        if self.refers(stmt.value, stmt.name):  # made beside it, as parts of it may be read late
            base, at = self.room(where.part.size)
            self.put(stmt.value, where.part, base, at)
            self.duplicate(base, at, where.base, where.off, where.part.size)
        else:
            self.put(stmt.value, where.part, where.base, where.off)
