"""The report on one or more runs, as Markdown and as JSON."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.compat.reasons import reason
from tests.compat.run import Outcome
from tests.compat.tiers import TIERS, needs_kernel

__all__ = ["Run", "as_json", "as_markdown", "details"]

OUTPUT_MAX = 1200
STATES = ("passed", "failed", "skipped")


@dataclass
class Run:
    """One executable's run: its version line, the tier and outcome of each case, how long it took (s)."""

    version: str
    outcomes: list[tuple[str, Outcome]]
    seconds: float
    silent: frozenset[str]
    """The ids of the cases that a program that prints nothing would pass too."""

    def counts(self, tier: str, suite: str = "") -> Counter[str]:
        """How many cases of ``tier`` (and ``suite``) are in each state; "silent" of the passed ones."""
        counts: Counter[str] = Counter()
        for of, outcome in self.outcomes:
            if of == tier and suite in ("", outcome.case.suite):
                counts[outcome.state] += 1
                counts["silent"] += outcome.state == "passed" and outcome.case.id in self.silent
        return counts


def as_markdown(runs: Sequence[Run], facts: Iterable[tuple[str, str]]) -> str:
    """The report: what was run, cases by tier and by suite, and the failures of the first run by reason."""
    first = runs[0]
    lines = ["# Compatibility with bpftrace", "", *_INTRODUCTION.splitlines(), ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts), ""]
    lines += ["## By tier", ""]
    lines += _table(("tier", "cases"), runs)
    for tier in _tiers(first):
        total = sum(first.counts(tier)[state] for state in STATES)
        lines.append(f"| {tier} | {total} | " + " | ".join(_cells(run.counts(tier)) for run in runs) + " |")
    lines += ["", *(f"- **{tier}**: {TIERS[tier]}." for tier in _tiers(first)), ""]
    for run in runs:
        silent = sum(run.counts(tier)["silent"] for tier in _tiers(run))
        lines += [
            f"{silent} of the cases that {run.version} passes, a program that prints nothing passes too.",
            "",
        ]
    lines += ["## By suite", "", *_table(("tier", "suite", "cases"), runs)]
    for tier in _tiers(first):
        for suite in sorted({outcome.case.suite for of, outcome in first.outcomes if of == tier}):
            total = sum(first.counts(tier, suite)[state] for state in STATES)
            cells = " | ".join(_cells(run.counts(tier, suite)) for run in runs)
            lines.append(f"| {tier} | {suite} | {total} | {cells} |")
    lines += ["", f"## What {first.version} fails", ""]
    for tier in _tiers(first):
        failed = [outcome for of, outcome in first.outcomes if of == tier and outcome.state == "failed"]
        if failed:
            lines += [f"### {tier}", "", *_groups(failed), ""]
    skipped = [outcome for _, outcome in first.outcomes if outcome.state == "skipped"]
    if skipped:
        lines += ["## Skipped", "", "These want what this machine or the executable doesn't have.", ""]
        by_need: dict[str, list[str]] = defaultdict(list)
        for outcome in skipped:
            by_need[outcome.how].append(outcome.case.id)
        lines += [f"- {need} ({len(ids)}): {', '.join(ids)}" for need, ids in sorted(by_need.items())]
    return "\n".join(lines).rstrip() + "\n"


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


_INTRODUCTION = """\
bpftrace's own runtime suite, run against unitrace by a runner of ours. The suite stays where it is: a checkout of
bpftrace's sources outside of this repository, made ready by whoever runs this. This page is written by the
command below."""


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def _tiers(run: Run) -> list[str]:
    present = {tier for tier, _ in run.outcomes}
    return [tier for tier in TIERS if tier in present]


def _table(columns: tuple[str, ...], runs: Sequence[Run]) -> list[str]:
    heads = [*columns]
    for run in runs:
        heads += [f"{run.version}: passed", "failed", "skipped"]
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]


def _cells(counts: Counter[str]) -> str:
    return " | ".join(str(counts[state]) for state in STATES)


def _grouped(failed: Iterable[Outcome]) -> list[tuple[tuple[str, str], list[Outcome]]]:
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in failed:
        groups[reason(outcome)].append(outcome)
    return sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0]))


def _groups(failed: Iterable[Outcome]) -> list[str]:
    lines = []
    for (kind, gist), outcomes in _grouped(failed):
        names = []
        for outcome in outcomes:
            need = needs_kernel(outcome.case)
            names.append(outcome.case.id + (f" ({need})" if need else ""))
        said = ": " + re.sub(r"([|<>*_])", r"\\\1", gist) if gist else ""
        lines.append(f"- **{kind}**{said} ({len(outcomes)}): {', '.join(names)}")
    return lines
