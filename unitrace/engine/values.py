"""Values to the bit: what a type's zero is, how C converts, divides and cuts.

In the engine an integer, pointer or enum is a Python int inside its type's range; a string is
bytes without NUL, a buffer bytes; BOOL is bool; a tuple is a tuple, an array a tuple of its elements, a
struct a tuple of its members (bytes where they aren't known); a kernel stack is a tuple of addresses, a
user stack (pid, address, ...), or () where there is none, a user symbol the pair (address, pid). Columns
bring arrays and structs as bytes: ``decode`` makes them these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unitrace.contract.types import (
    Aggregate,
    Array,
    Bool,
    Buffer,
    Formatted,
    Member,
    Stack,
    Str,
    Struct,
    Symbol,
    Tuple,
    Type,
    shape,
)

__all__ = [
    "converter", "cut", "decode", "decoder", "divide", "element", "encode", "is_integer", "range_of",
    "remainder", "shape", "wrap", "zero",
]  # fmt: skip


def is_integer(of: Type) -> bool:
    """Whether values of the type are held as Python ints that wrap (BOOL not among them)."""
    return not isinstance(of, Bool) and shape(of) is not None


def range_of(of: Type) -> tuple[int, int]:
    """The least and the greatest value of an integer-like type."""
    if isinstance(of, Bool):
        return 0, 1
    bits, signed = shape(of) or (64, True)
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def wrap(value: int, bits: int, signed: bool) -> int:
    """``value`` reduced to ``bits`` bits, two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> bits - 1 else value


def divide(left: int, right: int) -> int:
    """C's ``/``: truncates toward zero. ``right`` isn't 0."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def remainder(left: int, right: int) -> int:
    """C's ``%``: has the sign of ``left``. ``right`` isn't 0."""
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def cut(value: bytes, length: int) -> bytes:
    """``value`` as a string of at most ``length`` bytes, NUL counted."""
    end = value.find(0, 0, length - 1)
    return value[: end if end >= 0 else max(0, length - 1)]


def zero(of: Type) -> Any:
    """The type's zero: what a variable or a map yields that nobody has written."""
    if isinstance(of, Bool):
        return False
    if isinstance(of, Str):
        return b""
    if isinstance(of, Buffer):
        return b""
    if isinstance(of, Tuple):
        return tuple(zero(item) for item in of.items)
    if isinstance(of, Array):
        return (zero(of.of),) * of.count
    if isinstance(of, Struct):
        return decode(bytes(of.length), of)
    if isinstance(of, Stack):
        return ()
    if isinstance(of, Formatted) and of.form in ("inet", "mac"):
        return bytes(of.length)
    if isinstance(of, Symbol) and of.space != "kernel":
        return (0, 0)
    if isinstance(of, Aggregate):
        if of.function in ("avg", "stats"):
            return (0, 0)
        if of.function in ("hist", "lhist", "tseries"):
            return {}
    return 0


def decode(data: bytes, of: Type) -> Any:
    """The value that ``data`` holds in memory; short data counts as if zeros followed."""
    if isinstance(of, Bool):
        return bool(data[:1].strip(b"\0"))
    form = shape(of)
    if form is not None:
        return int.from_bytes(data[: form[0] // 8], "little", signed=form[1] and len(data) * 8 >= form[0])
    if isinstance(of, Str):
        return cut(data, max(of.length, len(data)) + 1)[: of.length]
    if isinstance(of, Array):
        step = of.of.size
        return tuple(decode(data[at : at + step], of.of) for at in range(0, step * of.count, step or 1))
    if isinstance(of, Struct) and of.members:
        return tuple(_member(data, member) for member in of.members)
    return data


def encode(value: Any, of: Type) -> bytes:
    """The bytes that a value takes in memory: of numbers, strings, buffers, and arrays of them."""
    if isinstance(value, bytes):
        return value
    if isinstance(of, Array):
        return b"".join([encode(item, of.of) for item in value])
    form = shape(of)
    return bytes(value) if form is None else (value & (1 << form[0]) - 1).to_bytes(form[0] // 8, "little")


def _member(data: bytes, of: Member) -> Any:
    """A struct's member, bit fields too."""
    unit = decode(data[of.offset : of.offset + of.type.size], of.type)
    form = shape(of.type)
    if not of.bit_size or form is None:
        return unit
    return wrap((unit >> of.bit_offset) & (1 << of.bit_size) - 1, of.bit_size, form[1])


def decoder(of: Type) -> Callable[[Any], Any] | None:
    """What makes a column's value of the type one of ours; None where it is one already."""
    if isinstance(of, Bool):
        return bool
    if isinstance(of, (Array, Struct)):
        return lambda value: decode(bytes(value), of) if isinstance(value, (bytes, memoryview)) else value
    return None


def element(value: Any, index: int, of: Type) -> Any:
    """Element ``index`` of an array, buffer or string; zero where the index is out of bounds."""
    if index < 0:
        return zero(of)
    if isinstance(value, bytes):
        step = max(1, of.size)
        piece = value[index * step : (index + 1) * step]
        return decode(piece, of) if len(piece) == step else zero(of)
    return value[index] if index < len(value) else zero(of)


def converter(source: Type, target: Type) -> Callable[[Any], Any] | None:
    """What turns a value of ``source`` into one of ``target`` as a C cast does; None: nothing to do."""
    if source == target:
        return None
    goal = shape(target)
    if isinstance(target, Bool):
        return bool
    if goal is not None:
        bits, signed = goal
        if isinstance(source, (Array, Buffer, Str, Struct)):
            return lambda value: wrap(_raw(value, source), bits, signed)
        if isinstance(source, Symbol):
            return lambda value: wrap(value[0] if isinstance(value, tuple) else value, bits, signed)
        if shape(source) is None:
            return None
        low, high = range_of(target)
        least, most = range_of(source)
        if low <= least and most <= high:
            return int if isinstance(source, Bool) else None
        return lambda value: wrap(value, bits, signed)
    if isinstance(target, Str):
        if isinstance(source, Str) and source.length <= target.length:
            return None
        length = target.length
        return lambda value: cut(encode(value, source), length)
    if isinstance(target, Buffer):
        length = target.length
        return lambda value: encode(value, source)[:length]
    if isinstance(target, Array) and isinstance(source, (Str, Buffer)):
        return lambda value: decode(encode(value, source), target)
    if isinstance(target, Array) and shape(source) is not None:
        return lambda value: decode((value & (1 << 64) - 1).to_bytes(8, "little"), target)
    if isinstance(target, Tuple) and isinstance(source, Tuple):
        parts = tuple(converter(one, two) for one, two in zip(source.items, target.items))
        if not any(parts):
            return None
        return lambda value: tuple(
            part(item) if part is not None else item for part, item in zip(parts, value)
        )
    return None


def _raw(value: Any, of: Type) -> int:
    """An array's or buffer's bytes as one little-endian number."""
    if isinstance(value, bytes):
        return int.from_bytes(value[:8], "little")
    step = of.of.size if isinstance(of, Array) else 1
    total = 0
    for at, item in enumerate(value):
        total |= (item & (1 << 8 * step) - 1) << (8 * step * at)
    return total
