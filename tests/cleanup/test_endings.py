"""However a run ends, nothing of it stays in the kernel, and nothing of anybody else's is touched."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import unitrace
from tests.cleanup.kernel_state import bpf_programs, exists_program, tracefs, tracefs_objects
from unitrace.plugins import Plugins

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="tracing needs root"),
]
PROBES = {
    "tracepoint": "tracepoint:sched:sched_switch",
    "uprobe": "uprobe:libc:getppid",
    "kprobe": 'kprobe:do_sys_openat2 { printf("%s\\n", str(arg1)); }',
    "maps": "tracepoint:sched:sched_switch { @[comm] = count(); }",
}
BACKENDS = ("ebpf", "ftrace", "perf")
PATIENCE = 30.0
"""Seconds to wait for the kernel to forget; a guest under emulation is slow."""


@pytest.fixture(autouse=True)
def somebody_else() -> Iterator[None]:
    """Another's instance and dynamic event, in use: they must still be there afterwards."""
    root = tracefs()
    if root is None:
        pytest.skip("tracefs is not mounted")
    name = f"somebody_elses_{os.getpid()}"
    instance = root / "instances" / name
    instance.mkdir(exist_ok=True)
    made = root / "uprobe_events"
    event = f"p:{name}/one {os.path.realpath(sys.executable)}:0x40"
    fd = os.open(made, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, event.encode())
        yield
        assert instance.is_dir(), "somebody else's instance is gone"
        assert f"{name}/one" in made.read_text(), "somebody else's event is gone"
    finally:
        if f"{name}/one" in made.read_text():
            os.write(fd, f"-:{name}/one".encode())
        os.close(fd)
        instance.rmdir()


def refused(spec: str, backend: str) -> str:
    try:
        found = unitrace.explain(spec, backend)
        return found.error.message if found.error else ""
    except unitrace.UnitraceError as error:
        return error.message


def started(spec: str, backend: str) -> subprocess.Popen[bytes]:
    """A run in a process of its own, armed: its "Attached" line has come."""
    run = subprocess.Popen(
        [sys.executable, "-m", "unitrace", "--backend", backend, spec],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert run.stderr is not None
    seen = b""
    until = time.monotonic() + 120
    while b"Attached" not in seen:
        ready, _, _ = select.select([run.stderr], [], [], max(0.0, until - time.monotonic()))
        piece = os.read(run.stderr.fileno(), 4096) if ready else b""
        if not piece:
            run.kill()
            pytest.fail(f"never attached: {seen.decode(errors='replace')}")
        seen += piece
    return run


def forgotten(pid: int, programs: set[int]) -> list[str]:
    """What is still there after a while; [] once all is gone."""
    until = time.monotonic() + PATIENCE
    while True:
        left = tracefs_objects(pid) + [f"BPF program {one}" for one in programs if exists_program(one)]
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.05)


@pytest.mark.parametrize("ending", ["SIGINT", "SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_stays(backend: str, probe: str, ending: str) -> None:
    spec = PROBES[probe]
    if reason := refused(spec, backend):
        pytest.skip(f"refused: {reason}")
    run = started(spec, backend)
    programs = bpf_programs(run.pid)
    held = tracefs_objects(run.pid)
    assert programs or held or backend == "perf", "the run has nothing in the kernel: what is tested here?"
    run.send_signal(getattr(signal, ending))
    assert run.stderr is not None
    _, errors = run.communicate(timeout=120)
    assert run.returncode == (-signal.SIGKILL if ending == "SIGKILL" else 0), errors
    assert b"Traceback" not in errors
    assert forgotten(run.pid, programs) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_stays_after_an_exception(backend: str) -> None:
    spec = PROBES["uprobe"]
    if reason := refused(spec, backend):
        pytest.skip(f"refused: {reason}")
    before = bpf_programs(os.getpid())
    programs: set[int] = set()
    with pytest.raises(ZeroDivisionError), unitrace.trace(spec, backend):
        programs = bpf_programs(os.getpid()) - before
        raise ZeroDivisionError
    assert forgotten(os.getpid(), programs) == []
    assert bpf_programs(os.getpid()) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_ctrl_c_end_it_at_once(backend: str) -> None:
    spec = PROBES["tracepoint"]
    if reason := refused(spec, backend):
        pytest.skip(f"refused: {reason}")
    run = started(spec, backend)
    programs = bpf_programs(run.pid)
    run.send_signal(signal.SIGINT)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=120)
    assert run.returncode in (0, 130) and b"Traceback" not in errors
    assert forgotten(run.pid, programs) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_reader_that_leaves(backend: str) -> None:
    """``unitrace ... | head -1``: no traceback, nothing left."""
    spec = PROBES["tracepoint"]
    if reason := refused(spec, backend):
        pytest.skip(f"refused: {reason}")
    run = subprocess.Popen(
        [sys.executable, "-m", "unitrace", "--backend", backend, spec],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert run.stdout is not None and run.stderr is not None
    assert run.stdout.readline()
    run.stdout.close()
    errors = run.stderr.read()
    run.wait(timeout=120)
    run.stderr.close()
    assert b"Traceback" not in errors and b"BrokenPipe" not in errors
    assert forgotten(run.pid, set()) == []


def test_a_group_killed_as_a_whole() -> None:
    """``timeout -s KILL`` and container ends kill every process of the group: the guard survives."""
    if reason := refused(PROBES["uprobe"], "ftrace"):
        pytest.skip(f"refused: {reason}")
    run = subprocess.Popen(
        [sys.executable, "-m", "unitrace", "--backend", "ftrace", PROBES["uprobe"]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while len(tracefs_objects(run.pid)) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert len(tracefs_objects(run.pid)) >= 2
    os.killpg(run.pid, signal.SIGKILL)
    run.wait(timeout=60)
    assert forgotten(run.pid, set()) == []


def test_the_built_in_backends_are_all_held_to_it() -> None:
    assert {one.name for one in Plugins().backends()} >= set(BACKENDS)


def test_what_even_the_guard_left_is_swept_by_the_next_run() -> None:
    """A run and its guard killed at once leave an instance; the next run removes it."""
    if reason := refused(PROBES["tracepoint"], "ftrace"):
        pytest.skip(f"refused: {reason}")
    root = tracefs()
    assert root is not None
    dead = subprocess.Popen(["true"])
    started_at = int(Path(f"/proc/{dead.pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    dead.wait()
    left = root / "instances" / f"unitrace_{dead.pid}_{started_at}_i1"
    left.mkdir()
    try:
        run = started(PROBES["tracepoint"], "ftrace")
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=120)
        assert not left.exists()
    finally:
        if left.exists():
            left.rmdir()
