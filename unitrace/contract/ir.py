"""The intermediate representation: what a trace program means, after all names and types are known.

The front end (lang/) ends in it, the engine runs it, backends translate what they can of it.
It is small and regular: an expression has a ``type`` and no side effect; a statement has an
effect; a clause is a probe, a predicate and statements.

**Values.** Integers are two's complement of their type's width and wrap. Both operands of an
arithmetic or comparing Binary have been cast by the front end to one type, so a backend looks
at that type alone for width and sign. Comparisons and logic yield BOOL. Strings are bytes up to
the first NUL, equal when all bytes are equal.

**Place and time.** A ``Site`` is read where the probe fires, at the moment it fires. ``Load`` and
``Text`` read memory at that moment. Everything else can be computed later from those.
"""

from __future__ import annotations

from .record import Record
from .types import Aggregate, Type

__all__ = [
    "Act", "Assign", "Binary", "Break", "Call", "Cast", "Choice", "Clause", "Const", "Continue",
    "Expr", "Field", "ForEach", "ForRange", "If", "Index", "Load", "Loop", "MapDecl", "MapDelete",
    "MapGet", "MapSet", "MapUpdate", "MemberOf", "Probe", "Program", "Return", "Show", "Site",
    "Span", "Stmt", "Text", "TupleOf", "Unary", "Unroll", "Value", "Var",
]  # fmt: skip

Value = int | bytes | bool


class Span(Record):
    """A place in the source: 1-based line, 0-based columns [start, end), for carets. ``outer``: in a macro,
    the call that it was expanded from."""

    line: int
    start: int
    end: int
    outer: Span | None = None


# --- expressions -----------------------------------------------------------------------------


class Expr(Record):
    """Base of expressions; every one has a type."""

    type: Type


class Const(Expr):
    """A literal: int for integers, pointers and enums, bytes for strings, bool for BOOL."""

    value: Value


class Site(Expr):
    """A value that the probe's site supplies; ``name`` is an entry of sites.SITES.

    ``key`` narrows it: the number of ``arg``, the field's name of ``args``.
    """

    name: str
    key: int | str | None = None


class Load(Expr):
    """The value of ``type`` in memory at address ``pointer`` plus ``offset`` bytes.

    ``space``: "kernel", "user" or "" (decided by the address). Yields 0 where memory can't be
    read. ``bit_offset``/``bit_size``: a bit field inside the unit that is read.
    """

    pointer: Expr
    offset: int = 0
    space: str = ""
    bit_offset: int = 0
    bit_size: int = 0


class Text(Expr):
    """The NUL-terminated string at address ``pointer`` (``str()``), at most type.length bytes, NUL
    counted. Yields "" where memory can't be read. ``space`` as in Load; ``limit``: a shorter
    length asked for at run time."""

    pointer: Expr
    space: str = ""
    limit: Expr | None = None


class Unary(Expr):
    """``op``: "-" or "~" (type of the operand), "!" (BOOL)."""

    op: str
    operand: Expr


class Binary(Expr):
    """``op``: + - * / % & | ^ << >> (operands' common type), == != < <= > >= (BOOL), && || (BOOL,
    the right side only where the left doesn't decide). Strings: == and != only.

    Division truncates toward zero; by zero it yields 1 and counts a runtime warning, modulo
    too (bpftrace's rule). A shift uses the count modulo the width; ``>>`` is arithmetic on
    signed types.
    """

    op: str
    left: Expr
    right: Expr


class Cast(Expr):
    """The operand converted to ``type`` as C does: truncated, sign- or zero-extended by the
    operand's own sign."""

    operand: Expr


class Choice(Expr):
    """``condition ? then : otherwise``; only the chosen side is evaluated."""

    condition: Expr
    then: Expr
    otherwise: Expr


class Call(Expr):
    """A pure function by its name in the language (``strncmp``, ``ntop``, ...). ``span`` locates errors."""

    function: str
    args: tuple[Expr, ...]


class TupleOf(Expr):
    """A tuple of values; its type is a types.Tuple."""

    items: tuple[Expr, ...]


class MemberOf(Expr):
    """Item number ``index`` of a tuple, or the member at ``index`` of a struct value."""

    operand: Expr
    index: int


class Index(Expr):
    """Element ``index`` of an array, buffer or string value."""

    operand: Expr
    index: Expr


class Var(Expr):
    """A scratch variable (``$x``, stored as "x"), local to one run of a clause."""

    name: str


class MapGet(Expr):
    """The value under ``key`` in ``map``; the type's zero where there is none. For an aggregate
    map: its number. ``key`` is () for a scalar map, else one expression a key part."""

    map: str
    key: tuple[Expr, ...]


# --- statements ------------------------------------------------------------------------------


class Stmt(Record):
    """Base of statements."""


