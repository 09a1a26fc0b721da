"""Operators, literals, maps and variables as values, blocks and conditions that have one, macros."""

from __future__ import annotations

from collections.abc import Callable

from unitrace.contract import ir
from unitrace.contract.types import (
    BOOL,
    INT64,
    UINT64,
    VOID,
    Aggregate,
    Array,
    Bool,
    Buffer,
    Enum,
    Int,
    Pointer,
    Str,
    Tuple,
    Type,
)

from . import ast, rules
from .base import spelled
from .macros import Macros

__all__ = ["Values"]

_OURS = frozenset(("begin", "end", "interval", "self", "test", "bench"))
"""Probes that user space fires itself."""

_COMPARES = frozenset(("==", "!=", "<", "<=", ">", ">="))


class Values(Macros):
    """Lowering of expressions."""

    def expr(self, node: ast.Expr) -> ir.Expr:
        """The IR of an expression; statements that it needs before it are emitted."""
        lower: Callable[[ast.Expr], ir.Expr] = getattr(self, _METHODS[type(node)])
        return lower(node)

    def _Number(self, node: ast.Number) -> ir.Expr:
        return rules.literal(node.value)

    def _String(self, node: ast.String) -> ir.Expr:
        if len(node.value) >= self.unit.max_strlen and not self.quiet:
            raise self.fault(
                f"String is too long (over {self.unit.max_strlen} bytes)",
                node,
                "raise max_strlen in a config block",
            )
        return rules.text(node.value.split(b"\0", 1)[0])

    def _Boolean(self, node: ast.Boolean) -> ir.Expr:
        return self.to_bool(node.value)

    def _Variable(self, node: ast.Variable) -> ir.Expr:
        slot = self.find(node.name)
        if slot is None:
            near = [name for scope in self.here.scopes for name in scope]
            from .source import suggest

            raise self.fault(
                f"Undefined or undeclared variable: ${node.name}",
                node,
                suggest(node.name, near).replace("mean ", "mean $"),
            )
        if slot.type is None:
            raise self.not_yet("Could not resolve the type of this variable", node)
        return ir.Var(slot.type, slot.name)

    def _Map(self, node: ast.Map) -> ir.Expr:
        info = self.map_info(node, node.key is not None)
        key = () if node.key is None else self.key(info, node, node.key)
        info.read = True
        if info.value is None:
            raise self.not_yet(f"Undefined map: @{info.name}", node)
        of = info.value
        return ir.MapGet(of, info.spelled, key)

    def _TupleExpr(self, node: ast.TupleExpr) -> ir.Expr:
        values = [self._tuple_item(one, part) for one, part in zip(self.several(node.items), node.items)]
        return ir.TupleOf(Tuple(tuple(value.type for value in values)), tuple(values))

    def _RecordExpr(self, node: ast.RecordExpr) -> ir.Expr:
        values = [self._tuple_item(one, part) for one, part in zip(self.several(node.values), node.values)]
        return ir.TupleOf(Tuple(tuple(value.type for value in values), node.names), tuple(values))

    def _tuple_item(self, value: ir.Expr, node: ast.Expr) -> ir.Expr:
        value = self.number_or_value(value, node)
        if isinstance(value.type, Aggregate):
            raise self.fault(f"Map type {spelled(value.type)} cannot exist inside a tuple.", node)
        if value.type == VOID:
            raise self.fault("expected a value, found an expression that has none", node)
        return value

    # -- operators ------------------------------------------------------------------------------

    def _Unary(self, node: ast.Unary) -> ir.Expr:
        op = node.op
        if op == "*":
            if isinstance(node.operand, ast.Name) and node.operand.name == "args":
                return self.expr(node.operand)
            if isinstance(node.operand, ast.AddressOf) and isinstance(node.operand.target, ast.Variable):
                return self.expr(node.operand.target)
            return self.dereference(self.value(node.operand), node)
        if op == "-" and isinstance(node.operand, ast.Number):
            if node.operand.value > 1 << 63:
                raise self.fault("negative value will underflow", node)
            return rules.literal(-node.operand.value)
        operand = self.number(node.operand)
        of = operand.type
        if op == "!":
            if not isinstance(of, (Int, Enum, Bool, Pointer)):
                raise self._bad_unary(op, of, node)
            return _negated(rules.truth(operand))
        if not isinstance(of, (Int, Enum)):
            raise self._bad_unary(op, of, node)
        if op == "-":
            if isinstance(operand, ir.Const) and isinstance(operand.value, int):
                return rules.literal(-operand.value)
            return rules.fold(ir.Unary(INT64, op, rules.cast(operand, INT64)))
        to = INT64 if of.signed and not self.flexible(operand) else UINT64
        return rules.fold(ir.Unary(to, op, rules.cast(operand, to)))

    def _bad_unary(self, op: str, of: Type, node: ast.Node) -> Exception:
        return self.fault(f"The {op} operator can not be used on expressions of type '{spelled(of)}'", node)

    def _Binary(self, node: ast.Binary) -> ir.Expr:
        if node.op in ("&&", "||"):
            return self._logic(node)
        left, right = self.several((node.left, node.right))
        return self.binary(node.op, left, right, node)

    def _logic(self, node: ast.Binary) -> ir.Expr:
        left = self.condition(node.left)
        with self.collected() as made:
            right = self.condition(node.right)
        if made:
            # the right side does something: it may run only where the left doesn't decide
            chosen = self.hoist(left)
            made.append(ir.Assign(chosen.name, right))
            self.emit(ir.If(chosen, tuple(made)) if node.op == "&&" else ir.If(chosen, (), tuple(made)))
            return chosen
        return rules.fold(ir.Binary(BOOL, node.op, left, right))

    def binary(self, op: str, left: ir.Expr, right: ir.Expr, node: ast.Node) -> ir.Expr:
        """``left op right``, both cast to one type."""
        left, right = self._counted(left), self._counted(right)
        one, two = left.type, right.type
        if isinstance(one, Pointer) or isinstance(two, Pointer):
            return self._pointers(op, left, right, node)
        if isinstance(one, (Int, Enum, Bool)) and isinstance(two, (Int, Enum, Bool)):
            return self._numbers(op, left, right, node)
        if isinstance(left, ir.Const) and isinstance(right, ir.Const) and isinstance(one, Str) and op == "+":
            return self._constant_text(left, right, node)
        if op in ("==", "!="):
            if isinstance(one, Str) and isinstance(two, Str):
                return rules.fold(ir.Binary(BOOL, op, left, right))
            found = rules.promote(one, False, two, False)
            if found is not None and isinstance(one, (Tuple, Buffer)):
                return ir.Binary(BOOL, op, rules.cast(left, found[0]), rules.cast(right, found[0]))
            if isinstance(one, Array) and isinstance(two, Array):
                if one.count != two.count:
                    raise self.fault("Only arrays of same size support comparison operators.", node)
                if not isinstance(one.of, Int) or one != two:
                    raise self.fault("Only arrays of same sized integer support comparison operators.", node)
                return ir.Binary(BOOL, op, left, right)
            if found is not None and type(one) is type(two):
                return ir.Binary(BOOL, op, left, rules.cast(right, one))
        elif isinstance(one, Array) and isinstance(two, Array):
            raise self.fault(f"The {op} operator cannot be used on arrays.", node)
        if type(one) is not type(two):
            remedy = ""
            if isinstance(one, Str) != isinstance(two, Str) and {type(one), type(two)} & {Int}:
                remedy = "a number is not a string: str() reads the string at an address"
            raise self.fault(
                f"Type mismatch for '{op}': comparing {spelled(one)} with {spelled(two)}", node, remedy
            )
        raise self.fault(
            f"The {op} operator can not be used on expressions of types {spelled(one)}, {spelled(two)}", node
        )

    def _counted(self, value: ir.Expr) -> ir.Expr:
        if isinstance(value.type, Aggregate) and rules.is_number(value.type):
            return rules.cast(value, rules.number_of(value.type))
        return value

    def _constant_text(self, left: ir.Const, right: ir.Const, node: ast.Node) -> ir.Expr:
        assert isinstance(left.value, bytes)
        if isinstance(right.value, bytes):
            return rules.text(left.value + right.value)
        if right.value >= len(left.value):
            self.warn("literal string will always be empty", node)
        return rules.text(left.value[right.value :])

    def _numbers(self, op: str, left: ir.Expr, right: ir.Expr, node: ast.Node) -> ir.Expr:
        one, two = left.type, right.type
        if op in _COMPARES:
            if one == two and not isinstance(one, Bool):
                return rules.fold(ir.Binary(BOOL, op, left, right))
            to = self._common(left, right)
            return rules.fold(ir.Binary(BOOL, op, rules.cast(left, to), rules.cast(right, to)))
        signed = self._signed(left, right) or op == "-"
        if op in ("<<", ">>"):
            signed = rules.signed(one) and not (self.flexible(left) and not rules.is_flexible(right))
            signed = rules.signed(one) if isinstance(left, ir.Const) else signed
        wide = INT64 if signed else UINT64
        folded = rules.fold(ir.Binary(wide, op, rules.cast(left, wide), rules.cast(right, wide)))
        if _literal(left) and _literal(right):
            return self._literal_result(op, left, right, folded, node)
        return folded

    def _literal_result(
        self, op: str, left: ir.Expr, right: ir.Expr, folded: ir.Expr, node: ast.Node
    ) -> ir.Expr:
        """Two literals make a literal, of the smallest type; above int64 it is a uint64."""
        assert isinstance(left, ir.Const) and isinstance(right, ir.Const)
        a, b = int(left.value), int(right.value)
        exact = a + b if op == "+" else a * b if op == "*" else a - b if op == "-" else None
        if exact is None and isinstance(folded, ir.Const) and not (op in ("<<", ">>") and not 0 <= b < 64):
            exact = (a << b) & 0xFFFFFFFFFFFFFFFF if op == "<<" and a >= 0 else int(folded.value)
        if exact is None or not -(1 << 63) <= exact < 1 << 64:
            raise self.fault("unable to fold literals due to overflow or underflow", node)
        return rules.literal(exact)

    def _signed(self, left: ir.Expr, right: ir.Expr) -> bool:
        one, two = rules.signed(left.type), rules.signed(right.type)
        a, b = self.flexible(left), self.flexible(right)
        if a and not b:
            one = two
        elif b and not a:
            two = one
        return one or two

    def _common(self, left: ir.Expr, right: ir.Expr) -> Type:
        """The type to compare two numbers in."""
        one, two = left.type, right.type
        if isinstance(one, Bool) and isinstance(two, Bool):
            return BOOL
        if isinstance(one, Enum) and isinstance(right, ir.Const) and isinstance(two, Int):
            return one
        if isinstance(two, Enum) and isinstance(left, ir.Const) and isinstance(one, Int):
            return two
        found = rules.promote(
            rules.as_integer(one), self.flexible(left), rules.as_integer(two), self.flexible(right)
        )
        assert found is not None
        return found[0]

    def _pointers(self, op: str, left: ir.Expr, right: ir.Expr, node: ast.Node) -> ir.Expr:
        one, two = left.type, right.type
        pair = f"{spelled(one)}, {spelled(two)}"
        wrong = self.fault(f"The {op} operator can not be used on expressions of types {pair}", node)
        both = isinstance(one, Pointer) and isinstance(two, Pointer)
        if not both and not isinstance(two if isinstance(one, Pointer) else one, (Int, Enum, Bool)):
            raise wrong
        if op in _COMPARES:
            if both and one != two and rules.promote(one, False, two, False) is None:
                assert isinstance(one, Pointer) and isinstance(two, Pointer)
                self.warn(f"comparison of distinct pointer types: {spelled(one.to)}, {spelled(two.to)}", node)
            if isinstance(right, ir.Const):
                return rules.fold(ir.Binary(BOOL, op, left, rules.cast(right, one)))
            if isinstance(left, ir.Const):
                return rules.fold(ir.Binary(BOOL, op, rules.cast(left, two), right))
            return ir.Binary(BOOL, op, rules.cast(left, UINT64), rules.cast(right, UINT64))
        if both or op not in ("+", "-") or (op == "-" and not isinstance(one, Pointer)):
            raise wrong
        pointer, number = (left, right) if isinstance(one, Pointer) else (right, left)
        of = pointer.type
        assert isinstance(of, Pointer)
        size = max(1, self.size_of(of.to))
        step = rules.fold(ir.Binary(UINT64, "*", rules.cast(number, UINT64), ir.Const(UINT64, size)))
        if size == 1:
            step = rules.cast(number, UINT64)
        return rules.cast(rules.fold(ir.Binary(UINT64, op, rules.cast(pointer, UINT64), step)), of)

    # -- values with statements in them ---------------------------------------------------------

    def _Ternary(self, node: ast.Ternary) -> ir.Expr:
        if node.then is None:
            value = self.value(node.condition)
            if not _cheap(value):
                value = self.hoist(value)
            condition: ir.Expr = rules.fold(rules.truth(value))
            return self._choose(node, condition, (value, []), self._aside(node.otherwise))
        condition = self.condition(node.condition)
        then = self._aside(node.then)
        return self._choose(node, condition, then, self._aside(node.otherwise))

    def _aside(self, node: ast.Expr) -> tuple[ir.Expr, list[ir.Stmt]]:
        """A value, and the statements that it needs, kept apart."""
        with self.collected() as made:
            value = self.number_or_value(self.expr(node), node)
        return value, made

    def _choose(
        self,
        node: ast.Expr,
        condition: ir.Expr,
        then: tuple[ir.Expr, list[ir.Stmt]],
        otherwise: tuple[ir.Expr, list[ir.Stmt]],
    ) -> ir.Expr:
        one, two = then[0], otherwise[0]
        if one.type == VOID or two.type == VOID:
            self.emit(ir.If(condition, tuple(then[1]), tuple(otherwise[1])))
            return ir.Const(VOID, 0)
        found = rules.promote(one.type, self.flexible(one), two.type, self.flexible(two))
        if found is None:
            raise self.fault(
                "Branches must return the same type or compatible types: "
                f"have '{spelled(one.type)}' and '{spelled(two.type)}'",
                node,
            )
        one, two = rules.cast(one, found[0]), rules.cast(two, found[0])
        if not then[1] and not otherwise[1]:
            return rules.fold(ir.Choice(found[0], condition, one, two))
        chosen = self.hoist(rules.zero(found[0]))
        self.emit(
            ir.If(
                condition,
                (*then[1], ir.Assign(chosen.name, one)),
                (*otherwise[1], ir.Assign(chosen.name, two)),
            )
        )
        return chosen

    def _IfExpr(self, node: ast.IfExpr) -> ir.Expr:
        if node.otherwise is None or any(block.value is None for _, block in node.arms):
            self.statement_if(node)
            return ir.Const(VOID, 0)
        return self._arm(node, 0)

    def _arm(self, node: ast.IfExpr, index: int) -> ir.Expr:
        if index == len(node.arms):
            assert node.otherwise is not None
            return self.expr(node.otherwise)
        condition, block = node.arms[index]
        made = self.condition(condition)
        then = self._aside(block)
        with self.collected() as other:
            value = self._arm(node, index + 1)
        return self._choose(node, made, then, (value, other))

    def _Block(self, node: ast.Block) -> ir.Expr:
        self.here.scopes.append({})
        try:
            self.statements(node.body)
            if node.value is None:
                return ir.Const(VOID, 0)
            return self.expr(node.value)
        finally:
            self.here.scopes.pop()

    def _Increment(self, node: ast.Increment) -> ir.Expr:
        op = node.op[0]
        if isinstance(node.target, ast.Map):
            return self._increment_map(node, node.target, op)
        slot = self.find(node.target.name)
        if slot is None:
            raise self.fault(f"Undefined or undeclared variable: ${node.target.name}", node.target)
        before = self.expr(node.target)
        self._check_increment(before.type, node)
        self.check_pointed(slot, node)
        old: ir.Expr = before
        if not node.prefix and not self.quiet:
            old = self.hoist(before)
        after = self.binary(op, before, rules.literal(1), node)
        value = self.widen(slot, after, node)
        self.emit(ir.Assign(slot.name, value))
        assert slot.type is not None
        return rules.cast(old, slot.type) if not node.prefix else ir.Var(slot.type, slot.name)

    def _increment_map(self, node: ast.Increment, target: ast.Map, op: str) -> ir.Expr:
        info = self.map_info(target, target.key is not None)
        key = () if target.key is None else self.key(info, target, target.key)
        if info.value is None:
            info.value, info.flexible = INT64, False
        self._check_increment(info.value, node)
        before = ir.MapGet(info.value, info.spelled, key)
        old: ir.Expr = before
        if not node.prefix and not self.quiet:
            old = self.hoist(before)
        value = self.widen_map(info, self.binary(op, before, rules.literal(1), node), node)
        self.emit(ir.MapSet(info.spelled, key, value))
        assert info.value is not None
        return ir.MapGet(info.value, info.spelled, key) if node.prefix else rules.cast(old, info.value)

    def _check_increment(self, of: Type, node: ast.Increment) -> None:
        if not isinstance(of, (Int, Pointer)):
            raise self.fault(
                f"The {node.op} operator can not be used on expressions of type '{spelled(of)}'", node
            )

    def _Comptime(self, node: ast.Comptime) -> ir.Expr:
        made = self.expr(node.operand)
        if not isinstance(made, (ir.Const, ir.TupleOf)):
            raise self.fault("Unable to resolve comptime expression", node)
        return made

    def _AddressOf(self, node: ast.AddressOf) -> ir.Expr:
        """``&$x``, of a variable of ours that lies in our own memory while it is pointed to."""
        if isinstance(node.target, ast.Map):
            raise self.fault("the address of a map can't be taken", node)
        value = self.expr(node.target)
        of = value.type.of if isinstance(value.type, Array) else value.type
        if not isinstance(of, (Int, Enum, Bool, Pointer, Str, Buffer)):
            raise self.fault(f"the address of a {spelled(value.type)} can't be taken", node)
        if self.probe.kind not in _OURS:
            what = f"the address of a variable can't be taken in {self.probe.kind} probes"
            raise self.fault(what, node, "read it by its name")
        slot = self.find(node.target.name)
        if slot is not None:
            slot.pointed = True
        return ir.Call(Pointer(value.type, "user"), "address_of", (value,))

    def _TypeInfo(self, node: ast.TypeInfo) -> ir.Expr:
        raise self.fault("typeinfo is not supported", node, "sizeof and typeof are")

    def _TypeArg(self, node: ast.TypeArg) -> ir.Expr:
        raise self.fault("a type can only be an argument of a macro", node)

    def _Range(self, node: ast.Range) -> ir.Expr:
        raise self.fault("a range can only stand in a for loop", node)

    def statements(self, body: tuple[ast.Stmt, ...]) -> None:
        """Lower statements."""
        raise NotImplementedError

    def statement_if(self, node: ast.IfExpr) -> None:
        """An if without a value."""
        raise NotImplementedError


_METHODS = {
    kind: f"_{kind.__name__}"
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.Expr) and kind is not ast.Expr
}


def _negated(value: ir.Expr) -> ir.Expr:
    if isinstance(value, ir.Binary) and value.op in ("==", "!="):
        return value.replace(op="!=" if value.op == "==" else "==")
    return rules.fold(ir.Unary(BOOL, "!", value))


def _literal(value: ir.Expr) -> bool:
    return (
        isinstance(value, ir.Const) and type(value.value) is int and value.type == rules.smallest(value.value)
    )


def _cheap(value: ir.Expr) -> bool:
    return isinstance(value, (ir.Const, ir.Var, ir.Site))
