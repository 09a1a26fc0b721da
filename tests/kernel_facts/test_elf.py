"""ELF symbols and file names, on the programs that are here; readelf-free."""

from __future__ import annotations

import ctypes
import os
import sys

import pytest

from unitrace.contract.errors import ProbeError
from unitrace.kernel import elf


def libc() -> str:
    try:
        return elf.resolve_file("libc")
    except ProbeError:
        pytest.skip("no libc that can be found (musl, static)")


def test_a_library_by_its_short_names() -> None:
    path = libc()
    assert os.path.isabs(path)
    assert elf.resolve_file("c") == path
    assert elf.resolve_file(os.path.basename(path)) == path


def test_the_found_place_is_the_functions_code() -> None:
    path = libc()
    found = elf.find(path, "getppid")
    assert found is not None and found.is_func and found.size > 0
    with open(path, "rb") as file:
        file.seek(found.offset_in_file)
        code = file.read(8)
    here = ctypes.cast(ctypes.CDLL(path).getppid, ctypes.c_void_p).value
    assert here is not None
    assert ctypes.string_at(here, 8) == code


def test_no_such_symbol_and_tails_of_names() -> None:
    path = libc()
    assert elf.find(path, "no_such_symbol_anywhere") is None
    assert elf.find(path, "etppid") is None  # the tail of a name is no name


def test_every_symbol_is_found_again() -> None:
    path = libc()
    some = [one for one in elf.symbols(path) if one.is_func][:2000:97]
    assert len(some) > 5
    for one in some:
        found = elf.find(path, one.name)
        assert found is not None and found.name == one.name and found.is_func


def test_programs_on_the_path() -> None:
    assert elf.resolve_file("sh").endswith("/sh")
    assert elf.resolve_file(sys.executable) == sys.executable
    assert os.path.isfile(elf.resolve_file("sh", pid=os.getpid()))
    for wrong in ("/no/such/file", "no-such-program-or-library"):
        with pytest.raises(ProbeError):
            elf.resolve_file(wrong)


def test_what_is_not_elf(tmp_path: object) -> None:
    path = f"{tmp_path}/text"
    with open(path, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n" * 100)
    with pytest.raises(ValueError, match="ELF"):
        elf.find(path, "main")
