"""Bad input: one clear line or two, the right status, no traceback. Needs no root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENV = {**os.environ, "PYTHONUTF8": "1"}


def unitrace(*args: str, stdin: bytes = b"") -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "unitrace", *args], input=stdin, capture_output=True, env=ENV, timeout=120
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        ((), 2, "nothing to trace"),
        (("--nonsense",), 2, "--nonsense"),
        (("--backend", "nope", "-e", "BEGIN { exit(); }"), 2, "no backend 'nope'"),
        (("-f", "yaml", "-e", "BEGIN { exit(); }"), 2, 'Invalid output format "yaml"'),
        (("-c", "", "-e", "BEGIN { exit(); }"), 2, "-c needs a command"),
        (("-c", "'", "-e", "BEGIN { exit(); }"), 2, "-c '"),
        (("-c", "/nonexistent/x", "-e", "BEGIN { }"), 2, "No such file"),
        (("-o", "/nonexistent/x", "-e", "BEGIN { exit(); }"), 2, "No such file"),
        (("missing.bt",), 2, "failed to open file 'missing.bt'"),
        (("-e", "BEGIN { printf( }"), 1, "stdin:1:"),
        (("-e", "BEGIN { @x = ; }"), 1, "~"),
        (("-e", ""), 1, "ERROR"),
        (("-e", "BEGIN { frobnicate(1); }"), 1, "frobnicate"),
        (("-e", "nosuchprobe:x { }"), 1, "nosuchprobe"),
        (("-e", "BEGIN { " + "(" * 5000 + " }"), 1, "ERROR"),
        (("-e", "BEGIN { @ = 99999999999999999999999999; }"), 1, "ERROR"),
        (("--mask", "no.such.fact", "-e", "BEGIN { exit(); }"), 2, "no fact"),
    ],
)
def test_one_clear_line(args: tuple[str, ...], status: int, said: str) -> None:
    code, out, err = unitrace(*args)
    assert (code, said in err) == (status, True), (code, err)
    assert "Traceback" not in err + out


def test_a_caret_under_the_place() -> None:
    _, _, err = unitrace("-e", "BEGIN { $x = 1 +; }")
    lines = err.splitlines()
    assert lines[0].startswith("stdin:1:") and "ERROR: " in lines[0]
    assert lines[1] == "BEGIN { $x = 1 +; }"
    assert set(lines[2]) == {" ", "~"} and lines[2].index("~") >= 15


def test_a_files_name_stands_in_its_errors(tmp_path: Path) -> None:
    script = tmp_path / "a.bt"
    script.write_bytes(b"BEGIN\n{\n  printf(\n}\n")
    code, _, err = unitrace(str(script))
    assert code == 1 and f"{script}:" in err


def test_invalid_utf8_and_empty_files(tmp_path: Path) -> None:
    script = tmp_path / "b.bt"
    for text in (b"BEGIN { \xff\xfe }", b"", b"\x00", b"/* only a comment */"):
        script.write_bytes(text)
        code, _, err = unitrace(str(script))
        assert code == 1 and "ERROR" in err and "Traceback" not in err, text


def test_standard_input_is_a_program() -> None:
    code, out, err = unitrace("-q", "-", stdin=b'BEGIN { printf("hi %d\\n", 6 * 7); exit(); }')
    assert (code, out) == (0, "hi 42\n\n\n"), err


def test_exit_status_is_the_programs() -> None:
    assert unitrace("-q", "-e", "BEGIN { exit(3); }")[0] == 3


def test_version_and_help() -> None:
    assert unitrace("--version")[1].startswith("unitrace v")
    for words in (("--help",), ("list", "--help"), ("backends", "-h"), ("explain", "-h"), ("plugins", "-h")):
        code, out, _ = unitrace(*words)
        assert code == 0 and "usage:" in out.lower() and "unitrace" in out


def test_plugins_are_listed() -> None:
    code, out, _ = unitrace("plugins")
    assert code == 0 and all(name in out for name in ("ebpf", "ftrace", "perf", "unitrace_perf.plugin"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk() -> None:
    code, _, err = unitrace("-q", "-o", "/dev/full", "-e", 'BEGIN { printf("x\\n"); exit(); }')
    assert code == 2 and "No space left" in err and "Traceback" not in err


@pytest.mark.skipif(os.geteuid() == 0, reason="runs as root")
def test_no_privilege_is_said() -> None:
    code, _, err = unitrace("tracepoint:sched:sched_switch")
    assert code == 1 and "Traceback" not in err and "ERROR" in err


def readable_by_all(path: str) -> bool:
    return all(parent.stat().st_mode & 0o1 for parent in Path(path).resolve().parents)


@pytest.mark.privileged
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
def test_nobody_is_told_what_is_missing() -> None:
    if not readable_by_all(os.__file__) or not readable_by_all(__file__):
        pytest.skip("nobody can't read this Python or this checkout")
    code = (
        "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sys.argv = ['unitrace', 'tracepoint:sched:sched_switch']\n"
        "from unitrace.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "ERROR" in done.stderr


@pytest.mark.privileged
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give capabilities up")
def test_without_capabilities_it_falls_back_and_says_so() -> None:
    """uid 0 with no capability has tracefs alone: what is found is ftrace, and one line says why."""
    code = (
        "import ctypes, sys; libc = ctypes.CDLL(None)\n"
        "head = (ctypes.c_uint32 * 2)(0x20080522, 0); data = (ctypes.c_uint32 * 6)()\n"
        "assert libc.capset(head, data) == 0\n"
        "sys.argv = ['unitrace', '-q', '-e', 'tracepoint:sched:sched_switch { printf(\"%d\\\\n\", cpu); exit(); }']\n"
        "from unitrace.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "note: by ftrace" in done.stderr and "ebpf" in done.stderr
    assert done.stdout.split()


@pytest.mark.privileged
@pytest.mark.skipif(os.geteuid() != 0, reason="tracing needs root")
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("tracepoint:syscalls:sys_enter_opnat",), "sys_enter_openat"),
        (("tracepoint:sched:sched_switch /args.next_pd == 1/",), "next_pid"),
        (("uprobe:/nonexistent/file:main",), "/nonexistent/file"),
        (("uprobe:libc:getpppid",), "getppid"),
        (("kprobe:no_such_function_here",), "no_such_function_here"),
    ],
)
def test_near_names(args: tuple[str, ...], said: str) -> None:
    code, _, err = unitrace(*args)
    assert code == 1 and said in err and "Traceback" not in err, err
    assert len(err.splitlines()) <= 8, err
