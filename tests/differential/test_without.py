"""The answers stay the same where bpf(2) is refused and where there is no BTF; or it is said what is missing."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.differential.run import run_case
from tests.differential.table import CASES
from tests.without import BTF, CALLS, command, without
from unitrace.contract.machine import Machine
from unitrace.kernel import survey  # noqa: F401  (registers "headers")

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="tracing needs root"),
]

BACKENDS = ("ebpf", "ftrace", "perf")
BY_NAME = {case.name: case for case in CASES}
PROGRAMS = (
    "count by key",
    "from entry to exit",
    "arguments of a uprobe",
    "the most quoted probe",
)
TYPED = ("members behind a pointer", "the current task")
"""They need the kernel's types."""


def held(job: Callable[[], Any], *whats: str) -> Any:
    """What ``job`` returns in a process that does without ``whats``."""
    result, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            without(whats)
            os.write(writing, json.dumps(job()).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(result, "rb") as file:
        said = file.read()
    os.waitpid(pid, 0)
    assert said, "the process failed; its error is on stderr"
    return json.loads(said)


def outcomes(names: tuple[str, ...], *backends: str) -> list[tuple[str, ...]]:
    return [run_case(BY_NAME[name], backend) for name in names for backend in backends]


@pytest.fixture(scope="module")
def outside() -> list[str]:
    """How each of PROGRAMS goes on each backend, with all that the machine has."""
    return [state for state, _ in outcomes(PROGRAMS, *BACKENDS)]


def test_ftrace_and_perf_need_no_bpf(outside: list[str]) -> None:
    inside = [state for state, _ in held(lambda: outcomes(PROGRAMS, *BACKENDS), "bpf")]
    assert inside[0::3] == ["refused"] * len(PROGRAMS)
    assert (inside[1::3], inside[2::3]) == (outside[1::3], outside[2::3])
    assert "equal" in inside and "unequal" not in inside


def test_untyped_programs_need_no_btf(outside: list[str]) -> None:
    assert [state for state, _ in held(lambda: outcomes(PROGRAMS, *BACKENDS), "btf")] == outside


@pytest.mark.skipif(bool(Machine().answer("headers")), reason="types come from the kernel's headers here")
def test_what_needs_types_says_so() -> None:
    for state, detail in held(lambda: outcomes(TYPED, *BACKENDS), "btf"):
        assert state == "refused"
        assert "the kernel shows no BTF" in detail, detail
        assert "at the top of the program" in detail, "the remedy"


def test_refused_bpf_is_said_in_one_line() -> None:
    (state, detail), *_ = held(lambda: outcomes(("count by key",), "ebpf"), "bpf")
    assert (state, detail) == (
        "refused",
        "ebpf can't run this: bpf(2) is refused: a seccomp filter holds this process",
    )
    run = [
        sys.executable,
        "-m",
        "unitrace",
        "--timeout",
        "0.1",
        "-e",
        "tracepoint:sched:sched_switch { @ = count() }",
    ]
    done = subprocess.run(command(["bpf"], run), capture_output=True, text=True, timeout=300)
    notes = [line for line in done.stderr.splitlines() if line.startswith("note:")]
    assert len(notes) == 1, done.stderr
    assert "as ebpf can't here: bpf(2) is refused: a seccomp filter" in notes[0]
    assert done.returncode == 0 and "@: " in done.stdout


def test_nobody_else_is_without() -> None:
    def tried() -> list[Any]:
        libc = ctypes.CDLL(None, use_errno=True)
        got = [libc.syscall(number, 0, 0, 0) and ctypes.get_errno() for number in numbers]
        return [got, os.path.isdir(BTF) and os.listdir(BTF)]

    numbers = next(iter(CALLS[os.uname().machine].values()))
    there = Path(BTF).is_dir() and os.listdir(BTF)
    calls, files = held(tried, "bpf", "btf")
    assert calls == [errno.EPERM] * len(numbers)
    assert not files
    assert tried()[1] == there
    assert tried()[0][0] != errno.EPERM


def test_only_what_can_be_done_without() -> None:
    with pytest.raises(ValueError, match="kprobes: only btf and bpf"):
        without(["kprobes"])
