"""A tree as text again; ``parse`` of it gives the same tree (``ast.same``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import ast
from .expressions import PRECEDENCE, links

__all__ = ["unparse"]

_TERNARY, _UNARY, _POSTFIX = 0, 20, 30


def unparse(node: ast.Node) -> str:
    """The text of a program, statement, expression or type."""
    if isinstance(node, ast.Expr):
        return _expr(node, _TERNARY)
    if isinstance(node, ast.Program):
        return "".join(unparse(item) + "\n" for item in node.items)
    return _WRITERS[type(node)](node)


def _expr(node: ast.Expr, least: int) -> str:
    """An expression; in brackets if it binds less than ``least``."""
    text = _WRITERS[type(node)](node)
    return f"({text})" if _binds(node) < least else text


def _binds(node: ast.Expr) -> int:
    if isinstance(node, ast.Ternary):
        return _TERNARY
    if isinstance(node, ast.Binary):
        return PRECEDENCE[node.op]
    if isinstance(node, (ast.Unary, ast.Cast, ast.AddressOf, ast.Comptime)):
        return _UNARY
    if isinstance(node, ast.Increment):
        return _UNARY if node.prefix else _POSTFIX
    if isinstance(node, (ast.IfExpr, ast.Block)):
        return _TERNARY
    return _POSTFIX + 5


def _binary(node: ast.Binary) -> str:
    level = PRECEDENCE[node.op]
    if node.op in ("&&", "||"):
        # chains are kept balanced: written without brackets they are read as the same chain
        parts = [_expr(part, level + 1) for part in links(node, node.op)]
        return f" {node.op} ".join(parts)
    return f"{_expr(node.left, level)} {node.op} {_expr(node.right, level + 1)}"


def _ternary(node: ast.Ternary) -> str:
    then = " " if node.then is None else f" {_expr(node.then, _TERNARY)} "
    return f"{_expr(node.condition, 1)} ?{then}: {_expr(node.otherwise, _TERNARY)}"


def _unary(node: ast.Unary) -> str:
    operand = _expr(node.operand, _UNARY)
    gap = " " if operand[:1] in "-&+" else ""
    return f"{node.op}{gap}{operand}"


def _increment(node: ast.Increment) -> str:
    target = unparse(node.target)
    return f"{node.op}{target}" if node.prefix else f"{target}{node.op}"


def _string(value: bytes) -> str:
    out = []
    for byte in value:
        char = chr(byte)
        if char in '"\\':
            out.append("\\" + char)
        elif 32 <= byte < 127:
            out.append(char)
        else:
            out.append(f"\\{byte:03o}")
    return '"' + "".join(out) + '"'


def _map(node: ast.Map) -> str:
    key = "" if node.key is None else f"[{', '.join(_expr(part, _TERNARY) for part in node.key)}]"
    return f"@{node.name}{key}"


def _tuple(node: ast.TupleExpr) -> str:
    items = ", ".join(_expr(item, _TERNARY) for item in node.items)
    return f"({items},)" if len(node.items) == 1 else f"({items})"


def _record(node: ast.RecordExpr) -> str:
    return "(" + ", ".join(f"{n}={_expr(v, _TERNARY)}" for n, v in zip(node.names, node.values)) + ")"


def _block(node: ast.Block) -> str:
    parts = [unparse(stmt) for stmt in node.body]
    if node.value is not None:
        parts.append(unparse(node.value))
    return "{ " + " ".join(parts) + " }" if parts else "{ }"


def _if(node: ast.IfExpr) -> str:
    arms = " else ".join(f"if ({unparse(condition)}) {_block(block)}" for condition, block in node.arms)
    return arms if node.otherwise is None else f"{arms} else {_block(node.otherwise)}"


def _type(node: ast.TypeName) -> str:
    suffixes = "".join("*" if s == "*" else f"[{s or ''}]" for s in node.suffixes)
    return f"{node.name}{suffixes}"


def _type_or_expr(node: Any) -> str:
    return unparse(node)


def _let(node: ast.Let) -> str:
    kind = "" if node.type is None else f": {unparse(node.type)}"
    value = "" if node.value is None else f" = {unparse(node.value)}"
    return f"let ${node.name}{kind}{value};"


def _evaluate(node: ast.Evaluate) -> str:
    return f"{unparse(node.value)};"


def _for(node: ast.For) -> str:
    over = node.over
    if isinstance(over, ast.Range):
        text = f"{_expr(over.low, _UNARY)}..{_expr(over.high, _UNARY)}"
    else:
        text = unparse(over)
    return f"for (${node.name} : {text}) {_block(node.body)}"


def _jump(node: ast.Jump) -> str:
    return f"{node.kind};" if node.value is None else f"{node.kind} {unparse(node.value)};"


def _action(node: ast.Action) -> str:
    probes = ",".join(point.text for point in node.probes)
    predicate = "" if node.predicate is None else f" /{unparse(node.predicate)}/"
    return f"{probes}{predicate}" + ("" if node.body is None else f" {_block(node.body)}")


def _macro(node: ast.Macro) -> str:
    return f"macro {node.name}({', '.join(map(unparse, node.params))}) {_block(node.body)}"


def _function(node: ast.Function) -> str:
    params = ", ".join(f"${name}: {unparse(of)}" for name, of in node.params)
    return f"fn {node.name}({params}): {unparse(node.result)} {_block(node.body)}"


def _setting(value: int | bool | bytes | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _string(value) if isinstance(value, bytes) else str(value)


def _config(node: ast.Config) -> str:
    return "config = { " + " ".join(f"{name}={_setting(value)};" for name, value in node.settings) + " }"


_WRITERS: dict[type, Callable[[Any], str]] = {
    ast.Number: lambda n: str(n.value),
    ast.String: lambda n: _string(n.value),
    ast.Boolean: lambda n: "true" if n.value else "false",
    ast.Name: lambda n: n.name,
    ast.Variable: lambda n: f"${n.name}",
    ast.Map: _map,
    ast.Positional: lambda n: f"${n.number}",
    ast.PositionalCount: lambda n: "$#",
    ast.Call: lambda n: f"{n.name}({', '.join(_expr(arg, _TERNARY) for arg in n.args)})",
    ast.Field: lambda n: f"{_expr(n.operand, _POSTFIX)}.{n.name}",
    ast.Arrow: lambda n: f"{_expr(n.operand, _POSTFIX)}->{n.name}",
    ast.TupleItem: lambda n: f"{_expr(n.operand, _POSTFIX)}.{n.index}",
    ast.Index: lambda n: f"{_operand(n.operand)}[{unparse(n.index)}]",
    ast.Unary: _unary,
    ast.Increment: _increment,
    ast.Binary: _binary,
    ast.Ternary: _ternary,
    ast.Block: _block,
    ast.IfExpr: _if,
    ast.TupleExpr: _tuple,
    ast.RecordExpr: _record,
    ast.Cast: lambda n: f"({unparse(n.to)}){_expr(n.operand, _UNARY)}",
    ast.Sizeof: lambda n: f"sizeof({_type_or_expr(n.of)})",
    ast.Offsetof: lambda n: f"offsetof({_type_or_expr(n.of)}, {'.'.join(n.fields)})",
    ast.TypeInfo: lambda n: f"typeinfo({_type_or_expr(n.of)})",
    ast.Comptime: lambda n: f"comptime {_expr(n.operand, _UNARY)}",
    ast.AddressOf: lambda n: f"&{unparse(n.target)}",
    ast.TypeArg: lambda n: unparse(n.of),
    ast.TypeName: _type,
    ast.TypeOf: lambda n: f"typeof({_type_or_expr(n.of)})",
    ast.Let: _let,
    ast.Set: lambda n: f"{unparse(n.target)} {n.op} {unparse(n.value)};",
    ast.Evaluate: _evaluate,
    ast.Discard: lambda n: f"_ = {unparse(n.value)};",
    ast.While: lambda n: f"while ({unparse(n.condition)}) {_block(n.body)}",
    ast.UnrollStmt: lambda n: f"unroll ({unparse(n.count)}) {_block(n.body)}",
    ast.For: _for,
    ast.Jump: _jump,
    ast.Import: lambda n: f"import {_string(n.path.encode(errors='surrogateescape'))};",
    ast.Action: _action,
    ast.Macro: _macro,
    ast.Function: _function,
    ast.MapDeclaration: lambda n: f"let @{n.name} = {n.kind}({n.size});",
    ast.CDefinition: lambda n: n.text if n.text.startswith("#") else f"{n.text};",
    ast.Config: _config,
}


def _operand(node: ast.Expr) -> str:
    """What stands before ``[``: a map without key needs brackets, or the index would be its key."""
    text = _expr(node, _POSTFIX)
    return f"({text})" if isinstance(node, ast.Map) and node.key is None else text
