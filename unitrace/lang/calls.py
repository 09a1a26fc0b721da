"""Calls: which function, how many arguments and of which kinds; functions on maps and on types."""

from __future__ import annotations

import os

from unitrace.contract import ir
from unitrace.contract.errors import SpecError
from unitrace.contract.types import (
    BOOL,
    INT64,
    UINT64,
    VOID,
    Aggregate,
    Array,
    Bool,
    Enum,
    Int,
    Pointer,
    Stack,
    Str,
    Type,
)

from . import ast, rules
from .acts import Acts
from .base import spelled
from .functions import AGGREGATES, BUILTINS, FUNCTIONS, Function
from .functions import names as known_names
from .names import whole
from .source import suggest
from .state import MapInfo

__all__ = ["Calls"]


class Calls(Acts):
    """Lowering of calls."""

    def _Call(self, node: ast.Call) -> ir.Expr:
        name = node.name
        if name in self.unit.macro_names:
            library = name in FUNCTIONS or name in BUILTINS
            if (name, len(node.args)) in self.unit.macros or not library:
                return self.expand(node, name, node.args)
        function = FUNCTIONS.get(name)
        if function is None:
            return self._other(node)
        self._check_count(node, function)
        if function.unsafe and not self.unit.unsafe:
            said = "an unsafe function being used in safe mode"
            if name != "system":  # a macro of bpftrace's library, which says it in other words
                said = "unsafe. To use you need the --unsafe flag"
            raise self.fault(f"{name}() is {said}", node, "--unsafe allows it")
        if name in AGGREGATES:
            raise self.fault(f"{name}() must be assigned directly to a map", node)
        special = getattr(self, f"_call_{name}", None)
        if special is not None:
            made: ir.Expr = special(node)
            return made
        return self._plain(node, function)

    def _other(self, node: ast.Call) -> ir.Expr:
        """A builtin written as a call, or what isn't known."""
        name = node.name.removeprefix("__builtin_")
        if name in BUILTINS or name == "config":
            if not node.args:
                return self.expr(ast.Name(node.start, node.end, name))
            if name in ("comm",) and len(node.args) == 1:
                return ir.Call(Str(16), "comm", (rules.cast(self.number(node.args[0]), UINT64),))
            if name in ("ppid", "pcomm", "leader_comm", "leader_tid") and len(node.args) == 1:
                paths = {
                    "ppid": ("real_parent", "tgid"),
                    "pcomm": ("real_parent", "comm"),
                    "leader_comm": ("group_leader", "comm"),
                    "leader_tid": ("group_leader", "pid"),
                }
                value = self.value(node.args[0])
                for part in paths[name]:
                    value = self.field(value, part, node)
                return value
            raise self.fault(f"{name}() requires no arguments ({len(node.args)} provided)", node)
        near = suggest(name, [*known_names(), *self.unit.macro_names])
        raise self.fault(f"Unknown function: '{name}'", node, near)

    def _check_count(self, node: ast.Call, function: Function) -> None:
        least, most, given = function.least, function.most, len(node.args)
        if least <= given <= most:
            return
        if least == most:
            needs = "no arguments" if most == 0 else "one argument" if most == 1 else f"{most} arguments"
            text = f"requires {needs}"
        elif given < least:
            text = f"requires at least {'one argument' if least == 1 else f'{least} arguments'}"
        else:
            text = f"takes up to {'one argument' if most == 1 else f'{most} arguments'}"
        raise self.fault(f"{node.name}() {text} ({given} provided)", node)

    def _plain(self, node: ast.Call, function: Function) -> ir.Expr:
        """A function whose arguments are checked by their kinds, and that is an ir.Call of its name."""
        if function.result is None or not function.plain:
            raise self.fault(f"{node.name}() is not supported here", node)
        values = []
        for value, kind, arg in zip(self.several(node.args), function.args, node.args):
            values.append(self._argument(node, self.number_or_value(value, arg), kind.rstrip("?*"), arg))
        return rules.fold(ir.Call(function.result, node.name, tuple(values)))

    def _argument(self, node: ast.Call, value: ir.Expr, kind: str, arg: ast.Expr) -> ir.Expr:
        of = value.type
        if kind == "string" and not isinstance(of, Str):
            raise self.fault(
                f"{node.name}() only supports string arguments ({spelled(of)} provided)",
                arg,
                "str() reads the string at an address" if isinstance(of, (Int, Pointer)) else "",
            )
        if kind == "int" and not isinstance(of, (Int, Enum, Bool)):
            raise self.fault(f"{node.name}() only supports integer arguments ({spelled(of)} provided)", arg)
        if kind == "pointer" and not isinstance(of, (Int, Pointer)):
            raise self.fault(
                f"{node.name}() expects an integer or pointer argument ({spelled(of)} provided)", arg
            )
        if kind == "number":
            if not isinstance(value, ir.Const) or type(value.value) is not int or value.value < 0:
                raise self.fault(f"Builtin {node.name} requires a non-negative literal", arg)
            return rules.cast(value, UINT64)
        if kind == "text" and not (isinstance(value, ir.Const) and isinstance(value.value, bytes)):
            self.literal_text(arg, node.name)
        if kind == "int":
            return rules.cast(value, INT64 if rules.signed(of) else UINT64)
        if kind == "pointer":
            return rules.cast(value, UINT64)
        return value

    # -- aggregates -----------------------------------------------------------------------------

    def aggregating(self, node: ast.Call, info: MapInfo, key: tuple[ir.Expr, ...]) -> None:
        """``@map[key] = count()`` and its like."""
        function = FUNCTIONS[node.name]
        self._check_count(node, function)
        name = node.name
        args: tuple[ir.Expr, ...] = ()
        has_sign = False
        if name != "count":
            value = self.number(node.args[0])
            of = value.type
            if not isinstance(of, (Int, Enum)) and not (isinstance(of, Bool)):
                raise self.fault(
                    f"{name}() only supports integer arguments ({spelled(of)} provided)",
                    node,
                    "cast it to an integer" if isinstance(of, Pointer) else "",
                )
            has_sign = rules.signed(of) and not self.flexible(value)
            if isinstance(info.value, Aggregate) and self.flexible(value):
                has_sign = info.value.signed
            if name in ("hist", "lhist"):
                has_sign = True
            args = (rules.cast(value, INT64 if has_sign or rules.signed(of) else UINT64),)
            has_sign = has_sign or rules.signed(of)
        parameters = self._parameters(node)
        self.aggregate(info, Aggregate(name, has_sign, parameters), node)
        assert isinstance(info.value, Aggregate)
        if args and info.value.signed:
            args = (rules.cast(args[0], INT64),)
        self.emit(ir.MapUpdate(info.spelled, key, args))

    def _parameters(self, node: ast.Call) -> tuple[int, ...]:
        name = node.name
        if name == "hist":
            bits = self.literal_number(node.args[1], "hist: invalid bits value") if len(node.args) == 2 else 0
            if not 0 <= bits <= 5:
                raise self.fault(f"hist: bits {bits} must be 0..5", node)
            return (bits,)
        if name == "lhist":
            words = ("min", "max", "step")
            low, high, step = (
                self._literal(arg, f"lhist: invalid {word} value (must be non-negative literal)", node)
                for arg, word in zip(node.args[1:], words)
            )
            if step < 1:
                raise self.fault(f"lhist() step must be >= 1 ({step} provided)", node)
            if low >= high:
                raise self.fault(
                    f"lhist() min must be less than max (provided min {low} and max {high})", node
                )
            if step > high - low:
                raise self.fault(
                    f"lhist() step is too large for the given range (provided step {step} for range "
                    f"{high - low})",
                    node,
                )
            if (high - low) // step > 1000:
                raise self.fault(
                    f"lhist() too many buckets, must be <= 1000 (would need {(high - low) // step})", node
                )
            return low, high, step
        if name == "tseries":
            interval = self._literal(
                node.args[1], "tseries: invalid interval_ns value (must be non-negative literal)", node
            )
            count = self._literal(
                node.args[2], "tseries: invalid num_intervals value (must be non-negative literal)", node
            )
            if interval < 1:
                raise self.fault(f"tseries() interval_ns must be >= 1 ({interval} provided)", node)
            if count < 1:
                raise self.fault(f"tseries() num_intervals must be >= 1 ({count} provided)", node)
            if count > 1000000:
                raise self.fault(f"tseries() num_intervals must be < 1000000 ({count} provided)", node)
            if len(node.args) == 4:
                word = self.literal_text(node.args[3], "tseries", "fourth")
                allowed = (b"avg", b"max", b"min", b"sum")
                if word not in allowed:
                    raise self.fault(
                        "tseries() expects one of the following aggregation functions: avg, max, min, sum "
                        f'("{word.decode(errors="replace")}" provided)',
                        node,
                    )
                # the contract has (interval, count); the function is a third number: its place in this list
                return interval, count, 1 + allowed.index(word)
            return interval, count
        return ()

    def _literal(self, arg: ast.Expr, message: str, node: ast.Node) -> int:
        made = self.expr(arg)
        if not isinstance(made, ir.Const) or type(made.value) is not int or made.value < 0:
            raise self.fault(message, node)
        return made.value

    # -- functions on maps ----------------------------------------------------------------------

    def _key_call(self, node: ast.Call, what: str) -> ir.MapGet:
        """The map and key of ``f(@map, key)``."""
        first = node.args[0]
        if not isinstance(first, ast.Map):
            raise self.fault(f"{node.name}() expects a map argument", first)
        if first.key is not None:
            info = self.map_info(first, True)
            key = self.key(info, node, first.key)
        else:
            info = self.unit.map(self.map_name(first))
            if info.keyed is False:
                raise self.fault(what, node)
            info = self.map_info(first, True)
            key = self.key(info, node, (node.args[1],)) if len(node.args) > 1 else ()
        info.read = True
        if info.value is None:
            raise self.not_yet(f"Undefined map: @{info.name}", first)
        return ir.MapGet(info.value, info.spelled, key)

    def _call_has_key(self, node: ast.Call) -> ir.Expr:
        return ir.Call(
            BOOL, "has_key", (self._key_call(node, "call to has_key() expects a map with explicit keys"),)
        )

    def _call_delete(self, node: ast.Call) -> ir.Expr:
        return self.delete(node, True)

    def delete(self, node: ast.Call, used: bool) -> ir.Expr:
        """delete(@map, key), delete(@scalar); as a value: whether the key was there."""
        self._check_count(node, FUNCTIONS["delete"])
        first = node.args[0]
        if isinstance(first, ast.Map) and first.key is None and len(node.args) == 1:
            info = self.unit.map(self.map_name(first))
            if info.keyed is None and info.key is None:
                raise self.not_yet(f"Undefined map: @{info.name}", first)
            if info.keyed:
                raise self.fault(
                    "call to delete() expects a map without explicit keys (scalar map)",
                    node,
                    f"delete(@{info.name}, KEY), or clear(@{info.name}) for all keys",
                )
            if info.value is None:
                raise self.not_yet(f"Undefined map: @{info.name}", first)
            target = ir.MapGet(info.value, info.spelled, ())
        else:
            target = self._key_call(
                node, "call to delete() expects a map with explicit keys (non-scalar map)"
            )
        if not used:
            self.emit(ir.MapDelete(target.map, target.key))
            return ir.Const(VOID, 0)
        found = self.hoist(ir.Call(BOOL, "has_key", (target,)))
        self.emit(ir.MapDelete(target.map, target.key))
        return found

    def _call_find(self, node: ast.Call) -> ir.Expr:
        target = self._key_call(node, "call to find() expects a map with explicit keys")
        variable = node.args[2]
        if not isinstance(variable, ast.Variable):
            raise self.fault("find() expects a variable as its third argument", variable)
        slot = self.find(variable.name) or self.declare(variable.name, variable)
        value = self.widen(slot, rules.cast(target, rules.as_integer(target.type)), node)
        found = self.hoist(ir.Call(BOOL, "has_key", (target,)))
        self.emit(ir.If(found, (ir.Assign(slot.name, value),)))
        return found

    def _call_len(self, node: ast.Call) -> ir.Expr:
        arg = node.args[0]
        if isinstance(arg, ast.Map) and arg.key is None:
            info = self.unit.map(self.map_name(arg))
            if info.keyed is False:
                raise self.fault("call to len() expects a map with explicit keys (non-scalar map)", node)
            if info.value is None or info.key is None:
                raise self.not_yet(f"Undefined map: @{info.name}", arg)
            info.read = True
            return ir.Call(INT64, "len", (ir.MapGet(info.value, info.spelled, ()),))
        value = self.value(arg)
        if not isinstance(value.type, Stack):
            raise self.fault("len() expects a map or stack to be provided", node)
        return ir.Call(INT64, "len", (value,))

    # -- what the compiler knows ----------------------------------------------------------------

    def _is(self, node: ast.Call, *kinds: type) -> ir.Expr:
        return self.to_bool(isinstance(self.typed(node.args[0]), kinds))

    def _call_is_str(self, node: ast.Call) -> ir.Expr:
        return self._is(node, Str)

    def _call_is_ptr(self, node: ast.Call) -> ir.Expr:
        return self._is(node, Pointer)

    def _call_is_array(self, node: ast.Call) -> ir.Expr:
        return self._is(node, Array)

    def _call_is_integer(self, node: ast.Call) -> ir.Expr:
        return self._is(node, Int)

    def _call_is_unsigned_integer(self, node: ast.Call) -> ir.Expr:
        of: Type = self.typed(node.args[0])
        return self.to_bool(isinstance(of, Int) and not of.signed)

    def _call_is_literal(self, node: ast.Call) -> ir.Expr:
        with self.collected():
            return self.to_bool(isinstance(self.expr(node.args[0]), ir.Const))

    def _call_default_str_length(self, node: ast.Call) -> ir.Expr:
        return ir.Const(UINT64, self.unit.max_strlen)

    def _call_getopt(self, node: ast.Call) -> ir.Expr:
        name = self.literal_text(node.args[0], "getopt").decode(errors="replace")
        default: ir.Expr = self.expr(node.args[1]) if len(node.args) > 1 else self.to_bool(False)
        if not isinstance(default, ir.Const):
            raise self.fault("getopt() expects a literal as the default value", node)
        self.unit.named_used[name] = (
            self.literal_text(node.args[2], "getopt", "third").decode(errors="replace")
            if len(node.args) > 2
            else ""
        )
        if name not in self.unit.named:
            return default
        given = self.unit.named[name]
        if isinstance(default.value, bool):
            word = "true" if given is None else given.lower()
            if word not in ("true", "false", "1", "0"):
                raise self._bad_option(f"--{name} invalid boolean (value: {given})")
            return self.to_bool(word in ("true", "1"))
        if given is None:
            raise self._bad_option(f"--{name} needs a value: --{name}=...")
        if isinstance(default.value, bytes):
            return rules.text(os.fsencode(given))
        number = whole(given)
        if number is None:
            raise self._bad_option(f"--{name} invalid integer (value: {given})")
        return rules.literal(number)

    def _bad_option(self, what: str) -> SpecError:
        """The command line is wrong, not the text: the error has no place in it."""
        return SpecError(f"program command line option {what}")
