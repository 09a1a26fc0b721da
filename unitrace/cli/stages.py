"""``-d STAGE``: what a program becomes on its way to the kernel, printed before it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from unitrace.contract import ir
from unitrace.contract.errors import UsageError
from unitrace.contract.record import Record
from unitrace.contract.types import Struct, Type, name_of

if TYPE_CHECKING:
    from unitrace.session import Compiled

__all__ = ["STAGES", "stages"]

STAGES = ("ast", "ir", "bpf", "all")


def stages(wanted: tuple[str, ...], compiled: Compiled) -> Iterator[str]:
    """The lines of the stages named, in the order of the way. UsageError for an unknown one."""
    for name in wanted:
        if name not in STAGES:
            raise UsageError(f"-d takes {', '.join(STAGES)}, not {name!r}")
    named = [name for name in STAGES[:-1] if name in wanted or "all" in wanted]
    for name in named:
        if len(named) > 1:
            yield f"--- {name}"
        yield from {"ast": _ast, "ir": _ir, "bpf": _code}[name](compiled)


def _ast(compiled: Compiled) -> Iterator[str]:
    """The program as it was parsed, written back."""
    from unitrace.session import parsed

    yield from _tree("program", parsed(compiled.spec), 0)


def _tree(name: str, node: Any, depth: int) -> Iterator[str]:
    pad = "  " * depth
    if isinstance(node, Record):
        plain, inner = [], []
        for field in node._fields:
            value = getattr(node, field)
            if isinstance(value, Record) or (
                isinstance(value, tuple) and any(isinstance(v, Record) for v in value)
            ):
                if type(value).__name__ != "Span":
                    inner.append((field, value))
            elif value not in ((), None, ""):
                plain.append(f"{field}={value!r}")
        yield f"{pad}{name}: {type(node).__name__} {' '.join(plain)}".rstrip()
        for field, value in inner:
            yield from _tree(field, value, depth + 1)
    elif isinstance(node, tuple):
        for at, one in enumerate(node):
            yield from _tree(f"{name}[{at}]", one, depth)
    elif node is not None:
        yield f"{pad}{name}: {node!r}"


def _ir(compiled: Compiled) -> Iterator[str]:
    """The clauses in the planner's and the backends' vocabulary (contract/ir.py)."""
    for decl in compiled.program.maps:
        key = ", ".join(map(name_of, decl.key))
        yield f"map {decl.name}[{key}]: {name_of(decl.value)}, {decl.entries} keys"
    for clause in compiled.program.clauses:
        yield f"clause {clause.ordinal} {clause.probe.label or clause.probe.written}"
        if clause.predicate is not None:
            yield f"  /{written(clause.predicate)}/"
        yield from _statements(clause.body, 1)


def _statements(body: tuple[ir.Stmt, ...], depth: int) -> Iterator[str]:
    pad = "  " * depth
    for stmt in body:
        inner: list[tuple[str, tuple[ir.Stmt, ...]]] = []
        parts = []
        for field in stmt._fields:
            value = getattr(stmt, field)
            if isinstance(value, tuple) and value and isinstance(value[0], ir.Stmt):
                inner.append((field, value))
            elif field not in ("span", "type") and value not in ((), b"", ""):
                parts.append(written(value))
        yield f"{pad}{type(stmt).__name__} {' '.join(parts)}".rstrip()
        for field, value in inner:
            if field == "otherwise":
                yield f"{pad}else"
            yield from _statements(value, depth + 1)


def written(node: Any) -> str:
    """An expression, on one line: Name:type(parts)."""
    if isinstance(node, ir.Const):
        return f"{node.value!r}:{_type(node.type)}"
    if isinstance(node, ir.Var):
        return f"${node.name}"
    if isinstance(node, ir.Site):
        return node.name if node.key is None else f"{node.name}.{node.key}"
    if isinstance(node, ir.MapGet):
        return f"{node.map}[{', '.join(map(written, node.key))}]"
    if isinstance(node, ir.Binary):
        return f"({written(node.left)} {node.op} {written(node.right)})"
    if isinstance(node, ir.Expr):
        parts = [written(getattr(node, one)) for one in node._fields if one not in ("type", "span")]
        parts = [one for one in parts if one not in ("''", "None")]
        return f"{type(node).__name__}:{_type(node.type)}({', '.join(parts)})"
    if isinstance(node, tuple):
        return ", ".join(map(written, node))
    return repr(node) if isinstance(node, bytes) else str(node) or "''"


def _type(of: Type) -> str:
    return f"struct {of.name}" if isinstance(of, Struct) else name_of(of)


def _code(compiled: Compiled) -> Iterator[str]:
    """The programs of the backends that compile to some: instructions beside the source."""
    for part in compiled.plan.parts:
        listing = getattr(compiled.backends[part.offer.backend], "listing", None)
        if listing is None:
            yield f"{part.offer.backend}: no programs"
        else:
            yield from listing(part.offer)
