"""The front end: ms to parse and check a program, and the ratio to ``bpftrace --dry-run`` of the same.

    python -m bench.language [--rounds N] [--script FILE ...] [--bpftrace PATH] [--no-peer]

A script of 100 lines in the style of the well-known tools (no kernel types, so it asks for no BTF), a dense
one of 100 lines with one clause each, and one of 2,000 map assignments. ``compile`` is text to IR in a warm
process, without garbage collection as the command has it; ``compile, first`` the same as the first thing that
a process does; ``--dry-run`` the whole command, as bpftrace's is. bpftrace gets one round for the 2,000
assignments, and a minute.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from unitrace.contract.errors import UnitraceError
from unitrace.contract.machine import Machine
from unitrace.lang import compile_text

PEER = Path.home() / ".cache/unitrace-peers/bin/bpftrace"
LIMIT = 60.0
FIRST = """\
import sys, time
from unitrace.contract.machine import Machine
from unitrace.lang import compile_text
text = open(sys.argv[1]).read()
begun = time.perf_counter()
compile_text(text, Machine(), unsafe=True)
print(time.perf_counter() - begun)
"""

TOOL = r"""#!/usr/bin/env bpftrace
// Reads and their latencies by process, with a line for each slow one.
//
// The shape of a usual tool: a header, a start time per thread kept in a map, a filter on what
// the entry saw, and a summary at the end.

config = {
  max_map_keys = 8192;
  missing_probes = "warn"
}

macro microseconds(ns) {
  ns / 1000
}

BEGIN
{
  printf("Tracing reads slower than %d us... Hit Ctrl-C to end.\n", getopt("slower", 1000));
  printf("%-9s %-7s %-16s %4s %8s %s\n", "TIME", "PID", "COMM", "FD", "BYTES", "LAT(us)");
  @slower = (uint64)getopt("slower", 1000);
}

tracepoint:syscalls:sys_enter_read,
tracepoint:syscalls:sys_enter_readv
/pid != 1/
{
  @start[tid] = nsecs;
  @fd[tid] = args.fd;
  @asked[tid] = probe == "tracepoint:syscalls:sys_enter_read" ? 1 : 2;
}

tracepoint:syscalls:sys_exit_read,
tracepoint:syscalls:sys_exit_readv
/@start[tid] != 0/
{
  $took = nsecs - @start[tid];
  $us = microseconds($took);
  $ret = args.ret;
  $fd = @fd[tid];

  if ($ret < 0) {
    // what failed is counted by its error
    $error = -$ret;
    @errors[comm, $error] = count();
  } else if ($ret == 0) {
    @empty[comm] = count();
  } else {
    @bytes[comm] = sum($ret);
    @sizes = hist($ret);
    @us[comm] = hist($us);
    @spread = lhist($us, 0, 10000, 500);
    @most[comm] = max($us);
    @mean[comm] = stats($us);
  }

  if ($us > @slower) {
    time("%H:%M:%S  ");
    printf("%-7d %-16s %4d %8d %d\n", pid, comm, $fd, $ret, $us);
    @slow++;
  }

  delete(@start, tid);
  delete(@fd, tid);
  delete(@asked, tid);
}

tracepoint:sched:sched_switch
/@start[args.prev_pid]/
{
  // a reader that had to wait
  $state = args.prev_state;
  if ($state & 0x2 || $state & 0x80) {
    @waits[args.prev_comm, $state == 2 ? "disk" : "other"] = count();
  }
  unroll(2) {
    @turns += 1;
  }
}

interval:s:10
{
  time("%H:%M:%S\n");
  printf("slow: %lld\n", @slow);
  print(@bytes, 5);
  clear(@bytes);
  $n = 0;
  while ($n < 3) {
    $n++;
    if ($n == 2) {
      continue;
    }
    @ticks[$n] = count();
  }
}

