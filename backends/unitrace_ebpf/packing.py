"""Values between user space and a map's memory, as compile/layouts.py lays them out."""

from __future__ import annotations

import struct
from typing import Any

from unitrace.contract.types import Array, Bool, Buffer, Formatted, Member, Str, Struct, Tuple, Type

from .compile.base import shape
from .compile.layouts import Part, in_register
from .compile.stacks import is_words

__all__ = ["pack", "unpack"]

FAMILY = {4: 2, 16: 10}
"""Of an address, by its length: AF_INET, AF_INET6."""


def unpack(part: Part, data: bytes, at: int) -> Any:
    """The value of a part; ``at``: where its whole begins in ``data``."""
    of, start = part.type, at + part.offset
    if isinstance(of, Tuple):
        return tuple(unpack(inner, data, at) for inner in part.parts)
    if is_words(of):
        count = struct.unpack_from("<Q", data, start)[0]
        return struct.unpack_from(f"<{count}Q", data, start + 8)
    if isinstance(of, Formatted) and of.form == "inet":
        family = struct.unpack_from("<Q", data, start)[0]
        return data[start + 8 : start + (24 if family == 10 else 12)]
    if isinstance(of, Buffer):
        length = min(of.length, struct.unpack_from("<Q", data, start)[0])
        return data[start + 8 : start + 8 + length]
    return _decoded(data[start : start + (of.size or part.size)], of)


def _decoded(data: bytes, of: Type) -> Any:
    if isinstance(of, Str):
        return data.partition(b"\0")[0]
    if isinstance(of, Bool):
        return data[:1] != b"\0"
    if in_register(of):
        bits, signed = shape(of)
        assert len(data) >= bits // 8
        return int.from_bytes(data[: bits // 8], "little", signed=signed)
    if isinstance(of, Array):
        step = of.of.size
        return tuple(_decoded(data[at : at + step], of.of) for at in range(0, step * of.count, step or 1))
    if isinstance(of, Struct) and of.members:
        return tuple(_member(data, one) for one in of.members)
    return data


def _member(data: bytes, of: Member) -> Any:
    value = _decoded(data[of.offset : of.offset + of.type.size], of.type)
    if not of.bit_size or not in_register(of.type):
        return value
    value = (value >> of.bit_offset) & (1 << of.bit_size) - 1
    return value - (1 << of.bit_size) if shape(of.type)[1] and value >> of.bit_size - 1 else value


def pack(part: Part, value: Any, into: bytearray) -> None:
    """A value to its place in ``into``."""
    of, start = part.type, part.offset
    if isinstance(of, Tuple):
        for inner, item in zip(part.parts, value):
            pack(inner, item, into)
    elif is_words(of):
        struct.pack_into(f"<Q{len(value)}Q", into, start, len(value), *value)
    elif isinstance(of, Formatted) and of.form == "inet":
        struct.pack_into("<Q", into, start, FAMILY.get(len(value), 0))
        into[start + 8 : start + 8 + len(value)] = value
    elif isinstance(of, Buffer):
        cut = value[: of.length]
        struct.pack_into("<Q", into, start, len(cut))
        into[start + 8 : start + 8 + len(cut)] = cut
    elif isinstance(of, Str):
        cut = value[: of.length]
        into[start : start + len(cut)] = cut
    elif in_register(of):
        signed = shape(of)[1]
        wide = (int(value) & (1 << 8 * part.size) - 1) if signed or int(value) < 0 else int(value)
        into[start : start + part.size] = wide.to_bytes(part.size, "little")
    else:
        data = _encoded(value, of)[: part.size]
        into[start : start + len(data)] = data


def _encoded(value: Any, of: Type) -> bytes:
    """Arrays and structs as C has them."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if in_register(of):
        size = shape(of)[0] // 8
        return (int(value) & (1 << 8 * size) - 1).to_bytes(size, "little")
    if isinstance(of, Array):
        return b"".join(_encoded(item, of.of).ljust(of.of.size, b"\0") for item in value)
    made = bytearray(of.size)
    if isinstance(of, Struct):
        for one, item in zip(of.members, value):
            if one.bit_size:
                unit = int.from_bytes(made[one.offset : one.offset + one.type.size], "little")
                unit |= (int(item) & (1 << one.bit_size) - 1) << one.bit_offset
                made[one.offset : one.offset + one.type.size] = unit.to_bytes(one.type.size, "little")
            else:
                data = _encoded(item, one.type)[: one.type.size]
                made[one.offset : one.offset + len(data)] = data
    return bytes(made)
