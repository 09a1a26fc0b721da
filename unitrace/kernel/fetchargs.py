"""Fetch arguments: an expression in the words of probe events (``a=%di:s64``, ``f=+0(%si):ustring``).

Documentation/trace/kprobetrace.rst and uprobetracer.rst. What is translated here yields the expression's
value to the bit; all else raises Unfetchable.

Memory as a number needs a witness. Where ``+8(%di):u32`` can't be read, the kernel leaves whatever the
buffer held before (store_trace_args(), kernel/trace/trace_probe_tmpl.h), and the number alone doesn't
tell. But a string tells: one that can't be read has length 0, any other at least its NUL. So a string that
starts at the number's last byte is fetched with it (``Fetch.checks``), mostly a single NUL: where its
length is 0, the number is 0, as the language has it. In kernel events an empty string in user memory has
length 0 too (strncpy_from_user_nofault()): where it may be user memory, a string is fetched for each byte
of the number. If all are empty, the number is 0, be it read or not.
"""

from __future__ import annotations

from collections.abc import Callable

from unitrace.contract.ir import Binary, Call, Cast, Const, Expr, Load, Probe, Site, Text
from unitrace.contract.probes import BY_NAME
from unitrace.contract.record import Record
from unitrace.contract.types import Array, Bool, Buffer, Enum, Int, Pointer, Str, Struct, Symbol, Type

from .arch import Architecture

__all__ = ["Fetch", "Sites", "Unfetchable", "fetch", "fetched"]


USER_PROBES = ("uprobe", "uretprobe", "usdt")
"""There all memory is user memory, and the plain spelling means it."""

DEREFERENCES_MAX = 12
"""Steps of ``+off(+off(...))``: a fetch has 16 instructions (FETCH_INSN_MAX, kernel/trace/trace_probe.h)."""

BYTES_MAX = 32
"""Bytes of a value that each have a witness, at most."""

ARRAY_MAX = 64
"""MAX_ARRAY_LEN, kernel/trace/trace_probe.h: elements."""


