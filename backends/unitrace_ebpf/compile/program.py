"""Whole programs: the body in the kernel, on kept maps, to its last statement."""

from __future__ import annotations

from unitrace.contract.ir import Act, Assign, Clause, Expr, ForEach, ForRange, Loop, Show, Stmt, Unroll
from unitrace.contract.offer import statements
from unitrace.contract.types import Type

from ..maps import Kept
from .base import Abilities, CannotCompile, Context, StackFull
from .frame import SCRATCH_LIMIT, Frame
from .records import Compiled, scratch_map, zeros_of
from .sends import Sends

__all__ = ["compile_whole"]


def compile_whole(
    context: Context,
    abilities: Abilities,
    accepted: Expr | None,
    clause: Clause,
    plans: dict[str, tuple[Kept, int]],
    *,
    ordinal: int = 0,
    lax: bool = False,
) -> Compiled:
    """A program that runs the whole clause, on kept maps. ``ordinal``: of the first clause that its records
    make; ``lax``: what is done to a map may be done when user space comes to it. On the stack alone if
    that is enough."""
    try:
        return _whole(context, abilities, accepted, clause, plans, ordinal, lax, False)
    except StackFull:
        if not context.scratch:
            raise
        return _whole(context, abilities, accepted, clause, plans, ordinal, lax, True)


def _whole(
    context: Context,
    abilities: Abilities,
    accepted: Expr | None,
    clause: Clause,
    plans: dict[str, tuple[Kept, int]],
    ordinal: int,
    lax: bool,
    scratch: bool,
) -> Compiled:
    made = Sends(context, abilities)
    made.frame = Frame(scratch)
    made.code.span = clause.span or clause.probe.span
    made.plans = plans
    made.clause, made.next_ordinal, made.lax = clause, ordinal, lax
    made.warns = True
    made.looped = _looped(clause.body)
    made.open(accepted, clause.body)
    for name, types in _variables(clause.body).items():
        made.declare(name, types)
    made.hoist(clause.body)
    if not made.time and any(isinstance(one, (Act, Show)) for one in statements(clause.body)):
        made.stamp()
    made.run(clause.body)
    made.close()
    made.code.gather()
    made.code.prune()
    size = made.frame.scratch_most
    if size > SCRATCH_LIMIT:
        raise CannotCompile(f"a program with {size} bytes of memory, of {SCRATCH_LIMIT}")
    by_task = scratch and context.scratch == "task"
    if scratch:
        size = -(-max(size, 8) // 1024) * 1024
        made.code.rename("scratch", scratch_map(size, by_task))
        made.code.rename("zeros of the scratch", zeros_of(size))
    return Compiled(made.code, made.frame.most, None, tuple(made.sent), size if scratch else 0, by_task)


def _variables(body: tuple[Stmt, ...]) -> dict[str, list[Type]]:
    """The types that are assigned to each variable."""
    found: dict[str, list[Type]] = {}
    for stmt in statements(body):
        if isinstance(stmt, Assign):
            found.setdefault(stmt.name, []).append(stmt.value.type)
        elif isinstance(stmt, ForRange):
            found.setdefault(stmt.name, []).append(stmt.low.type)
        elif isinstance(stmt, ForEach):
            found.setdefault(stmt.name, []).append(stmt.type)
    return found


def _looped(body: tuple[Stmt, ...]) -> frozenset[str]:
    """The variables that are assigned in a loop which the verifier won't walk through turn by turn."""
    loops = [one for one in statements(body) if isinstance(one, (Loop, ForEach, ForRange, Unroll))]
    return frozenset(one.name for loop in loops for one in statements(loop.body) if isinstance(one, Assign))
