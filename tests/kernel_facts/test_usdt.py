"""USDT notes: argument texts of both architectures, and the probes of programs that are here."""

from __future__ import annotations

import os
import struct
import sys

import pytest

from unitrace.kernel.arch import AARCH64, X86_64, Architecture
from unitrace.kernel.elf import Elf
from unitrace.kernel.usdt import Argument, parse_argument, probes

ARGUMENTS = [
    (X86_64, "-4@%edi", Argument("-4@%edi", 4, True, "di"), "%di:s32"),
    (X86_64, "8@%rax", Argument("8@%rax", 8, False, "ax"), "%ax:u64"),
    (X86_64, "1@%sil", Argument("1@%sil", 1, False, "si"), "%si:u8"),
    (X86_64, "2@%r11w", Argument("2@%r11w", 2, False, "r11"), "%r11:u16"),
    (X86_64, "8@-8(%rbp)", Argument("8@-8(%rbp)", 8, False, "bp", True, -8), "-8(%bp):u64"),
    (X86_64, "-4@(%rsp)", Argument("-4@(%rsp)", 4, True, "sp", True), "+0(%sp):s32"),
    (X86_64, "8@16(%rax,%rdx,8)", Argument("8@16(%rax,%rdx,8)", 8, False, "ax", True, 16, "dx", 8), None),
    (X86_64, "-4@$-5", Argument("-4@$-5", 4, True, constant=-5), "\\-5:s32"),
    (X86_64, "8@some_var(%rip)", Argument("8@some_var(%rip)", 8, False, known=False), None),
    (X86_64, "8f@%xmm0", Argument("8f@%xmm0", 8, True, known=False), None),
    (X86_64, "1@%ah", Argument("1@%ah", 1, False, "ah", known=False), None),
    (AARCH64, "8@x0", Argument("8@x0", 8, False, "x0"), "%x0:u64"),
    (AARCH64, "-4@w20", Argument("-4@w20", 4, True, "x20"), "%x20:s32"),
    (AARCH64, "4@[sp, 12]", Argument("4@[sp, 12]", 4, False, "sp", True, 12), "+12(%sp):u32"),
    (AARCH64, "4@5", Argument("4@5", 4, False, constant=5), "\\5:u32"),
]


@pytest.mark.parametrize(("arch", "written", "argument", "fetch"), ARGUMENTS)
def test_arguments(arch: Architecture, written: str, argument: Argument, fetch: str | None) -> None:
    found = parse_argument(written, arch)
    assert found == argument
    assert found.fetch() == fetch


def with_probes() -> str:
    for path in (sys.executable, "/usr/bin/python3.11", "/usr/lib/x86_64-linux-gnu/libstdc++.so.6"):
        if os.path.exists(path) and probes(path):
            return path
    pytest.skip("no file with USDT probes here")


def test_probes_of_a_real_file() -> None:
    path = with_probes()
    with Elf(path) as elf:
        for probe in probes(path):
            assert probe.provider and probe.name
            assert 0 < probe.location < len(elf.data)
            # sdt.h puts a nop there: what a uprobe is made for
            code = elf.data[probe.location : probe.location + 4]
            assert code[0] in (0x90, 0x66, 0x0F) or struct.unpack("<I", code)[0] == 0xD503201F
            for argument in probe.args:
                assert argument.size in (1, 2, 4, 8)


def test_a_file_without() -> None:
    assert probes(with_probes()) and probes("/bin/true") == []
