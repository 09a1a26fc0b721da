"""Call chains in samples (SAMPLE_CALLCHAIN): u64 nr; u64 ips[nr], before the raw data.

Among the addresses stand markers that say whose the following ones are (enum perf_callchain_context).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct, unpack_from

from . import records

__all__ = ["FRAMES_MAX", "split", "taken"]

FRAMES_MAX = 127
"""kernel.perf_event_max_stack, as it is set by default (PERF_MAX_STACK_DEPTH): kernel and user frames."""

_MARKS_FROM = (1 << 64) - 4095  # PERF_CONTEXT_MAX
_KERNEL, _USER = (1 << 64) - 128, (1 << 64) - 512

_COUNT = Struct("<Q").unpack_from

Chain = tuple[int, ...]


def taken(data: bytes, starts: Iterable[int]) -> tuple[list[int], list[Chain]]:
    """The chains of the samples at ``starts``; and where the samples would start, if their raw data lay where
    it does without a chain."""
    moved, chains = [], []
    for start in starts:
        (count,) = _COUNT(data, start + records.RAW_SIZE)
        chains.append(unpack_from(f"<{count}Q", data, start + records.RAW_SIZE + 8))
        moved.append(start + 8 + 8 * count)
    return moved, chains


def split(chain: Sequence[int]) -> tuple[Chain, Chain]:
    """The kernel's frames and the process's."""
    kernel: list[int] = []
    user: list[int] = []
    into = kernel
    for address in chain:
        if address < _MARKS_FROM:
            into.append(address)
        elif address == _USER:
            into = user
        elif address == _KERNEL:
            into = kernel
    return tuple(kernel), tuple(user)
