"""hist() and lhist() as bars, the way bpftrace prints them."""

from __future__ import annotations

from collections.abc import Mapping

from unitrace.contract.types import Aggregate

__all__ = ["bars", "bounds"]

WIDTH = 52
_SUFFIX = " KMGTPE"


def bounds(of: Aggregate, bucket: int) -> tuple[int | None, int | None]:
    """The half-open interval [low, high) of a bucket (model.hist_bucket, lhist_bucket); None: open."""
    if of.function == "lhist":
        low, high, step = of.parameters
        last = 1 + -(-(high - low) // step)
        if bucket == 0:
            return None, low
        if bucket >= last:
            return high, None
        return low + (bucket - 1) * step, min(low + bucket * step, high)
    if bucket == 0:
        return None, 0
    bits = of.parameters[0] if of.parameters else 0
    index = bucket - 1
    if index < 1 << bits:
        return index, index + 1
    exponent = (index >> bits) - 1
    low = ((1 << bits) + (index & ((1 << bits) - 1))) << exponent
    return low, low + (1 << exponent)


def bars(of: Aggregate, counts: Mapping[int, int], divisor: int = 1) -> list[bytes]:
    """A line a bucket, from the first to the last that isn't empty; [] where all are."""
    used = [bucket for bucket, count in counts.items() if count]
    if not used:
        return []
    most = max(counts[bucket] for bucket in used)
    lines = []
    for bucket in range(min(used), max(used) + 1):
        count = counts.get(bucket, 0)
        stars = "@" * (WIDTH * count // most)
        lines.append(f"{_label(of, bucket):<16}{count // divisor:>8} |{stars:<{WIDTH}}|".encode())
    return lines


def _label(of: Aggregate, bucket: int) -> str:
    low, high = bounds(of, bucket)
    if of.function == "lhist":
        step = of.parameters[2]
        if low is None:
            return f"(..., {_linear(high or 0, step)})"
        if high is None:
            return f"[{_linear(low, step)}, ...)"
        if step == 1:
            return f"[{_linear(low, step)}]"
        return f"[{_linear(low, step)}, {_linear(high, step)})"
    bits = of.parameters[0] if of.parameters else 0
    if low is None:
        return "(..., 0)"
    if high == low + 1:
        return f"[{_power(bucket - 1, bits)}]"
    return f"[{_power(bucket - 1, bits)}, {_power(bucket, bits)})"


def _power(index: int, bits: int) -> str:
    # bpftrace writes 2**10 as 1K: the suffix follows the exponent, not the value.
    if index < 1 << bits:
        return str(index)
    exponent = (index >> bits) - 1
    mantissa = (1 << bits) + (index & ((1 << bits) - 1))
    return f"{mantissa << exponent % 10}{_SUFFIX[exponent // 10].strip()}"


def _linear(number: int, step: int) -> str:
    if step % 1024 or number == 0:
        return str(number)
    if number % (1 << 20) == 0:
        return f"{number >> 20}M"
    return f"{number >> 10}K" if number % 1024 == 0 else str(number)
