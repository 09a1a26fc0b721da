"""Where each column lies in a sample: by the format of the event, or among the sample's registers."""

from __future__ import annotations

from collections.abc import Mapping

from unitrace.contract.ir import Cast, Expr, Field, Load, Probe, Site, Text
from unitrace.contract.model import Column, Place
from unitrace.contract.offer import spelled
from unitrace.contract.probes import BY_NAME
from unitrace.contract.types import Array, Bool, Buffer, Enum, Int, Pointer, Str, Struct, Symbol, Type
from unitrace.kernel.arch import Architecture

from . import records, registers

__all__ = ["FIXED", "RAW_HEAD", "Unserved", "field_place", "regs_wanted", "site_place"]

FIXED: Mapping[str, Place] = {
    "nsecs": Place(records.TIME, 8),
    "pid": Place(records.TGID, 4),
    "tid": Place(records.RAW_TID, 4),
    "cpu": Place(records.CPU, 4),
}
"""Columns that every sample has."""

TRACKED = frozenset({"comm"})
"""Columns that come from COMM, FORK and EXIT records (reader.py)."""

RAW_HEAD = 8
"""sizeof(struct trace_entry): a probe's own raw data begins there with its address (and at a return the
address it returns to)."""


class Unserved(Exception):
    """A column that this way can't carry. ``reason``: one line; ``remedy``: what would help;
    ``expr``: the column, where it is about one."""

    def __init__(self, reason: str, remedy: str = "", expr: Expr | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.expr = expr


def field_place(field: Field) -> Place:
    """A field of the raw data, as a Place in the sample. Raises Unserved."""
    at = records.RAW + field.offset
    if field.how in ("data_loc", "rel_loc"):
        if not isinstance(field.type, Str):
            raise Unserved(f"the length of {field.name} is in the record: only strings are read so")
        return Place(at, 4, field.how, base=records.RAW)
    return _place(field.type, at, field.length)


def site_place(column: Column, fields: Mapping[str, Field]) -> Place | None:
    """A tracepoint's column: one of ``fields``, or what every sample has; None for a tracked one."""
    expr = column.value
    if isinstance(expr, Site):
        if expr.name in FIXED:
            return FIXED[expr.name]
        if expr.name in TRACKED:
            return None
        if expr.name == "args" and expr.key in fields:
            return field_place(fields[str(expr.key)])
    raise Unserved(*_why(expr), expr)


def _why(expr: Expr) -> tuple[str, str]:
    if isinstance(expr, (Text, Load)):
        pointer: Expr = expr
        while isinstance(pointer, (Text, Load, Cast)):
            pointer = pointer.operand if isinstance(pointer, Cast) else pointer.pointer
        return (
            f"perf can't follow a tracepoint's pointer ({spelled(pointer)})",
            "use --backend ebpf, or ftrace where it has eprobes (5.15)",
        )
    return f"perf's samples hold no {spelled(expr)}", "use --backend ebpf"


def regs_wanted(columns: tuple[Column, ...], probe: Probe, arch: Architecture) -> dict[Expr, int]:
    """The register that holds each column, by its perf number. Raises Unserved for a column that is
    neither in a register, nor in every sample."""
    numbers = registers.NUMBERS.get(arch.name)
    if numbers is None:
        raise Unserved(f"the registers in samples of {arch.name} aren't known")
    wanted: dict[Expr, int] = {}
    returns = BY_NAME[probe.kind].returns
    for column in columns:
        expr = column.value
        if not isinstance(expr, Site):
            raise Unserved("samples of a PMU probe hold registers, no memory")
        if expr.name in FIXED or expr.name in TRACKED:
            continue
        name = _register(expr, probe, arch, returns)
        scalar = isinstance(column.type, (Int, Enum, Pointer, Bool, Symbol))
        if name not in numbers or not scalar or column.type.size > 8:
            raise Unserved(f"no register holds {spelled(expr)}")
        wanted[expr] = numbers[name]
    return wanted


def _register(site: Site, probe: Probe, arch: Architecture, returns: bool) -> str:
    if site.name == "retval" and returns:
        return arch.result
    if site.name == "register":
        return arch.aliases.get(str(site.key), str(site.key))
    if site.name in ("arg", "args") and not returns:
        number: object = site.key
        if site.name == "args":
            number = next((field.offset for field in probe.fields if field.name == site.key), None)
        if isinstance(number, int) and number < len(arch.arguments):
            return arch.arguments[number]
    return ""


def register_layout(
    columns: tuple[Column, ...], wanted: Mapping[Expr, int], mask: int, raw_size: int
) -> dict[str, Place]:
    """The layout of a PMU probe's sample: fixed part, raw data of ``raw_size`` bytes, ABI, registers."""
    layout = dict(FIXED)
    first = records.RAW + raw_size + 8
    for column in columns:
        expr = column.value
        if expr in wanted:
            at = first + 8 * registers.rank(mask, wanted[expr])
            layout[column.name] = _place(column.type, at, column.type.size)
    return layout


def raw_size(returns: bool) -> int:
    """Bytes of raw data of a PMU probe's sample: trace_entry and one address, at a return two, and as
    much as makes the u32 before them and them a multiple of eight (kprobe_perf_func(), kernel/trace/
    trace_kprobe.c; __uprobe_perf_func(), trace_uprobe.c)."""
    held = RAW_HEAD + (16 if returns else 8)
    return -(-(held + 4) // 8) * 8 - 4


def _place(of: Type, at: int, length: int) -> Place:
    """A value of type ``of`` in ``length`` bytes at ``at``: its low bytes, where it is narrower."""
    if isinstance(of, (Int, Enum)):
        return Place(at, of.size, signed=of.signed)
    if isinstance(of, (Pointer, Symbol)):
        return Place(at, 8)
    if isinstance(of, Bool):
        return Place(at, 1)
    if isinstance(of, Str):
        return Place(at, min(length, of.length), "text")
    if isinstance(of, (Array, Buffer, Struct)):
        return Place(at, of.size or length, "bytes")
    raise Unserved(f"no record holds a {type(of).__name__.lower()}")
