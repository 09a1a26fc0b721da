"""Request and offer: how the planner and a backend come to terms.

A request is a group of clauses that must run together, since they share maps. A backend answers
with an Offer, one Share a clause, or with a Refusal. It may always take less: what it doesn't
take is the share's ``residual``, and the engine does it. The law, tested for every backend:

    accepted + residual == request

that is, for each clause: the predicate is ``accepted and residual.predicate``; the body is either
wholly the backend's (residual None) or wholly the engine's (residual.body == clause.body).
``share()`` builds a Share that obeys it.

A clause that the backend runs whole may still ask for what user space alone does: printf, exit, ... Each
such statement is a ``Sent`` of the share: a clause of its own, without a predicate, whose values
the backend has taken at the event. Run by the engine in the order of time, they do what the statements of
the whole clause would have done. So the law, to the end: what a whole clause does to maps the kernel does,
and its acts are those of its ``sends``, once each time that the clause would have come by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .ir import (
    Act,
    Binary,
    Call,
    Clause,
    Expr,
    ForEach,
    Load,
    MapDecl,
    MapDelete,
    MapSet,
    MapUpdate,
    Show,
    Site,
    Stmt,
    Text,
    Var,
)  # fmt: skip
from .ir import MapGet as _MapGet
from .model import Column
from .record import Record
from .sites import SITES
from .types import BOOL, Stack

__all__ = [
    "NotStreamable", "Offer", "Options", "Refusal", "Request", "Sent", "Share",
    "columns_of", "conjuncts", "join", "maps_used", "rewritten", "share", "statements", "walk",
]  # fmt: skip


class Options(Record):
    """What the user set for the whole run. ``buffer_kib``: per CPU. ``approximate``: inexact offers
    are welcome. ``exact_probes``: no successor names. ``pid``: -p, for user probes. ``progress``: a
    backend that attaches probes one by one calls it after each, with how many are done and to be done.
    ``cautious``: the kernel has rejected the offer that asked most of it."""

    buffer_kib: int = 8192
    approximate: bool = False
    exact_probes: bool = False
    pid: int = 0
    progress: Callable[[int, int], None] | None = None
    cautious: bool = False


class Request(Record):
    """Clauses to run together. ``maps``: those they use. ``keepable``: names of the maps that only
    aggregate, and that user space at most prints, clears or zeroes: those alone may be kept in
    the kernel by a backend that can do no more. ``resident``: those that may live there though clauses
    set, read and delete their values; user space reaches them by the attachment (backend.Holder).
    ``spare``: the first ordinal that is free for the clauses of Sent."""

    clauses: tuple[Clause, ...]
    maps: tuple[MapDecl, ...] = ()
    keepable: frozenset[str] = frozenset()
    options: Options = Options()
    source: str = ""
    resident: frozenset[str] = frozenset()
    spare: int = 1 << 20

    def map(self, name: str) -> MapDecl:
        """The declaration of map ``name``."""
        return next(decl for decl in self.maps if decl.name == name)

    def writers(self, map: str) -> list[Clause]:
        """The clauses with statements on the map; those that only read it aren't among them."""
        return [
            clause
            for clause in self.clauses
            if any(getattr(stmt, "map", "") == map for stmt in statements(clause.body))
        ]


class Sent(Record):
    """Something that a clause which runs whole leaves to user space: a ``clause`` with an ordinal of its
    own and no predicate, and the ``columns`` that its events carry (``Site("sent", n)`` and the like)."""

    clause: Clause
    columns: tuple[Column, ...]


class Share(Record):
    """What a backend takes of one clause.

    ``accepted``: the part of the predicate that the kernel decides (None: nothing).
    ``residual``: what the engine has still to do with each event; None where the backend runs
    the whole clause. ``columns``: what each event carries for that. ``how``: the mechanism, in a few
    words ("kprobe PMU", "tracefs event"). ``plan``: the backend's own notes, opaque to the core.
    ``sends``: of a clause that runs whole, what is left to user space; clauses that differ in nothing but
    their place may share theirs.
    """

    clause: Clause
    accepted: Expr | None
    residual: Clause | None
    columns: tuple[Column, ...]
    how: str
    plan: object = None
    sends: tuple[Sent, ...] = ()


