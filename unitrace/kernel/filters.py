"""Event filters: a predicate in the words that the kernel's own filters understand.

ftrace takes them in ``events/.../filter``, perf by PERF_EVENT_IOC_SET_FILTER: one language
(Documentation/trace/events.rst, kernel/trace/trace_events_filter.c). What is translated here means the
same to the bit; for all else the answer is None, and the predicate stays in user space.

What the kernel does: a field is read by its size and the format file's sign, and compared with a
constant of that width. Strings of fixed size are compared by strncmp over the field's size. There
are no casts, no arithmetic but ``&``, and no comparison of two fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from unitrace.contract.ir import Binary, Cast, Const, Expr, Field, Site, Unary
from unitrace.contract.machine import Machine
from unitrace.contract.record import Record
from unitrace.contract.types import Bool, Enum, Int, Str, Type

from . import tracefs

__all__ = [
    "FILTER_MAX", "SHADOWED", "Named", "Naming", "filter_text", "filtered", "named_fields", "signs",
    "tracepoint_naming",
]  # fmt: skip

FILTER_MAX = 4000
"""perf takes a page, its NUL counted (strndup_user() in perf_event_set_filter())."""

STRING_MAX = 255
"""MAX_FILTER_STR_VAL is 256, its NUL counted."""

SHADOWED = frozenset({"cpu", "CPU", "comm", "COMM", "stacktrace", "STACKTRACE"})
"""Names that mean the current CPU or task in a filter, also where the event has a field of that name:
ftrace_generic_fields are looked up first (trace_find_event_field())."""

_SIGN = re.compile(r"field:[^;]*?(\w+)(?:\[[^;]*\])?;\s*offset:\d+;\s*size:(\d+);\s*signed:([01]);")

_MIRROR = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


class Named(Record):
    """What a filter calls a value: ``name``, the ``size`` in bytes and ``signed`` of the comparison.
    ``text``: a string of at most ``size`` bytes. ``low``: the least value there can be, where that is
    more than the type says."""

    name: str
    size: int
    signed: bool = False
    text: bool = False
    low: int | None = None


Naming = Callable[[Site], "Named | None"]
"""What a filter calls a Site; None where it can't see it."""


def signs(format_text: str) -> dict[str, tuple[int, bool]]:
    """Each field's size and sign, as a format file has them (and the filter compares)."""
    return {name: (int(size), sign == "1") for name, size, sign in _SIGN.findall(format_text)}


def named_fields(fields: tuple[Field, ...], format_text: str) -> Naming:
    """The naming for an event: its ``fields``, and the sites that every filter knows."""
    by_name = {field.name: field for field in fields}
    sizes = signs(format_text)

    def naming(site: Site) -> Named | None:
        if site.name != "args":
            return _GENERIC.get(site.name)
        field = by_name.get(str(site.key))
        if field is None or field.how != "value" or field.name in SHADOWED or field.name not in sizes:
            return None
        size, signed = sizes[field.name]
        if isinstance(field.type, Str):
            return Named(field.name, size, text=True) if size == field.type.length else None
        if _integer(field.type) is None or field.type.size != size:
            return None  # a pointer, or a type narrower than its slot: other bits would be compared
        return Named(field.name, size, signed)

    return naming


def tracepoint_naming(machine: Machine, category: str, event: str, fields: tuple[Field, ...]) -> Naming:
    """The naming for a tracepoint. OSError where its format can't be read."""
    path = f"{tracefs.event_dir(tracefs.root(machine), category, event)}/format"
    return named_fields(fields, machine.read(path))


_GENERIC = {
    # s32 in struct trace_entry: the tid in the initial namespace, never negative
    "tid": Named("common_pid", 4, True, low=0),
    "cpu": Named("CPU", 4, True, low=0),  # 4.3
    "comm": Named("COMM", 16, text=True),  # 4.3; TASK_COMM_LEN
}


def filter_text(expr: Expr, naming: Naming) -> str | None:
    """``expr`` as a filter that is true for exactly the same events; None where there is none."""
    text = _logic(expr, naming)
    return text if text is not None and len(text) < FILTER_MAX else None


def filtered(parts: Iterable[Expr], naming: Naming) -> tuple[tuple[Expr, ...], str]:
    """As many of the conjuncts ``parts`` as make a filter, and its text; "" for none."""
    texts: dict[Expr, str] = {}
    room = FILTER_MAX
    for part in parts:
        text = filter_text(part, naming)
        if text is not None and part not in texts and len(text) + 8 < room:
            room -= len(text) + 8
            texts[part] = f"({text})"
    return tuple(texts), " && ".join(texts.values())


