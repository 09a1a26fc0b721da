"""Stacks as people read them, of this very process."""

from __future__ import annotations

import ctypes
import os

import pytest

from unitrace.contract.types import Stack
from unitrace.engine.resolve import Resolver
from unitrace.kernel import elf


def place() -> tuple[int, str, elf.Symbol]:
    """Where getppid() is in memory, its file, its symbol."""
    address = ctypes.cast(ctypes.CDLL(None).getppid, ctypes.c_void_p).value
    assert address is not None
    with open("/proc/self/maps") as maps:
        for line in maps:
            start, _, end = line.split()[0].partition("-")
            if int(start, 16) <= address < int(end, 16) and len(line.split()) == 6:
                path = line.split()[5]
                found = elf.find(path, "getppid")
                if found is not None and found.is_func:
                    return address, path, found
    pytest.skip("getppid is in no file")


def test_modes_of_stacks() -> None:
    address, path, symbol = place()
    resolve = Resolver(0)

    def shown(mode: str, *addresses: int) -> list[str]:
        text = resolve(Stack("user", 5, mode), (os.getpid(), *addresses))
        assert text.startswith(b"\n")
        return text.decode().splitlines()[1:]

    assert shown("raw", address) == [f"{address:x}"]
    assert shown("bpftrace", address + 2, 8) == ["        getppid+2", "        0x8"]
    assert shown("perf", address) == [f"\t{address:x} getppid+0 ({path})"]
    with elf.Elf(path) as file:
        build = file.build_id()
    if not build:
        pytest.skip(f"{path} has no build id")
    assert shown("build_id", address + 1, 8) == [f"{build} 0x{symbol.offset_in_file + 1:x}", "0x8"]
