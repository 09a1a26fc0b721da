"""Events and metrics by the names that a CPU's maker gave them, from the kernel's own ``perf`` Python module.

The module (tools/perf/util/python.c; ``parse_events`` since 6.8, ``metrics`` since 6.18) comes with the
distribution's perf and for the distribution's Python, which a virtual environment isn't. So a Python that has
it is asked, as a process of its own.
"""

from __future__ import annotations

import sys
from typing import Any

from unitrace.contract.errors import UsageError
from unitrace.contract.record import Record

__all__ = ["Definition", "event", "learn", "metrics"]

_ASKED = """\
import json, sys
import perf
wanted = json.load(sys.stdin)
events = {}
for name in wanted["events"]:
    try:
        found = list(perf.parse_events(name))
    except Exception:
        found = []
    events[name] = [found[0].type, found[0].config] if len(found) == 1 else None
known = {one["MetricName"]: one for one in perf.metrics()} if wanted["metrics"] else {}
json.dump({"events": events, "metrics": {name: known.get(name) for name in wanted["metrics"]},
           "known": sorted(known)}, sys.stdout)
"""

_PATIENCE = 20.0


class Definition(Record):
    """A metric: its formula over events, and how the result is shown ("100%": times 100, in percent)."""

    name: str
    formula: str
    scale: float = 1.0
    unit: str = ""


_events: dict[str, tuple[int, int] | None] = {}


def learn(names: list[str]) -> None:
    """Ask for the events of these names, all at once."""
    new = [name for name in names if name not in _events]
    answer = _ask(events=new) if new else None
    for name in new:
        found = answer["events"][name] if answer else None
        _events[name] = (found[0], found[1]) if found else None


def event(name: str) -> tuple[int, int] | None:
    """type and config of perf_event_attr; None where nobody knows the name."""
    learn([name])
    return _events[name]


def metrics(names: list[str]) -> list[Definition]:
    """The metrics of these names. UsageError where one isn't known, or the module isn't there."""
    answer = _ask(metrics=names)
    if answer is None:
        raise UsageError(
            "-M needs the kernel's perf module for Python (6.18 or later)",
            remedy="install linux-perf of the distribution, whose Python has it",
        )
    found = []
    for name in names:
        one = answer["metrics"][name]
        if one is None:
            from difflib import get_close_matches

            near = get_close_matches(name, answer["known"], 3)
            remedy = f"did you mean {' or '.join(near)}?" if near else "perf list metrics"
            raise UsageError(f"-M {name}: perf knows no such metric for this CPU", remedy=remedy)
        scale, unit = _scale(one.get("ScaleUnit", ""))
        found.append(Definition(name, one["MetricExpr"], scale, unit))
    return found


def _scale(text: str) -> tuple[float, str]:
    """ "100%" or "3e-5MiB" in two."""
    for end in range(len(text), 0, -1):
        try:
            return float(text[:end]), text[end:]
        except ValueError:
            continue
    return 1.0, text


def _ask(*, events: list[str] | None = None, metrics: list[str] | None = None) -> dict[str, Any] | None:
    """What the first Python that has the module says; None where none has."""
    import json
    import shutil
    import subprocess

    wanted = json.dumps({"events": events or [], "metrics": metrics or []})
    for python in dict.fromkeys((shutil.which("python3"), "/usr/bin/python3", sys.executable)):
        if not python:
            continue
        try:
            done = subprocess.run(
                [python, "-c", _ASKED], input=wanted, capture_output=True, text=True, timeout=_PATIENCE
            )
            if done.returncode == 0:
                answer: dict[str, Any] = json.loads(done.stdout)
                return answer
        except (OSError, ValueError, subprocess.TimeoutExpired):
            continue
    return None
