"""Counts of known workloads, by the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="counting needs root"),
]

PAGES = 300
TOUCH = f"import mmap; m = mmap.mmap(-1, {PAGES} << 12); [m.__setitem__(n << 12, 1) for n in range({PAGES})]"


def stat(*args: str) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, "-m", "unitrace", "stat", *args], capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines()


def test_a_command() -> None:
    status, lines = stat(
        "-e", "page-faults,syscalls:sys_enter_getppid,cycles", "-j", "--", sys.executable, "-ISc", TOUCH
    )
    rows = {row["event"]: row for row in map(json.loads, lines)}
    assert status == 0 and int(rows["page-faults"]["counter-value"]) >= PAGES
    assert rows["syscalls:sys_enter_getppid"]["counter-value"] == "0"
    assert rows["cycles"]["counter-value"] == "<not supported>" or int(rows["cycles"]["counter-value"]) > 0


def test_what_it_starts_counts_too() -> None:
    calls = "import os; os.fork() or os._exit(os.getppid() and 0); os.wait(); os.getppid()"
    for options, count in ((), "2"), (("-i",), "1"):
        status, lines = stat(
            "-e", "syscalls:sys_enter_getppid", "-x,", *options, "--", sys.executable, "-ISc", calls
        )
        assert status == 0 and lines[0].split(",")[0] == count


def test_its_exit_status_is_ours() -> None:
    assert stat("-e", "cs", "--", "sh", "-c", "exit 7")[0] == 7
    assert stat("-e", "cs", "--", "/nonexistent/unitrace")[0] != 0


def test_cpus_and_cores() -> None:
    status, lines = stat("-a", "--per-core", "-e", "task-clock", "--timeout", "50", "-j")
    rows = list(map(json.loads, lines))
    assert status == 0 and sum(row["aggregate-number"] for row in rows) == os.cpu_count()
    assert all(float(row["counter-value"]) > 0 for row in rows)


def test_intervals_add_up() -> None:
    status, lines = stat(
        "-I",
        "20",
        "-e",
        "page-faults",
        "-j",
        "--",
        sys.executable,
        "-ISc",
        TOUCH + "; import time; time.sleep(.1)",
    )
    rows = list(map(json.loads, lines))
    assert status == 0 and sum(int(row["counter-value"]) for row in rows) >= PAGES
    assert [row["interval"] for row in rows] == sorted(row["interval"] for row in rows)
