"""A kept map, read: CPUs merged, keys and values as model.Snapshot has them."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import Any

from unitrace.contract.model import VECTOR_FROM, Snapshot
from unitrace.contract.types import Bool, Enum, Int, Str, Tuple

from . import syscall
from .compile.stacks import is_words
from .maps import Kept, Part

__all__ = ["read", "remove_all", "zero_all"]

PIECE = 4 << 20
"""Bytes of values read at a time."""

SCALAR = b"\0\0\0\0"


def read(fd: int, plan: Kept, cpus: int, *, batch: bool, shown: bool) -> Snapshot:
    """The content now. ``cpus``: possible ones. ``shown``: a map without a key that nobody has updated
    holds its zero all the same (it was zeroed)."""
    if plan.scalar:
        value = syscall.map_lookup(fd, SCALAR, plan.value_size * cpus)
        assert value is not None  # an array has all its elements
        merged = _merged(plan, value, 1, cpus)[0]
        return {(): _value(plan, merged)} if shown or _updated(plan, merged) else {}
    found: dict[tuple[Any, ...], Any] = {}
    for keys, values, count in _pieces(fd, plan, cpus, batch):
        size = plan.key_size
        for at, merged in enumerate(_merged(plan, values, count, cpus)):
            key = tuple(_part(part, keys, at * size) for part in plan.parts)
            found[key] = _value(plan, merged)
    return found


def _pieces(fd: int, plan: Kept, cpus: int, batch: bool) -> Iterator[tuple[bytes, bytes, int]]:
    size = plan.value_size * cpus
    if batch:
        room = min(plan.decl.entries + 64, max(64, PIECE // size))
        try:
            yield from syscall.map_lookup_batch(fd, plan.key_size, size, room)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, 524):  # ENOTSUPP, the kernel's own
                raise
    for key in list(_keys(fd, plan)):
        value = syscall.map_lookup(fd, key, size)
        if value is not None:
            yield key, value, 1


def _keys(fd: int, plan: Kept) -> Iterator[bytes]:
    """All keys, one by one; a key removed meanwhile would start the walk anew, so each comes once."""
    seen: set[bytes] = set()
    key = syscall.map_next_key(fd, None, plan.key_size)
    while key is not None and key not in seen:
        seen.add(key)
        yield key
        key = syscall.map_next_key(fd, key, plan.key_size)


def _merged(plan: Kept, values: bytes, count: int, cpus: int) -> list[list[int]]:
    """Words of each key's value, CPUs merged: added up, or the extreme of those that are set."""
    words = plan.value_size // 8
    total = count * cpus * words
    extreme = plan.function in ("min", "max")
    if total >= 4 * VECTOR_FROM and not extreme:
        import numpy as np

        table = np.frombuffer(values, "<u8", total).reshape(count, cpus, words)
        listed: list[list[int]] = table.sum(axis=1, dtype=np.uint64).tolist()
        return listed
    flat = struct.unpack(f"<{total}Q", values[: total * 8])
    out = []
    for at in range(0, total, cpus * words):
        rows = [flat[at + cpu * words : at + (cpu + 1) * words] for cpu in range(cpus)]
        if extreme:
            held = [_signed(row[0], plan.signed) for row in rows if row[1]]
            pick = min if plan.function == "min" else max
            out.append([pick(held), 1] if held else [0, 0])
        else:
            out.append([sum(column) for column in zip(*rows)])
    return out


def _signed(value: int, signed: bool) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if signed and value >> 63 else value


def _updated(plan: Kept, words: list[int]) -> bool:
    if plan.function in ("sum", "min", "max"):
        return words[1] != 0
    if plan.function in ("hist", "lhist"):
        return any(words)
    return words[0] != 0


def _value(plan: Kept, words: list[int]) -> Any:
    if plan.function == "count":
        return words[0]
    if plan.function == "sum":
        return _signed(words[0], plan.signed)
    if plan.function in ("min", "max"):
        return words[0]
    if plan.function in ("avg", "stats"):
        return words[0], _signed(words[1], plan.signed)
    return {bucket: times for bucket, times in enumerate(words) if times}


def _part(part: Part, keys: bytes, at: int) -> Any:
    of, at = part.type, at + part.offset
    if isinstance(of, Tuple):
        return tuple(_part(inner, keys, at - part.offset) for inner in part.parts)
    if is_words(of):
        count = struct.unpack_from("<Q", keys, at)[0]
        return struct.unpack_from(f"<{count}Q", keys, at + 8)
    data = keys[at : at + of.size]
    if isinstance(of, Str):
        return data.partition(b"\0")[0]
    if isinstance(of, Bool):
        return data != b"\0"
    signed = isinstance(of, (Int, Enum)) and of.signed
    return int.from_bytes(data, "little", signed=signed)


def remove_all(fd: int, plan: Kept, cpus: int) -> None:
    """Remove all keys. Their values are cleared first: before 5.10 an element that is used again keeps
    what other CPUs had in it."""
    if plan.scalar:
        syscall.map_update(fd, SCALAR, bytes(plan.value_size * cpus))
        return
    zeros = bytes(plan.value_size * cpus)
    for key in list(_keys(fd, plan)):
        _put(fd, key, zeros)
        syscall.map_delete(fd, key)


def zero_all(fd: int, plan: Kept, cpus: int) -> None:
    """All values to zero, keys kept."""
    zeros = bytes(plan.value_size * cpus)
    for key in [SCALAR] if plan.scalar else list(_keys(fd, plan)):
        _put(fd, key, zeros)


def _put(fd: int, key: bytes, value: bytes) -> None:
    try:
        syscall.map_update(fd, key, value, syscall.EXIST)
    except FileNotFoundError:
        pass  # removed meanwhile
