"""Build the traced load (load.c), or stand in for it in Python where there is no C compiler.

As a program this module takes the same arguments as the compiled one, but knows no `target` call and no
`spawn`; see load.c for what each mode does. Its calls cost a few hundred ns more.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from bench.peers import cache_folder

SOURCE = Path(__file__).with_name("load.c")
COMM = "load"
PR_SET_NAME = 15
BATCHES = 101


def command() -> list[str]:
    """The argv prefix of the load: the compiled program, else this module under Python."""
    binary = compiled()
    return [str(binary)] if binary else [sys.executable, "-m", "bench.load"]


def compiled() -> Path | None:
    """The compiled load, built now if it is missing or older than its source; None without a compiler."""
    binary = cache_folder() / "load" / COMM
    if binary.exists() and binary.stat().st_mtime >= SOURCE.stat().st_mtime:
        return binary
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    binary.parent.mkdir(parents=True, exist_ok=True)
    fresh = binary.with_suffix(f".{os.getpid()}")
    subprocess.run([compiler, "-O2", "-o", str(fresh), str(SOURCE)], check=True)
    fresh.replace(binary)
    return binary


def call_of(kind: str) -> Callable[[int], object]:
    """The cheap system call named by `kind`."""
    if kind == "getppid":
        return lambda _: os.getppid()
    if kind == "lseek":
        lseek = ctypes.CDLL(None).lseek
        lseek.argtypes = (ctypes.c_int, ctypes.c_long, ctypes.c_int)
        return lambda i: lseek(-1, i & 1023, 0)
    if kind == "rename":
        prctl = ctypes.CDLL(None).prctl  # 15 is PR_SET_NAME, include/uapi/linux/prctl.h
        return lambda _: prctl(15, b"load", 0, 0, 0)
    raise SystemExit(f"load: the Python stand-in has no {kind}; install a C compiler")


def calls(call: Callable[[int], object], count: int) -> dict[str, float]:
    """Make `count` calls in batches; return their cost."""
    per_call, cpu_per_call = [], []
    started = before = time.perf_counter_ns()
    cpu_before = time.thread_time_ns()
    done = 0
    for batch in range(1, BATCHES + 1):
        until = count * batch // BATCHES
        first = done
        while done < until:
            call(done)
            done += 1
        after = time.perf_counter_ns()
        cpu_after = time.thread_time_ns()
        per_call.append((after - before) / (done - first) if done > first else 0.0)
        cpu_per_call.append((cpu_after - cpu_before) / (done - first) if done > first else 0.0)
        before, cpu_before = after, cpu_after
    ns, cpu_ns = statistics.median(per_call), statistics.median(cpu_per_call)
    return report(count, ns, cpu_ns, (before - started) / 1e9)


def rate(call: Callable[[int], object], per_second: float, seconds: float) -> dict[str, float]:
    """Make evenly spaced calls, waiting by spinning."""
    count = int(per_second * seconds)
    started, cpu = time.perf_counter(), time.thread_time_ns()
    for i in range(count):
        while time.perf_counter() - started < i / per_second:
            pass
        call(i)
    took = time.perf_counter() - started
    return report(count, took / count * 1e9, (time.thread_time_ns() - cpu) / count, took)


def report(count: int, ns: float, cpu_ns: float, seconds: float) -> dict[str, float]:
    """The result, as load.c prints it."""
    return {
        "calls": count,
        "ns": ns,
        "cpu_ns": cpu_ns,
        "mean_ns": seconds / max(count, 1) * 1e9,
        "seconds": seconds,
    }


def wait_for(child: int) -> None:
    """Wait for a child; if SIGCHLD is ignored, its CPU time is counted nowhere."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)


def twice(make: Callable[[], dict[str, float]], cpu: int) -> dict[str, float]:
    """Do it on two CPUs at once."""
    child = os.fork()
    if child == 0:
        os.sched_setaffinity(0, {cpu - 1 if cpu else cpu + 1})
        make()
        os._exit(0)
    result = make()
    wait_for(child)
    return {**result, "calls": 2 * result["calls"]}


def tick(microseconds: int) -> NoReturn:
    """Make one call each so often, until killed."""
    while True:
        os.getppid()
        time.sleep(microseconds / 1e6)


def main(arguments: list[str]) -> int:
    """Run as the load; arguments as for the compiled program."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, COMM.encode(), 0, 0, 0)
    cpu, out = max(os.sched_getaffinity(0)), ""
    unseen = arguments[:1] == ["-u"]
    if unseen:
        arguments = arguments[1:]
    while arguments and arguments[0] in ("-c", "-o"):
        option, value, *arguments = arguments
        cpu, out = (int(value), out) if option == "-c" else (cpu, value)
    if arguments[:1] == ["tick"]:
        tick(int(arguments[1]))
    if unseen:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        if child := os.fork():
            wait_for(child)
            return 0
    match arguments:
        case ["calls" | "two" as mode, kind, count]:
            make = partial(calls, call_of(kind), int(count))
        case ["rate" | "rate2" as mode, kind, per_second, seconds]:
            share = 1 if mode == "rate" else 2
            make = partial(rate, call_of(kind), float(per_second) / share, float(seconds))
        case _:
            print("usage: as load.c", file=sys.stderr)
            return 2
    os.sched_setaffinity(0, {cpu})
    result = twice(make, cpu) if mode in ("two", "rate2") else make()
    line = json.dumps(result) + "\n"
    if out:
        Path(out).write_text(line)
    else:
        sys.stdout.write(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
