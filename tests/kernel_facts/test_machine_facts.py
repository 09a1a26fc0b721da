"""The survey's facts, CPUs, architectures."""

from __future__ import annotations

import os

import pytest

from unitrace.contract.machine import FACTS, Answer, Machine
from unitrace.kernel import arch, cpus, survey


def test_every_fact_can_be_found_and_saved(tmp_path: object) -> None:
    machine = Machine()
    names = [name for name in FACTS if "." not in name or name.split(".")[0] in ("kernel", "cpus", "tracefs")]
    for name in names:
        assert isinstance(machine.fact(name), (Answer, str, int, list, dict)), name
    assert machine.fact("kernel.release") == os.uname().release
    assert machine.fact("kernel.version")[0] >= 3
    path = f"{tmp_path}/machine.json"
    machine.save(path)
    again = Machine.load(path)
    for name in names:
        assert again.fact(name) == machine.fact(name), name


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44-fc", [6, 18]), ("3.10.0-1160.el7.x86_64", [3, 10]), ("7.3-rc1", [7, 3]), ("6.1+", [6, 1])],
)
def test_versions(release: str, version: list[int]) -> None:
    assert Machine({"kernel.release": release}).fact("kernel.version") == version


def test_config() -> None:
    text = '# CONFIG_FPROBE is not set\nCONFIG_KPROBES=y\nCONFIG_LSM="a,b"\nCONFIG_SOUND=m\n'
    assert survey.parse_config(text) == {"KPROBES": "y", "LSM": "a,b"}


def test_a_fact_that_is_missing_says_why() -> None:
    machine = Machine().masked(["tracefs", "btf"])
    assert not machine.answer("tracefs") and "masked" in machine.answer("tracefs").reason


def test_cpu_lists() -> None:
    assert cpus.parse_list("0-3,8,10-11\n") == [0, 1, 2, 3, 8, 10, 11]
    assert cpus.parse_list("\n") == []
    assert cpus.online() == sorted(cpus.online())
    assert cpus.possible() > max(cpus.online())


def test_architectures() -> None:
    x86 = arch.architecture("x86_64")
    assert [x86.argument(n) for n in (0, 3, 5, 6, 7)] == ["%di", "%cx", "%r9", "$stack1", "$stack2"]
    # struct pt_regs of arch/x86/include/asm/ptrace.h
    assert (x86.argument_offset(0), x86.register_offset("ax"), x86.register_offset("rip")) == (112, 80, 128)
    arm = arch.architecture("arm64")
    assert (arm.argument(7), arm.argument(8), arm.register_offset("lr")) == ("%x7", "$stack0", 240)
    with pytest.raises(KeyError):
        arch.architecture("vax")
