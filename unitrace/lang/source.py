"""The program's text: places in it, and errors that point at them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from unitrace.contract.errors import ProbeError, SpecError
from unitrace.contract.ir import Span

__all__ = ["Source", "nearest", "suggest"]


class Source:
    """The text of a program. ``name``: what errors call it. ``outer``: the call of the macro whose body is
    being gone through."""

    __slots__ = ("_lines", "name", "outer", "text")

    def __init__(self, text: str, name: str = "stdin") -> None:
        self.text = text
        self.name = name
        self.outer: Span | None = None
        self._lines: list[int] | None = None

    def span(self, start: int, end: int) -> Span:
        """The place between two offsets; what is on further lines is cut off."""
        if self._lines is None:
            self._lines = [0]
            at = self.text.find("\n")
            while at >= 0:
                self._lines.append(at + 1)
                at = self.text.find("\n", at + 1)
        line = bisect_right(self._lines, start) - 1
        first = self._lines[line]
        stop = self._lines[line + 1] - 1 if line + 1 < len(self._lines) else len(self.text)
        column = start - first
        return Span(line + 1, column, max(column + 1, min(end, stop) - first), self.outer)

    def error(self, message: str, start: int, end: int, remedy: str = "") -> SpecError:
        """An error at a place."""
        return SpecError(one_line(message), span=self.span(start, end), remedy=remedy, source=self.text)

    def probe_error(self, message: str, start: int, end: int, remedy: str = "") -> ProbeError:
        """An error about a probe."""
        return ProbeError(one_line(message), span=self.span(start, end), remedy=remedy, source=self.text)


def one_line(message: str) -> str:
    """``message`` with line ends and other control characters, quoted from a program, escaped."""
    if message.isprintable():
        return message
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else ascii(c)[1:-1] for c in message)


def nearest(word: str, words: Iterable[str], most: int = 3) -> list[str]:
    """Those of ``words`` that ``word`` may have been meant to be, best first."""
    limit = max(1, min(3, len(word) // 3))
    low = word.lower()
    found = []
    for other in words:
        if abs(len(other) - len(word)) > limit and not other.lower().startswith(low):
            continue
        distance = _distance(low, other.lower(), limit)
        if distance <= limit:
            found.append((distance, other))
        elif len(word) >= 3 and other.lower().startswith(low):
            found.append((limit + 1, other))
    return [other for _, other in sorted(found)[:most]]


def suggest(word: str, words: Iterable[str]) -> str:
    """A remedy: "did you mean x?", or ""."""
    near = nearest(word, words)
    return f"did you mean {' or '.join(near)}?" if near else ""


def _distance(one: str, other: str, limit: int) -> int:
    """Edits between two words, swaps of neighbours counted once; above ``limit`` only "more"."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
        before, last = last, row
    return last[-1]
