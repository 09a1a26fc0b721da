"""bpftrace's command-line habits. Needs no root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_bad_input import unitrace

TWO = 'interval:ms:10 { printf("ten\\n"); exit(); } interval:ms:20 { printf("twenty\\n"); exit(); }'


def test_options_that_change_nothing() -> None:
    args = ("--verify-llvm-ir", "--include", "a.h", "-I", "/usr", "--debuginfo=/x", "--usdt-file-activation")
    code, out, _ = unitrace(*args, "-e", 'BEGIN { printf("%s\\n", str($1)); }', "word")
    assert (code, out.strip()) == (0, "word")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("a12", "Failed to parse pid: invalid integer: a12"),
        ("12a", "Failed to parse pid: invalid trailing bytes: 12a"),
        ("5000000", "Pid out of range: 5000000"),
        ("0", "Pid out of range: 0"),
    ],
)
def test_process_ids(given: str, said: str) -> None:
    code, _, err = unitrace("-p", given, "-e", "BEGIN { }")
    assert code and err.splitlines() == [f"ERROR: {said}"]


def test_usage_stands_on_a_line_of_its_own() -> None:
    assert "USAGE:" in unitrace("-h")[1].splitlines()
    code, _, err = unitrace("--nonsense")
    assert code and "USAGE:" in err.splitlines()


def test_probe_filter() -> None:
    assert unitrace("--probe-filter", ":20", "-e", TWO)[1].strip() == "twenty"
    kept = 'BEGIN { printf("begin\\n"); } END { printf("end\\n"); } '
    assert unitrace("--probe-filter", ":10$", "-e", kept + TWO)[1].split() == ["begin", "ten", "end"]
    code, out, _ = unitrace("--probe-filter", "nothing", "-e", TWO)
    assert (code, out) == (1, "No probes to attach\n")
    assert "Invalid --probe-filter regex" in unitrace("--probe-filter", "[", "-e", TWO)[2]


def test_info() -> None:
    code, out, _ = unitrace("--info")
    assert code == 0
    for line in ("btf: ", "kprobe_session: ", "Loop support: yes"):
        assert line in out


def test_the_version_under_the_other_name(tmp_path: Path) -> None:
    script = tmp_path / "bpftrace"
    script.write_text("from unitrace.__main__ import main\nmain()\n")
    done = subprocess.run([sys.executable, script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("bpftrace v0.27.0 (unitrace v")
    assert unitrace("--version")[1].startswith("unitrace v")


def test_stages_are_printed() -> None:
    code, out, err = unitrace("-d", "ast", "-d", "ir", "--dry-run", "-e", "BEGIN { @x = 1 + pid; }")
    assert code == 0, err
    assert "--- ast" in out and "MapSet @x" in out
    assert unitrace("-d", "nonsense", "--dry-run", "-e", "BEGIN { @x = 1; }")[0] == 2
