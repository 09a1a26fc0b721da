"""What all parts of checking and lowering share: the place, the scopes, casts, statements made on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from unitrace.contract import ir
from unitrace.contract.errors import SpecError
from unitrace.contract.record import Record
from unitrace.contract.types import (
    BOOL,
    Aggregate,
    Array,
    Bool,
    Buffer,
    Enum,
    Int,
    Pointer,
    Str,
    Struct,
    Tuple,
    Type,
    Void,
    name_of,
)

from . import ast, rules
from .state import MapInfo, NotYet, Slot, Unit

__all__ = ["Base", "spelled"]

_USER = frozenset(("uprobe", "uretprobe", "usdt"))


class Surroundings(Record):
    """Where an expression is at home: a macro's argument is evaluated in its caller's. ``outer``: the call of
    the macro."""

    scopes: list[dict[str, Slot]]
    maps: dict[str, str] | None
    bound: dict[str, tuple[ast.Expr, Surroundings]]
    path: tuple[object, ...]
    calls: tuple[str, ...] = ()
    outer: ir.Span | None = None


def spelled(of: Type) -> str:
    """A type as bpftrace spells it in messages."""
    if isinstance(of, Str):
        return f"string[{of.length}]"
    if isinstance(of, Tuple) and of.names:
        return "{" + ",".join(f".{n} = {spelled(t)}" for n, t in zip(of.names, of.items)) + "}"
    if isinstance(of, Tuple):
        return "(" + ",".join(map(spelled, of.items)) + ")"
    if isinstance(of, Void):
        return "void"
    return name_of(of)


class Base:
    """One body of statements at one shape of probe."""

    def __init__(self, unit: Unit, probe: ir.Probe, path: tuple[object, ...]) -> None:
        self.unit = unit
        self.probe = probe
        self.root = path
        self.here = Surroundings([{}], None, {}, path)
        self.out: list[ir.Stmt] = []
        self.loops = 0
        self.quiet = False
        self.level = 0
        self.hoists = 0

    # -- faults ---------------------------------------------------------------------------------

    def fault(self, message: str, node: ast.Node, remedy: str = "") -> SpecError:
        """An error at a node."""
        return self.unit.source.error(message, node.start, node.end, remedy)

    def not_yet(self, message: str, node: ast.Node, remedy: str = "") -> NotYet:
        """A type that the next round may know."""
        self.unit.waiting = True
        return NotYet(self.fault(message, node, remedy))

    def warn(self, message: str, node: ast.Node) -> None:
        """A warning at a node."""
        self.unit.warn(message, node.start, node.end)

    # -- statements made on the way -------------------------------------------------------------

    def emit(self, stmt: ir.Stmt) -> None:
        """Add a statement."""
        self.out.append(stmt)

    @contextmanager
    def collected(self) -> Iterator[list[ir.Stmt]]:
        """Statements made inside go into the list that is yielded."""
        before, self.out = self.out, []
        try:
            yield self.out
        finally:
            self.out = before

    def hoist(self, value: ir.Expr) -> ir.Var:
        """Put a value (an aggregate's: its number) into a variable of ours, now."""
        if isinstance(value.type, Aggregate) and rules.is_number(value.type):
            value = rules.cast(value, rules.number_of(value.type))
        self.hoists += 1
        name = f"_t{self.hoists}"
        while name in self.unit.names.setdefault(self.root, set()):
            self.hoists += 1
            name = f"_t{self.hoists}"
        self.emit(ir.Assign(name, value))
        return ir.Var(value.type, name)

    def several(self, nodes: tuple[ast.Expr, ...]) -> list[ir.Expr]:
        """Expressions in order: what one of them changes isn't seen by those before it."""
        values: list[ir.Expr] = []
        out = self.out
        for node in nodes:
            made: list[ir.Stmt] = []
            self.out = made
            try:
                value = self.expr(node)
            finally:
                self.out = out
            if made:
                values = [one if _settled(one) else self.hoist(one) for one in values]
                out.extend(made)
            values.append(value)
        return values

    # -- values ---------------------------------------------------------------------------------

    def expr(self, node: ast.Expr) -> ir.Expr:
        """The IR of an expression."""
        raise NotImplementedError

    def value(self, node: ast.Expr) -> ir.Expr:
        """An expression that has a value: not a call for its effect, not a whole map."""
        made = self.expr(node)
        if isinstance(made.type, Void):
            raise self.fault("expected a value, found an expression that has none", node)
        return made

    def number(self, node: ast.Expr) -> ir.Expr:
        """An expression that is a number (aggregates: their number)."""
        made = self.value(node)
        if isinstance(made.type, Aggregate) and rules.is_number(made.type):
            return rules.cast(made, rules.number_of(made.type))
        return made

    def condition(self, node: ast.Expr) -> ir.Expr:
        """An expression as BOOL."""
        made = self.value(node)
        if not isinstance(made.type, (Int, Enum, Bool, Pointer)) and not rules.is_number(made.type):
            raise self.fault(f"Invalid condition: {spelled(made.type)}", node)
        return rules.fold(rules.truth(made))

    def flexible(self, value: ir.Expr) -> bool:
        """Whether a value's sign may still follow what it meets."""
        if isinstance(value, ir.Var):
            slot = self.by_name(value.name)
            return slot is not None and slot.flexible and not slot.fixed and isinstance(value.type, Int)
        if isinstance(value, ir.MapGet):
            info = self.unit.maps.get(value.map[1:])
            return info is not None and info.flexible and isinstance(value.type, Int)
        return rules.is_flexible(value)

    def by_name(self, unique: str) -> Slot | None:
        """The variable of a unique name."""
        for scope in self.here.scopes:
            for slot in scope.values():
                if slot.name == unique:
                    return slot
        return None

    def literal_number(self, node: ast.Expr, message: str) -> int:
        """The value of a constant integer."""
        made = self.expr(node)
        if not isinstance(made, ir.Const) or type(made.value) is not int:
            raise self.fault(message, node)
        return made.value

    def literal_text(self, node: ast.Expr, function: str, which: str = "first") -> bytes:
        """The value of a constant string; one that is written out may be of any length."""
        if isinstance(node, ast.String):
            return node.value.split(b"\0", 1)[0]
        made = self.expr(node)
        if not isinstance(made, ir.Const) or not isinstance(made.value, bytes):
            if isinstance(node, ast.Positional):
                number = node.number
                raise self.fault(f"Use str(${number}) to treat ${number} as a string", node)
            raise self.fault(
                f"{function}() expects a string literal as the {which} argument"
                f" ({spelled(made.type)} provided)",
                node,
            )
        return made.value

    @property
    def space(self) -> str:
        """Where a number of this probe points when it is read as an address."""
        return "user" if self.probe.kind in _USER else ""

    def space_of(self, value: ir.Expr) -> str:
        """Where an address points: "kernel", "user", "" for "the address decides"."""
        of = value.type
        if isinstance(of, Pointer) and of.space:
            return of.space
        if isinstance(value, ir.Site) and value.name == "curtask":
            return "kernel"
        if isinstance(value, ir.Cast):
            return self.space_of(value.operand)
        if isinstance(value, ir.Binary):
            return self.space_of(value.left)
        if isinstance(value, ir.Load) and value.space == "kernel":
            return ""
        return self.space

    # -- variables and maps ---------------------------------------------------------------------

    def find(self, name: str) -> Slot | None:
        """The variable that ``$name`` means here."""
        for scope in reversed(self.here.scopes):
            if name in scope:
                return scope[name]
        return None

    def declare(self, name: str, node: ast.Node) -> Slot:
        """A new variable in the innermost block."""
        slot = self.unit.slot(self.root, (*self.here.path, node.start, name), name)
        self.here.scopes[-1][name] = slot
        return slot

    def widen(self, slot: Slot, value: ir.Expr, node: ast.Node) -> ir.Expr:
        """``value`` for a variable, which becomes wide enough for it."""
        flexible = self.flexible(value)
        of = value.type
        if isinstance(of, Aggregate) and rules.is_number(of):
            of = rules.number_of(of)
        if isinstance(of, (Aggregate, Void)):
            what = f"Value '{spelled(of)}' cannot be assigned to a scratch variable."
            raise self.fault(what, node)
        if slot.type is None:
            slot.type, slot.flexible = of, flexible
        elif slot.fixed:
            self._fits(slot, value, of, flexible, node)
        else:
            found = rules.promote(slot.type, slot.flexible, of, flexible)
            if found is None:
                raise self.fault(
                    f"Type mismatch for ${_written(slot)}: trying to assign value of type "
                    f"'{spelled(of)}' when "
                    f"variable already has a type '{spelled(slot.type)}'",
                    node,
                )
            if found != (slot.type, slot.flexible):
                slot.type, slot.flexible = found
                self.unit.changed = True
        return rules.cast(value, slot.type)

    def check_pointed(self, slot: Slot, node: ast.Node) -> None:
        """A variable that is pointed to stays as it is: what points to it would read the old value."""
        if slot.pointed:
            name = _written(slot)
            raise self.fault(f"${name} can't be changed any more: its address was taken (&${name})", node)

    def _fits(self, slot: Slot, value: ir.Expr, of: Type, flexible: bool, node: ast.Node) -> None:
        assert slot.type is not None
        to = slot.type
        if isinstance(to, Int) and isinstance(value, ir.Const) and type(value.value) is int:
            low = -(1 << to.bits - 1) if to.signed else 0
            high = (1 << to.bits - (1 if to.signed else 0)) - 1
            if value.type == rules.smallest(value.value) and not low <= value.value <= high:
                raise self.fault(
                    f"Type mismatch for ${_written(slot)}: trying to assign value of type "
                    f"'{spelled(of)}' when "
                    f"variable already has a type '{spelled(to)}'",
                    node,
                    "cast it, if that is meant",
                )
            return
        if isinstance(to, (Str, Buffer)) and type(of) is type(to) and of.size <= to.size:
            return
        found = rules.promote(to, False, of, flexible)
        if found is None or (found[0] != to and not isinstance(to, (Int, Pointer))):
            raise self.fault(
                f"Type mismatch for ${_written(slot)}: trying to assign value of type '{spelled(of)}' when "
                f"variable already has a type '{spelled(to)}'",
                node,
            )

    def map_name(self, node: ast.Map) -> str:
        """The map that ``@name`` means here: a macro's parameter stands for its caller's map."""
        if self.here.maps is None:
            return node.name
        if node.name not in self.here.maps:
            raise self.fault(
                f"Unhygienic access to map: @{node.name}. Macros can only access maps that are passed in as "
                "arguments.",
                node,
            )
        return self.here.maps[node.name]

    def map_info(self, node: ast.Map, keyed: bool | None) -> MapInfo:
        """A map in use with or without keys (None: as a whole)."""
        name = self.map_name(node)
        info = self.unit.map(name)
        if info.place == (0, 0):
            info.place = (node.start, node.end)
        if keyed is None:
            return info
        if info.keyed is None:
            info.keyed = keyed
        elif info.keyed != keyed:
            raise self.fault(
                f"@{name} used as a map with an explicit key (non-scalar map), previously used "
                "without an explicit "
                "key (scalar map)"
                if keyed
                else f"@{name} used as a map without an explicit key (scalar map), previously used "
                "with an explicit "
                "key (non-scalar map)",
                node,
            )
        return info

    def key(self, info: MapInfo, node: ast.Expr, parts: tuple[ast.Expr, ...]) -> tuple[ir.Expr, ...]:
        """A map's key, its parts cast to the types that they have in all of the program."""
        if len(parts) == 1 and isinstance(parts[0], ast.TupleExpr) and parts[0].items:
            parts = parts[0].items
        values = [self.number_or_value(one, part) for one, part in zip(self.several(parts), parts)]
        if len(values) == 1 and isinstance(values[0].type, Tuple) and not values[0].type.names:
            whole = values[0]
            of = values[0].type
            if isinstance(whole, ir.TupleOf):
                values = list(whole.items)
            else:
                values = [ir.MemberOf(item, whole, index) for index, item in enumerate(of.items)]
        for value, part in zip(values, parts):
            self._check_key(value.type, part)
        types = tuple(value.type for value in values)
        flexible = [self.flexible(value) for value in values]
        if info.key is None:
            info.key, info.key_flexible = types, flexible
        else:
            found = None
            if len(types) == len(info.key):
                found = [rules.promote(*one) for one in zip(info.key, info.key_flexible, types, flexible)]
            if found is None or None in found:
                raise self.fault(
                    f"Argument mismatch for @{info.name}: trying to access with arguments: "
                    f"'{_key(types)}' when map expects arguments: '{_key(info.key)}'",
                    node,
                )
            known = [one for one in found if one is not None]
            if tuple(one[0] for one in known) != info.key or [one[1] for one in known] != info.key_flexible:
                info.key = tuple(one[0] for one in known)
                info.key_flexible = [one[1] for one in known]
                self.unit.changed = True
        return tuple(rules.cast(value, to) for value, to in zip(values, info.key))

    def number_or_value(self, made: ir.Expr, node: ast.Expr) -> ir.Expr:
        """An aggregate's number, or the value as it is."""
        if isinstance(made.type, Aggregate) and rules.is_number(made.type):
            return rules.cast(made, rules.number_of(made.type))
        return made

    def _check_key(self, of: Type, node: ast.Expr) -> None:
        if isinstance(of, Aggregate):
            raise self.fault(f"{spelled(of)} cannot be part of a map key", node)
        if isinstance(of, Void):
            raise self.fault("Invalid map key type: void", node)
        if isinstance(of, Struct) and not of.length:
            raise self.fault(f"Value '{spelled(of)}' cannot be used as a map key.", node)

    def widen_map(self, info: MapInfo, value: ir.Expr, node: ast.Node) -> ir.Expr:
        """``value`` for a map, whose type becomes wide enough for it."""
        of: Type = value.type
        flexible = self.flexible(value)
        if isinstance(of, Aggregate):
            if not rules.is_number(of) or of.function == "stats":
                raise self.fault(
                    f"Map value '{spelled(of)}' cannot be assigned from one map to another. "
                    f"The function that returns this type must be called directly e.g. `@{info.name} = "
                    f"{of.function}({'' if of.function == 'count' else 'retval'});`.",
                    node,
                )
            of = rules.number_of(of)
        if isinstance(of, Void):
            raise self.fault("Invalid expression for assignment", node)
        if info.value is None:
            info.value, info.flexible = of, flexible
        else:
            found = None
            if not isinstance(info.value, Aggregate):
                found = rules.promote(info.value, info.flexible, of, flexible)
            if found is None:
                raise self.fault(
                    f"Type mismatch for @{info.name}: trying to assign value of type '{spelled(of)}' "
                    "when map "
                    f"already has a type '{spelled(info.value)}'",
                    node,
                )
            if found != (info.value, info.flexible):
                info.value, info.flexible = found
                self.unit.changed = True
        return rules.cast(value, info.value)

    def aggregate(self, info: MapInfo, of: Aggregate, node: ast.Node) -> None:
        """A map that is written by count() or its like."""
        if info.value is None:
            info.value = of
            return
        found = rules.promote(info.value, False, of, False) if isinstance(info.value, Aggregate) else None
        if found is None:
            raise self.fault(
                f"Type mismatch for @{info.name}: trying to assign value of type '{spelled(of)}' "
                "when map already "
                f"has a type '{spelled(info.value)}'",
                node,
            )
        if found[0] != info.value:
            info.value = found[0]
            self.unit.changed = True

    def to_bool(self, value: bool) -> ir.Const:
        """A constant of type bool."""
        return ir.Const(BOOL, value)


def _written(slot: Slot) -> str:
    head, _, tail = slot.name.rpartition("_")
    return head if head and tail.isdigit() else slot.name


def _key(types: tuple[Type, ...]) -> str:
    if len(types) == 1:
        return spelled(types[0])
    return "(" + ",".join(map(spelled, types)) + ")"


def _settled(value: ir.Expr) -> bool:
    """Whether a value stays the same, whatever the statements in between do."""
    if isinstance(value, (ir.Var, ir.MapGet)):
        return False
    if isinstance(value, (ir.Const, ir.Site)):
        return True
    for name in value._fields:
        part = getattr(value, name)
        for one in part if isinstance(part, tuple) else (part,):
            if isinstance(one, ir.Expr) and not _settled(one):
                return False
    return not (isinstance(value, ir.Call) and value.function in ("has_key", "len"))


def is_array(of: Type) -> bool:
    """Whether a type is an array."""
    return isinstance(of, Array)
