"""``python -m tests.compat CHECKOUT EXECUTABLE``: bpftrace's runtime suite, run against an executable.

CHECKOUT is a checkout of bpftrace's sources outside of this repository, in which somebody has built the programs
that cases trace (``tests/testprogs``, ``tests/testlibs``). Nothing of it is copied.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.compat.match import unmet
from tests.compat.report import Run, as_json, details
from tests.compat.run import Outcome, Runner
from tests.compat.stage import stage
from tests.compat.suite import Case, SuiteError, load
from tests.compat.tiers import TIERS, tier, vacuous

SAVED_EVERY = 60
"""Seconds between two writings of the results: a guest may be ended before it is done."""

PARALLEL = frozenset({"T1"})
"""Tiers whose cases don't see each other; the others run one at a time."""


def main(argv: list[str] | None = None) -> int:
    """Run the cases asked for; 0 if none failed, 1 if some did, 2 if the checkout can't be read."""
    options = _options().parse_args(argv)
    try:
        cases = _chosen(options)
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    silent = frozenset(
        case.id for _, case in cases if vacuous(case, not unmet(case, "", options.checkout / "tests"))
    )
    runs: list[Run] = []
    for executable in filter(None, [options.executable, options.compare]):
        run = Run(_version(executable), [], 0.0, silent, _facts(options))
        runs.append(run)
        for outcomes, taken in _run(cases, executable, options):
            run.outcomes, run.seconds = outcomes, taken
            if options.json:
                options.json.write_text(json.dumps([as_json(one) for one in runs], indent=1) + "\n")
    _summary(runs)
    if options.details:
        options.details.write_text(details(runs[0]))
    return 1 if any(outcome.state == "failed" for _, outcome in runs[0].outcomes) else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.compat", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("checkout", type=Path, help="checkout of bpftrace's sources, test programs built")
    parser.add_argument("executable", type=Path, help="unitrace, or bpftrace itself")
    parser.add_argument(
        "--tier", type=_tier_list, default=[*TIERS], metavar="T1,T2", help="these tiers (all)"
    )
    parser.add_argument("--suite", metavar="NAME,NAME", help="these suites")
    parser.add_argument("--filter", type=re.compile, metavar="REGEX", help="cases whose suite.name has this")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="T1 cases at a time"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="longer time limits, for all executables",
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth of the cases only")
    parser.add_argument("--compare", type=Path, metavar="EXECUTABLE", help="run this one too")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="each case's outcome, for tests.compat.page"
    )
    parser.add_argument("--details", type=Path, metavar="FILE", help="failures with commands and outputs")
    parser.add_argument("--quiet", action="store_true", help="no line for each failure")
    return parser


def _tier_list(text: str) -> list[str]:
    tiers = text.split(",")
    unknown = set(tiers) - set(TIERS)
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: the tiers are {', '.join(TIERS)}")
    return tiers


def _chosen(options: argparse.Namespace) -> list[tuple[str, Case]]:
    chosen = []
    for case in load(options.checkout):
        of = tier(case, options.checkout)
        if of is None or of not in options.tier:
            continue
        if options.suite and case.suite not in options.suite.split(","):
            continue
        if options.filter and not options.filter.search(case.id):
            continue
        chosen.append((of, case))
    return chosen[:: options.every]


def _run(
    cases: list[tuple[str, Case]], executable: Path, options: argparse.Namespace
) -> Iterator[tuple[list[tuple[str, Outcome]], float]]:
    """The outcomes so far, and the seconds that they took: from time to time, and at the end."""
    began = saved = time.monotonic()
    outcomes: list[Outcome | None] = [None] * len(cases)

    def known() -> tuple[list[tuple[str, Outcome]], float]:
        found = [(of, outcome) for (of, _), outcome in zip(cases, outcomes) if outcome is not None]
        return found, time.monotonic() - began

    with stage(executable) as staged:
        runner = Runner(options.checkout.resolve(), staged, options.patience)

        def one(index: int) -> None:
            outcome = outcomes[index] = runner.run(cases[index][1])
            if outcome.state == "failed" and not options.quiet:
                print(f"{cases[index][0]} {outcome.case.id}: {outcome.how}", file=sys.stderr, flush=True)

        together = [i for i, (of, case) in enumerate(cases) if of in PARALLEL and not _alone(case)]
        with ThreadPoolExecutor(max(1, options.jobs)) as pool:
            list(pool.map(one, together))
        for index in sorted(set(range(len(cases))) - set(together)):
            one(index)
            if time.monotonic() > saved + SAVED_EVERY:
                yield known()
                saved = time.monotonic()
    yield known()


def _alone(case: Case) -> bool:
    """Whether a case writes files whose names it doesn't choose afresh."""
    return bool(re.search(r"/tmp/|/sys/", case.run + case.after + case.prog))


def _version(executable: Path) -> str:
    done = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.strip().splitlines() or [executable.name])[-1]


def _facts(options: argparse.Namespace) -> dict[str, str]:
    commit = subprocess.run(
        ["git", "-C", options.checkout, "log", "-1", "--format=%h of %cs"],
        capture_output=True,
        text=True,
        check=False,
    )
    words = []
    for name, value, usual in (
        ("--patience", f"{options.patience:g}", "1"),
        ("--every", f"{options.every}", "1"),
    ):
        words += [f"{name} {value}"] if value != usual else []
    if options.every > 1:
        words.append(f"of {','.join(options.tier)}")
    return {
        "suite": commit.stdout.strip() or "unknown commit",
        "kernel": f"{os.uname().release}, {os.uname().machine}",
        "python": platform.python_version(),
        "user": "root" if os.geteuid() == 0 else "not root",
        "day": time.strftime("%Y-%m-%d"),
        "options": " ".join(words),
    }


def _summary(runs: list[Run]) -> None:
    for run in runs:
        print(f"{run.version}: {run.seconds:.0f} s")
        for of in TIERS:
            counts = run.counts(of)
            total = counts["passed"] + counts["failed"] + counts["skipped"]
            if total:
                print(
                    f"  {of:4}{total:5} cases: {counts['passed']} passed ({counts['silent']} of them with"
                    f" nothing to print), {counts['failed']} failed, {counts['skipped']} skipped"
                )


if __name__ == "__main__":
    sys.exit(main())
