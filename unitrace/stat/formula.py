"""A metric's formula: the language of tools/perf/util/expr.y, which has Python's operators and conditions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from unitrace.contract.errors import UsageError
from unitrace.kernel import cpus

__all__ = ["DURATION", "Formula"]

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?(?![\w.:@]))"
    r"|(?P<word>(?:\\[-,=]|[\w.:@?])+)"
    r"|(?P<literal>#[\w.]+)"
    r"|(?P<sign>[-+*/%|&^<>(),]))"
)

_WORDS = ("if", "else")

DURATION = "duration_time"
"""The time that was counted for, in seconds here: a tool's event, not the kernel's."""


def _ratio(one: float, two: float) -> float:
    return one / two if two else 0.0


_FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "d_ratio": _ratio,
    "has_event": lambda count: float(not math.isnan(count)),
    "source_count": lambda count: 1.0,  # an event is counted by one PMU here
}

_LITERALS: dict[str, Callable[[], float]] = {
    "#num_cpus": lambda: cpus.possible(),
    "#num_cpus_online": lambda: len(cpus.online()),
    "#num_cores": lambda: len({cpus.core(cpu) for cpu in cpus.online()}),
    "#num_packages": lambda: len({cpus.core(cpu)[0] for cpu in cpus.online()}),
    "#smt_on": lambda: float(len({cpus.core(cpu) for cpu in cpus.online()}) < len(cpus.online())),
}


class Formula:
    """``events``: the names it asks for, as -e takes them, and DURATION. UsageError for what isn't such a
    formula."""

    def __init__(self, text: str) -> None:
        self.events: list[str] = []
        parts, at = [], 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise UsageError(f"a metric's formula isn't understood at {text[at:].strip()[:30]!r}")
            at = found.end()
            parts.append(self._part(found, text[at:].lstrip().startswith("(")))
        try:
            self._code = compile(" ".join(parts), "metric", "eval")
        except SyntaxError as error:
            raise UsageError(f"a metric's formula isn't understood: {text} ({error.msg})") from None

    def _part(self, found: re.Match[str], called: bool) -> str:
        word, literal = found["word"], found["literal"]
        if literal:
            if literal not in _LITERALS:
                raise UsageError(f"a metric's {literal} isn't known here")
            return repr(float(_LITERALS[literal]()))
        if word is None or word in _WORDS:
            return found[0]
        if called:
            if word not in _FUNCTIONS:
                raise UsageError(f"a metric's {word}() isn't known here")
            return word
        name = re.sub(r"\\(.)", r"\1", word).replace("@", "/")
        if name not in self.events:
            self.events.append(name)
        return f"event[{self.events.index(name)}]"

    def value(self, counts: Mapping[str, float], seconds: float) -> float:
        """The result for counts of its events, and ``seconds`` as DURATION; NaN where one is missing
        or something is divided by zero."""
        known = {DURATION: seconds, **counts}
        held = [known.get(name, math.nan) for name in self.events]
        names: dict[str, Any] = {"__builtins__": {}, "event": held, **_FUNCTIONS}
        try:
            return float(eval(self._code, names))
        except (ArithmeticError, TypeError):
            return math.nan
