"""``python -m tests.differential``: the table for this kernel, as Markdown.

``--without bpf``, ``--without btf``, ``--without bpf,btf``: the same, with bpf(2) refused by a seccomp filter and the
kernel's BTF hidden. What is right stays right: the table says it, no tracer.

``python -m tests.differential --write docs/support-matrix.md [KERNEL...]`` makes the page: this machine's tables and
those of every kernel of the lab (or those named, others' sections being left as they are).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.differential.run import run_case
from tests.differential.table import CASES
from tests.sections import kernel, page, sections, today
from tests.without import without

BACKENDS = ("ebpf", "ftrace", "perf")
KERNELS = ("5.10", "6.1", "6.12", "newest")
TAKEN_AWAY = {"": ("bpf", "btf"), "6.1": ("bpf", "btf")}
"""Where the page also has tables of a machine ("": this one) without something."""

HEAD = """# What works where

Made by `python -m tests.differential --write docs/support-matrix.md`: each program is traced on each backend while a workload runs whose
events are known to the last field. *equal* means that the text is right to the byte; *refused* that the backend says it can't,
and why. There is nothing in between.

*Without bpf*: a seccomp filter refuses bpf(2), as in many containers. *Without btf*: /sys/kernel/btf is empty; programs that name the
kernel's structs are then refused unless they define them.
"""


def main(args: list[str]) -> int:
    """Print the table, or write the page; 1 where an answer was unequal."""
    if args[:1] == ["--write"]:
        return write(args[1], args[2:] or list(KERNELS))
    return table(args[1].split(",") if args[:1] == ["--without"] else [])


def table(lacking: list[str]) -> int:
    """This kernel's table and its counts, ``without`` what it shall lack."""
    without(lacking)
    title = ", without ".join(filter(None, [kernel(), " and ".join(lacking)]))
    print(f"## {title}\n\n{today()}.\n")
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
        print(f"- {backend}: " + ", ".join(f"{number} {word}" for word, number in count.items()))
    if reasons:
        print("\nRefusals:\n")
    for reason, number in sorted(reasons.items(), key=lambda pair: -pair[1]):
        print(f"- {number} x {reason}")
    return 1 if any(count["unequal"] for count in counts.values()) else 0


def write(path: str, kernels: list[str]) -> int:
    """The page of all kernels. Nothing is written where one of them has no table to show."""
    own = [sys.executable, "-m", "tests.differential"]
    lab = [sys.executable, "-m", "tests.kernels", "run"]
    commands = []
    for name in ("", *kernels):
        words = [*lab, name, "--", *own] if name else own
        commands += [words, *([*words, "--without", what] for what in TAKEN_AWAY.get(name, ()))]
    file = Path(path)
    found, worst = sections(file.read_text()) if file.exists() else {}, 0
    for command in commands:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if not done.stdout.startswith("## "):
            print(f"no table from {' '.join(command)}: {done.stdout[-500:]}", file=sys.stderr)
            return 1
        worst = max(worst, done.returncode)
        found |= sections(done.stdout)
    file.write_text(page(HEAD, found))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
