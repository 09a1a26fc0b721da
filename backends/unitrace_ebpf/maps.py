"""Maps kept in the kernel: how keys and values lie in memory, and making the BPF maps for them."""

from __future__ import annotations

from unitrace.contract.ir import MapDecl
from unitrace.contract.model import hist_bucket, lhist_bucket
from unitrace.contract.record import Record
from unitrace.contract.types import Aggregate

from . import syscall
from .compile.base import CannotCompile
from .compile.layouts import Part, in_register, laid_out, slot

__all__ = ["Kept", "Part", "kept", "make"]

VALUE_MOST = 32 << 10
"""A per-CPU value's limit: PCPU_MIN_UNIT_SIZE (include/linux/percpu.h)."""

KEY_MOST = 4096
"""Bytes of a key."""

ROOM = 8 << 20
"""Bytes of a map made full size at once; above, elements are made as they come (6.1: bpf_mem_alloc)."""


class Kept(Record):
    """A map's layout. ``function``: how it aggregates, "" where values are set.

    ``value_size``, of aggregates per CPU: count: u64. sum: u64 (and, without a key, how often: so that
    nothing and a sum of 0 differ). min, max: value, set. avg, stats: count, total. hist, lhist: a u64 a
    bucket. Of set values: what ``value`` says; a number without a key has a u64 before it that says
    whether it is set.
    """

    decl: MapDecl
    function: str
    signed: bool
    parameters: tuple[int, ...]
    parts: tuple[Part, ...]
    key_size: int
    value_size: int
    value: Part | None = None

    @property
    def scalar(self) -> bool:
        """Whether it is the one element of an array."""
        return not self.parts and (self.value is None or in_register(self.value.type))

    @property
    def plain(self) -> bool:
        """Whether values are set, not aggregated."""
        return self.value is not None


def kept(decl: MapDecl) -> Kept:
    """The layout of a map; CannotCompile where a part has none."""
    of = decl.value
    parts, end = laid_out(decl.key, 0)
    size = -(-end // 8) * 8
    if size > KEY_MOST:
        raise CannotCompile(f"{decl.name}: a key of {size} bytes")
    if not isinstance(of, Aggregate):
        held = slot(of)
        if not parts and in_register(of):
            return Kept(decl, "", False, (), (), 0, 16, held.moved(8))
        if held.size > VALUE_MOST:
            raise CannotCompile(f"{decl.name}: a value of {held.size} bytes")
        return Kept(decl, "", False, (), parts, size or 8, held.size, held)
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


def make(plan: Kept, cpus: int, version: tuple[int, int]) -> int:
    """The BPF map: one array element, or a hash; of each CPU where it aggregates. A file descriptor."""
    name = f"ut_{plan.decl.name[1:]}"
    if plan.scalar:
        kind = syscall.ARRAY if plan.plain else syscall.PERCPU_ARRAY
        return syscall.map_create(kind, 4, plan.value_size, 1, name=name)
    entries = max(1, plan.decl.entries) if plan.parts else 1
    copies = 1 if plan.plain else cpus
    size = entries * (plan.value_size * copies + plan.key_size + 64)
    flags = syscall.NO_PREALLOC if size > ROOM and version >= (6, 1) and not plan.decl.evicts else 0
    if plan.decl.evicts:
        kind = syscall.LRU_HASH if plan.plain else syscall.LRU_PERCPU_HASH
    else:
        kind = syscall.HASH if plan.plain else syscall.PERCPU_HASH
    return syscall.map_create(kind, plan.key_size, plan.value_size, entries, flags, name)
