"""Interval clauses: when they are due, by CLOCK_MONOTONIC."""

from __future__ import annotations

from unitrace.contract.errors import SpecError
from unitrace.contract.ir import Probe

__all__ = ["MOST_AT_ONCE", "Timer", "period"]

UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "": 1_000_000_000}

MOST_AT_ONCE = 64
"""Firings of a late timer that are made up for; beyond, they are skipped: a clause slower than its
period must not stall the run."""


def period(probe: Probe) -> int:
    """Nanoseconds between two firings of an interval probe: ``scope`` is the unit, ``name`` the number."""
    unit = probe.scope or "ns"
    try:
        number = int(probe.name, 0)
    except ValueError:
        number = 0
    if number <= 0 or (unit != "hz" and unit not in UNITS):
        raise SpecError(f"{probe.written or probe.label}: not an interval", span=probe.span)
    return max(1, 1_000_000_000 // number) if unit == "hz" else number * UNITS[unit]


class Timer:
    """One interval clause. ``due``: when it fires next; ``ordinal``: of the clause."""

    __slots__ = ("due", "ordinal", "period")

    def __init__(self, ordinal: int, length: int, now: int) -> None:
        self.ordinal = ordinal
        self.period = length
        self.due = now + length

    def advance(self, now: int) -> None:
        """The next firing; where far too many are late, those are skipped."""
        self.due += self.period
        late = (now - self.due) // self.period
        if late >= MOST_AT_ONCE:
            self.due += (late - MOST_AT_ONCE + 1) * self.period
