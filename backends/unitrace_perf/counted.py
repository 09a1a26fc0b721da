"""Counting mode: ``@ = count()`` without a key, where the kernel decides the whole predicate.

A counter that doesn't sample costs the traced task a quarter of a sample, and is read(2) at the end. It is
exact where each event counts for one: tracepoints, probes, software events with a period of 1. Clocks and
hardware counters count something else than their samples.
"""

from __future__ import annotations

import struct

from unitrace.contract.ir import MapUpdate
from unitrace.contract.model import Snapshot
from unitrace.contract.offer import Request, Share
from unitrace.contract.types import Aggregate

from . import syscall
from .plan import Plan

__all__ = ["COUNTED_MS", "COUNTED_NS", "Counter", "counted"]

COUNTED_NS, COUNTED_MS = 165, 60
"""Of an event, and to attach and (mostly) to detach: closing a tracepoint's events waits for RCU."""

_CLOCKS = (0, 1)  # cpu-clock, task-clock: they count nanoseconds

HOW = "counting mode"


def counted(request: Request, one: Share) -> Share | None:
    """The share in counting mode; None where that isn't the same."""
    clause, plan = one.clause, one.plan
    if one.residual is None or one.residual.predicate is not None or not isinstance(plan, Plan):
        return None
    if len(clause.body) != 1 or not isinstance(clause.body[0], MapUpdate):
        return None
    update = clause.body[0]
    of = request.map(update.map).value
    if update.key or update.map not in request.keepable:
        return None
    if not isinstance(of, Aggregate) or of.function != "count":
        return None
    if len(request.writers(update.map)) != 1:
        return None
    if plan.way == "sampled":
        software = plan.type == syscall.TYPE_SOFTWARE and plan.config not in _CLOCKS
        if plan.hertz or plan.period != 1 or not (software or plan.type == syscall.TYPE_BREAKPOINT):
            return None
    return one.replace(
        residual=None,
        columns=(),
        how=f"{one.how}, {HOW}",
        plan=plan.replace(counted=update.map, comm=False, tgid=False),
    )


class Counter:
    """The map of a clause in counting mode: ``fds`` of its events."""

    __slots__ = ("_base", "_shown", "fds")

    def __init__(self) -> None:
        self.fds: list[int] = []
        self._base = 0
        self._shown = False

    def snapshot(self) -> Snapshot:
        """The count, under the empty key; nothing where there is none."""
        count = self._count() - self._base
        return {(): count} if count or self._shown else {}

    def clear(self) -> None:
        """From here on only what comes is there."""
        self._base, self._shown = self._count(), False

    def zero(self) -> None:
        """What is there stays, at zero."""
        self._shown = bool(self.snapshot())
        self._base = self._count()

    def _count(self) -> int:
        return sum(struct.unpack_from("<Q", syscall.read_count(fd))[0] for fd in self.fds)
