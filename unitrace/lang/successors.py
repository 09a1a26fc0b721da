"""Functions that scripts name and that no longer fire, or go by another name now.

Each entry says how that was found out. A successor is taken only where it exists and, for ``quiet`` ones
(there, can be probed, never fires), only from that kernel version on.
"""

from __future__ import annotations

from unitrace.contract.record import Record

__all__ = ["SUCCESSORS", "Successor"]


class Successor(Record):
    """``name`` is followed by the first of ``now`` that exists. ``since``: the version from which
    ``name`` doesn't fire though it is there; (0, 0): it is taken where ``name`` isn't there.
    ``same``: how many leading arguments are known to mean the same."""

    name: str
    now: tuple[str, ...]
    why: str
    since: tuple[int, int] = (0, 0)
    same: int = 0


_ALL = (
    # v5.6, fddb5d430ad9: do_sys_open() became a wrapper of do_sys_openat2(), which the compiler inlines into
    # the system calls. Seen on 5.10, 6.1, 6.12, 6.18 and 7.3: the probe registers, and has no hits.
    Successor("do_sys_open", ("do_sys_openat2",), "the compiler inlines it", (5, 6), same=2),
    # The others aren't there any more. Which name is, was read from available_filter_functions of Debian's
    # 5.10.262, 6.1.192, 6.12.118 and 7.3.4 (x86-64).
    # v5.10, cad6967ac108; on all four. Both have one argument, a struct kernel_clone_args, since v5.5.
    Successor("_do_fork", ("kernel_clone",), "it was renamed"),
    # v5.9, ed00aabd5eb9; on all four
    Successor("generic_make_request", ("submit_bio_noacct",), "it was renamed", same=1),
    # v5.13, 84172f4bb752: __alloc_pages_nodemask on 5.10, __alloc_pages on 6.1. v6.10, b951aaff5035 (memory
    # allocation profiling put _noprof behind the names of allocators): on 6.12 and 7.3.
    Successor("__alloc_pages_nodemask", ("__alloc_pages", "__alloc_pages_noprof"), "it was renamed", same=4),
    Successor("__alloc_pages", ("__alloc_pages_noprof", "__alloc_pages_nodemask"), "it was renamed", same=2),
    # v6.10, 7bd230a26648; the old names on 5.10 and 6.1, the new ones on 6.12 and 7.3
    Successor("kmem_cache_alloc", ("kmem_cache_alloc_noprof",), "it was renamed", same=2),
    Successor("__kmalloc", ("__kmalloc_noprof",), "it was renamed", same=2),
    # gcc's interprocedural optimisation makes a copy under another name: on 6.1, 6.12 and 7.3; not on 5.10
    Successor("finish_task_switch", ("finish_task_switch.isra.0",), "the compiler made a copy of it"),
)

SUCCESSORS = {one.name: one for one in _ALL}
