"""Which clauses may run in any order: those that only aggregate, unseen by other events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from unitrace.contract import ir
from unitrace.contract.offer import walk

__all__ = ["unordered"]

_ENDING = frozenset({"exit", "assert"})


def unordered(clauses: Iterable[ir.Clause], maps: Iterable[ir.MapDecl] = ()) -> frozenset[int]:
    """The ordinals of the clauses whose events can be handled in any order, and apart from others',
    with the same result. None at all where an event can end the run."""
    chosen = list(clauses)
    if any(isinstance(stmt, ir.Act) and stmt.name in _ENDING for one in chosen for stmt in _stmts(one.body)):
        return frozenset()
    seen = {name for one in chosen for name in _seen(one)}
    seen |= {one.name for one in maps if one.evicts or getattr(one.value, "function", "") in ("", "tseries")}
    return frozenset(
        one.ordinal
        for one in chosen
        if one.body and _aggregates(one.body) and not _updated(one.body) & seen and not _reads(one)
    )


def _stmts(body: tuple[ir.Stmt, ...]) -> Iterator[ir.Stmt]:
    """All statements, inner ones included."""
    for stmt in body:
        yield stmt
        for name in ("then", "otherwise", "body"):
            yield from _stmts(getattr(stmt, name, ()))


def _seen(clause: ir.Clause) -> Iterator[str]:
    """The maps that the clause touches in any way but aggregating."""
    yield from (expr.map for expr in walk(clause) if isinstance(expr, ir.MapGet))
    for stmt in _stmts(clause.body):
        if isinstance(stmt, (ir.MapSet, ir.MapDelete, ir.ForEach, ir.Act)) and stmt.map:
            yield stmt.map


def _reads(clause: ir.Clause) -> bool:
    return any(isinstance(expr, ir.MapGet) for expr in walk(clause))


def _aggregates(body: tuple[ir.Stmt, ...]) -> bool:
    """Whether the statements do nothing but aggregate."""
    return all(
        isinstance(stmt, (ir.MapUpdate, ir.Assign, ir.Return))
        or (isinstance(stmt, ir.If) and all(map(_aggregates, filter(None, (stmt.then, stmt.otherwise)))))
        for stmt in body
    )


def _updated(body: tuple[ir.Stmt, ...]) -> set[str]:
    return {stmt.map for stmt in _stmts(body) if isinstance(stmt, ir.MapUpdate)}
