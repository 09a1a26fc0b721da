"""Values as text, the way bpftrace prints them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unitrace.contract.types import (
    Aggregate,
    Array,
    Bool,
    Buffer,
    Enum,
    Formatted,
    Int,
    Pointer,
    Stack,
    Str,
    Struct,
    Symbol,
    Tuple,
    Type,
)  # fmt: skip

__all__ = ["Resolver", "average", "key_text", "value_text", "wrapped"]

Resolver = Callable[[Type, Any], bytes]
"""Renders stacks, symbols and formatted values (ksym, inet, strftime ...); the engine has one."""


def value_text(of: Type, value: Any, resolve: Resolver | None = None) -> bytes:
    """One value. ``resolve`` renders what needs symbols or names; without it: the plain number."""
    if isinstance(of, Str):
        return bytes(value)
    if isinstance(of, Bool):
        return b"true" if value else b"false"
    if isinstance(of, Enum):
        for name, number in of.values:
            if number == value:
                return name.encode()
        return b"%d" % value
    if isinstance(of, Pointer):
        return b"0x%x" % (value & 0xFFFFFFFFFFFFFFFF)
    if isinstance(of, Int):
        return b"%d" % value
    if isinstance(of, Buffer):
        return escaped(value)
    if isinstance(of, Array):
        return b"[" + b",".join(value_text(of.of, one, resolve) for one in value) + b"]"
    if isinstance(of, Tuple):
        parts = [value_text(kind, one, resolve) for kind, one in zip(of.items, value)]
        if of.names:
            return _braced(list(of.names), parts)
        return b"(" + b", ".join(parts) + b")"
    if isinstance(of, Struct):
        return _braced(
            [member.name for member in of.members],
            [value_text(member.type, one, resolve) for member, one in zip(of.members, value)],
        )
    if isinstance(of, Aggregate):
        return aggregate_text(of, value)
    if resolve is not None:
        return resolve(of, value)
    if isinstance(of, Stack):
        frames = value[1:] if of.space == "user" else value
        return b"\n" + b"".join(b"        0x%x\n" % address for address in frames)
    if isinstance(of, (Symbol, Formatted)) and isinstance(value, int):
        return b"0x%x" % value
    return value if isinstance(value, bytes) else str(value).encode()


def aggregate_text(of: Aggregate, value: Any) -> bytes:
    """An aggregate's value on its map's line; hist, lhist and tseries have lines of their own."""
    if of.function == "avg":
        return b"%d" % average(value)
    if of.function == "stats":
        count, total = value
        return b"{ .count = %d, .average = %d, .total = %d }" % (count, average(value), total)
    return b"%d" % (value or 0)


def average(state: tuple[int, int]) -> int:
    """The average of (count, total), truncated toward zero; 0 of nothing."""
    count, total = state
    if not count:
        return 0
    return total // count if total >= 0 else -(-total // count)


def key_text(types: tuple[Type, ...], key: tuple[Any, ...], resolve: Resolver | None = None) -> bytes:
    """A map's key between its brackets; a scalar map has none."""
    if not types:
        return b""
    return b"[" + b", ".join(value_text(kind, one, resolve) for kind, one in zip(types, key)) + b"]"


def escaped(data: bytes) -> bytes:
    """A buffer: printable ASCII as it is, the rest as ``\\xNN``."""
    return b"".join(b"%c" % byte if 32 <= byte < 127 else b"\\x%02x" % byte for byte in data)


def wrapped(value: int, bits: int, signed: bool) -> int:
    """``value`` as an integer of that width and sign."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def _braced(names: list[str], parts: list[bytes]) -> bytes:
    inside = b", ".join(b".%s = %s" % (name.encode(), part) for name, part in zip(names, parts))
    return b"{ " + inside + b" }" if inside else b"{}"
