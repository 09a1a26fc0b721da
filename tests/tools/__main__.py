"""``python -m tests.tools DIRECTORY``: bpftrace's tools, by bpftrace and by our backends at the same time.

Each tool runs beside a workload made for it, on all tracers at once; what they print is compared, modulo times
and what else belongs to one run (catalogue.py says what, tool by tool). Prints Markdown: a row a tool. Run it as
root, in a guest: workloads make block devices, swap, md arrays, and run out of memory.

    python -m tests.kernels run 6.12 -- python -m tests.tools /usr/sbin --peer bpftrace
"""

from __future__ import annotations

import argparse
import platform
import sys

from .catalogue import CASES
from .run import Result, run


def main() -> int:
    """0 where every tool that ran gave the reference's answer."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools")
    parser.add_argument("directory", help="where the .bt files are")
    parser.add_argument(
        "--peer", default="", metavar="BPFTRACE", help="the reference; else the first backend is"
    )
    parser.add_argument("--backends", default="ebpf", help="names, with commas (default: %(default)s)")
    parser.add_argument("--tools", default="", help="only these, with commas")
    parser.add_argument("--verbose", action="store_true", help="show what differs, and what was said")
    args = parser.parse_args()
    ours = [sys.executable, "-m", "unitrace", "--no-warnings"]
    tracers = [(name, [*ours, "--backend", name]) for name in args.backends.split(",")]
    if args.peer:
        tracers.insert(0, ("bpftrace", [args.peer, "--no-warnings"]))
    wanted = args.tools.split(",") if args.tools else list(CASES)
    print(f"Kernel {platform.release()}.\n")
    print("| tool | " + " | ".join(name for name, _ in tracers) + " | lines compared |")
    print("|---" * (len(tracers) + 2) + "|", flush=True)
    results = []
    for name in wanted:
        result = run(CASES[name], tracers, args.directory)
        results.append(result)
        print(row(result), flush=True)
        if args.verbose:
            _explain(result)
    print()
    for at, (name, _) in enumerate(tracers):
        verdicts = [one.verdict(at) for one in results if not one.missing]
        print(f"{name}: {verdicts.count('equal')} of {len(results)} equal")
    fine = ("equal", "nothing", "alone", "refused")
    return int(any(one.verdict(at) not in fine for one in results for at in range(len(tracers))))


def row(result: Result) -> str:
    """A tool's row of the table."""
    cells = [result.verdict(at) for at in range(len(result.ran))]
    count = f"no workload here: {result.missing.strip()}" if result.missing else str(len(result.views[0]))
    return f"| {result.tool} | " + " | ".join(cells) + f" | {count} |"


def _explain(result: Result) -> None:
    for at, ran in enumerate(result.ran):
        if result.verdict(at) != "equal":
            for text in (ran.said, *result.views[at][:12]):
                sys.stderr.writelines(
                    f"    {result.tool} {ran.name}: {line}\n" for line in text.splitlines()[:8]
                )
    if any(result.verdict(at) == "different" for at in range(len(result.ran))):
        sys.stderr.writelines(f"    reference: {line}\n" for line in result.views[0][:12])


if __name__ == "__main__":
    raise SystemExit(main())