def _logic(expr: Expr, naming: Naming) -> str | None:
    if isinstance(expr, Unary) and expr.op == "!":
        inner = _logic(expr.operand, naming)
        return None if inner is None else f"!({inner})"
    if isinstance(expr, Cast) and isinstance(expr.type, Bool) and isinstance(expr.operand.type, Bool):
        return _logic(expr.operand, naming)
    if isinstance(expr, Cast) and isinstance(expr.type, Bool):  # an integer as a truth value
        return _compare("!=", expr.operand, 0, naming)
    if not isinstance(expr, Binary):
        return None
    if expr.op in ("&&", "||"):
        left, right = _logic(expr.left, naming), _logic(expr.right, naming)
        return None if left is None or right is None else f"({left}) {expr.op} ({right})"
    if expr.op not in _MIRROR:
        return None
    op, left_side, right_side = expr.op, _folded(expr.left), _folded(expr.right)
    if isinstance(left_side, Const):
        op, left_side, right_side = _MIRROR[op], right_side, left_side
    if not isinstance(right_side, Const):
        return None
    if isinstance(right_side.value, bytes):
        return _same_text(op, left_side, right_side.value, naming)
    return _compare(op, left_side, int(right_side.value), naming)


def _same_text(op: str, side: Expr, wanted: bytes, naming: Naming) -> str | None:
    name = naming(side) if isinstance(side, Site) else None
    if name is None or not name.text or op not in ("==", "!="):
        return None
    if not 0 < len(wanted) <= STRING_MAX:
        return None
    if len(wanted) >= name.size:
        return None  # can't be equal to a string that ends in a NUL; not worth a filter
    text = wanted.decode("ascii", "replace")
    if not text.isprintable() or "�" in text:
        return None
    quote = "'" if '"' in text else '"'
    if quote in text:
        return None
    return f"{name.name} {op} {quote}{text}{quote}"


def _compare(op: str, side: Expr, constant: int, naming: Naming) -> str | None:
    """``side op constant``, where the widening of a field to the compared type keeps its value."""
    if isinstance(side, Binary) and side.op == "&" and constant == 0 and op in ("==", "!="):
        return _bits(op, side, naming)
    found = _field(side, naming)
    if found is None:
        return None
    site, name = found
    of = _integer(site.type)
    if of is None or name.text or of.size != name.size:
        return None
    low, high = _range(of)
    if name.low is not None:  # known not to be negative: both signs read it alike
        low, high = name.low, min(high, (1 << (8 * name.size - 1)) - 1)
    if not low <= constant <= high:
        return None
    if name.low is None and of.signed != name.signed:  # as system calls have it: off_t is signed:0 there
        if op not in ("==", "!="):
            return None
        constant = _as(Int(of.bits, name.signed), constant)  # the same bits
    return f"{name.name} {op} {constant}"


def _folded(side: Expr) -> Expr:
    """A constant under integer casts as the constant it is."""
    if not isinstance(side, Cast):
        return side
    inner, into = _folded(side.operand), _integer(side.type)
    if not isinstance(inner, Const) or isinstance(inner.value, bytes) or into is None:
        return side
    return Const(into, _as(into, int(inner.value)))


def _as(of: Int, value: int) -> int:
    """``value`` as C converts it to ``of``."""
    value &= (1 << of.bits) - 1
    return value - (1 << of.bits) if of.signed and value >> (of.bits - 1) else value


def _bits(op: str, side: Binary, naming: Naming) -> str | None:
    """``field & mask``, as a truth value."""
    left, right = _folded(side.left), _folded(side.right)
    value, mask = (right, left) if isinstance(left, Const) else (left, right)
    found = _field(value, naming)
    if found is None or not isinstance(mask, Const) or isinstance(mask.value, bytes):
        return None
    site, name = found
    of = _integer(site.type)
    if of is None or name.text or of.size != name.size:
        return None
    if not 0 < int(mask.value) < 1 << (8 * name.size - 1):  # else a sign would be spread into it
        return None
    text = f"{name.name} & {int(mask.value)}"
    return text if op == "!=" else f"!({text})"


def _field(side: Expr, naming: Naming) -> tuple[Site, Named] | None:
    """The Site under casts that keep its value, whatever it is."""
    while isinstance(side, Cast):
        into, out_of = _integer(side.type), _integer(side.operand.type)
        if into is None or out_of is None:
            return None
        (low, high), (wide_low, wide_high) = _range(out_of), _range(into)
        if low < wide_low or high > wide_high:
            return None
        side = side.operand
    if not isinstance(side, Site):
        return None
    name = naming(side)
    return None if name is None else (side, name)


def _integer(of: Type) -> Int | None:
    if isinstance(of, Int):
        return of
    if isinstance(of, Enum):
        return Int(of.bits, of.signed)
    return None


def _range(of: Int) -> tuple[int, int]:
    if of.signed:
        return -(1 << (of.bits - 1)), (1 << (of.bits - 1)) - 1
    return 0, (1 << of.bits) - 1
