"""A kept map, read: CPUs merged, keys and values as model.Snapshot has them."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import Any

from unitrace.contract.model import VECTOR_FROM, Snapshot

from . import syscall
from .maps import Kept
from .packing import pack, unpack

__all__ = ["key_bytes", "lookup", "read", "remove", "remove_all", "store", "zero_all"]

PIECE = 4 << 20
"""Bytes of values read at a time."""

SCALAR = b"\0\0\0\0"


def read(fd: int, plan: Kept, cpus: int, *, batch: bool, shown: bool) -> Snapshot:
    """The content now. ``cpus``: possible ones. ``shown``: a map without a key that nobody has updated
    holds its zero all the same (it was zeroed)."""
    if plan.plain:
        return _plain(fd, plan, batch)
    if plan.scalar:
        value = syscall.map_lookup(fd, SCALAR, plan.value_size * cpus)
        assert value is not None  # an array has all its elements
        merged = _merged(plan, value, 1, cpus)[0]
        return {(): _value(plan, merged)} if shown or _updated(plan, merged) else {}
    found: dict[tuple[Any, ...], Any] = {}
    for keys, values, count in _pieces(fd, plan, cpus, batch):
        size = plan.key_size
        for at, merged in enumerate(_merged(plan, values, count, cpus)):
            key = _key(plan, keys, at * size)
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


def _key(plan: Kept, keys: bytes, at: int) -> tuple[Any, ...]:
    return tuple(unpack(part, keys, at) for part in plan.parts)


# --- maps whose values are set --------------------------------------------------------------------


def _plain(fd: int, plan: Kept, batch: bool) -> Snapshot:
    assert plan.value is not None
    if plan.scalar:
        value = syscall.map_lookup(fd, SCALAR, plan.value_size)
        assert value is not None
        return {(): unpack(plan.value, value, 0)} if value[0] else {}
    found: dict[tuple[Any, ...], Any] = {}
    for keys, values, count in _pieces(fd, plan, 1, batch):
        for at in range(count):
            key = _key(plan, keys, at * plan.key_size)
            found[key] = unpack(plan.value, values, at * plan.value_size)
    return found


def key_bytes(plan: Kept, key: tuple[Any, ...]) -> bytes:
    """A key as the BPF map has it."""
    if plan.scalar:
        return SCALAR
    made = bytearray(plan.key_size)
    for part, value in zip(plan.parts, key):
        pack(part, value, made)
    return bytes(made)


def lookup(fd: int, plan: Kept, key: tuple[Any, ...], cpus: int, *, shown: bool) -> Any:
    """The value under a key, as a snapshot has it; None where there is none."""
    if plan.value is None:
        if plan.scalar:
            return read(fd, plan, cpus, batch=False, shown=shown).get(())
        value = syscall.map_lookup(fd, key_bytes(plan, key), plan.value_size * cpus)
        return None if value is None else _value(plan, _merged(plan, value, 1, cpus)[0])
    value = syscall.map_lookup(fd, key_bytes(plan, key), plan.value_size)
    if value is None or (plan.scalar and not value[0]):
        return None
    return unpack(plan.value, value, 0)


def store(fd: int, plan: Kept, key: tuple[Any, ...], value: Any) -> bool:
    """Set a value; False where the map is full."""
    assert plan.value is not None
    made = bytearray(plan.value_size)
    if plan.scalar:
        made[0] = 1
    pack(plan.value, value, made)
    try:
        syscall.map_update(fd, key_bytes(plan, key), bytes(made))
    except OSError as error:
        if error.errno in (errno.E2BIG, errno.ENOMEM):
            return False
        raise
    return True


def remove(fd: int, plan: Kept, key: tuple[Any, ...]) -> bool:
    """Remove a key of a map whose values are set; whether it was there."""
    if plan.scalar:
        there = syscall.map_lookup(fd, SCALAR, plan.value_size)
        syscall.map_update(fd, SCALAR, bytes(plan.value_size))
        return bool(there and there[0])
    return syscall.map_delete(fd, key_bytes(plan, key))


def remove_all(fd: int, plan: Kept, cpus: int) -> None:
    """Remove all keys. Their values are cleared first: before 5.10 an element that is used again keeps
    what other CPUs had in it."""
    if plan.plain:
        cpus = 1  # its values are shared
    zeros = bytes(plan.value_size * cpus)
    if plan.scalar:
        syscall.map_update(fd, SCALAR, zeros)
        return
    for key in list(_keys(fd, plan)):
        if not plan.plain:
            _put(fd, key, zeros)
        syscall.map_delete(fd, key)


def zero_all(fd: int, plan: Kept, cpus: int) -> None:
    """All values to zero, keys kept."""
    if plan.plain and plan.scalar:
        there = syscall.map_lookup(fd, SCALAR, plan.value_size)
        syscall.map_update(fd, SCALAR, (there or b"\0")[:1].ljust(plan.value_size, b"\0"))
        return
    zeros = bytes(plan.value_size * (1 if plan.plain else cpus))
    for key in [SCALAR] if plan.scalar else list(_keys(fd, plan)):
        _put(fd, key, zeros)


def _put(fd: int, key: bytes, value: bytes) -> None:
    try:
        syscall.map_update(fd, key, value, syscall.EXIST)
    except FileNotFoundError:
        pass  # removed meanwhile
