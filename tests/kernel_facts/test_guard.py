"""The guard, and dynamic events under it: what is made is gone after a clean end, and after SIGKILL."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from unitrace.contract.errors import BackendError
from unitrace.contract.machine import Machine
from unitrace.kernel import dynamic, elf, guard, tracefs


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def run_and_kill(code: str, *args: str) -> str:
    """Run ``code``, which prints a line when it is ready; SIGKILL it; its line."""
    command = [sys.executable, "-c", code, *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        process.send_signal(signal.SIGKILL)
        # the guard holds no end of this pipe: else this would hang
        assert process.stdout.read() == ""
    return line


# --- no privilege needed ------------------------------------------------------------------------


def test_marks() -> None:
    assert re.fullmatch(rf"unitrace_{os.getpid()}_[0-9]+(n[0-9a-f]+)?", guard.mark())
    assert len(guard.mark()) < 50
    assert not guard.stale(guard.mark()) and not guard.stale(f"{guard.mark()}_3")


def test_what_is_stale_and_what_is_not_ours() -> None:
    tail = guard.mark().split("_", 2)[2]
    space = tail[tail.index("n") :] if "n" in tail else ""
    assert guard.stale(f"unitrace_{os.getpid()}_1{space}")  # our id, another start: its owner is dead
    assert guard.stale(f"unitrace_{os.getpid()}_1{space}_7")
    for other in (
        "unitrace",
        "unitrace_x_1",
        "my_unitrace_1_1",
        "unitrace_1_1nfff",
        "probes",
        "unitrace_1_1-2",
    ):
        assert not guard.stale(other), other


DIES = """
import os, sys, time
from unitrace.kernel.guard import guard
folder = sys.argv[1]
for name in "ab":
    os.mkdir(f"{folder}/{name}")
guard().add(("rmdir", f"{folder}/a"))
kept = guard().add(("rmdir", f"{folder}/b"))
guard().add(("write", f"{folder}/w", "after"))
guard().done(kept)
print("ready", flush=True)
time.sleep(60) if len(sys.argv) < 3 else None
"""


def test_undone_after_sigkill(tmp_path: object) -> None:
    folder = str(tmp_path)
    with open(f"{folder}/w", "w", encoding="utf-8"):
        pass
    assert run_and_kill(DIES, folder) == "ready"
    assert wait_until(lambda: not os.path.exists(f"{folder}/a"))
    with open(f"{folder}/w", encoding="utf-8") as file:
        assert file.read() == "after"  # undone before "a": the newest comes first
    assert os.path.exists(f"{folder}/b")


def test_a_clean_end_ends_the_guard_and_holds_no_pipe(tmp_path: object) -> None:
    command = [sys.executable, "-c", DIES, str(tmp_path), "once"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)  # hangs if a pipe is held
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")
    assert wait_until(lambda: not os.path.exists(f"{tmp_path}/a"))


HIDES = """
import os, sys, time
from unitrace.kernel.guard import guard
guard().add(("rmdir", sys.argv[1]))
if os.fork() == 0:
    os.close(1)
    time.sleep(60)  # a child holds a copy of our pipe for longer than we live
    os._exit(0)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no pidfd_open here")
def test_a_forked_child_does_not_keep_us_alive(tmp_path: object) -> None:
    folder = f"{tmp_path}/a"
    os.mkdir(folder)
    assert run_and_kill(HIDES, folder) == "ready"
    assert wait_until(lambda: not os.path.exists(folder))


# --- the kernel's things ------------------------------------------------------------------------


@pytest.fixture
def root() -> str:
    machine = Machine()
    if os.geteuid() != 0 or not machine.answer("tracefs"):
        pytest.skip("needs root and tracefs")
    return tracefs.root(machine)


def has(root: str, file: str) -> bool:
    return os.path.exists(f"{root}/{file}")


def groups(root: str) -> list[str]:
    return list(tracefs.event_groups(root))


MAKES = """
import os, sys, time
from unitrace.kernel import dynamic, tracefs, guard
root, kind, place = sys.argv[1:]
instance = f"{root}/instances/{guard.mark()}"
guard.guard().add(("rmdir", instance))
os.mkdir(instance)
events = dynamic.DynamicEvents(root)
made = events.add(kind, "one", place)
for where in (root, instance):
    tracefs.write(f"{where}/events/{made.category}/{made.name}/enable", "1")
held = os.open(f"{instance}/per_cpu/cpu0/trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
print(guard.mark(), flush=True)
time.sleep(60)
"""


