"""``python -m tests.tools DIRECTORY``: bpftrace's tools, by bpftrace and by our backends at the same time.

Each tool runs beside a workload made for it, on all tracers at once; what they print is compared, modulo times
and what else belongs to one run (catalogue.py says what, tool by tool). Prints Markdown: a row a tool. Run it as
root, in a guest: workloads make block devices, swap, md arrays, and run out of memory.

    python -m tests.kernels run 6.12 -- python -m tests.tools /usr/sbin --peer bpftrace
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

import unitrace
from tests.sections import kernel, today
from tests.without import command

from .catalogue import CASES
from .page import Table, line, write
from .run import Result, Tracer, run

FINE = ("equal", "nothing", "alone", "refused", "not here", "no workload")


def main() -> int:
    """0 where every tool that ran gave the reference's answer."""
    args = _parser().parse_args()
    tracers = lineup(args.peer, args.backends.split(","), args.without)
    table = Table(_title(tracers), _facts(args.peer), [one.name for one in tracers])
    print(f"## {table.title}\n\n{table.head()}", end="", flush=True)
    for name in args.tools.split(",") if args.tools else CASES:
        result = run(CASES[name], tracers, args.directory)
        table.rows.append(_row(result))
        print(line(table.rows[-1]), flush=True)
        if args.verbose:
            _explain(result)
    print(f"\n{table.counts()}")
    if args.write:
        write(args.write, table)
    return int(any(cell not in FINE for row in table.rows for cell in row[1 : 1 + len(tracers)]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.tools")
    parser.add_argument("directory", help="where the .bt files are")
    parser.add_argument("--peer", default="", metavar="BPFTRACE", help="the reference; else an eBPF run is")
    parser.add_argument("--backends", default="ebpf", help="names, with commas (default: %(default)s)")
    parser.add_argument(
        "--without", default="", metavar="bpf,btf", help="refuse bpf(2), hide BTF, for all but the reference"
    )
    parser.add_argument("--tools", default="", help="only these, with commas")
    parser.add_argument("--write", metavar="FILE", help="put the table into this page")
    parser.add_argument("--verbose", action="store_true", help="show what differs, and what was said")
    return parser


def lineup(peer: str, backends: Sequence[str], without: str) -> list[Tracer]:
    """The reference first: the peer, else the first backend; outside of what the others do ``without``."""
    ours = [sys.executable, "-m", "unitrace", "--no-warnings", "--backend"]
    first = []
    if peer:
        first = [Tracer("bpftrace", [peer, "--no-warnings"])]
    elif without:
        first = [Tracer("ebpf", [*ours, "ebpf"])]
    whats = without.split(",") if without else []
    words = f" without {' and '.join(whats)}" if whats else ""
    return [*first, *(Tracer(name + words, command(whats, [*ours, name])) for name in backends)]


def _title(tracers: Sequence[Tracer]) -> str:
    return f"{kernel()}: {', '.join(one.name for one in tracers)}"


def _facts(peer: str) -> str:
    """What runs here today."""
    facts = [today(), f"unitrace {unitrace.__version__}"]
    if peer:
        asked = subprocess.run([peer, "--version"], capture_output=True, text=True, check=True)
        facts.append(asked.stdout.strip())
    return ", ".join(facts) + "."


def _row(result: Result) -> list[str]:
    """A tool's row of the table."""
    cells = [result.verdict(at) for at in range(len(result.ran))]
    return [result.tool, *cells, str(len(result.views[0])), result.note()]


def _explain(result: Result) -> None:
    for at, ran in enumerate(result.ran):
        if result.verdict(at) != "equal":
            for text in (ran.said, *result.views[at][:12]):
                sys.stderr.writelines(
                    f"    {result.tool} {ran.name}: {one}\n" for one in text.splitlines()[:8]
                )
    if any(result.verdict(at) == "different" for at in range(len(result.ran))):
        sys.stderr.writelines(f"    reference: {one}\n" for one in result.views[0][:12])


if __name__ == "__main__":
    raise SystemExit(main())
