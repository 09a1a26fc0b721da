"""Fetch arguments: an expression in the words of probe events (``a=%di:s64``, ``f=+0(%si):ustring``).

Documentation/trace/kprobetrace.rst and uprobetracer.rst. What is translated here yields the expression's
value to the bit; all else raises Unfetchable.

Memory as a number is not among it: where ``+8(%di):u32`` can't be read, the kernel leaves whatever the
buffer held before (store_trace_args(), kernel/trace/trace_probe_tmpl.h), and no one can tell. A
string that can't be read is an empty one, as it should be.
"""

from __future__ import annotations

from unitrace.contract.ir import Binary, Cast, Const, Expr, Probe, Site, Text
from unitrace.contract.probes import BY_NAME
from unitrace.contract.types import Bool, Enum, Int, Pointer, Str, Type

from .arch import Architecture

__all__ = ["Unfetchable", "fetch"]


class Unfetchable(Exception):
    """No fetch argument yields this value. ``reason``: one line; ``remedy``: "" where there is none."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


def fetch(expr: Expr, probe: Probe, arch: Architecture) -> str:
    """The fetch argument for ``expr`` at ``probe`` (a kprobe, kretprobe, uprobe or uretprobe), without
    its name: "%di:s64". Raises Unfetchable.

    Integers come in the width and sign of ``expr.type``, strings as a u32 data_loc.
    """
    if isinstance(expr, Text):
        if expr.limit is not None and not isinstance(expr.limit, Const):
            raise Unfetchable("a string's length is computed at run time")
        user = expr.space == "user" and probe.kind not in ("uprobe", "uretprobe", "usdt")
        return f"+0({_place(expr.pointer, probe, arch)}):{'ustring' if user else 'string'}"
    return f"{_place(expr, probe, arch)}:{_type(expr.type)}"


def _place(expr: Expr, probe: Probe, arch: Architecture) -> str:
    """A register, a stack slot, or one of these and a constant: an 8-byte value."""
    returns = BY_NAME[probe.kind].returns
    if isinstance(expr, Cast) and expr.type.size == expr.operand.type.size == 8:
        return _place(expr.operand, probe, arch)
    if not isinstance(expr, Site):
        if isinstance(expr, Binary) and expr.op in "+-":
            raise Unfetchable("an address is computed")
        raise Unfetchable("it needs memory read as a number, which fails without a trace in probe events")
    if expr.name == "retval" and returns:
        return "$retval"
    if expr.name == "register" and isinstance(expr.key, str):
        name = arch.aliases.get(expr.key, expr.key)
        if name in arch.offsets:
            return f"%{name}"
    if returns:
        raise Unfetchable(f"{expr.name} isn't there at a function's return")
    if expr.name == "arg" and isinstance(expr.key, int):
        return arch.argument(expr.key)
    if expr.name == "sarg" and isinstance(expr.key, int):
        return f"$stack{arch.stack_arguments // 8 + expr.key}"
    if expr.name == "args":
        field = next((one for one in probe.fields if one.name == expr.key), None)
        if field is not None:
            return arch.argument(field.offset)
    raise Unfetchable(f"probe events have no {expr.name}")


def _type(of: Type) -> str:
    if isinstance(of, (Int, Enum)):
        return f"{'s' if of.signed else 'u'}{of.bits}"
    if isinstance(of, Pointer):
        return "u64"
    if isinstance(of, Bool):
        return "u8"
    if isinstance(of, Str):
        raise Unfetchable("a string is no register's value")
    raise Unfetchable(f"a {type(of).__name__.lower()} is no register's value")
