"""A bare probe: what its line shows."""

from __future__ import annotations

from unitrace.contract import ir
from unitrace.contract.types import INT64, UINT64, VOID, Bool, Enum, Int, Pointer, Str, Type

__all__ = ["LONGEST", "shown"]

LONGEST = 256
"""Bytes of a string on a bare probe's line, NUL counted."""

_NAMED = frozenset(("tracepoint", "rawtracepoint", "kprobe", "fentry", "usdt"))


def shown(probe: ir.Probe) -> ir.Show:
    """The Show of a probe: its arguments, or the value that it returned. Time, CPU, comm and tid
    come with every Show."""
    names: list[str] = []
    values: list[ir.Expr] = []
    if probe.kind in _NAMED:
        for field in probe.fields:
            if field.name.startswith("__") and field.name not in ("__data",):
                continue  # the number of the system call, padding
            names.append(field.name)
            values.append(_value(ir.Site(field.type, "args", field.name), probe, field.bits))
    if probe.kind == "kprobe" and not probe.fields and not probe.offset and probe.result is None:
        for number in range(6):
            names.append(f"arg{number}")
            values.append(ir.Cast(Pointer(VOID), ir.Site(INT64, "arg", number)))
    if probe.kind in ("kretprobe", "uretprobe", "fexit") and probe.result != VOID:
        names.append("retval")
        values.append(_returned(probe))
    return ir.Show(tuple(names), tuple(values))


def _value(site: ir.Site, probe: ir.Probe, bits: int) -> ir.Expr:
    of = site.type
    if bits and isinstance(of, Int):  # an int in the eight bytes of a system call's argument
        return ir.Cast(Int(bits, of.signed), site)
    if isinstance(of, Pointer) and isinstance(of.to, Int) and of.to == Int(8, True):
        space = of.space or ("user" if probe.kind == "usdt" else "")
        return ir.Text(Str(LONGEST), site, space)
    return site


def _returned(probe: ir.Probe) -> ir.Expr:
    of: Type | None = probe.result
    if probe.kind == "fexit" and of is not None:
        return ir.Site(of, "retval")
    register = ir.Site(INT64, "retval")
    if isinstance(of, (Int, Enum, Bool)) and of not in (INT64,):
        return ir.Cast(of, register) if of != UINT64 else ir.Cast(UINT64, register)
    if isinstance(of, Pointer):
        return ir.Cast(of, register)
    return register
