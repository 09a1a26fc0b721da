"""Functions that user space carries out: printing, maps as a whole, ending the trace."""

from __future__ import annotations

from unitrace.contract import ir
from unitrace.contract.types import (
    INT64,
    UINT64,
    VOID,
    Aggregate,
    Array,
    Enum,
    Int,
    Pointer,
    Str,
    Void,
)

from . import ast, rules
from .base import spelled
from .printf import check as check_format
from .texts import Texts

__all__ = ["Acts"]

_JOINED = 16
"""Strings that join() reads: bpftrace's limit."""


class Acts(Texts):
    """Lowering of functions for their effect."""

    def act(
        self, node: ast.Call, args: tuple[ir.Expr, ...] = (), text: bytes = b"", map: str = ""
    ) -> ir.Expr:
        """Emit an Act named as the call."""
        span = self.unit.source.span(node.start, node.end)
        self.emit(ir.Act(node.name, args, text, map, span))
        return ir.Const(VOID, 0)

    def _call_printf(self, node: ast.Call) -> ir.Expr:
        form = self.literal_text(node.args[0], node.name)
        values = []
        for value, arg in zip(self.several(node.args[1:]), node.args[1:]):
            if isinstance(value.type, Void):
                raise self.fault(f"{node.name}() can not print a value that isn't there", arg)
            value = self.printed(self.number_or_value(value, arg))
            if isinstance(value.type, Aggregate):
                raise self.fault(f"{spelled(value.type)} type passed to {node.name}() is not printable", arg)
            values.append(value)
        wrong = check_format(form, [value.type for value in values])
        if wrong:
            raise self.fault(f"{node.name}: {wrong[0]}", node, wrong[1])
        return self.act(node, tuple(values), form)

    _call_errorf = _call_warnf = _call_debugf = _call_system = _call_cat = _call_printf

    def _call_print(self, node: ast.Call) -> ir.Expr:
        first = node.args[0]
        if isinstance(first, ast.Map) and first.key is None:
            name = self.map_name(first)
            info = self.unit.map(name)
            info.read = True
            if info.place == (0, 0):
                info.place = (first.start, first.end)
            if info.keyed is not False or len(node.args) > 1 or self.unit.is_aggregate(name) or True:
                extra = [rules.cast(self.number(arg), UINT64) for arg in node.args[1:]]
                for value, arg in zip(extra, node.args[1:]):
                    if not isinstance(value, ir.Const):
                        raise self.fault("print() expects a literal number for top and div", arg)
                if info.decl() is None:
                    raise self.not_yet(f"Undefined map: @{name}", first)
                return self.act(node, tuple(extra), map=f"@{name}")
        if len(node.args) > 1:
            if isinstance(first, ast.Map):
                raise self.fault(
                    "Single-value (i.e. indexed) map prints cannot be followed by further arguments.", node
                )
            raise self.fault(f"Non-map print() only takes 1 argument, {len(node.args)} found", node)
        value = self.expr(first)
        of = value.type
        if isinstance(of, Aggregate):
            if not rules.is_number(of):
                raise self.fault(
                    f"Map type {spelled(of)} cannot print the value of individual keys. You must "
                    "print the whole map.",
                    node,
                )
            if of.function not in ("stats", "avg"):
                value = rules.cast(value, rules.number_of(of))
        if isinstance(of, Void):
            raise self.fault("void type passed to print() is not printable", node)
        return self.act(node, (self.printed(value),))

    def _whole_map(self, node: ast.Call) -> ir.Expr:
        arg = node.args[0]
        if not isinstance(arg, ast.Map) or arg.key is not None:
            raise self.fault(f"{node.name}() expects a map argument", arg)
        name = self.map_name(arg)
        info = self.unit.map(name)
        if info.decl() is None:
            raise self.not_yet(f"Undefined map: @{name}", arg)
        return self.act(node, map=f"@{name}")

    _call_clear = _call_zero = _whole_map

    def _call_exit(self, node: ast.Call) -> ir.Expr:
        code: ir.Expr = rules.literal(0)
        if node.args:
            code = self.number(node.args[0])
            if not isinstance(code.type, (Int, Enum)):
                raise self.fault(
                    f"exit() only supports integer arguments ({spelled(code.type)} provided)", node
                )
        self.act(node, (rules.cast(code, INT64),))
        self.emit(ir.Return())
        return ir.Const(VOID, 0)

    def _call_time(self, node: ast.Call) -> ir.Expr:
        form = self.literal_text(node.args[0], "time") if node.args else b"%H:%M:%S\n"
        return self.act(node, text=form)

    def _call_join(self, node: ast.Call) -> ir.Expr:
        """The strings are read one by one, as many as bpftrace reads."""
        value = self.value(node.args[0])
        between = self.literal_text(node.args[1], "join", "second") if len(node.args) == 2 else b" "
        in_memory = isinstance(value, ir.Load) and isinstance(value.type, Array)
        if not isinstance(value.type, (Int, Pointer)) and not in_memory:
            raise self.fault(
                f"join() expects an integer or pointer argument ({spelled(value.type)} provided)", node
            )
        space = self.space_of(value)
        if isinstance(value, ir.Load) and isinstance(value.type, Array):
            value = ir.Binary(UINT64, "+", rules.cast(value.pointer, UINT64), ir.Const(UINT64, value.offset))
        args: list[ir.Expr] = []
        for index in range(_JOINED):
            pointer = ir.Load(UINT64, value, 8 * index, space)
            args.append(ir.Text(Str(min(self.unit.max_strlen, 1024)), pointer, space))
        return self.act(node, tuple(args), between)

    def _call_signal(self, node: ast.Call) -> ir.Expr:
        if node.name == "signal" and len(node.args) == 2:
            target = node.args[1]
            word = target.name if isinstance(target, ast.Name) else ""
            if word not in ("current_pid", "current_tid"):
                raise self.fault(
                    f"Invalid signal target: {word} (expects: current_pid or current_tid)", target
                )
        value = self.expr(node.args[0])
        if isinstance(value, ir.Const) and isinstance(value.value, bytes):
            import signal

            name = value.value.decode("latin-1").upper()
            found = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
            if not isinstance(found, signal.Signals):
                raise self.fault(f"Invalid string for signal: {value.value.decode('latin-1')}", node)
            value = rules.literal(int(found))
        if not isinstance(value.type, (Int, Enum)):
            raise self.fault(
                f"{node.name}() only supports integer arguments ({spelled(value.type)} provided)", node
            )
        if isinstance(value, ir.Const) and isinstance(value.value, int) and not 1 <= value.value <= 64:
            raise self.fault(f"{value.value} is not a valid signal, allowed range: [1,64]", node)
        return self.act(node, (rules.cast(value, INT64),))

    _call_signal_thread = _call_signal

    def _call_override(self, node: ast.Call) -> ir.Expr:
        if self.probe.kind != "kprobe":
            raise self.fault(f'override can not be used with "{self.probe.kind}" probes', node)
        return self.act(node, (rules.cast(self.number(node.args[0]), UINT64),))

    def _call_write_user(self, node: ast.Call) -> ir.Expr:
        values = self.several(node.args)
        return self.act(node, tuple(values))

    def _call_unwatch(self, node: ast.Call) -> ir.Expr:
        return self.act(node, (rules.cast(self.number(node.args[0]), UINT64),))

    def _call_skboutput(self, node: ast.Call) -> ir.Expr:
        raise self.fault("skboutput() is not supported", node)

    def _call_assert(self, node: ast.Call) -> ir.Expr:
        condition = self.condition(node.args[0])
        text = self.literal_text(node.args[1], "assert", "second")
        span = self.unit.source.span(node.start, node.end)
        failed = (
            ir.Act("errorf", (), b"assert failed: " + text.replace(b"%", b"%%"), "", span),
            ir.Act("exit", (ir.Const(INT64, 1),), b"", "", span),
            ir.Return(),
        )
        self.emit(ir.If(condition, (), failed))
        return ir.Const(VOID, 0)

    def _call_static_assert(self, node: ast.Call) -> ir.Expr:
        condition = self.condition(node.args[0])
        text = self.literal_text(node.args[1], "static_assert", "second").decode(errors="replace")
        if not isinstance(condition, ir.Const):
            raise self.fault("static_assert() expects a condition that is known at compile time", node)
        if not condition.value:
            raise self.fault(f"static_assert failed: {text}", node)
        return ir.Const(VOID, 0)

    def _call_fail(self, node: ast.Call) -> ir.Expr:
        form = self.literal_text(node.args[0], "fail").decode(errors="replace")
        values = []
        for arg in node.args[1:]:
            value = self.expr(arg)
            if not isinstance(value, ir.Const):
                raise self.fault("fail() arguments need to be literals", arg)
            plain = value.value
            values.append(plain.decode(errors="replace") if isinstance(plain, bytes) else plain)
        try:
            text = form % tuple(values)
        except (TypeError, ValueError):
            text = form
        raise self.fault(text, node)
