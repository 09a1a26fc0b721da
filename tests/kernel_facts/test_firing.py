"""Dynamic events really fire, and the argument registers hold the arguments."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import pytest

from unitrace.contract.errors import BackendError
from unitrace.contract.machine import Machine
from unitrace.kernel import dynamic, elf, guard, tracefs
from unitrace.kernel.arch import architecture


class Instance:
    """A tracefs instance of this test's own."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.path = f"{root}/instances/{guard.mark()}_fire"

    def run(self, made: dynamic.Made, act: object) -> list[str]:
        """The lines that this process's ``act`` leaves while ``made`` is on."""
        tracefs.write(f"{self.path}/set_event_pid", str(os.getpid()))
        enable = f"{self.path}/events/{made.category}/{made.name}/enable"
        tracefs.write(enable, "1")
        try:
            act()  # type: ignore[operator]
        finally:
            tracefs.write(enable, "0")
        with open(f"{self.path}/trace", encoding="utf-8", errors="replace") as file:
            return [line for line in file.read().split("\n") if f" {made.name}: " in line]


@pytest.fixture
def instance() -> Iterator[Instance]:
    machine = Machine()
    if os.geteuid() != 0 or not machine.answer("tracefs"):
        pytest.skip("needs root and tracefs")
    one = Instance(tracefs.root(machine))
    token = guard.guard().add(("rmdir", one.path))
    os.mkdir(one.path)
    yield one
    os.rmdir(one.path)
    guard.guard().done(token)


def need(root: str, file: str, word: str) -> None:
    try:
        with open(f"{root}/README", encoding="utf-8") as readme:
            if word not in readme.read():
                pytest.skip(f"this kernel has no {word!r}")
    except OSError:
        pytest.skip("no README in tracefs")
    if not os.path.exists(f"{root}/{file}"):
        pytest.skip(f"this kernel has no {file}")


def open_it() -> None:
    os.close(os.open("/proc/self/status", os.O_RDONLY))


@pytest.mark.privileged
@pytest.mark.parametrize("by", ["register", "number"])
def test_kprobe_arguments(instance: Instance, by: str) -> None:
    need(instance.root, "kprobe_events", "ustring")
    second = architecture().argument(1) if by == "register" else "$arg2"
    with dynamic.DynamicEvents(instance.root) as events:
        made = events.add("p", "opens", "do_sys_openat2", [f"f=+0({second}):ustring"])
        lines = instance.run(made, open_it)
    assert any('f="/proc/self/status"' in line for line in lines), lines


@pytest.mark.privileged
def test_kretprobe_result(instance: Instance) -> None:
    need(instance.root, "kprobe_events", "kprobe_events")
    with dynamic.DynamicEvents(instance.root) as events:
        made = events.add("r", "opened", "do_sys_openat2", ["fd=$retval:s64"], maxactive=100)
        lines = instance.run(made, open_it)
    assert any(" fd=" in line and "fd=-" not in line for line in lines), lines


@pytest.mark.privileged
def test_uprobe_arguments(instance: Instance) -> None:
    need(instance.root, "uprobe_events", "uprobe_events")
    path = elf.resolve_file("libc")
    found = elf.find(path, "labs")
    if found is None:
        pytest.skip("no labs in this libc")
    labs = ctypes.CDLL(path).labs
    with dynamic.DynamicEvents(instance.root) as events:
        first = architecture().argument(0)
        made = events.add("up", "labs", f"{path}:{found.offset_in_file:#x}", [f"n={first}:s32"])
        lines = instance.run(made, lambda: labs(-4321))
    assert any("n=-4321" in line for line in lines), lines


@pytest.mark.privileged
def test_eprobe(instance: Instance) -> None:
    need(instance.root, "dynamic_events", "e[:[<group>/][<event>]]")
    with dynamic.DynamicEvents(instance.root) as events:
        try:
            events.add("e", "plain", "sched.sched_switch")
        except BackendError:
            pytest.skip("no eprobes here, whatever README says (CONFIG_EPROBE_EVENTS)")
        made = events.add("e", "opens", "syscalls.sys_enter_openat", ["f=+0($filename):ustring"])
        lines = instance.run(made, open_it)
    assert any('f="/proc/self/status"' in line for line in lines), lines


@pytest.mark.privileged
def test_fprobe(instance: Instance) -> None:
    need(instance.root, "dynamic_events", "f[:[<group>/][<event>]]")
    with dynamic.DynamicEvents(instance.root) as events:
        made = events.add("f", "opens", "do_sys_openat2", ["f=+0($arg2):ustring"])
        lines = instance.run(made, open_it)
        back = events.add("f", "opened", "do_sys_openat2%return", ["fd=$retval:s64"])
        returns = instance.run(back, open_it)
    assert any('f="/proc/self/status"' in line for line in lines), lines
    assert returns