def a_place(root: str, kind: str) -> str:
    if kind == "p":
        if not has(root, "kprobe_events"):
            pytest.skip("this kernel has no kprobe_events")
        return "vfs_read"
    if not has(root, "uprobe_events"):
        pytest.skip("this kernel has no uprobe_events")
    path = elf.resolve_file("libc")
    found = elf.find(path, "getppid")
    assert found is not None
    return f"{path}:{found.offset_in_file:#x}"


@pytest.mark.privileged
@pytest.mark.parametrize("kind", ["p", "r", "up", "ur"])
def test_events_come_and_go(root: str, kind: str) -> None:
    place = a_place(root, kind[-1] if kind in "pr" else "up") if kind in ("p", "up") else ""
    place = place or a_place(root, {"r": "p", "ur": "up"}[kind])
    with dynamic.DynamicEvents(root) as events, dynamic.DynamicEvents(root) as others:
        made = events.add(kind, "libc:getppid+0", place)
        again = events.add(kind, "libc:getppid+0", place)
        long = others.add(kind, "x" * 100, place)
        assert made.id > 0 and made.category != long.category
        assert len({made.name, again.name}) == 2 and len(long.name) == dynamic.NAME_MAX
        with open(f"{made.dir}/enable", encoding="utf-8") as file:
            assert file.read().startswith("0")
        tracefs.write(f"{made.dir}/enable", "1")
        mine = groups(root)
        assert made.category in mine and long.category in mine
    left = groups(root)
    assert made.category not in left and long.category not in left


@pytest.mark.privileged
def test_a_refusal_says_what_the_kernel_said(root: str) -> None:
    place = a_place(root, "up")
    with dynamic.DynamicEvents(root) as events:
        with pytest.raises(BackendError) as caught:
            events.add("up", "bad", place, ["a=%nosuchregister"])
        assert "refuses" in caught.value.message
        if has(root, "error_log"):
            assert "nosuchregister" in caught.value.message or "Invalid" in caught.value.message
        assert events.add("up", "good", place).id
    assert events.group not in groups(root)


@pytest.mark.privileged
@pytest.mark.parametrize("kind", ["p", "up"])
def test_sigkill_leaves_no_event_and_no_instance(root: str, kind: str) -> None:
    place = a_place(root, kind)
    name = run_and_kill(MAKES, root, kind, place)
    assert name.startswith("unitrace_")
    assert wait_until(lambda: not os.path.exists(f"{root}/instances/{name}"), 60)
    assert wait_until(lambda: not any(group.startswith(name) for group in groups(root)), 60)


@pytest.mark.privileged
def test_sweeping_takes_the_dead_ones_and_spares_the_others(root: str) -> None:
    tail = guard.mark().split("_", 2)[2]
    space = tail[tail.index("n") :] if "n" in tail else ""
    dead = f"unitrace_{os.getpid()}_1{space}_sweep"
    other = f"not_unitrace_{os.getpid()}"
    alive = f"{guard.mark()}_sweep"
    for name in (dead, other, alive):
        os.mkdir(f"{root}/instances/{name}")
    try:
        if has(root, "uprobe_events"):
            tracefs.write(f"{root}/uprobe_events", f"p:{dead}/x {a_place(root, 'up')}", append=True)
            tracefs.write(f"{root}/events/{dead}/enable", "1")
        guard.sweep(root)
        left = os.listdir(f"{root}/instances")
        assert dead not in left and other in left and alive in left
        assert dead not in groups(root)
    finally:
        tracefs.remove_group(root, dead)
        for name in (dead, other, alive):
            if os.path.exists(f"{root}/instances/{name}"):
                os.rmdir(f"{root}/instances/{name}")


@pytest.mark.privileged
def test_a_busy_event_is_waited_for(root: str) -> None:
    place = a_place(root, "up")
    instance = f"{root}/instances/{guard.mark()}_busy"
    os.mkdir(instance)
    try:
        events = dynamic.DynamicEvents(root)
        made = events.add("up", "busy", place)
        tracefs.write(f"{instance}/events/{made.category}/{made.name}/enable", "1")
        with pytest.raises(BackendError):
            events.close()
        tracefs.write(f"{instance}/events/{made.category}/{made.name}/enable", "0")
        events.close()
        assert made.category not in groups(root)
    finally:
        os.rmdir(instance)