class Assign(Stmt):
    """``$name = value``."""

    name: str
    value: Expr


class MapSet(Stmt):
    """``@map[key] = value``."""

    map: str
    key: tuple[Expr, ...]
    value: Expr


class MapUpdate(Stmt):
    """``@map[key] = function(args)``, aggregating: the map's value type says which function.

    ``args``: () for count; (value,) for the rest. hist may have a second: how much to add.
    """

    map: str
    key: tuple[Expr, ...]
    args: tuple[Expr, ...]


class MapDelete(Stmt):
    """``delete(@map, key)``."""

    map: str
    key: tuple[Expr, ...]


class If(Stmt):
    condition: Expr
    then: tuple[Stmt, ...]
    otherwise: tuple[Stmt, ...] = ()


class Loop(Stmt):
    """``while (condition) body``."""

    condition: Expr
    body: tuple[Stmt, ...]


class Unroll(Stmt):
    """``unroll (count) body``: body run count times; count may be computed, at most 100."""

    count: Expr
    body: tuple[Stmt, ...]


class ForRange(Stmt):
    """``for $name : low..high body``: half-open."""

    name: str
    low: Expr
    high: Expr
    body: tuple[Stmt, ...]


class ForEach(Stmt):
    """``for $name : @map body``: $name is the tuple (key, value); the key is itself a tuple where
    it has several parts."""

    name: str
    map: str
    type: Type
    body: tuple[Stmt, ...]


class Break(Stmt):
    """Leave the innermost loop."""


class Continue(Stmt):
    """Next turn of the innermost loop."""


class Return(Stmt):
    """End this clause for this event."""


class Act(Stmt):
    """Something that user space does, in the order of events: ``name`` with values taken now.

    printf (format, args...), print (value or map), clear, zero (map), time, cat, system, join,
    exit, signal, ... ``text`` is the format, ``map`` the map's name, ``args`` the values.
    """

    name: str
    args: tuple[Expr, ...] = ()
    text: bytes = b""
    map: str = ""
    span: Span | None = None


class Show(Stmt):
    """A bare probe's line: time, CPU, comm, tid, probe, and the named values.

    ``values`` are what the user wants to see; where a Text can't be had, its pointer will do
    and the user is told (plan/show.py).
    """

    names: tuple[str, ...]
    values: tuple[Expr, ...]


# --- programs --------------------------------------------------------------------------------


class Field(Record):
    """A named, typed argument of a probe.

    Tracepoints: ``offset`` and ``length`` in the raw record as the format file has them, ``how``:
    "value", "data_loc" or "rel_loc" (a u32 there: length << 16 | offset, absolute or relative to
    the field's end). Functions: ``offset`` is the argument's number. ``bits``: the width of its C type
    where the slot that holds it, and so ``type``, is wider; else 0.
    """

    name: str
    type: Type
    offset: int = 0
    length: int = 0
    how: str = "value"
    bits: int = 0


class Probe(Record):
    """A resolved attach point.

    ``kind`` is a name from probes.PROBE_TYPES. ``scope``: category of a tracepoint, module of a
    kprobe or "", absolute path of a uprobe's file, unit of an interval. ``name``: event, function
    or symbol. ``offset``: bytes past the symbol. ``address``: a uprobe's offset in its file.
    ``written``: as the user spelled it; ``label``: the full name, the value of ``probe``.
    """

    kind: str
    scope: str = ""
    name: str = ""
    offset: int = 0
    address: int = 0
    fields: tuple[Field, ...] = ()
    result: Type | None = None
    written: str = ""
    label: str = ""
    span: Span | None = None


class Clause(Record):
    """One probe with what to do at it. A written clause with several probes, or a wildcard,
    is one Clause a probe. ``ordinal`` numbers them in the program's order; stable across plans."""

    ordinal: int
    probe: Probe
    predicate: Expr | None
    body: tuple[Stmt, ...]
    span: Span | None = None


class MapDecl(Record):
    """A map: key types (() for a scalar), its value's type (an Aggregate for count() and its
    like), and how many keys it may hold. ``name`` includes its ``@``, here and in every node. A full
    map takes no new key; with ``evicts`` the key written longest ago makes room (lruhash)."""

    name: str
    key: tuple[Type, ...]
    value: Type | Aggregate
    entries: int = 4096
    evicts: bool = False


class Program(Record):
    """A whole trace program. ``source`` is its text, for carets and source lines."""

    clauses: tuple[Clause, ...]
    maps: tuple[MapDecl, ...]
    source: str = ""
    config: tuple[tuple[str, object], ...] = ()

    def map(self, name: str) -> MapDecl:
        """The declaration of map ``name``; KeyError where there is none."""
        for decl in self.maps:
            if decl.name == name:
                return decl
        raise KeyError(name)
