"""Words that stand for values: what can be read at the probe, and a few constants."""

from __future__ import annotations

import os

from unitrace.contract import ir
from unitrace.contract.probes import BY_NAME
from unitrace.contract.sites import SITES
from unitrace.contract.types import (
    BOOL,
    INT64,
    UINT32,
    UINT64,
    Formatted,
    Pointer,
    Stack,
    Str,
    Struct,
    Symbol,
    Tuple,
    Type,
)

from . import ast, rules
from .base import Surroundings
from .functions import BUILTINS
from .functions import names as known_names
from .memory import Memory
from .source import suggest
from .typenames import TASK, bare

__all__ = ["Builtins"]

_WITH_ARGS = frozenset(
    ("kprobe", "uprobe", "usdt", "rawtracepoint", "fentry", "fexit", "syscall", "watchpoint")
)
_FUNCTIONS = frozenset(("kprobe", "kretprobe", "uprobe", "uretprobe", "fentry", "fexit"))


class Builtins(Memory):
    """Lowering of names."""

    def _Name(self, node: ast.Name) -> ir.Expr:
        name = node.name.removeprefix("__builtin_")
        bound = self.here.bound.get(name)
        if bound is not None:
            return self.in_caller(bound)
        if name == "args":
            return self.all_args(node)
        if (name, 0) in self.unit.macros and not node.name.startswith("__builtin_"):
            return self.expand(node, name, ())
        if name in BUILTINS:
            return self.builtin(name, node)
        head = name.rstrip("0123456789")
        if head in ("arg", "sarg") and head != name:
            return self.numbered(head, int(name[len(head) : len(head) + 9]), node)
        if name in self.unit.macro_names:
            return self.expand(node, name, ())
        known = self.unit.types.constant(name)
        if known is not None:
            of, value = known
            return ir.Const(of, value)
        if name == "default_str_length":
            return ir.Const(UINT64, self.unit.max_strlen)
        if name == "config":
            return self.settings()
        if name in ("curr_ns", "init", "monotonic", "boot", "tai", "sw_tai"):
            raise self.fault(f"'{name}' can only stand as an argument of nsecs, pid or tid", node)
        near = suggest(name, [*known_names(), *self.unit.macro_names])
        raise self.fault(f"Unknown identifier: '{name}'", node, near or self.unit.types.unread())

    def settings(self) -> ir.Expr:
        """``config``: a record of the settings that were made."""
        values: dict[str, ir.Expr] = {"max_strlen": ir.Const(UINT64, self.unit.max_strlen)}
        values["max_map_keys"] = ir.Const(UINT64, self.unit.setting("max_map_keys", 4096))
        mode = self.unit.config.get("stack_mode", "bpftrace")
        values["cpp_demangle"] = ir.Const(BOOL, bool(self.unit.config.get("cpp_demangle", True)))
        values["stack_mode"] = rules.text(mode.encode() if isinstance(mode, str) else b"bpftrace")
        kinds = tuple(value.type for value in values.values())
        return ir.TupleOf(Tuple(kinds, tuple(values)), tuple(values.values()))

    def builtin(self, name: str, node: ast.Node) -> ir.Expr:
        """A builtin without arguments."""
        special = getattr(self, f"_builtin_{name}", None)
        if special is not None:
            made: ir.Expr = special(node)
            return made
        site = BUILTINS[name].site
        of = SITES[site].type
        assert of is not None
        return ir.Site(of, site)

    def _builtin_comm(self, node: ast.Node) -> ir.Expr:
        of = SITES["comm"].type
        assert of is not None
        return ir.Site(of, "comm")

    def _builtin_elapsed(self, node: ast.Node) -> ir.Expr:
        return ir.Call(UINT64, "elapsed", (ir.Site(UINT64, "nsecs"),))

    def _builtin_usermode(self, node: ast.Node) -> ir.Expr:
        """The kernel's functions run in the kernel."""
        if self.probe.kind in ("kprobe", "kretprobe", "fentry", "fexit"):
            return ir.Const(UINT32, 0)
        return ir.Site(UINT32, "usermode")

    def _builtin_username(self, node: ast.Node) -> ir.Expr:
        return ir.Cast(Formatted("username", 8), ir.Site(UINT32, "uid"))

    def _builtin_probetype(self, node: ast.Node) -> ir.Expr:
        kind = self.probe.kind
        return rules.text(b"special" if kind in ("begin", "end", "self") else kind.encode())

    def _builtin_ncpus(self, node: ast.Node) -> ir.Expr:
        return ir.Call(UINT64, "ncpus", ())

    def _builtin_cpid(self, node: ast.Node) -> ir.Expr:
        if not self.unit.cpid:
            self.warn("cpid has no value: there is no command (-c); it is 0", node)
        return ir.Const(UINT32, self.unit.cpid)

    def _builtin_has_cpid(self, node: ast.Node) -> ir.Expr:
        return self.to_bool(bool(self.unit.cpid))

    def _builtin_probe(self, node: ast.Node) -> ir.Expr:
        return ir.Site(Str(self.unit.label_length), "probe")

    def _builtin_curtask(self, node: ast.Node) -> ir.Expr:
        task = self.unit.types.struct(TASK)
        if task is None:
            return ir.Site(UINT64, "curtask")
        return ir.Site(Pointer(bare(task), "kernel"), "curtask")

    def _task(self, node: ast.Node, *path: str) -> ir.Expr:
        """A member of the current task."""
        made = self._builtin_curtask(node)
        if not isinstance(made.type, Pointer):
            raise self.fault(f"this reads {TASK}, which isn't known", node, self.unit.types.undefined(TASK))
        for name in path:
            made = self.field(made, name, node)
        return made

    def _builtin_ppid(self, node: ast.Node) -> ir.Expr:
        return rules.cast(self._task(node, "real_parent", "tgid"), UINT32)

    def _builtin_pcomm(self, node: ast.Node) -> ir.Expr:
        return self._task(node, "real_parent", "comm")

    def _builtin_leader_comm(self, node: ast.Node) -> ir.Expr:
        return self._task(node, "group_leader", "comm")

    def _builtin_leader_tid(self, node: ast.Node) -> ir.Expr:
        return rules.cast(self._task(node, "group_leader", "pid"), UINT32)

    def _builtin_retval(self, node: ast.Node) -> ir.Expr:
        kind = self.probe.kind
        if not (kind in BY_NAME and BY_NAME[kind].returns):
            raise self.fault(
                f"The retval builtin can not be used with '{kind}' probes",
                node,
                _returning(self.probe),
            )
        if self.probe.result is not None and kind == "fexit":
            return ir.Site(self.probe.result, "retval")
        return ir.Site(INT64, "retval")

    def _builtin_func(self, node: ast.Node) -> ir.Expr:
        if self.probe.kind not in _FUNCTIONS:
            raise self.fault(f"The func builtin can not be used with '{self.probe.kind}' probes", node)
        return ir.Site(Symbol("user" if self.space == "user" else "kernel"), "func")

    def _builtin_ctx(self, node: ast.Node) -> ir.Expr:
        kind = self.probe.kind
        if kind == "tracepoint":
            raise self.fault("Use args instead of ctx in tracepoint", node)
        if kind == "iter":
            of = self.unit.types.struct(f"struct bpf_iter__{self.probe.name}")
            return ir.Site(
                Pointer(bare(of or Struct(f"struct bpf_iter__{self.probe.name}", 0)), "kernel"), "ctx"
            )
        if kind in BY_NAME and BY_NAME[kind].by == "engine":
            raise self.fault(f"The ctx builtin can not be used with '{kind}' probes", node)
        return ir.Site(UINT64, "ctx")

    def stack(self, space: str, mode: str = "", depth: int = 127) -> ir.Expr:
        """A call stack."""
        word = mode or str(self.unit.config.get("stack_mode", "bpftrace"))
        return ir.Site(Stack(space, depth, word), "kstack" if space == "kernel" else "ustack")

    def _builtin_kstack(self, node: ast.Node) -> ir.Expr:
        return self.stack("kernel")

    def _builtin_ustack(self, node: ast.Node) -> ir.Expr:
        return self.stack("user")

    _builtin_dw_ustack = _builtin_ustack

    # -- arguments ------------------------------------------------------------------------------

    def numbered(self, head: str, number: int, node: ast.Node) -> ir.Expr:
        """``arg0``, ``sarg0``."""
        kind = self.probe.kind
        if kind not in _WITH_ARGS:
            remedy = "tracepoints have named arguments: args.NAME" if kind == "tracepoint" else ""
            if kind in ("kretprobe", "uretprobe"):
                remedy = "only retval can be read at the return; keep the argument in a map at the entry"
            raise self.fault(f"The {head}{number} builtin can not be used with '{kind}' probes", node, remedy)
        if head == "arg" and number > 63:
            raise self.fault(f"{head}{number} is not an argument", node)
        return ir.Site(INT64, head, number)

    def argument(self, node: ast.Field) -> ir.Expr:
        """``args.name``."""
        for field in self.probe.fields:
            if field.name == node.name:
                return ir.Site(field.type, "args", field.name)
        if not self.probe.fields:
            raise self.no_args(node)
        own = [field.name for field in self.probe.fields]
        if node.name.startswith("common_"):
            raise self.fault("BPF does not support accessing common tracepoint fields", node)
        near = suggest(node.name, own) or f"there are: {', '.join(own)}"
        kind = "tracepoint" if self.probe.kind == "tracepoint" else "function"
        raise self.fault(
            f"{self.probe.label} does not contain a field named '{node.name}'"
            if kind == "tracepoint"
            else f"Can't find function parameter {node.name}",
            node,
            near,
        )

    def no_args(self, node: ast.Node) -> Exception:
        """The error of a probe whose arguments aren't known."""
        kind = self.probe.kind
        if kind in ("kprobe", "fentry", "fexit"):
            return self.fault(
                "Cannot read function parameters", node, f"no BTF for {self.probe.name}: use arg0, arg1, ..."
            )
        if kind == "uprobe":
            return self.fault(
                "Cannot read function parameters",
                node,
                f"no debug information about {self.probe.name}: use arg0, arg1, ...",
            )
        remedy = "use arg0, arg1, ..." if kind in _WITH_ARGS else ""
        return self.fault(f"The args builtin can not be used with '{kind}' probes", node, remedy)

    def all_args(self, node: ast.Node) -> ir.Expr:
        """``args`` as a whole: a record."""
        if not self.probe.fields and self.probe.kind not in ("tracepoint",):
            raise self.no_args(node)
        fields = [field for field in self.probe.fields if field.name]
        items = tuple(ir.Site(field.type, "args", field.name) for field in fields)
        kinds: tuple[Type, ...] = tuple(field.type for field in fields)
        return ir.TupleOf(Tuple(kinds, tuple(field.name for field in fields)), items)

    # -- the command line -----------------------------------------------------------------------

    def _Positional(self, node: ast.Positional) -> ir.Expr:
        given = self.unit.positional
        if node.number > len(given):
            self.warn(f"Positional parameter ${node.number} is empty or not provided.", node)
            return rules.literal(0)
        word = given[node.number - 1]
        number = whole(word)
        return rules.text(os.fsencode(word)) if number is None else rules.literal(number)

    def positional_text(self, number: int) -> bytes:
        """``$n`` as text; "" where it wasn't given."""
        given = self.unit.positional
        return os.fsencode(given[number - 1]) if number <= len(given) else b""

    def _PositionalCount(self, node: ast.PositionalCount) -> ir.Expr:
        return rules.literal(len(self.unit.positional))

    # -- macros ---------------------------------------------------------------------------------

    def in_caller(self, bound: tuple[ast.Expr, Surroundings]) -> ir.Expr:
        """A macro's argument, evaluated where the macro was called."""
        raise NotImplementedError

    def expand(self, node: ast.Expr, name: str, args: tuple[ast.Expr, ...]) -> ir.Expr:
        """A macro's value."""
        raise NotImplementedError

    def true(self) -> ir.Const:
        """The constant true."""
        return ir.Const(BOOL, True)


def whole(word: str) -> int | None:
    """The integer that a word from the command line is, or None."""
    from .lexer import decode_number

    sign = -1 if word.startswith("-") else 1
    try:
        return sign * decode_number(word[1:] if sign < 0 else word)
    except ValueError:
        return None


def _returning(probe: ir.Probe) -> str:
    pairs = {"kprobe": "kretprobe", "uprobe": "uretprobe", "fentry": "fexit", "tracepoint": ""}
    if probe.scope == "syscalls" and probe.name.startswith("sys_enter_"):
        return f"use tracepoint:syscalls:sys_exit_{probe.name[10:]} and args.ret"
    other = pairs.get(probe.kind, "")
    return f"use {other}" if other else ""
