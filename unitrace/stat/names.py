"""Names of events, as ``perf list`` has them, to what perf_event_open(2) wants.

Software and hardware events, cache events (L1-dcache-load-misses), raw ones (r01c2), those of any PMU
(``cpu/event=0x3c,umask=0/``, ``msr/tsc/``, or an alias from its events/), tracepoints
(``sched:sched_switch``), and what the CPU's maker calls them (vendor.py). Modifiers: u, k, h, H, G; p is for
sampling and says nothing here.
"""

from __future__ import annotations

import os
import re

from unitrace.contract.errors import UsageError
from unitrace.kernel.counters import (
    EXCLUDE_GUEST,
    EXCLUDE_HOST,
    EXCLUDE_HV,
    EXCLUDE_KERNEL,
    EXCLUDE_USER,
    Event,
)
from unitrace.kernel.perf_events import (
    CACHE_OPERATIONS,
    CACHES,
    CPU_CLOCK,
    PERF,
    TASK_CLOCK,
    TYPE_CACHE,
    TYPE_HARDWARE,
    TYPE_RAW,
    TYPE_SOFTWARE,
    TYPE_TRACEPOINT,
)

from .vendor import event

__all__ = ["DEFAULT", "parse"]

DEVICES = "/sys/bus/event_source/devices"
TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")

DEFAULT = "task-clock,context-switches,cpu-migrations,page-faults,cycles,instructions,branches,branch-misses"

_CLOCKS = (CPU_CLOCK, TASK_CLOCK)
_CACHE = re.compile(r"([\w-]+?)-(load|store|prefetch)(?:e?s|-(misses|refs))?$", re.IGNORECASE)
_MODIFIERS = re.compile(r"[ukhGHpPSDWeI]+$")


def parse(text: str) -> list[list[Event]]:
    """The events of ``-e``: groups in braces together, others each alone. UsageError."""
    groups: list[list[Event]] = []
    for part in _split(text):
        grouped = re.fullmatch(r"\{(.*)\}(?::(\w+))?", part)
        if grouped:
            more = f":{grouped[2]}" if grouped[2] else ""
            groups.append([_event(one, more) for one in _split(grouped[1])])
        else:
            groups.append([_event(part, "")])
    if not any(groups):
        raise UsageError("-e needs an event")
    return groups


def _split(text: str) -> list[str]:
    """Parts at commas that are in neither braces nor slashes."""
    parts, depth, slashed, current = [], 0, False, ""
    for letter in text:
        if letter == "/" and not (not slashed and depth == 0 and not current):
            slashed = not slashed
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and not depth and not slashed:
            parts.append(current)
            current = ""
        else:
            current += letter
    return [part.strip() for part in (*parts, current) if part.strip()]


def _event(written: str, more: str) -> Event:
    name, flags = written, 0
    pmu = re.fullmatch(r"([\w.-]+)/([^/]*)/(\w*)", written)
    if pmu:
        flags = _flags(pmu[3] + more.lstrip(":"))
        known = None if os.path.exists(f"{DEVICES}/{pmu[1]}") else event(f"{pmu[1]}/{pmu[2]}/")
        return Event(written, *known, flags=flags) if known else _of_pmu(written, pmu[1], pmu[2], flags)
    head, colon, tail = written.rpartition(":")
    if colon and _MODIFIERS.fullmatch(tail) and not _tracepoint(written):
        name, flags = head, _flags(tail)
    flags |= _flags(more.lstrip(":"))
    lower = name.lower()
    if lower in PERF["software"]:
        config = PERF["software"][lower]
        scale, unit = (1e-6, "msec") if config in _CLOCKS else (1.0, "")
        return Event(written, TYPE_SOFTWARE, config, flags=flags, scale=scale, unit=unit)
    if lower in PERF["hardware"]:
        return Event(written, TYPE_HARDWARE, PERF["hardware"][lower], flags=flags)
    if re.fullmatch(r"r[0-9a-f]+", lower):
        return Event(written, TYPE_RAW, int(lower[1:], 16), flags=flags)
    cache = _cache(lower)
    if cache is not None:
        return Event(written, TYPE_CACHE, cache, flags=flags)
    number = _tracepoint(name)
    if number is not None:
        return Event(written, TYPE_TRACEPOINT, number, flags=flags)
    for device in _listed(DEVICES):
        if os.path.exists(f"{DEVICES}/{device}/events/{name}"):
            return _of_pmu(written, device, name, flags)
    known = event(name)
    if known is not None:
        return Event(written, *known, flags=flags)
    raise UsageError(f"-e {written}: no such event here (perf list names those that perf knows)")


