"""The report on a run: as JSON, from which the page of results is made, and for whoever mends failures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.compat.reasons import reason
from tests.compat.run import Outcome

__all__ = ["Run", "as_json", "details"]

OUTPUT_MAX = 1200


@dataclass
class Run:
    """One executable's run: its version line, the tier and outcome of each case, how long it took (s)."""

    version: str
    outcomes: list[tuple[str, Outcome]]
    seconds: float
    silent: frozenset[str]
    """The ids of the cases that a program that prints nothing would pass too."""
    facts: dict[str, str]
    """Where, when and how: the page of results tells it."""

    def counts(self, tier: str) -> Counter[str]:
        """How many cases of ``tier`` are in each state; "silent" of the passed ones."""
        counts: Counter[str] = Counter()
        for of, outcome in self.outcomes:
            if of == tier:
                counts[outcome.state] += 1
                counts["silent"] += outcome.state == "passed" and outcome.case.id in self.silent
        return counts


def details(run: Run) -> str:
    """The failures with commands, expectations and outputs, for whoever mends them. Not for the repository."""
    lines = []
    for (kind, gist), outcomes in _grouped(
        outcome for _, outcome in run.outcomes if outcome.state == "failed"
    ):
        lines.append(f"## {kind}{': ' if gist else ''}{gist} ({len(outcomes)})\n")
        for outcome in sorted(outcomes, key=lambda one: len(one.command)):
            lines.append(f"### {outcome.case.id}\n    {_indented(outcome.command)}")
            if outcome.how == "exit":
                lines.append(f"exit code {outcome.code}")
            lines += [f"expected {expect.mode}:\n    {_indented(expect.value)}" for expect in outcome.unmet]
            lines.append(f"got:\n    {_indented(outcome.output[-OUTPUT_MAX:].strip())}\n")
    return "\n".join(lines)


def as_json(run: Run) -> dict[str, Any]:
    """A run as JSON can have it: one object for each case."""
    return {
        "version": run.version,
        "seconds": round(run.seconds, 1),
        "facts": run.facts,
        "cases": [
            {
                "tier": tier,
                "suite": outcome.case.suite,
                "name": outcome.case.name,
                "state": outcome.state,
                "how": outcome.how,
                "reason": list(reason(outcome)) if outcome.state == "failed" else None,
                "code": outcome.code,
                "silent": outcome.case.id in run.silent,
                "command": outcome.command,
                "unmet": [[expect.mode, expect.value] for expect in outcome.unmet],
                "output": outcome.output,
                "seconds": round(outcome.seconds, 2),
            }
            for tier, outcome in run.outcomes
        ],
    }


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def _grouped(failed: Iterable[Outcome]) -> list[tuple[tuple[str, str], list[Outcome]]]:
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in failed:
        groups[reason(outcome)].append(outcome)
    return sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))