class Unfetchable(Exception):
    """No fetch argument yields this value. ``reason``: one line; ``remedy``: "" where there is none."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class Fetch(Record):
    """A fetch argument without its name, and how to read what it fetched.

    ``how``: "int" (``size`` bytes), "text" (so many, up to the first NUL), "bytes", or "string" (a u32
    data_loc). ``checks``: fetch arguments, strings all; where each has length 0, the value is 0.
    ``bit_offset``, ``bit_size``: a bit field in the integer.
    """

    text: str
    how: str
    size: int
    signed: bool = False
    checks: tuple[str, ...] = ()
    bit_offset: int = 0
    bit_size: int = 0


Sites = Callable[[Site], "str | None"]
"""Where a Site's eight bytes are, for a probe whose arguments aren't in registers; may raise Unfetchable."""


def fetch(expr: Expr, probe: Probe, arch: Architecture, sites: Sites | None = None) -> str:
    """The text of ``fetched``. Raises Unfetchable, also for what needs checks."""
    found = fetched(expr, probe, arch, sites)
    if found.checks:
        raise Unfetchable("it needs memory read as a number, which fails without a trace in probe events")
    return found.text


def fetched(
    expr: Expr, probe: Probe, arch: Architecture, sites: Sites | None = None, *, sure: bool = False
) -> Fetch:
    """The fetch argument for ``expr`` at ``probe`` (a kprobe, kretprobe, uprobe, uretprobe or tracepoint).
    ``sites`` is asked first, if given. ``sure``: this memory can always be read, and needs no checks.
    Raises Unfetchable.
    """
    user = probe.kind in USER_PROBES
    if isinstance(expr, Text):
        if expr.limit is not None and not isinstance(expr.limit, Const):
            raise Unfetchable("a string's length is computed at run time")
        word = "ustring" if expr.space == "user" and not user else "string"
        return Fetch(f"{_memory(expr.pointer, 0, '', probe, arch, sites)}:{word}", "string", 4)
    if isinstance(expr, Call) and expr.function == "buf" and isinstance(expr.type, Buffer):
        pointer, length = (*expr.args, Const(expr.type, expr.type.length))[:2]
        if not isinstance(length, Const) or int(length.value) != expr.type.length:
            raise Unfetchable("the length of buf() is computed at run time")
        expr = Load(expr.type, pointer)
    if isinstance(expr, Load):
        return _loaded(expr, probe, arch, sites, sure)
    place, kind = _place(expr, probe, arch, sites), _type(expr.type)
    return Fetch(f"{place}:{kind}", "int", max(1, int(kind[1:]) // 8), kind[0] == "s")


def _loaded(expr: Load, probe: Probe, arch: Architecture, sites: Sites | None, sure: bool) -> Fetch:
    size = expr.type.size
    if isinstance(expr.type, (Int, Enum, Pointer, Bool, Symbol)) and size <= 8:
        kind, how = _type(expr.type), "int"
        if expr.bit_size:
            kind = f"u{8 * size}"
    elif isinstance(expr.type, (Str, Array, Struct, Buffer)) and size:
        how = "text" if isinstance(expr.type, Str) else "bytes"
        width = next((one for one in (1, 2, 4, 8) if size % one == 0 and size // one <= ARRAY_MAX), 0)
        if not width:
            raise Unfetchable(f"{size} bytes are too many for a probe event's argument")
        kind = f"u{8 * width}[{size // width}]"
    else:
        raise Unfetchable(f"a probe event can't fetch a {type(expr.type).__name__.lower()}")
    text = f"{_memory(expr.pointer, expr.offset, expr.space, probe, arch, sites)}:{kind}"
    checks: tuple[str, ...] = ()
    if not (sure or _is_task(expr.pointer)):
        user = probe.kind in USER_PROBES
        word = "ustring" if expr.space == "user" and not user else "string"
        one = user or expr.space == "kernel" or _of_task(expr.pointer)
        if not one and size > BYTES_MAX:
            raise Unfetchable(f"{size} bytes that may be in user memory are too many for a probe event")
        checks = tuple(
            f"{_memory(expr.pointer, expr.offset + at, '', probe, arch, sites)}:{word}"
            for at in range(size - 1 if one else 0, size)
        )
    signed = kind[0] == "s" if not expr.bit_size else bool(getattr(expr.type, "signed", False))
    return Fetch(text, how, size, signed, checks, expr.bit_offset, expr.bit_size)


def _is_task(pointer: Expr) -> bool:
    """The current task itself, which is always there."""
    while isinstance(pointer, Cast) and pointer.type.size == pointer.operand.type.size == 8:
        pointer = pointer.operand
    return isinstance(pointer, Site) and pointer.name == "curtask"


def _of_task(pointer: Expr) -> bool:
    """Whether a pointer comes from the current task by kernel memory alone."""
    while isinstance(pointer, (Cast, Load)):
        if isinstance(pointer, Load) and pointer.space != "kernel":
            return False
        pointer = pointer.pointer if isinstance(pointer, Load) else pointer.operand
    return isinstance(pointer, Site) and pointer.name == "curtask"


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
        if isinstance(expr, (Binary, Load)):
            raise Unfetchable("an address is computed")
        raise Unfetchable("a probe event computes nothing")
    given = sites(expr) if sites else None
    if given is not None:
        return given
    if expr.name == "retval" and returns:
        return "$retval"
    if expr.name == "register" and isinstance(expr.key, str):
        name = arch.aliases.get(expr.key, expr.key)
        if name in arch.offsets:
            return f"%{name}"
    if expr.name == "arg" and isinstance(expr.key, int) and not returns:
        return arch.argument(expr.key)
    if expr.name == "sarg" and isinstance(expr.key, int) and not returns:
        return f"$stack{arch.stack_arguments // 8 + expr.key}"
    if expr.name == "args" and not returns:
        field = next((one for one in probe.fields if one.name == expr.key), None)
        if field is not None:
            return arch.argument(field.offset)
    if returns and expr.name in ("arg", "sarg", "args"):
        raise Unfetchable(f"{expr.name} isn't there at a function's return")
    raise Unfetchable(f"probe events have no {expr.name}")


def _type(of: Type) -> str:
    if isinstance(of, (Int, Enum)):
        return f"{'s' if of.signed else 'u'}{of.bits}"
    if isinstance(of, (Pointer, Symbol)):
        return "u64"
    if isinstance(of, Bool):
        return "u8"
    if isinstance(of, Str):
        raise Unfetchable("a string is no register's value")
    raise Unfetchable(f"a {type(of).__name__.lower()} is no register's value")
