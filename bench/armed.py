"""How soon whole programs are armed, and gone again, beside bpftrace; and how long many probes take.

    python -m bench.armed runqlat.bt tcplife.bt [--rounds N] [--bpftrace PATH | --no-peer]
    python -m bench.armed 'kprobe:n* { @ = count(); }' --inside
    python -m tests.kernels run --mem 2048 6.12 -- python -m bench.armed /usr/sbin/tcplife.bt

A program is a file or its text. *armed*: from fork to the line that says that probes are attached; *end*:
from Ctrl-C to the end of the process. The rounds are interleaved; ratios are medians over rounds.
``--inside`` also attaches in this process and times that alone, without Python's start and the compiler.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

PEER = Path.home() / ".cache/unitrace-peers/bin/bpftrace"
ARMED = b"Attached"


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser("python -m bench.armed", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("program", nargs="+", help="a file, or a program's text")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bpftrace", default=shutil.which("bpftrace") or str(PEER))
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--inside", action="store_true", help="time attaching and removing alone, too")
    given = parser.parse_args()
    peer = None if given.no_peer or not os.path.exists(given.bpftrace) else given.bpftrace
    print("| program | armed, ms | ratio | end, ms | ratio | attach alone, ms | remove alone, ms |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for program in given.program:
        print(_row(program, peer, given.rounds, given.inside), flush=True)
    return 0


def _row(program: str, peer: str | None, rounds: int, inside: bool) -> str:
    arguments = [program] if os.path.exists(program) else ["-e", program]
    commands = [[sys.executable, "-m", "unitrace", *arguments]]
    if peer is not None:
        commands.append([peer, *arguments])
    found: list[list[tuple[float, float]]] = [[] for _ in commands]
    for number in range(rounds):
        order = range(len(commands)) if number % 2 else reversed(range(len(commands)))
        for at in order:
            found[at].append(_once(commands[at]))
    cells = [f"`{os.path.basename(program) if len(arguments) == 1 else program}`"]
    for which in (0, 1):
        cells.append(f"{1000 * statistics.median(one[which] for one in found[0]):.0f}")
        ratio = "-"
        if peer is not None:
            ratio = f"{statistics.median(a[which] / b[which] for a, b in zip(*found)):.2f}x"
        cells.append(ratio)
    cells += [f"{1000 * one:.0f}" for one in _inside(program)] if inside else ["-", "-"]
    return f"| {' | '.join(cells)} |"


def _once(command: list[str]) -> tuple[float, float]:
    """Seconds to the line that says it is armed, and from Ctrl-C to the end."""
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = b""
    while ARMED not in said:
        piece = os.read(process.stderr.fileno(), 65536)
        if not piece:
            raise SystemExit(f"{command[0]} doesn't attach: {said.decode(errors='replace')}")
        said += piece
    armed = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.stderr.read()
    process.wait()
    return armed - begun, time.monotonic() - armed


def _inside(program: str) -> tuple[float, float]:
    """Seconds that attaching and removing take, in this process."""
    from unitrace.plugins import Plugins
    from unitrace.session import Compiled, Trace

    text = Path(program).read_text() if os.path.exists(program) else program
    run = Trace(Compiled(text, Plugins().chosen(None)))
    begun = time.monotonic()
    run.__enter__()
    attached = time.monotonic()
    run.finish()
    ended = time.monotonic()
    run.close()
    return attached - begun, time.monotonic() - ended


if __name__ == "__main__":
    sys.exit(main())