class Offer(Record):
    """A backend's yes. ``event_ns``: estimated cost of one event in the traced task, ns; ``start_ms``:
    to attach. ``exact``: the answer is the engine's own; if not, ``caveats`` say how it differs."""

    backend: str
    request: Request
    shares: tuple[Share, ...]
    event_ns: int = 1000
    start_ms: int = 20
    exact: bool = True
    caveats: tuple[str, ...] = ()

    @property
    def cost(self) -> int:
        """What decides between exact offers: ns an event, plus ten for each ms to attach."""
        return self.event_ns + 10 * self.start_ms


class Refusal(Record):
    """A backend's no: ``reason`` in one line, ``remedy`` where there is one, and the clause it is about."""

    backend: str
    reason: str
    remedy: str = ""
    clause: Clause | None = None


Answered = Offer | Refusal


class NotStreamable(Exception):
    """A clause needs something at the moment of the event that no column can hold: memory read
    through a variable or a map's value. Only a backend that runs the clause whole can take it. A refusal
    for that has ``REASON`` in its reason: the planner may know another way (plan/witness.py)."""

    REASON = "it reads memory through a value that is known only inside the program"

    def __init__(self, expr: Expr) -> None:
        super().__init__(self.REASON)
        self.expr = expr


def conjuncts(predicate: Expr | None) -> tuple[Expr, ...]:
    """The parts of ``a && b && ...``; () for None."""
    if predicate is None:
        return ()
    if isinstance(predicate, Binary) and predicate.op == "&&":
        return conjuncts(predicate.left) + conjuncts(predicate.right)
    return (predicate,)


def join(parts: tuple[Expr, ...]) -> Expr | None:
    """``a && b && ...`` of the parts; None for ()."""
    joined: Expr | None = None
    for part in parts:
        joined = part if joined is None else Binary(BOOL, "&&", joined, part)
    return joined


def walk(node: object) -> Iterator[Expr]:
    """All expressions in an expression, statement, clause or tuple of them, outermost first."""
    if isinstance(node, Expr):
        yield node
    if isinstance(node, tuple):
        for item in node:
            yield from walk(item)
    elif isinstance(node, (Expr, Stmt, Clause)):
        for name in node._fields:
            if name not in ("type", "span", "probe"):
                yield from walk(getattr(node, name))


def rewritten(node: Any, change: Callable[[Expr], Expr | None]) -> Any:
    """An expression, statement or tuple of them with ``change`` made, outermost first: what it returns stands
    in an expression's place; None: as it was, but for what is in it."""
    if isinstance(node, tuple):
        new = tuple(rewritten(item, change) for item in node)
        return node if all(one is other for one, other in zip(new, node)) else new
    if isinstance(node, Expr):
        changed = change(node)
        if changed is not None:
            return changed
    elif not isinstance(node, Stmt):
        return node
    parts = {name: getattr(node, name) for name in node._fields if name not in ("type", "span")}
    changes = {name: new for name, part in parts.items() if (new := rewritten(part, change)) is not part}
    return node.replace(**changes) if changes else node


def statements(body: tuple[Stmt, ...]) -> list[Stmt]:
    """All statements of a body, nested ones included."""
    found: list[Stmt] = []
    for stmt in body:
        found.append(stmt)
        for name in stmt._fields:
            inner = getattr(stmt, name)
            if isinstance(inner, tuple) and inner and isinstance(inner[0], Stmt):
                found.extend(statements(inner))
    return found


