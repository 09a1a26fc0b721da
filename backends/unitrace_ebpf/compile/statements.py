"""Statements that run in the kernel."""

from __future__ import annotations

from unitrace.contract.ir import Assign, If, MapUpdate, Return, Stmt

from ..asm import FP, R0, Label
from .aggregates import Aggregates
from .base import CannotCompile, shape

__all__ = ["Statements"]


class Statements(Aggregates):
    """``end``: where a clause returns to."""

    end: Label

    def run(self, body: tuple[Stmt, ...]) -> None:
        for stmt in body:
            self.statement(stmt)

    def statement(self, stmt: Stmt) -> None:
        if isinstance(stmt, MapUpdate):
            if stmt.map not in self.plans:
                raise CannotCompile(f"@{stmt.map}: it is used outside the kernel too")
            self.update(stmt)
        elif isinstance(stmt, If):
            self._if(stmt)
        elif isinstance(stmt, Assign):
            self._assign(stmt)
        elif isinstance(stmt, Return):
            self.code.jump(self.end)
        else:
            what = getattr(stmt, "name", "") or type(stmt).__name__.lower()
            raise CannotCompile(f"{what}()" if hasattr(stmt, "text") else f"a statement of kind {what}")

    def _if(self, stmt: If) -> None:
        otherwise, done = self.code.label(), self.code.label()
        self.truth(stmt.condition, otherwise, False)
        self.run(stmt.then)
        if stmt.otherwise:
            self.code.jump(done)
        self.code.place(otherwise)
        self.run(stmt.otherwise)
        self.code.place(done)

    def _assign(self, stmt: Assign) -> None:
        """An integer variable lives in a slot; one that is set only here or there starts as zero."""
        shape(stmt.value.type)
        self.scalar(stmt.value)
        self.code.store(FP, self.variables[stmt.name], R0, 8)
