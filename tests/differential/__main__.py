"""``python -m tests.differential``: the table for this machine, as Markdown."""

from __future__ import annotations

import os
import sys

from tests.differential.run import run_case
from tests.differential.table import CASES

BACKENDS = ("ebpf", "ftrace", "perf")


def main() -> int:
    """Print the table and the counts; 1 where an answer was unequal."""
    print(f"Kernel {os.uname().release}, {os.uname().machine}\n")
    print("| program | " + " | ".join(BACKENDS) + " |")
    print("|---|" + "---|" * len(BACKENDS))
    counts = {backend: {"equal": 0, "unequal": 0, "refused": 0} for backend in BACKENDS}
    reasons: dict[str, int] = {}
    for case in CASES:
        row = []
        for backend in BACKENDS:
            outcome = run_case(case, backend)
            counts[backend][outcome.state] += 1
            row.append(outcome.state)
            if outcome.state == "refused":
                reasons[outcome.detail] = reasons.get(outcome.detail, 0) + 1
            elif outcome.state == "unequal":
                print(f"{case.name} on {backend}: {outcome.detail!r}", file=sys.stderr)
        print(f"| {case.name} | " + " | ".join(row) + " |")
    print()
    for backend, count in counts.items():
        print(f"{backend}: " + ", ".join(f"{number} {word}" for word, number in count.items()))
    for reason, number in sorted(reasons.items(), key=lambda pair: -pair[1]):
        print(f"- {number} x {reason}")
    return 1 if any(count["unequal"] for count in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
