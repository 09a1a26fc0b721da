"""One command under one kernel after the other, and what came of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from . import store
from .boot import Job, Outcome, check_host, run
from .catalogue import Entry
from .errors import EXIT_DEAD, EXIT_SKIP, EXIT_TIMEOUT, Unavailable
from .qemu import Machine

_WORDS = {0: "passed", EXIT_SKIP: "skipped", EXIT_TIMEOUT: "timed out", EXIT_DEAD: "guest died"}


@dataclass(frozen=True)
class Row:
    """A line of the summary."""

    name: str
    release: str
    outcome: Outcome

    def __str__(self) -> str:
        code = self.outcome.exit_code
        booted = "-" if self.outcome.booted is None else f"{self.outcome.booted:.1f}"
        word = _WORDS.get(code, f"failed ({code})")
        return f"{self.name:8} {self.release:28} {booted:>6} {self.outcome.total:8.1f}  {word}"


def run_all(entries: Sequence[Entry], command: Sequence[str], options: argparse.Namespace) -> int:
    """Run `command` under each kernel; the exit code is its own for one kernel, a verdict for several.

    Raises Unavailable when no guest can be had at all.
    """
    check_host()
    job = Job(
        command,
        Machine(options.mem, options.smp, options.accel, options.append),
        shares=options.share,
        layers=options.layer,
        env=options.env,
        timeout=options.timeout,
    )
    if len(entries) == 1:
        return _run(entries[0], job, options.verbose).outcome.exit_code
    rows: list[Row] = []
    for entry in entries:
        _tell(f"== {entry.name}")
        try:
            rows.append(_run(entry, job, options.verbose))
        except Unavailable as reason:
            _tell(f"lab: {reason}")
            rows.append(Row(entry.name, "-", Outcome(EXIT_SKIP)))
    _tell(f"\n{'kernel':8} {'release':28} {'boot s':>6} {'total s':>8}  result")
    for row in rows:
        _tell(str(row))
    return verdict([row.outcome.exit_code for row in rows])


def verdict(codes: Sequence[int]) -> int:
    """One exit code for several: a failure first, then a skip: a run that left kernels out hasn't passed."""
    if any(code not in (0, EXIT_SKIP) for code in codes):
        return 1
    return EXIT_SKIP if EXIT_SKIP in codes else 0


def _run(entry: Entry, job: Job, verbose: bool) -> Row:
    kernel = store.need(entry)
    outcome = run(kernel, job)
    if verbose:
        booted = "never" if outcome.booted is None else f"after {outcome.booted:.2f} s"
        _tell(f"lab: {entry.name} is {kernel.release}; command started {booted}, all {outcome.total:.2f} s")
    return Row(entry.name, kernel.release, outcome)


def _tell(text: str) -> None:
    """Speak of the lab itself on stderr: stdout is the command's."""
    print(text, file=sys.stderr, flush=True)
