"""tseries() as a plot over time, the way bpftrace prints it, and its rows for JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping

from unitrace.contract.types import Aggregate

__all__ = ["cells", "newest", "plot", "starts"]

WIDTH = 53
_LEFT = 21
_UNITS = ((10**9, "", 0), (10**6, ".ms", 3), (10**3, ".us", 6), (1, ".ns", 9))

Cells = list[tuple[int, int | None]]


def newest(series: Iterable[Mapping[int, int]]) -> int:
    """The newest interval in any of a map's series: all of them are shown up to there. 0 of nothing."""
    return max((max(values) for values in series if values), default=0)


def cells(of: Aggregate, values: Mapping[int, int], last: int) -> Cells:
    """(interval, value) from the first interval that is still shown to ``last``; None in the gaps."""
    first = last - of.parameters[1] + 1
    shown = [interval for interval in values if interval >= first]
    return [(at, values.get(at)) for at in range(min(shown), last + 1)] if shown else []


def starts(of: Aggregate, interval: int) -> int:
    """When an interval starts: nanoseconds since 1970."""
    # The variable makes time a map's content, for tests; events bear the monotonic clock's.
    if "BPFTRACE_DUMMY_TS_MAP" in os.environ:
        return interval * of.parameters[0]
    return interval * of.parameters[0] + time.time_ns() - time.monotonic_ns()


def plot(of: Aggregate, shown: Cells) -> list[bytes]:
    """The lines of a plot: a line an interval, from the least value at the left to the greatest."""
    values = [value for _, value in shown if value is not None]
    if not values:
        return [b"<no data>"]
    least, most = min(values), max(values)
    if least == most:
        least, most = least - (of.signed or least > 0), most + 1
    unit, name, digits = next(one for one in _UNITS if of.parameters[0] >= one[0] or one[0] == 1)
    head = f"hh:mm:ss{name}"
    margin = 9 + (digits + 1 if digits else 0)
    scale = " " * margin + f"{least:<{_LEFT}}{most:>{WIDTH - _LEFT}}"
    edge = "_" * (WIDTH - 2)
    zero = WIDTH * -least // (most - least) if least < 0 < most else 0
    lines = [scale, f"{head:<{margin}}|{edge}|"]
    for interval, value in shown:
        second, ns = divmod(starts(of, interval), 10**9)
        clock = time.strftime("%H:%M:%S", time.localtime(second))
        if digits:
            clock += f".{ns // unit:0{digits}}"
        row = ["|", *" " * (WIDTH - 2), "|"]
        if zero:
            row[zero] = "."
        if value is not None:
            row[(WIDTH - 1) * (value - least) // (most - least)] = "*"
        lines.append(f"{clock} {''.join(row)} {'-' if value is None else value}")
    lines += [" " * margin + f"v{edge}v", scale]
    return [line.encode() for line in lines]
