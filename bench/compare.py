"""Measure unitrace beside its peers, interleaved, and print the ratios.

python -m bench.peers
python -m bench.compare --rounds 7 --json result.json
python -m bench.compare start stream --peers-only --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from bench import load
from bench.harness import Bench, Table
from bench.peers import VERSION_COMMANDS, mount_tracing, version
from bench.report import as_json, markdown
from bench.sections import SECTIONS
from bench.tools import Tool, peers, unitrace


def arguments_of(words: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__.splitlines()[0])
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; default: all"
    )
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    parser.add_argument("--calls", type=int, default=300_000, help="traced calls per run (default: 300000)")
    parser.add_argument("--no-warm-up", action="store_true", help="count the first round too")
    parser.add_argument("--unitrace", default=f"{sys.executable} -m unitrace", metavar="CMD")
    parser.add_argument("--backends", default="auto,ftrace,perf,ebpf", help="a row of unitrace's for each")
    parser.add_argument("--peers-only", action="store_true", help="leave unitrace out")
    parser.add_argument("--only", default="", metavar="A,B", help="tools whose names start so")
    parser.add_argument("--base", default="bpftrace", help="the row to compare with (default: bpftrace)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for any one command")
    parser.add_argument(
        "--favour", action="store_true", help="on a busy machine: what is measured runs before all else"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there; - for stdout")
    options = parser.parse_args(words)
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    return options


def tools_of(options: argparse.Namespace) -> list[Tool]:
    """The tools asked for."""
    ours = [] if options.peers_only else unitrace(options.unitrace, options.backends.split(","))
    wanted = tuple(name for name in options.only.split(",") if name)
    return [tool for tool in (*ours, *peers()) if not wanted or tool.name.startswith(wanted)]


def measure(options: argparse.Namespace, show: bool) -> list[Table]:
    """Run the sections asked for, printing each table as soon as it is there."""
    shared_memory = Path("/dev/shm")
    tables = []
    with tempfile.TemporaryDirectory(
        prefix="unitrace-bench.", dir=shared_memory if shared_memory.is_dir() else None
    ) as scratch:
        bench = Bench(
            tools=tools_of(options),
            load=load.command(),
            rounds=options.rounds,
            calls=options.calls,
            scratch=Path(scratch),
            warm_up=not options.no_warm_up,
            timeout=options.timeout,
            favour=options.favour,
        )
        for name in options.sections or SECTIONS:
            for table in SECTIONS[name](bench):
                tables.append(table)
                if show:
                    print(markdown(table, options.base), flush=True)
    return tables


def main(words: list[str] | None = None) -> int:
    """Measure and report."""
    options = arguments_of(words)
    if os.geteuid() != 0:
        print("compare: not root; most tracers will refuse to work", file=sys.stderr)
    mount_tracing()
    to_stdout = str(options.json) == "-"
    versions = {name: version(name) for name in VERSION_COMMANDS}
    tables = measure(options, show=not to_stdout)
    if options.json:
        text = json.dumps(as_json(tables, options.base, versions), indent=1) + "\n"
        if to_stdout:
            sys.stdout.write(text)
        else:
            options.json.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
