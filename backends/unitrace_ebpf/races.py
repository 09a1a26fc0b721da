"""What two CPUs would do to each other's values of a map: read, decide, write is not one step in the kernel.

The engine takes events one after the other; a clause that sets what it has read before would lose
another CPU's value in between. Where the key holds the thread's id, no other CPU can have it; and adding is
one instruction.
"""

from __future__ import annotations

from collections.abc import Iterable

from unitrace.contract.ir import (
    Assign,
    Break,
    Clause,
    Continue,
    Expr,
    MapGet,
    MapSet,
    Return,
    Site,
    Stmt,
    Var,
)
from unitrace.contract.offer import statements, walk

from .compile.tables import added

__all__ = ["by_thread", "racy"]


def racy(clause: Clause) -> str:
    """The map of which a value may be lost if two CPUs run the clause at once; "" where none is."""
    sets = [stmt for stmt in statements(clause.body) if isinstance(stmt, MapSet)]
    threads = _thread_variables(clause)
    for name in dict.fromkeys(stmt.map for stmt in sets):
        ours = [stmt for stmt in sets if stmt.map == name]
        if all(_has_thread(stmt.key, threads) for stmt in ours):
            continue
        if _Search(name, clause).found:
            return name
    return ""


def by_thread(clause: Clause) -> bool:
    """Whether it is safe by the thread's id alone: an interrupt that runs the clause again would not be."""
    sets = [stmt for stmt in statements(clause.body) if isinstance(stmt, MapSet)]
    return any(_Search(stmt.map, clause).found for stmt in sets)


def _has_thread(key: Iterable[Expr], threads: set[str]) -> bool:
    return any(
        (isinstance(one, Site) and one.name in ("tid", "curtask"))
        or (isinstance(one, Var) and one.name in threads)
        for one in walk(tuple(key))
    )


def _thread_variables(clause: Clause) -> set[str]:
    """Variables that are assigned once, and hold the thread's id."""
    found: dict[str, list[Expr]] = {}
    for stmt in statements(clause.body):
        if isinstance(stmt, Assign):
            found.setdefault(stmt.name, []).append(stmt.value)
    return {name for name, values in found.items() if len(values) == 1 and _has_thread(values, set())}


class _Search:
    """Whether a set of map ``name`` depends on a read of it, by its value or by a condition."""

    def __init__(self, name: str, clause: Clause) -> None:
        self.name = name
        self.found = False
        self.tainted: set[str] = set()
        before = -1
        while before != len(self.tainted) and not self.found:
            before = len(self.tainted)
            self._body(clause.body, self._reads(clause.predicate))
        if not self.found:  # what is added to must not be looked at: another CPU may have added meanwhile
            adds = any(self._adds(stmt) for stmt in statements(clause.body))
            self.found = adds and self._looked_at(clause)

    def _reads(self, node: object) -> bool:
        return any(
            (isinstance(one, MapGet) and one.map == self.name)
            or (isinstance(one, Var) and one.name in self.tainted)
            for one in walk(node)
        )

    def _adds(self, stmt: Stmt) -> bool:
        return isinstance(stmt, MapSet) and stmt.map == self.name and added(stmt) is not None

    def _looked_at(self, clause: Clause) -> bool:
        whole = sum(
            isinstance(one, MapGet) and one.map == self.name for one in walk((clause.predicate, clause.body))
        )
        adds = [stmt for stmt in statements(clause.body) if self._adds(stmt)]
        return whole > len(adds)

    def _body(self, body: tuple[Stmt, ...], decided: bool) -> bool:
        """Whether what follows the body depends on a read too."""
        for stmt in body:
            inner = [getattr(stmt, name) for name in ("then", "otherwise", "body") if hasattr(stmt, name)]
            if isinstance(stmt, MapSet) and stmt.map == self.name:
                if decided or self._reads(stmt.key) or (self._reads(stmt.value) and not self._adds(stmt)):
                    self.found = True
            elif isinstance(stmt, Assign):
                if decided or self._reads(stmt.value):
                    self.tainted.add(stmt.name)
            elif inner:
                heads = [
                    getattr(stmt, one) for one in ("condition", "count", "low", "high") if hasattr(stmt, one)
                ]
                by = decided or any(map(self._reads, heads))
                left = sum(self._body(one, by) for one in inner) > 0  # all of them
                leaves = any(isinstance(one, (Return, Break, Continue)) for one in statements((stmt,)))
                decided = decided or left or (by and leaves)
        return decided
