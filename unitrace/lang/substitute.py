"""Variables that stand for a value of the site, put in where memory is read through them.

``$f = (struct file *)arg0; ... $f->f_path.dentry`` reads memory through a variable, which no column can
hold; through the argument itself it can. So it is put in its place, where that is surely the same: the
variable is set once, before and outside everything that reads it, to something that depends on the site
alone.
"""

from __future__ import annotations

from unitrace.contract import ir
from unitrace.contract.ir import Expr, Stmt
from unitrace.contract.offer import AT_SITE

__all__ = ["substituted"]


def substituted(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """The statements with such variables replaced under Load, Text and what else reads memory."""
    counts: dict[str, int] = {}
    used: set[str] = set()
    reads = _survey(body, counts, used)
    if not counts:
        return body
    if reads:
        body = _block(body, {}, counts)
        used = set()
        _survey(body, {}, used)
    return body if used.issuperset(counts) else _without(body, used)


def _survey(body: tuple[Stmt, ...], counts: dict[str, int], used: set[str]) -> bool:
    """How often each variable is set (a loop's: as good as twice), which are read; and whether anything
    reads memory."""
    reads = False
    nodes: list[object] = [body]
    while nodes:
        node = nodes.pop()
        if isinstance(node, tuple):
            nodes += node
        elif isinstance(node, ir.Var):
            used.add(node.name)
        elif isinstance(node, (Expr, Stmt)):
            if isinstance(node, (ir.Assign, ir.ForEach, ir.ForRange)):
                counts[node.name] = counts.get(node.name, 0) + (1 if isinstance(node, ir.Assign) else 2)
            elif isinstance(node, (ir.Load, ir.Text)) or (
                isinstance(node, ir.Call) and node.function in AT_SITE
            ):
                reads = True
            nodes += node.__dict__.values()
    return reads


def _block(body: tuple[Stmt, ...], outer: dict[str, Expr], counts: dict[str, int]) -> tuple[Stmt, ...]:
    known = dict(outer)
    made = []
    for stmt in body:
        new = _stmt(stmt, known, counts)
        made.append(new)
        if isinstance(new, ir.Assign) and counts.get(new.name) == 1:
            value = _replace(new.value, known, True)
            if _of_site(value):
                known[new.name] = value
    return tuple(made)


def _stmt(stmt: Stmt, known: dict[str, Expr], counts: dict[str, int]) -> Stmt:
    changes: dict[str, object] = {}
    for name in stmt._fields:
        part = getattr(stmt, name)
        if isinstance(part, Expr):
            new: object = _replace(part, known, False)
        elif isinstance(part, tuple) and part and isinstance(part[0], Stmt):
            new = _block(part, known, counts)
        elif isinstance(part, tuple) and part and isinstance(part[0], Expr):
            new = tuple(_replace(one, known, False) for one in part)
        else:
            continue
        if new is not part:
            changes[name] = new
    return stmt.replace(**changes) if changes else stmt


def _replace(expr: Expr, known: dict[str, Expr], inside: bool) -> Expr:
    """``expr`` with the known variables put in; at first only ``inside`` what reads memory."""
    if not known:
        return expr
    if isinstance(expr, ir.Var):
        return known.get(expr.name, expr) if inside else expr
    inside = inside or isinstance(expr, (ir.Load, ir.Text))
    inside = inside or (isinstance(expr, ir.Call) and expr.function in AT_SITE)
    changes: dict[str, object] = {}
    for name in expr._fields:
        part = getattr(expr, name)
        if isinstance(part, Expr):
            new: object = _replace(part, known, inside)
        elif isinstance(part, tuple) and part and isinstance(part[0], Expr):
            new = tuple(_replace(one, known, inside) for one in part)
            if all(a is b for a, b in zip(new, part)):
                continue
        else:
            continue
        if new is not part:
            changes[name] = new
    return expr.replace(**changes) if changes else expr


def _of_site(expr: Expr) -> bool:
    """Whether a value depends on nothing but the site and memory."""
    if isinstance(expr, (ir.Var, ir.MapGet)):
        return False
    if isinstance(expr, ir.Call) and expr.function not in AT_SITE:
        return False
    for name in expr._fields:
        part = getattr(expr, name)
        for one in part if isinstance(part, tuple) else (part,):
            if isinstance(one, Expr) and not _of_site(one):
                return False
    return True


def _without(body: tuple[Stmt, ...], used: set[str]) -> tuple[Stmt, ...]:
    """The statements without assignments that nothing reads any more."""
    made: list[Stmt] = []
    for stmt in body:
        if isinstance(stmt, ir.Assign) and stmt.name not in used and _of_site(stmt.value):
            continue
        changes = {
            name: _without(part, used)
            for name in stmt._fields
            if isinstance(part := getattr(stmt, name), tuple) and part and isinstance(part[0], Stmt)
        }
        made.append(stmt.replace(**changes) if changes else stmt)
    return tuple(made)