def maps_used(clause: Clause) -> frozenset[str]:
    """The names of the maps that a clause reads, writes, prints or clears."""
    used = {expr.map for expr in walk((clause.predicate, clause.body)) if isinstance(expr, _MapGet)}
    for stmt in statements(clause.body):
        if isinstance(stmt, (MapSet, MapUpdate, MapDelete, ForEach, Act)) and stmt.map:
            used.add(stmt.map)
    return frozenset(used)


def columns_of(clause: Clause) -> tuple[Column, ...]:
    """The columns that the engine needs to run ``clause``: its reads of the site and of memory.

    "nsecs" comes first, always; a Show needs the CPU, comm and tid too. Constant sites (``probe``)
    need none. Raises NotStreamable.
    """
    found: dict[Expr, Column] = {_NSECS.value: _NSECS}

    def visit(node: object) -> None:
        if isinstance(node, (Load, Text)) or (isinstance(node, Call) and node.function in AT_SITE):
            for inner in walk(node):
                if isinstance(inner, (Var, _MapGet)):
                    raise NotStreamable(node)
            found.setdefault(node, Column(spelled(node), node, node.type))
        elif isinstance(node, Site):
            if not SITES[node.name].constant:
                found.setdefault(node, Column(spelled(node), node, node.type))
        elif isinstance(node, tuple):
            for item in node:
                visit(item)
        elif isinstance(node, (Expr, Stmt)):
            if isinstance(node, Show):
                visit(_HEAD)
            for name in node._fields:
                if name not in ("type", "span"):
                    visit(getattr(node, name))

    visit((clause.predicate, clause.body))
    return tuple(found.values())


AT_SITE = frozenset({"buf", "strncmp_user", "reg", "socket_cookie"})
"""Functions that read memory or the site themselves, and so are columns, not computed later."""


def spelled(expr: Expr) -> str:
    """A column's name: its expression as a user would write it; unique for unequal expressions."""
    if isinstance(expr, Site):
        if expr.name == "arg":
            return f"arg{expr.key}"
        if expr.name == "args":
            return f"args.{expr.key}"
        if expr.name == "entry":
            return f"argument {expr.key} of the call"
        if isinstance(expr.type, Stack) and expr.type != Stack(expr.type.space):
            return f"{expr.name}({expr.type.mode}, {expr.type.depth})"
        return expr.name if expr.key is None else f"{expr.name}({expr.key})"
    if isinstance(expr, Text):
        where = {"user": "ustr", "kernel": "kstr"}.get(expr.space, "str")
        limit = "" if expr.limit is None else f", {spelled(expr.limit)}"
        return f"{where}({spelled(expr.pointer)}{limit}, {expr.type.size})"
    parts = [f"{name}={_spelled_part(getattr(expr, name))}" for name in expr._fields]
    return f"{type(expr).__name__.lower()}({', '.join(parts)})"


def _spelled_part(value: object) -> str:
    if isinstance(value, Expr):
        return spelled(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_spelled_part, value)) + ")"
    return repr(value)


def share(
    clause: Clause,
    *,
    accepts: Callable[[Expr], bool],
    whole: bool,
    how: str,
    plan: object = None,
) -> Share:
    """A Share that obeys the law: the conjuncts that ``accepts`` goes to the kernel; the rest, and the
    body unless ``whole``, stays residual. ``whole`` holds only if every conjunct is accepted.

    Raises NotStreamable where the residual can't be streamed.
    """
    taken = tuple(part for part in conjuncts(clause.predicate) if accepts(part))
    left = tuple(part for part in conjuncts(clause.predicate) if part not in taken)
    if whole and not left:
        return Share(clause, join(taken), None, (), how, plan)
    residual = clause.replace(predicate=join(left))
    return Share(clause, join(taken), residual, columns_of(residual), how, plan)


_HEAD = tuple(Site(SITES[name].type, name) for name in ("cpu", "comm", "tid"))  # type: ignore[arg-type]
_NSECS = Column("nsecs", Site(SITES["nsecs"].type, "nsecs"), SITES["nsecs"].type)  # type: ignore[arg-type]
