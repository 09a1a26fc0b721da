"""What all kinds of attach points share: their parts, their errors, the probe that is made of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from unitrace.contract.errors import ProbeError
from unitrace.contract.ir import Probe
from unitrace.contract.machine import Machine
from unitrace.contract.probes import BY_NAME

from . import ast
from .lexer import decode_number
from .source import Source

if TYPE_CHECKING:
    from .state import Unit

__all__ = ["WILD", "Places"]

WILD = re.compile(r"[*?\[]")


class Places:
    """The attach point being resolved. ``notices``: one line each on what was done differently from what was
    written. ``typed``: somebody may look at the types of arguments and results: BTF's word on each of a
    thousand functions takes its time. ``unlisted``: kernel functions needn't be in the list of those that
    can be traced."""

    def __init__(self, unit: Unit, pid: int = 0, exact: bool = False, unlisted: bool = False) -> None:
        self.unit = unit
        self.machine: Machine = unit.machine
        self.source: Source = unit.source
        self.pid = pid
        self.exact = exact
        self.unlisted = unlisted
        self.notices: list[str] = []
        self.point = ast.AttachPoint(0, 1, "")
        self.typed = bool(re.search(r"\b(args|retval)\b", self.source.text))

    # -- small change ---------------------------------------------------------------------------

    def error(self, message: str, remedy: str = "") -> ProbeError:
        """An error at the attach point."""
        return self.source.probe_error(message, self.point.start, self.point.end, remedy)

    @property
    def suggesting(self) -> bool:
        """Whether somebody reads what a place that isn't there was meant to be; to search 10,000 symbols for
        it takes half a second."""
        return self.unit.config.get("missing_probes", "error") == "error"

    def split(self, text: str) -> list[str]:
        """The parts between colons; quotes hold one together (a backslash before one in it), ``$1`` is what
        the command line says."""
        if re.fullmatch(r"\$\d+", text):
            text = re.sub(r"\$(\d+)", self._given, text)  # all of it is given: its colons part it too
        parts, quoted, part, escaped = [], False, "", False
        for c in text:
            if escaped or (quoted and c == "\\"):
                part += c if escaped else ""
                escaped = not escaped
            elif c == '"':
                quoted = not quoted
            elif c == ":" and not quoted:
                parts.append(part)
                part = ""
            else:
                part += c
        parts.append(part)
        return [re.sub(r"\$(\d+)", self._given, one) for one in parts]

    def _given(self, found: re.Match[str]) -> str:
        number = int(found[1])
        given = self.unit.positional
        if not 1 <= number <= len(given):
            raise self.error(f"Positional parameter ${number} is empty or not provided")
        return given[number - 1]

    def count(self, kind: str, rest: list[str], least: int, most: int) -> None:
        """Check how many parts a target has."""
        if not least <= len(rest) <= most:
            wanted = str(least) if least == most else f"{least} or {most}"
            raise self.error(
                f"{kind} probe type requires {wanted} arguments, found {len(rest)}", BY_NAME[kind].syntax
            )

    def made(self, kind: str, label: str, **fields: object) -> Probe:
        """A probe with its names and place."""
        span = self.source.span(self.point.start, self.point.end)
        return Probe(kind, written=self.point.text, label=label, span=span, **fields)  # type: ignore[arg-type]

    def offset(self, target: str) -> tuple[str, int]:
        """``name+offset`` in two."""
        name, plus, number = target.rpartition("+")
        if not plus:
            return target, 0
        try:
            return name, decode_number(number)
        except ValueError:
            raise self.error(f"Invalid offset: {number}") from None
