"""Counts as text, CSV (``-x``) or JSON lines (``-j``), in the forms that ``perf stat`` has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from unitrace.contract.record import Record
from unitrace.kernel.counters import Event, Reading

__all__ = [
    "Row", "csv_line", "csv_measure", "json_line", "json_measure", "mean", "metric", "text_line",
    "text_measure",
]  # fmt: skip

NOT_SUPPORTED, NOT_COUNTED = "<not supported>", "<not counted>"


class Row(Record):
    """One event's count. ``label``: of a core or interval, or ""; ``absent``: the machine doesn't count it.
    ``spread``: of several runs, the standard deviation of their mean in percent (-1: one run)."""

    event: Event
    reading: Reading
    absent: bool = False
    label: str = ""
    spread: float = -1.0

    @property
    def value(self) -> float:
        """In the event's unit, scaled to the whole time."""
        return self.reading.scaled * self.event.scale

    def number(self) -> str:
        """As text: with two decimals where it has a unit."""
        if self.absent:
            return NOT_SUPPORTED
        if not self.reading.running and self.reading.enabled:
            return NOT_COUNTED
        if self.event.scale != 1.0 or self.event.unit:
            return f"{self.value:,.2f}"
        return f"{round(self.value):,}"


def mean(runs: Sequence[Row]) -> Row:
    """The mean of several runs' counts of one event."""
    first, count = runs[0], len(runs)
    if count == 1 or first.absent:
        return first
    values = [row.reading.scaled for row in runs]
    average = sum(values) / count
    deviation = (sum((value - average) ** 2 for value in values) / (count - 1) / count) ** 0.5
    enabled, running = (
        sum(getattr(row.reading, name) for row in runs) // count for name in ("enabled", "running")
    )
    # the value is the mean of scaled ones already: time enabled and running count once
    spread = 100 * deviation / average if average else 0.0
    exact = Reading(round(average * running / enabled) if enabled else 0, enabled, running)
    return first.replace(reading=exact, spread=spread)


def metric(row: Row, others: Mapping[str, Row], seconds: float) -> tuple[float, str] | None:
    """What a count means beside the others: (number, words); None where nothing can be said."""
    if row.absent or not row.reading.running:
        return None
    name = row.event.name.partition(":")[0]
    rule = _METRICS.get(name)
    if rule is not None:
        return rule(row.value, others, seconds)
    busy = _seconds(others)
    if row.event.unit == "" and busy and row.event.type != 2:
        return row.value / busy, "/sec"
    return None


def _of(others: Mapping[str, Row], *names: str) -> float:
    for name in names:
        row = others.get(name)
        if row is not None and not row.absent and row.value:
            return row.value
    return 0.0


def _seconds(others: Mapping[str, Row]) -> float:
    return _of(others, "task-clock", "cpu-clock") / 1000


Rule = Callable[[float, Mapping[str, Row], float], "tuple[float, str] | None"]


def _utilized(value: float, others: Mapping[str, Row], seconds: float) -> tuple[float, str] | None:
    return (value / 1000 / seconds, "CPUs utilized") if seconds else None


def _hertz(value: float, others: Mapping[str, Row], seconds: float) -> tuple[float, str] | None:
    busy = _seconds(others)
    return (value / busy / 1e9, "GHz") if busy else None


def _ratio(words: str, *names: str, percent: bool = False) -> Rule:
    def rule(value: float, others: Mapping[str, Row], seconds: float) -> tuple[float, str] | None:
        base = _of(others, *names)
        return (value / base * (100 if percent else 1), words) if base else None

    return rule


_METRICS: dict[str, Rule] = {
    "task-clock": _utilized,
    "cpu-clock": _utilized,
    "cycles": _hertz,
    "cpu-cycles": _hertz,
    "instructions": _ratio("insn per cycle", "cycles", "cpu-cycles"),
    "branch-misses": _ratio("% of all branches", "branches", "branch-instructions", percent=True),
    "cache-misses": _ratio("% of all cache refs", "cache-references", percent=True),
    "L1-dcache-load-misses": _ratio("% of all L1-dcache accesses", "L1-dcache-loads", percent=True),
    "LLC-load-misses": _ratio("% of all LL-cache accesses", "LLC-loads", percent=True),
    "dTLB-load-misses": _ratio("% of all dTLB cache accesses", "dTLB-loads", percent=True),
    "stalled-cycles-frontend": _ratio("% frontend cycles idle", "cycles", percent=True),
    "stalled-cycles-backend": _ratio("% backend cycles idle", "cycles", percent=True),
}


def text_line(row: Row, meaning: tuple[float, str] | None) -> str:
    """A line for people. A count that was scaled says for how much of the time it really ran."""
    unit = f" {row.event.unit}" if row.event.unit and not row.absent else " " * 5
    text = f"{row.label}{row.number():>20}{unit:<5} {row.event.name:<28}"
    if meaning:
        text += f" # {meaning[0]:10.3f} {meaning[1]}"
    if row.spread >= 0 and not row.absent:
        text += f"  ( +- {row.spread:.2f}% )"
    if not row.absent and row.reading.running < row.reading.enabled:
        text += f"  ({row.reading.share:.2f}%, scaled)"
    return text.rstrip()


def csv_line(row: Row, meaning: tuple[float, str] | None, separator: str, before: Sequence[str]) -> str:
    """value, unit, event, run time, percentage of it, metric and its unit."""
    fields = [*before, row.number().replace(",", ""), row.event.unit, row.event.name]
    fields += [str(row.reading.running), f"{row.reading.share:.2f}"]
    if row.spread >= 0:
        fields.insert(len(before) + 3, f"{row.spread:.2f}%")
    fields += [f"{meaning[0]:.3f}", meaning[1]] if meaning else ["", ""]
    return separator.join(fields)


def json_line(row: Row, meaning: tuple[float, str] | None, before: Mapping[str, object]) -> str:
    """An object with perf's keys, and ``scaled`` where the count was."""
    import json

    value: dict[str, object] = {
        **before,
        "counter-value": row.number().replace(",", ""),
        "unit": row.event.unit,
    }
    value |= {"event": row.event.name, "event-runtime": row.reading.running}
    value["pcnt-running"] = round(row.reading.share, 2)
    if not row.absent and row.reading.running < row.reading.enabled:
        value["scaled"] = True
    if row.spread >= 0:
        value["variance"] = round(row.spread, 2)
    if meaning:
        value |= {"metric-value": f"{meaning[0]:.6f}", "metric-unit": meaning[1]}
    return json.dumps(value)


def text_measure(value: float, unit: str, name: str, label: str) -> str:
    """A metric for people; what can't be computed, as perf has it."""
    shown = f"{value:,.2f}" if value == value else NOT_SUPPORTED
    return f"{label}{shown:>20} {unit:<4} {name}".rstrip()


def csv_measure(value: float, unit: str, name: str, separator: str, before: Sequence[str]) -> str:
    """The fields of an event that isn't there, then the metric and its unit and name."""
    shown = f"{value:.3f}" if value == value else NOT_SUPPORTED
    return separator.join([*before, *[""] * 5, shown, f"{unit}  {name}".strip()])


def json_measure(value: float, unit: str, name: str, before: Mapping[str, object]) -> str:
    """An object with perf's keys."""
    import json

    shown = f"{value:.6f}" if value == value else NOT_SUPPORTED
    return json.dumps({**before, "metric-value": shown, "metric-unit": f"{unit}  {name}".strip()})
