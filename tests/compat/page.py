"""``python -m tests.compat.page RESULTS...``: the page of results that runs have left as JSON, by kernel.

Runs of one executable on one kernel count as one: a suite may be run in parts. Where a case was run twice, the
later file has the word.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.compat.tiers import KERNEL_STATE, TIERS

__all__ = ["Results", "gathered", "main", "page"]

Case = dict[str, Any]

PEER = "bpftrace"
"""How the version line of the executable begins with which others are compared."""

INTRODUCTION = """\
bpftrace's own runtime suite, run against unitrace and against bpftrace by a runner of ours. The suite stays where it is:
a checkout of bpftrace's sources outside of this repository, made ready by whoever runs this. This page is made by:

    python -m tests.compat CHECKOUT EXECUTABLE --json RESULTS       # for each executable, on each kernel
    python -m tests.compat.page RESULTS... --write docs/compatibility.md

On a slow machine `--patience` lengthens all time limits, for all executables alike; `--every N` runs each Nth case. The
share is counted over the cases that bpftrace passes on the same kernel; a case that unitrace skips there, since it says
that it lacks a feature, is not passed."""


class Results:
    """What one executable made of the suite on one kernel. ``cases``: the last word on each, by its id."""

    def __init__(self, version: str, kernel: str) -> None:
        self.version = version
        self.kernel = kernel
        self.cases: dict[str, Case] = {}
        self.facts: list[dict[str, Any]] = []
        self.seconds = 0.0

    def add(self, run: dict[str, Any]) -> None:
        """Add a run as --json has it."""
        seen: Counter[str] = Counter()
        for case in run["cases"]:
            one = f"{case['suite']}.{case['name']}"
            seen[one] += 1  # some names stand twice in the suite
            self.cases[one if seen[one] == 1 else f"{one} ({seen[one]})"] = case
        self.facts.append(run["facts"])
        self.seconds += run["seconds"]

    def passed(self, tier: str = "") -> set[str]:
        """The ids of the cases that it passes, of one tier or of all."""
        return {
            one
            for one, case in self.cases.items()
            if case["state"] == "passed" and tier in ("", case["tier"])
        }

    def said(self, name: str) -> str:
        """A fact of its runs, all that it was."""
        return "; ".join(filter(None, dict.fromkeys(str(facts[name]) for facts in self.facts)))

    def late(self) -> int:
        """How many cases fail since a time limit was over."""
        states = ((case["state"], case["how"]) for case in self.cases.values())
        return sum(one in (("failed", "attach"), ("failed", "timeout")) for one in states)


def gathered(paths: Iterable[Path]) -> dict[str, dict[str, Results]]:
    """The results in files, by kernel and executable's version, in the order of the files."""
    found: dict[str, dict[str, Results]] = {}
    for path in paths:
        for run in json.loads(path.read_text()):
            kernel, version = run["facts"]["kernel"], run["version"]
            of = found.setdefault(kernel, {})
            of.setdefault(version, Results(version, kernel)).add(run)
    return found


def page(found: dict[str, dict[str, Results]]) -> str:
    """All of the page."""
    lines = ["# Compatibility with bpftrace", "", INTRODUCTION, ""]
    lines += [*(f"- **{tier}**: {text}." for tier, text in TIERS.items()), ""]
    for kernel, by_version in found.items():
        peer = next((one for one in by_version.values() if one.version.startswith(PEER)), None)
        for one in by_version.values():
            if one is not peer:
                lines += _section(kernel, one, peer)
    return "\n".join(lines).rstrip() + "\n"


def _section(kernel: str, ours: Results, peer: Results | None) -> list[str]:
    everyone = [ours, *([peer] if peer else [])]
    lines = [f"## Kernel {kernel}", "", "| | |", "|---|---|"]
    lines += [f"| suite | {ours.said('suite')} |"]
    for one in everyone:
        how = f"{one.said('day')}, Python {one.said('python')}, {one.said('user')}, {one.said('options')}"
        lines += [f"| {one.version} | {one.seconds / 60:.0f} min; {how.removesuffix(', ')} |"]
    lines += ["", *_table(ours, peer), ""]
    silent = sum(case["silent"] for one, case in ours.cases.items() if one in ours.passed())
    lines += [
        f"{silent} of the cases that {ours.version} passes here, a program that prints nothing passes too.",
        "",
    ]
    asked = peer.passed() if peer else set(ours.cases)
    missing = [case for one, case in ours.cases.items() if one in asked and case["state"] != "passed"]
    if missing:
        what = (
            f"What {peer.version} passes and {ours.version} doesn't" if peer else f"What {ours.version} fails"
        )
        lines += [f"### {what}", "", *_reasons(missing), ""]
    if peer:
        more = sorted((ours.passed() & peer.cases.keys()) - peer.passed())
        lines += [f"{len(more)} cases pass with {ours.version} alone: {', '.join(more)}.", ""] if more else []
        if peer.late():
            lines += [f"{peer.late()} of the cases that {peer.version} fails ran into a time limit.", ""]
    return lines


def _table(ours: Results, peer: Results | None) -> list[str]:
    """A row a tier, and their sum."""
    if peer is None:
        lines = [f"| tier | cases | {ours.version}: passed | failed | skipped |", "|---|---|---|---|---|"]
        for tier in _tiers(ours):
            states = [case["state"] for case in ours.cases.values() if case["tier"] == tier]
            counts = (states.count(state) for state in ("passed", "failed", "skipped"))
            lines.append(f"| {tier} | {len(states)} | {' | '.join(map(str, counts))} |")
        return lines
    lines = [
        f"| tier | cases | {peer.version} passes | of these {ours.version} passes | share |",
        "|---|---|---|---|---|",
    ]
    for tier in (*_tiers(ours), ""):
        cases = {one for one, case in ours.cases.items() if tier in ("", case["tier"])}
        both = cases & peer.cases.keys()
        asked, mine = both & peer.passed(tier), ours.passed(tier)
        name = tier or "**all of these**"
        if both:
            share = f"{100 * len(asked & mine) / len(asked):.1f} %" if asked else ""
            lines.append(f"| {name} | {len(both)} | {len(asked)} | {len(asked & mine)} | {share} |")
        else:
            lines.append(f"| {name} | {len(cases)} | not run | {len(cases & mine)} of all | |")
    return lines


def _tiers(one: Results) -> list[str]:
    present = {case["tier"] for case in one.cases.values()}
    return [tier for tier in TIERS if tier in present]


def _reasons(cases: Sequence[Case]) -> list[str]:
    """The cases by why they don't pass, the most frequent reason first."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case in cases:
        name = f"{case['suite']}.{case['name']}"
        need = KERNEL_STATE.get(name, "")
        why = ("skipped", case["how"]) if case["state"] == "skipped" else tuple(case["reason"])
        groups[why].append(f"{name} ({case['tier']}{f', {need}' if need else ''})")
    lines = []
    for (kind, gist), names in sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        said = ": " + re.sub(r"([|<>*_])", r"\\\1", gist) if gist else ""
        lines.append(f"- **{kind}**{said} ({len(names)}): {', '.join(names)}")
    return lines


def main(argv: list[str] | None = None) -> int:
    """Write the page, or print it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.compat.page", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "results", nargs="+", type=Path, help="files that --json of python -m tests.compat left"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write it there")
    options = parser.parse_args(argv)
    text = page(gathered(options.results))
    if options.write:
        options.write.write_text(text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
