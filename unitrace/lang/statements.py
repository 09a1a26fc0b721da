"""Statements, to the IR's."""

from __future__ import annotations

from collections.abc import Callable

from unitrace.contract import ir
from unitrace.contract.errors import SpecError
from unitrace.contract.types import BOOL, INT64, Aggregate, Enum, Int, Tuple, Type

from . import ast, rules
from .base import spelled
from .functions import ACTS, AGGREGATES
from .state import NotYet
from .values import Values

__all__ = ["Body"]

_MOST_ERRORS = 20


class Body(Values):
    """A clause's body at one shape of probe. ``problems``: faults found in it; ``late``: what waits for
    the next round."""

    def statements(self, body: tuple[ast.Stmt, ...]) -> None:
        """Lower statements; one that is wrong doesn't hide what is wrong with the next."""
        ended: ast.Stmt | None = None
        for node in body:
            if ended is not None:
                self.warn("Unreachable statement", node)
                ended = None
            lower: Callable[[ast.Stmt], None] = getattr(self, _METHODS[type(node)])
            try:
                lower(node)
            except NotYet as late:
                self.unit.errors.append(late.error)
                self._declare_target(node)
            except SpecError as error:
                if len(self.unit.errors) < _MOST_ERRORS:
                    self.unit.errors.append(error)
                self._declare_target(node)
            if isinstance(node, ast.Jump) or self._exits(node):
                ended = node

    def _exits(self, node: ast.Stmt) -> bool:
        """Whether a statement is exit(), after which nothing runs."""
        call = node.value if isinstance(node, ast.Evaluate) else None
        return isinstance(call, ast.Call) and call.name == "exit" and "exit" not in self.unit.macro_names

    def _declare_target(self, node: ast.Stmt) -> None:
        """What a failed statement would have declared is known by name, so that its uses say no more."""
        name = node.name if isinstance(node, ast.Let) else None
        if isinstance(node, ast.Set) and isinstance(node.target, ast.Variable):
            name = node.target.name
        if name is not None and self.find(name) is None:
            self.declare(name, node)

    def block(self, node: ast.Block) -> tuple[ir.Stmt, ...]:
        """A block's statements, in a scope of their own."""
        with self.collected() as made:
            self.here.scopes.append({})
            try:
                self.statements(node.body)
                if node.value is not None:
                    self.statements((ast.Evaluate(node.value.start, node.value.end, node.value),))
            finally:
                self.here.scopes.pop()
        return tuple(made)

    # -- assignments ----------------------------------------------------------------------------

    def _Let(self, node: ast.Let) -> None:
        scope = self.here.scopes[-1]
        if self.find(node.name) is not None:
            where = "this block" if node.name in scope else "an outer block"
            raise self.fault(
                f"Variable ${node.name} was already declared. Variable shadowing is not allowed.",
                node,
                f"the first one is in {where}",
            )
        value = None if node.value is None else self._scratch_value(node.value)
        slot = self.declare(node.name, node)
        if node.type is not None:
            of = self.type_of(node.type)
            if not of.size and not isinstance(of, (Int, Tuple)):
                raise self.fault(f"Invalid variable declaration type: {spelled(of)}", node)
            if slot.type is None or not slot.fixed:
                slot.type, slot.fixed, slot.flexible = of, True, False
        if value is not None:
            self.emit(ir.Assign(slot.name, self.widen(slot, value, node)))
        elif slot.type is not None:
            self.emit(ir.Assign(slot.name, rules.zero(slot.type)))

    def _scratch_value(self, node: ast.Expr) -> ir.Expr:
        if isinstance(node, ast.Call) and node.name in AGGREGATES:
            raise self.fault(f"{node.name}() must be assigned directly to a map", node)
        value = self.value(node)
        if isinstance(value.type, Aggregate) and not rules.is_number(value.type):
            raise self.fault(f"Value '{spelled(value.type)}' cannot be assigned to a scratch variable.", node)
        return self.number_or_value(value, node)

    def _Set(self, node: ast.Set) -> None:
        if isinstance(node.target, ast.Map):
            self._set_map(node, node.target)
        else:
            self._set_variable(node, node.target)

    def _set_variable(self, node: ast.Set, target: ast.Variable) -> None:
        slot = self.find(target.name)
        if node.op != "=":
            if slot is None:
                raise self.fault(f"Undefined or undeclared variable: ${target.name}", target)
            before, value = self.several((target, node.value))
            value = self.binary(node.op[:-1], before, value, node)
        else:
            value = self._scratch_value(node.value)
            slot = self.find(target.name) or self.declare(target.name, node)
        self.check_pointed(slot, node)
        self.emit(ir.Assign(slot.name, self.widen(slot, value, node)))

    def _set_map(self, node: ast.Set, target: ast.Map) -> None:
        info = self.map_info(target, target.key is not None)
        key = () if target.key is None else self.key(info, target, target.key)
        source = node.value
        if (
            isinstance(source, ast.Call)
            and source.name in AGGREGATES
            and source.name not in self.unit.macro_names
        ):
            if node.op != "=":
                raise self.fault(f"{source.name}() must be assigned directly to a map", node)
            self.aggregating(source, info, key)
            return
        if (
            isinstance(source, ast.Block)
            and isinstance(source.value, ast.Call)
            and source.value.name in AGGREGATES
        ):
            self.here.scopes.append({})
            try:
                self.statements(source.body)
                self.aggregating(source.value, info, key)
            finally:
                self.here.scopes.pop()
            return
        with self.collected() as made:
            value = self.value(source)
            value = value if isinstance(value.type, Aggregate) else self.number_or_value(value, source)
        if made and not all(isinstance(part, (ir.Const, ir.Site)) for part in key):
            key = tuple(part if isinstance(part, (ir.Const, ir.Site)) else self.hoist(part) for part in key)
        self.out.extend(made)
        if node.op != "=":
            value = self.number_or_value(value, source)
            if info.value is None:
                # a map that is added to before it was ever set begins at 0
                info.value = INT64 if rules.signed(value.type) else rules.as_integer(value.type)
                if isinstance(info.value, Int):
                    info.value = Int(64, info.value.signed)
            if isinstance(info.value, Aggregate):
                raise self.fault(
                    f"Type mismatch for @{info.name}: trying to assign value of type "
                    f"'{spelled(value.type)}' when "
                    f"map already has a type '{spelled(info.value)}'",
                    node,
                )
            value = self.binary(node.op[:-1], ir.MapGet(info.value, info.spelled, key), value, node)
        value = self.widen_map(info, value, node)
        self.emit(ir.MapSet(info.spelled, key, value))

    # -- expressions ----------------------------------------------------------------------------

    def _Evaluate(self, node: ast.Evaluate) -> None:
        expr = node.value
        if isinstance(expr, ast.IfExpr):
            self.statement_if(expr)
            return
        if isinstance(expr, ast.Block):
            self.out.extend(self.block(expr))
            return
        if isinstance(expr, ast.Ternary) and expr.then is not None:
            self._statement_ternary(expr, expr.then)
            return
        if isinstance(expr, ast.Increment):
            self.quiet, before = True, self.quiet
            try:
                self.expr(expr)
            finally:
                self.quiet = before
            return
        if isinstance(expr, ast.Call):
            if expr.name == "delete" and expr.name not in self.unit.macro_names:
                self.delete(expr, False)
                return
            made = self.expr(expr)
            if expr.name in ACTS or made == ir.Const(made.type, 0) or expr.name in self.unit.macro_names:
                return
            self.warn("Return value discarded.", expr)
            return
        made = self.expr(expr)
        if made.type.size and not (isinstance(expr, ast.Name) and expr.name in self.unit.macro_names):
            self.warn("Return value discarded.", expr)

    def _statement_ternary(self, node: ast.Ternary, then: ast.Expr) -> None:
        condition = self.condition(node.condition)
        blocks = []
        for part in (then, node.otherwise):
            with self.collected() as made:
                self._Evaluate(ast.Evaluate(part.start, part.end, part))
            blocks.append(tuple(made))
        self.emit(ir.If(condition, blocks[0], blocks[1]))

    def _Discard(self, node: ast.Discard) -> None:
        with self.collected() as made:
            self.expr(node.value)
        self.out.extend(made)

    def statement_if(self, node: ast.IfExpr) -> None:
        """An if without a value; the arms from the last to the first."""
        arms: list[tuple[ir.Expr, list[ir.Stmt], tuple[ir.Stmt, ...]]] = []
        late: NotYet | None = None
        for condition, block in node.arms:
            made: ir.Expr = self.to_bool(True)
            with self.collected() as before:
                try:
                    made = self.condition(condition)
                except NotYet as error:
                    late = error  # the blocks may say what the condition has to know
            arms.append((made, before, self.block(block)))
        rest = () if node.otherwise is None else self.block(node.otherwise)
        if late is not None:
            raise late
        for made, before, then in reversed(arms):
            if isinstance(made, ir.Const):
                rest = (*before, *(then if made.value else rest))
            else:
                rest = (*before, ir.If(made, then, rest))
        self.out.extend(rest)

    # -- loops ----------------------------------------------------------------------------------

    def _While(self, node: ast.While) -> None:
        late: NotYet | None = None
        condition: ir.Expr = self.to_bool(True)
        with self.collected() as before:
            try:
                condition = self.condition(node.condition)
            except NotYet as error:
                late = error
        body = self._body(node.body)
        if late is not None:
            raise late
        if before:
            test = ir.If(condition, (), (ir.Break(),))
            self.emit(ir.Loop(ir.Const(BOOL, True), (*before, test, *body)))
        else:
            self.emit(ir.Loop(condition, body))

    def _body(self, node: ast.Block) -> tuple[ir.Stmt, ...]:
        self.loops += 1
        try:
            return self.block(node)
        finally:
            self.loops -= 1

    def _UnrollStmt(self, node: ast.UnrollStmt) -> None:
        count = self.number(node.count)
        if not isinstance(count.type, Int):
            raise self.fault("invalid unroll value", node)
        if isinstance(count, ir.Const):
            assert isinstance(count.value, int)
            if count.value > 100:
                raise self.fault("unroll maximum value is 100", node)
            if count.value < 1:
                raise self.fault("unroll minimum value is 1", node)
        self.emit(ir.Unroll(count, self._body(node.body)))

    def _For(self, node: ast.For) -> None:
        if self.find(node.name) is not None:
            raise self.fault(f"Loop declaration shadows existing variable: ${node.name}", node)
        if isinstance(node.over, ast.Range):
            self._for_range(node, node.over)
        else:
            self._for_each(node, node.over)

    def _for_range(self, node: ast.For, over: ast.Range) -> None:
        low, high = (self.number_or_value(one, over) for one in self.several((over.low, over.high)))
        for value, part, word in ((low, over.low, "start"), (high, over.high, "end")):
            if not isinstance(value.type, (Int, Enum)):
                raise self.fault(f"Loop range requires an integer for the {word} value", part)
        found = rules.promote(
            rules.as_integer(low.type), self.flexible(low), rules.as_integer(high.type), self.flexible(high)
        )
        assert found is not None
        to: Type = INT64 if rules.signed(found[0]) else found[0]
        body, name = self._loop_body(node, to)
        self.emit(ir.ForRange(name, rules.cast(low, to), rules.cast(high, to), body))

    def _for_each(self, node: ast.For, over: ast.Map) -> None:
        if over.key is not None:
            raise self.fault("expected map or range in for loop", over)
        info = self.map_info(over, None)
        if info.keyed is False:
            raise self.fault(
                f"@{info.name} has no explicit keys (scalar map), and cannot be used for iteration", over
            )
        if info.key is None or info.value is None:
            raise self.not_yet(f"Undefined map: @{info.name}", over)
        if isinstance(info.value, Aggregate) and not rules.is_number(info.value):
            raise self.fault(f"Loop expression does not support type: {spelled(info.value)}", over)
        info.read = True
        value = rules.number_of(info.value) if isinstance(info.value, Aggregate) else info.value
        key = info.key[0] if len(info.key) == 1 else Tuple(info.key)
        of = Tuple((key, value))
        body, name = self._loop_body(node, of)
        self.emit(ir.ForEach(name, info.spelled, of, body))

    def _loop_body(self, node: ast.For, of: Type) -> tuple[tuple[ir.Stmt, ...], str]:
        self.here.scopes.append({})
        try:
            slot = self.declare(node.name, node)
            if slot.type != of:
                self.unit.changed = self.unit.changed or slot.type is not None
                slot.type, slot.flexible, slot.fixed = of, False, False
            return self._body(node.body), slot.name
        finally:
            self.here.scopes.pop()

    def _Jump(self, node: ast.Jump) -> None:
        if node.kind == "return":
            if node.value is not None:
                of = self.value(node.value).type
                if not isinstance(of, (Int, Enum)):
                    raise self.fault(f"Probe return values can only be integers. Found {spelled(of)}", node)
                if self.probe.kind == "test":
                    self._fail_unless_zero(node, node.value)
            self.emit(ir.Return())
            return
        if not self.loops:
            raise self.fault(f"'{node.kind}' statement not in a loop", node)
        self.emit(ir.Break() if node.kind == "break" else ir.Continue())

    def _fail_unless_zero(self, node: ast.Jump, value: ast.Expr) -> None:
        """A test that returns another number than 0 has failed: it exits with that."""
        made = rules.cast(self.value(value), INT64)
        span = self.unit.source.span(node.start, node.end)
        leave = (ir.Act("exit", (made,), b"", "", span), ir.Return())
        self.emit(ir.If(rules.truth(made), leave))

    def _Import(self, node: ast.Import) -> None:
        raise self.fault("files can only be imported at the top of a program", node)


_METHODS = {
    kind: f"_{kind.__name__}"
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.Stmt) and kind is not ast.Stmt
}
