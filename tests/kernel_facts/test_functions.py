"""Kernel functions: from both sources, recorded and live."""

from __future__ import annotations

from pathlib import Path

import pytest

from unitrace.contract.machine import Answer, Machine
from unitrace.kernel import functions

KALLSYMS = """ffffffff81000000 T _stext
ffffffff81000100 t do_sys_openat2
ffffffff81000200 T vfs_read
ffffffff81000300 D some_data
ffffffff82000000 T _sinittext
ffffffff82000010 t start_up
ffffffff82000020 T _einittext
ffffffffc0000000 t ext4_thing\t[ext4]
ffffffffc0000100 t bpf_prog_1234\t[bpf]
"""
FILTER = "do_sys_openat2\nvfs_read\nvfs_readv\next4_thing [ext4]\next4_thing [ext5]\n"


def recorded(path: str, text: str) -> Machine:
    return Machine({"tracefs": Answer()}, {path: text}, live=False)


def test_from_the_function_tracers_list() -> None:
    machine = recorded("/sys/kernel/tracing/available_filter_functions", FILTER)
    assert functions.exists(machine, "vfs_read")
    assert functions.exists(machine, "ext4_thing") and functions.exists(machine, "ext4_thing", "ext5")
    assert not functions.exists(machine, "ext4_thing", "xfs")
    assert not functions.exists(machine, "vfs_rea") and not functions.exists(machine, "fs_read")
    assert functions.matching(machine, "vfs_read*") == ["vfs_read", "vfs_readv"]
    assert functions.matching(machine, "vfs_rea?") == ["vfs_read"]
    assert functions.matching(machine, "*_[rt]*") == ["ext4_thing", "vfs_read", "vfs_readv"]
    assert functions.located(machine, "ext4_*") == [("ext4_thing", "ext4"), ("ext4_thing", "ext5")]
    assert functions.located(machine, "vfs_read") == [("vfs_read", "")]


def test_from_kallsyms() -> None:
    machine = recorded("/proc/kallsyms", KALLSYMS)
    assert functions.exists(machine, "do_sys_openat2")
    assert functions.exists(machine, "ext4_thing", "ext4")
    for absent in ("some_data", "start_up", "bpf_prog_1234"):
        assert not functions.exists(machine, absent), absent


def test_addresses_of_the_kernels_and_of_modules() -> None:
    twice = KALLSYMS + "ffffffffc0000200 t vfs_read\t[ext4]\n"
    machine = recorded("/proc/kallsyms", twice)
    assert functions.address(machine, "vfs_read") == functions.address(machine, "vfs_read", "vmlinux")
    assert functions.address(machine, "vfs_read") == 0xFFFFFFFF81000200
    assert functions.address(machine, "vfs_read", "ext4") == 0xFFFFFFFFC0000200
    assert functions.address(machine, "ext4_thing") == 0xFFFFFFFFC0000000
    assert functions.address(machine, "ext4_thing", "xfs") == functions.address(machine, "some_data") == 0


def test_close_names() -> None:
    machine = recorded("/proc/kallsyms", KALLSYMS)
    assert functions.near(machine, "do_sys_openat")[0] == "do_sys_openat2"
    assert functions.near(machine, "vfs_raed") == ["vfs_read"]
    assert functions.near(machine, "zzzzz") == []


def test_this_kernels() -> None:
    machine = Machine()
    assert functions.exists(machine, "vfs_read")
    assert not functions.exists(machine, "no_such_function_at_all")
    assert "vfs_write" in functions.matching(machine, "vfs_w*")
    assert "vfs_read" in functions.near(machine, "vfs_raed")


def test_without_a_place_for_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no/such")
    monkeypatch.setattr(functions, "_live", None)
    assert functions.exists(Machine(), "vfs_read")


def test_a_list_of_the_users(tmp_path: Path) -> None:
    given = tmp_path / "list"
    given.write_text("one\ntwo [module]\n")
    machine = Machine()
    functions.listed_in(machine, str(given))
    assert functions.matching(machine, "*") == ["one", "two"]
    assert functions.exists(machine, "two", "module") and not functions.exists(machine, "three")