def _flags(letters: str) -> int:
    flags = 0
    rings = {"u": EXCLUDE_USER, "k": EXCLUDE_KERNEL, "h": EXCLUDE_HV}
    wanted = [letter for letter in letters if letter in rings]
    if wanted:
        flags = sum(bit for letter, bit in rings.items() if letter not in wanted)
    if "G" in letters and "H" not in letters:
        flags |= EXCLUDE_HOST
    if "H" in letters and "G" not in letters:
        flags |= EXCLUDE_GUEST
    return flags


def _cache(name: str) -> int | None:
    """perf_hw_cache_id | operation << 8 | result << 16."""
    found = _CACHE.fullmatch(name)
    if found is None or found[1] not in CACHES:
        return None
    return CACHES[found[1]] | CACHE_OPERATIONS[found[2].lower()] << 8 | (found[3] == "misses") << 16


def _tracepoint(name: str) -> int | None:
    category, colon, event = name.partition(":")
    if not colon or "/" in name:
        return None
    for root in TRACEFS:
        try:
            with open(f"{root}/events/{category}/{event}/id", encoding="ascii") as file:
                return int(file.read())
        except OSError:
            continue
    return None


def _of_pmu(written: str, device: str, terms: str, flags: int) -> Event:
    """An event of a PMU by its format/ files; an alias of its events/ stands for terms."""
    folder = f"{DEVICES}/{device}"
    try:
        number = int(_text(f"{folder}/type"))
    except OSError:
        known = ", ".join(_listed(DEVICES))
        raise UsageError(f"-e {written}: this machine has no PMU {device} (there is {known})") from None
    configs = {"config": 0, "config1": 0, "config2": 0}
    scale, unit = 1.0, ""
    for term in filter(None, terms.split(",")):
        name, equals, value = term.partition("=")
        alias = f"{folder}/events/{name}"
        if not equals and os.path.exists(alias):
            for inner in _text(alias).split(","):
                _set(written, folder, configs, *_pair(inner))
            try:
                scale, unit = float(_text(f"{alias}.scale")), _text(f"{alias}.unit")
            except OSError:
                pass
        elif name != "name":
            _set(written, folder, configs, name, value or "1")
    config, config1, config2 = configs.values()
    return Event(written, number, config, config1, config2, flags, scale, unit)


def _pair(term: str) -> tuple[str, str]:
    name, _, value = term.strip().partition("=")
    return name, value or "1"


def _set(written: str, folder: str, configs: dict[str, int], name: str, value: str) -> None:
    try:
        number = int(value, 0)
    except ValueError:
        raise UsageError(f"-e {written}: {value} is no number") from None
    if name in configs:
        configs[name] |= number
        return
    try:
        where = _text(f"{folder}/format/{name}")
    except OSError:
        raise UsageError(
            f"-e {written}: no parameter {name} (there is {', '.join(_listed(f'{folder}/format'))})"
        ) from None
    config, _, places = where.partition(":")
    for place in places.split(","):
        low, _, high = place.partition("-")
        width = int(high or low) - int(low) + 1
        configs[config] |= (number & ((1 << width) - 1)) << int(low)
        number >>= width


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
