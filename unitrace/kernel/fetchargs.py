"""Fetch arguments: an expression in the words of probe events (``a=%di:s64``, ``f=+0(%si):ustring``).

Documentation/trace/kprobetrace.rst and uprobetracer.rst. What is translated here yields the expression's
value to the bit; all else raises Unfetchable.

Memory as a number is not among it: where ``+8(%di):u32`` can't be read, the kernel leaves whatever the
buffer held before (store_trace_args(), kernel/trace/trace_probe_tmpl.h), and no one can tell. A
string that can't be read is an empty one, as it should be.
"""

from __future__ import annotations

from collections.abc import Callable

from unitrace.contract.ir import Binary, Cast, Const, Expr, Load, Probe, Site, Text
from unitrace.contract.probes import BY_NAME
from unitrace.contract.types import Bool, Enum, Int, Pointer, Str, Type

from .arch import Architecture

__all__ = ["Sites", "Unfetchable", "fetch"]


USER_PROBES = ("uprobe", "uretprobe", "usdt")
"""There all memory is user memory, and the plain spelling means it."""

DEREFERENCES_MAX = 12
"""Steps of ``+off(+off(...))``: a fetch has 16 instructions (FETCH_INSN_MAX, kernel/trace/trace_probe.h)."""


class Unfetchable(Exception):
    """No fetch argument yields this value. ``reason``: one line; ``remedy``: "" where there is none."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


Sites = Callable[[Site], "str | None"]
"""Where a Site's eight bytes are, for a probe whose arguments aren't in registers; may raise Unfetchable."""


def fetch(expr: Expr, probe: Probe, arch: Architecture, sites: Sites | None = None) -> str:
    """The fetch argument for ``expr`` at ``probe`` (a kprobe, kretprobe, uprobe or uretprobe), without
    its name: "%di:s64". ``sites`` is asked first, if given. Raises Unfetchable.

    Integers come in the width and sign of ``expr.type``, strings as a u32 data_loc.
    """
    if isinstance(expr, Text):
        if expr.limit is not None and not isinstance(expr.limit, Const):
            raise Unfetchable("a string's length is computed at run time")
        user = expr.space == "user" and probe.kind not in USER_PROBES
        return f"{_memory(expr.pointer, 0, '', probe, arch, sites)}:{'ustring' if user else 'string'}"
    return f"{_place(expr, probe, arch, sites)}:{_type(expr.type)}"


def _memory(
    pointer: Expr,
    offset: int,
    space: str,
    probe: Probe,
    arch: Architecture,
    sites: Sites | None,
    depth: int = 1,
) -> str:
    """``+offset(...)``: memory at an address that is a register's value and a constant, or itself in such
    memory. Where a step of the way can't be read, the string at its end is empty, as it should be."""
    if depth > DEREFERENCES_MAX:
        raise Unfetchable("the chain of pointers is too long for a probe event")
    while isinstance(pointer, (Cast, Binary)) and pointer.type.size == 8:
        if isinstance(pointer, Cast) and pointer.operand.type.size == 8:
            pointer = pointer.operand
        elif isinstance(pointer, Binary) and pointer.op in "+-" and isinstance(pointer.right, Const):
            offset += int(pointer.right.value) * (1 if pointer.op == "+" else -1)
            pointer = pointer.left
        else:
            break
    if not -(1 << 31) <= offset < 1 << 31:
        raise Unfetchable("an address is computed")
    if isinstance(pointer, Load) and pointer.type.size == 8 and not pointer.bit_size:
        inner = _memory(pointer.pointer, pointer.offset, pointer.space, probe, arch, sites, depth + 1)
    else:
        inner = _place(pointer, probe, arch, sites)
    user = "u" if space == "user" and probe.kind not in USER_PROBES else ""
    return f"{'-' if offset < 0 else '+'}{user}{abs(offset)}({inner})"


def _place(expr: Expr, probe: Probe, arch: Architecture, sites: Sites | None) -> str:
    """A register, a stack slot, or one of these and a constant: an 8-byte value."""
    returns = BY_NAME[probe.kind].returns
    if isinstance(expr, Cast) and expr.type.size == expr.operand.type.size == 8:
        return _place(expr.operand, probe, arch, sites)
    if not isinstance(expr, Site):
        if isinstance(expr, Binary) and expr.op in "+-":
            raise Unfetchable("an address is computed")
        raise Unfetchable("it needs memory read as a number, which fails without a trace in probe events")
    given = sites(expr) if sites else None
    if given is not None:
        return given
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
