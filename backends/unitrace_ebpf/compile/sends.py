"""What a clause that runs in the kernel has user space do: a record with the values, taken here."""

from __future__ import annotations

from unitrace.contract.ir import (
    Act,
    Assign,
    Binary,
    Call,
    Cast,
    Choice,
    Clause,
    Const,
    Expr,
    ForRange,
    Index,
    MapGet,
    MemberOf,
    Show,
    Site,
    Stmt,
    TupleOf,
    Unary,
    Var,
)  # fmt: skip
from unitrace.contract.model import Column
from unitrace.contract.offer import AT_SITE, Sent, columns_of, walk
from unitrace.contract.sites import SITES
from unitrace.contract.types import INT64, UINT64, Buffer, Formatted, Tuple, Type

from ..asm import FP, R0, R1, R7
from .base import SIGNALS, CannotCompile
from .calls import ON_MAPS
from .layouts import ADDRESS, in_register
from .loops import Loops
from .records import layout

__all__ = ["Sends"]

ENDING = frozenset({"exit"})

PURE = (Unary, Binary, Cast, Choice, Call, TupleOf, MemberOf, Index)
"""Expressions that user space computes as well, from their operands."""


class Sends(Loops):
    """``next_ordinal``: of the next record's clause. ``sent``: the records so far. Where it is ``lax``, acts
    on a map as it is when user space comes to it are allowed, too."""

    clause: Clause

    def __init__(self, *args: object, **named: object) -> None:
        super().__init__(*args, **named)
        self.sent = []

    # --- records ----------------------------------------------------------------------------------

    def send(self, stmt: Act | Show) -> None:
        name = stmt.name if isinstance(stmt, Act) else ""
        if isinstance(stmt, Act) and name in SIGNALS:
            self._signal(stmt)
            return
        if isinstance(stmt, Act) and stmt.map and not self.lax:
            raise CannotCompile(f"{name}({stmt.map}): the map as it is when the event is handled")
        held: dict[Expr, Expr] = {}
        changed: Act | Show
        if isinstance(stmt, Act):
            changed = stmt.replace(args=tuple(self.shipped(one, held) for one in stmt.args))
        else:
            changed = stmt.replace(values=tuple(self.shipped(one, held) for one in stmt.values))
        self.emit((changed,), held)
        if name in ENDING:
            self.code.jump(self.end)

    def _signal(self, stmt: Act) -> None:
        """To the current process or thread, here and now."""
        if len(stmt.args) != 1 or not self.abilities.signals:
            raise CannotCompile(f"{stmt.name}() (kernel 5.6)")
        self.scalar(stmt.args[0])
        self.code.mov(R1, R0)
        self.code.call(SIGNALS[stmt.name])

    def emit(self, body: tuple[Stmt, ...], held: dict[Expr, Expr]) -> None:
        """A record for user space to run ``body`` on; ``held``: values to the sites that stand for them."""
        clause = Clause(self.next_ordinal, self.clause.probe, None, body, self.clause.span)
        self.next_ordinal += 1
        columns = columns_of(clause)
        self.values = {site: value for value, site in held.items()}
        shown = layout(columns)
        self.sent.append((Sent(clause, columns), shown))
        ending = any(isinstance(one, Act) and one.name in ENDING for one in body)
        self.record(shown, clause.ordinal, ending)
        self.values = {}

    def report(self) -> None:
        """At the end: say how often something was divided by zero, as the engine does each time."""
        if not self.divided:
            return
        none = self.code.label()
        self.code.load(R0, FP, self.divided, 8)
        self.code.jump_ifi("==", R0, 0, none)
        site = Site(UINT64, "sent", 0)
        warned = Assign("x", Binary(INT64, "/", Const(INT64, 1), Const(INT64, 0)))
        often = Var(UINT64, "\0divided")
        self.variables["\0divided"] = self.divided
        self.emit((ForRange("n", Const(UINT64, 0), site, (warned,)),), {often: site})
        self.code.place(none)

    # --- values -----------------------------------------------------------------------------------

    def shipped(self, expr: Expr, held: dict[Expr, Expr]) -> Expr:
        """``expr`` with sites in place of what is computed here. What has no translation is left to user
        space, where it can be computed from its operands."""
        if not any(isinstance(one, Site) or not isinstance(one, (Const, *PURE)) for one in walk(expr)):
            return expr
        if isinstance(expr, Site) and SITES[expr.name].constant:
            return expr
        if expr in held:
            return held[expr]
        whole = self._parts(expr, held)
        if whole is not None:
            return whole
        reason = self._trial(expr)
        if not reason:
            site = Site(expr.type, "sent", len(held))
            held[expr] = site
            return site
        if not isinstance(expr, PURE) or (isinstance(expr, Call) and expr.function in ON_MAPS | AT_SITE):
            raise CannotCompile(reason)
        changes: dict[str, object] = {}
        for name in expr._fields:
            value = getattr(expr, name)
            if isinstance(value, Expr):
                changes[name] = self.shipped(value, held)
            elif isinstance(value, tuple) and value and isinstance(value[0], Expr):
                changes[name] = tuple(self.shipped(one, held) for one in value)
        return expr.replace(**changes)

    def _parts(self, expr: Expr, held: dict[Expr, Expr]) -> Expr | None:
        """A value of several parts goes as its parts."""
        of = expr.type
        computed = isinstance(expr, Call) and expr.function == "buf" and not isinstance(expr.args[-1], Const)
        if not computed and not isinstance(expr, (Var, MapGet, MemberOf, Index)):
            return None
        if computed or (
            isinstance(expr, MapGet) and isinstance(of, (Tuple, Formatted, Buffer)) and not in_register(of)
        ):
            name = f"\0read {len(self.places)}"  # once, for all of its parts
            self.places[name] = self.locate(expr)
            expr = Var(of, name)
        if isinstance(of, Tuple):
            items = tuple(self.shipped(MemberOf(one, expr, at), held) for at, one in enumerate(of.items))
            return TupleOf(of, items)
        if isinstance(of, Formatted) and of.form == "inet":
            return Call(of, "ntop", (self._piece(expr, UINT64, 0, held), self._piece(expr, ADDRESS, 1, held)))
        if isinstance(of, Buffer):
            return Call(of, "buffer", (self._piece(expr, of, 1, held), self._piece(expr, UINT64, 0, held)))
        return None

    def _piece(self, expr: Expr, of: Type, at: int, held: dict[Expr, Expr]) -> Expr:
        piece = MemberOf(of, expr, at)
        if piece not in held:
            reason = self._trial(piece)
            if reason:
                raise CannotCompile(reason)
            held[piece] = Site(of, "sent", len(held))
        return held[piece]

    def _trial(self, expr: Expr) -> str:
        """Why a value can't go into a record as it is; "" where it can. Nothing is left of it."""
        frame, before = self.frame, self.code.so_far()
        mark, most = frame.mark(), (frame.most, frame.scratch_most)
        site = Site(expr.type, "sent", 0)
        values, self.values = self.values, {site: expr}
        try:
            shown = layout((Column("sent(0)", site, expr.type),))
            self.column(*shown.places[0], R7, 0)
        except CannotCompile as error:
            return error.reason
        finally:
            self.values = values
            self.code.back_to(before)
            frame.release(mark)
            frame.most, frame.scratch_most = most
        return ""
