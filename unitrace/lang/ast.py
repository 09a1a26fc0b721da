"""The syntax tree: what the text says, before names and types are known.

``start`` and ``end`` are offsets into the text. Two trees are ``same`` when they differ in those alone.
"""

from __future__ import annotations

from unitrace.contract.record import Record

__all__ = [
    "Action", "AddressOf", "Arrow", "AttachPoint", "Binary", "Block", "Boolean", "CDefinition", "Call",
    "Cast", "Comptime", "Config", "Discard", "Evaluate", "Expr", "Field", "For", "Function", "IfExpr",
    "Import", "Increment", "Index", "Item", "Jump", "Let", "Macro", "Map", "MapDeclaration", "Name",
    "Node", "Number", "Offsetof", "Positional", "PositionalCount", "Program", "Range", "RecordExpr",
    "Set", "Sizeof", "Stmt", "String", "Ternary", "TupleExpr", "TupleItem", "TypeArg", "TypeInfo",
    "TypeName", "TypeOf", "TypeRef", "Unary", "UnrollStmt", "Variable", "While", "same",
]  # fmt: skip


class Node(Record):
    start: int
    end: int


class Expr(Node):
    """An expression."""


class Stmt(Node):
    """A statement."""


class Item(Node):
    """What stands at the top of a program."""


# --- types -----------------------------------------------------------------------------------


class TypeName(Node):
    """``uint64``, ``struct file``; then ``suffixes``: "*" for a pointer, a number for ``[N]`` (0: ``[]``)."""

    name: str
    suffixes: tuple[str | int, ...] = ()


class TypeOf(Node):
    """``typeof(type or expression)``."""

    of: TypeName | Expr


TypeRef = TypeName | TypeOf

# --- expressions -----------------------------------------------------------------------------


class Number(Expr):
    """``text`` is the literal as it was written."""

    value: int
    text: str


class String(Expr):
    value: bytes


class Boolean(Expr):
    value: bool


class Name(Expr):
    """A bare word: a builtin, a macro, an enumerator, a constant."""

    name: str


class Variable(Expr):
    """``$name``."""

    name: str


class Map(Expr):
    """``@name`` or ``@name[key]``; ``key`` None where there are no brackets."""

    name: str
    key: tuple[Expr, ...] | None = None


class Positional(Expr):
    """``$1``."""

    number: int


class PositionalCount(Expr):
    """``$#``."""


class Call(Expr):
    name: str
    args: tuple[Expr, ...]


class Field(Expr):
    """``operand.name``, also through a pointer."""

    operand: Expr
    name: str


class Arrow(Field):
    """``operand->name``: the old spelling of ``.``."""


class TupleItem(Expr):
    """``operand.0``."""

    operand: Expr
    index: int


class Index(Expr):
    """``operand[index]``."""

    operand: Expr
    index: Expr


class Unary(Expr):
    """``op``: - ~ ! or * (what a pointer points to)."""

    op: str
    operand: Expr


class Increment(Expr):
    """``++x``, ``x--``."""

    op: str
    prefix: bool
    target: Variable | Map


class Binary(Expr):
    op: str
    left: Expr
    right: Expr


class Ternary(Expr):
    """``condition ? then : otherwise``; ``then`` None for ``a ?: b``."""

    condition: Expr
    then: Expr | None
    otherwise: Expr


class Block(Expr):
    """``{ statements; value }``."""

    body: tuple[Stmt, ...]
    value: Expr | None = None


class IfExpr(Expr):
    """``if c { } else if d { } else { }``: ``arms`` of (condition, block), and the last ``otherwise``."""

    arms: tuple[tuple[Expr, Block], ...]
    otherwise: Block | None = None


class TupleExpr(Expr):
    items: tuple[Expr, ...]


class RecordExpr(Expr):
    """``(a=1, b=2)``."""

    names: tuple[str, ...]
    values: tuple[Expr, ...]


class Cast(Expr):
    to: TypeRef
    operand: Expr


class Sizeof(Expr):
    of: TypeRef | Expr


class Offsetof(Expr):
    of: TypeRef | Expr
    fields: tuple[str, ...]


class TypeInfo(Expr):
    of: TypeRef | Expr


class Comptime(Expr):
    """``comptime x``: x has to be a constant."""

    operand: Expr


class AddressOf(Expr):
    """``&$x``, ``&@m``."""

    target: Variable | Map


class TypeArg(Expr):
    """``typeof(...)`` as a macro's argument."""

    of: TypeOf


# --- statements ------------------------------------------------------------------------------


class Let(Stmt):
    """``let $name: type = value``."""

    name: str
    type: TypeRef | None = None
    value: Expr | None = None


class Set(Stmt):
    """``target op value``; ``op``: "=", "+=", ..."""

    target: Variable | Map
    op: str
    value: Expr


class Evaluate(Stmt):
    """An expression as a statement: a call, ``@x++``, an if."""

    value: Expr


class Discard(Stmt):
    """``_ = value``."""

    value: Expr


class While(Stmt):
    condition: Expr
    body: Block


class UnrollStmt(Stmt):
    count: Expr
    body: Block


class Range(Expr):
    """``low..high``."""

    low: Expr
    high: Expr


class For(Stmt):
    """``for $name : over``: ``over`` is a Map without key, or a Range."""

    name: str
    over: Map | Range
    body: Block


class Jump(Stmt):
    """``kind``: break, continue or return."""

    kind: str
    value: Expr | None = None


# --- programs --------------------------------------------------------------------------------


class AttachPoint(Node):
    """A probe as it was written."""

    text: str


class Action(Item):
    """``probes /predicate/ { body }``; ``body`` None: a bare probe list."""

    probes: tuple[AttachPoint, ...]
    predicate: Expr | None
    body: Block | None


class Macro(Item):
    """``params``: Variable, Map or Name each."""

    name: str
    params: tuple[Variable | Map | Name, ...]
    body: Block


class Function(Item):
    """``fn name($a: type): type { }``."""

    name: str
    params: tuple[tuple[str, TypeRef], ...]
    result: TypeRef
    body: Block


class MapDeclaration(Item):
    """``let @name = kind(size)``."""

    name: str
    kind: str
    size: int


class CDefinition(Item):
    """A C type definition or a preprocessor line, as text."""

    text: str


class Config(Item):
    """``config = { name=value; }``; values are int, bool, bytes, or a word as str."""

    settings: tuple[tuple[str, int | bool | bytes | str], ...]


class Import(Item, Stmt):
    path: str


class Program(Node):
    items: tuple[Item, ...]


def same(one: object, other: object) -> bool:
    """Whether two trees say the same, wherever they stand. No recursion deeper than the tree."""
    if isinstance(one, Node):
        if type(one) is not type(other):
            return False
        return all(
            same(getattr(one, name), getattr(other, name))
            for name in one._fields
            if name not in ("start", "end") and not (name == "text" and isinstance(one, Number))
        )
    if isinstance(one, tuple):
        return isinstance(other, tuple) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other
