"""Maps kept in the kernel: how keys and values lie in memory, and making the BPF maps for them."""

from __future__ import annotations

from unitrace.contract.ir import MapDecl
from unitrace.contract.model import hist_bucket, lhist_bucket
from unitrace.contract.record import Record
from unitrace.contract.types import Aggregate, Bool, Enum, Int, Pointer, Str, Symbol, Tuple, Type

from . import syscall
from .compile.base import CannotCompile
from .compile.stacks import is_words, room

__all__ = ["KEY_ON_STACK", "Kept", "Part", "kept", "make"]

VALUE_MOST = 32 << 10
"""A per-CPU value's limit: PCPU_MIN_UNIT_SIZE (include/linux/percpu.h)."""

KEY_ON_STACK, KEY_MOST = 256, 4096
"""A key is built on the stack; a larger one in a per-CPU place, where no other program can come between."""

ROOM = 8 << 20
"""Bytes of a map made full size at once; above, elements are made as they come (6.1: bpf_mem_alloc)."""


class Part(Record):
    """One part of a key: its type, where it lies; ``parts`` of a tuple."""

    type: Type
    offset: int
    parts: tuple[Part, ...] = ()


class Kept(Record):
    """A map's layout. ``value_size`` per CPU: count: u64. sum: u64 (and, without a key, how often: so
    that nothing and a sum of 0 differ). min, max: value, set. avg, stats: count, total. hist, lhist: a u64
    a bucket."""

    decl: MapDecl
    function: str
    signed: bool
    parameters: tuple[int, ...]
    parts: tuple[Part, ...]
    key_size: int
    value_size: int

    @property
    def large(self) -> bool:
        """Whether the key is built off the stack."""
        return self.key_size > KEY_ON_STACK

    @property
    def scalar(self) -> bool:
        return not self.parts


def kept(decl: MapDecl) -> Kept:
    """The layout of an aggregating map; CannotCompile where a part has none."""
    of = decl.value
    if not isinstance(of, Aggregate):
        raise CannotCompile(f"{decl.name}: it is set, not aggregated")
    parts, end = _parts(decl.key, 0)
    size = -(-end // 8) * 8
    if size > KEY_MOST:
        raise CannotCompile(f"{decl.name}: a key of {size} bytes")
    sizes = {"count": 8, "sum": 8 if parts else 16, "min": 16, "max": 16, "avg": 16, "stats": 16}
    if of.function in sizes:
        value = sizes[of.function]
    elif of.function == "hist":
        bits = of.parameters[0] if of.parameters else 0
        value = 8 * (hist_bucket((1 << 63) - 1, bits) + 1)
    elif of.function == "lhist":
        low, high, step = of.parameters
        value = 8 * (lhist_bucket(high, low, high, step) + 1)
    else:
        raise CannotCompile(f"{of.function}()")
    if value > VALUE_MOST:
        raise CannotCompile(f"{decl.name}: {value // 8} buckets")
    return Kept(decl, of.function, of.signed, of.parameters, parts, size, value)


def _parts(types: tuple[Type, ...], at: int) -> tuple[tuple[Part, ...], int]:
    found = []
    for one in types:
        if isinstance(one, Tuple):
            start = -(-at // 8) * 8
            inner, at = _parts(one.items, start)
            found.append(Part(one, start, inner))
            continue
        words = is_words(one)
        if not (words or isinstance(one, (Int, Enum, Pointer, Bool, Str, Symbol))) or not one.size:
            raise CannotCompile(f"a key of type {type(one).__name__}")
        align = 8 if words or isinstance(one, Str) else one.size
        at = -(-at // align) * align
        found.append(Part(one, at))
        at += room(one)
    return tuple(found), at


def make(plan: Kept, cpus: int, version: tuple[int, int]) -> int:
    """The BPF map: one per-CPU array element without a key, else a per-CPU hash. A file descriptor."""
    name = f"ut_{plan.decl.name[1:]}"
    if plan.scalar:
        return syscall.map_create(syscall.PERCPU_ARRAY, 4, plan.value_size, 1, name=name)
    entries = max(1, plan.decl.entries)
    size = entries * (plan.value_size * cpus + plan.key_size + 64)
    flags = syscall.NO_PREALLOC if size > ROOM and version >= (6, 1) else 0
    return syscall.map_create(syscall.PERCPU_HASH, plan.key_size, plan.value_size, entries, flags, name)
