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
    ``same``: how many leading arguments mean the same."""

    name: str
    now: tuple[str, ...]
    why: str
    since: tuple[int, int] = (0, 0)
    same: int = 0


_ALL = (
    # v5.6, fddb5d430ad9: do_sys_open() became a wrapper of do_sys_openat2(), which the compiler inlines into
    # the system calls. Seen on 5.10, 6.1, 6.12, 6.18 and 7.3: the probe registers, and has no hits.
    Successor("do_sys_open", ("do_sys_openat2",), "the compiler inlines it", (5, 6), same=2),
)

SUCCESSORS = {one.name: one for one in _ALL}