END
{
  clear(@start);
  clear(@fd);
  clear(@asked);
  delete(@slower);
  printf("\n%d slow reads\n", @slow);
}
"""


def dense(clauses: int = 100) -> str:
    """A clause a line, each with a predicate, a variable, a map and a printf."""
    line = (
        "tracepoint:sched:sched_switch /args.prev_pid > {n}/ {{ $x = args.prev_prio * {n} + pid; "
        '@m{m}[comm, $x] = count(); if ($x > 10 && tid != 7) {{ printf("%d %s\\n", $x, comm); }} }}'
    )
    return "\n".join(line.format(n=n, m=n % 10) for n in range(clauses)) + "\n"


def assignments(count: int = 2000) -> str:
    """Map assignments, one a line, in one clause."""
    return "BEGIN {\n" + "".join(f"  @a[{n}] = {n};\n" for n in range(count)) + "}\n"


def compiled(text: str, rounds: int) -> list[float]:
    """Seconds of each compilation in this process, the first one left out."""
    machine = Machine()
    taken = []
    gc.disable()
    for _ in range(rounds + 1):
        gc.collect()
        begun = time.perf_counter()
        compile_text(text, machine)
        taken.append(time.perf_counter() - begun)
    gc.enable()
    return taken[1:]


def first(path: Path) -> float:
    """Seconds of the compilation in a process that has done nothing before."""
    done = subprocess.run([sys.executable, "-c", FIRST, path], capture_output=True, text=True, check=True)
    return float(done.stdout)


def command(argv: list[str]) -> float | None:
    """Seconds of a whole command; None where it fails or takes more than a minute."""
    begun = time.perf_counter()
    try:
        done = subprocess.run(argv, capture_output=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return None
    return time.perf_counter() - begun if done.returncode == 0 else None


def row(name: str, path: Path, rounds: int, peer: str | None) -> str:
    """A line of the table."""
    text = path.read_text()
    ours, peers, firsts = [], [], []
    warm = compiled(text, rounds)
    slow = text.count("\n") > 1000
    for turn in range(rounds):
        firsts.append(first(path))
        mine = command([sys.executable, "-m", "unitrace", "--dry-run", str(path)])
        theirs = command([peer, "--dry-run", str(path)]) if peer and not (slow and turn) else None
        if mine:
            ours.append(mine)
        if theirs:
            peers.append(theirs)
    cells = [
        name,
        str(text.count("\n")),
        f"{min(warm) * 1000:.1f}",
        f"{statistics.median(warm) * 1000:.1f}",
        f"{statistics.median(firsts) * 1000:.1f}",
        f"{statistics.median(ours) * 1000:.0f}" if ours else "failed",
    ]
    if peer is None:
        cells += ["-", "-"]
    elif not peers:
        cells += ["failed, or more than a minute", "-"]
    else:
        there = statistics.median(peers)
        cells += [
            f"{there * 1000:.0f}",
            f"{statistics.median(ours) / there:.2f}x" if ours else "-",
        ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--script", type=Path, action="append", default=[], help="a script to measure too")
    parser.add_argument("--bpftrace", help="path of bpftrace")
    parser.add_argument("--no-peer", action="store_true", help="unitrace alone")
    asked = parser.parse_args()
    peer = asked.bpftrace or (str(PEER) if PEER.exists() else shutil.which("bpftrace"))
    peer = None if asked.no_peer else peer
    print("Milliseconds; less is better.\n")
    print("| program | lines | compile, min | median | compile, first | --dry-run | bpftrace | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        programs = [
            ("a tool", TOOL),
            ("100 dense clauses", dense()),
            ("2,000 map assignments", assignments()),
        ]
        paths = []
        for number, (name, text) in enumerate(programs):
            paths.append((name, Path(scratch) / f"{number}.bt"))
            paths[-1][1].write_text(text)
        for name, path in [*paths, *((one.name, one) for one in asked.script)]:
            try:
                print(row(name, path, asked.rounds, peer), flush=True)
            except UnitraceError as error:
                print(f"| {name} | fails here: {error.message} |", flush=True)


if __name__ == "__main__":
    main()
