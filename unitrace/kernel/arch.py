"""What an architecture's calling convention says: one table a machine.

``arguments``: registers of a function's integer arguments in order, as probe events spell them (regs
names of arch/*/kernel/ptrace.c). ``offsets``: each register's place in struct pt_regs (arch/*/include/
asm/ptrace.h, uapi user_pt_regs on arm64), bytes, for BPF. ``result``, ``stack``, ``ip``: register names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from unitrace.contract.record import Record

__all__ = ["ARCHITECTURES", "Architecture", "architecture"]


class Architecture(Record):
    """``syscall_prefix``: of the entry symbols (``__x64_sys_openat``), whose one argument points to the
    caller's pt_regs; ``syscall_arguments``: the registers there. ``stack_arguments``: bytes from the
    stack pointer at a function's entry to its first stack argument."""

    name: str
    arguments: tuple[str, ...]
    result: str
    stack: str
    ip: str
    offsets: Mapping[str, int]
    stack_arguments: int
    syscall_prefix: str
    syscall_arguments: tuple[str, ...]
    aliases: Mapping[str, str] = {}

    def argument(self, number: int) -> str:
        """Argument ``number`` (from 0) as a probe event's fetch ("%di", "$stack1"); also at kernels
        without ``$argN`` (before 4.20)."""
        if number < len(self.arguments):
            return f"%{self.arguments[number]}"
        slot = self.stack_arguments // 8 + number - len(self.arguments)
        return f"$stack{slot}"

    def argument_offset(self, number: int) -> int:
        """Where argument ``number`` lies in pt_regs; IndexError where it comes on the stack."""
        return self.offsets[self.arguments[number]]

    def syscall_offset(self, number: int) -> int:
        """Where argument ``number`` of a system call lies in the caller's pt_regs; IndexError from 6 on."""
        return self.offsets[self.syscall_arguments[number]]

    def register_offset(self, name: str) -> int:
        """Where register ``name`` lies in pt_regs; KeyError where there is none of that name."""
        return self.offsets[self.aliases.get(name, name)]


_X86_64 = ("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di",
           "orig_ax", "ip", "cs", "flags", "sp", "ss")  # fmt: skip
X86_64 = Architecture(
    "x86_64",
    ("di", "si", "dx", "cx", "r8", "r9"),
    "ax",
    "sp",
    "ip",
    {name: 8 * at for at, name in enumerate(_X86_64)},
    8,  # the return address comes first
    "__x64_sys_",
    ("di", "si", "dx", "r10", "r8", "r9"),
    {**{f"r{name}": name for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp", "ip")}, "pc": "ip"},
)

AARCH64 = Architecture(
    "aarch64",
    tuple(f"x{n}" for n in range(8)),
    "x0",
    "sp",
    "pc",
    {**{f"x{n}": 8 * n for n in range(31)}, "sp": 248, "pc": 256, "pstate": 264},
    0,
    "__arm64_sys_",
    tuple(f"x{n}" for n in range(6)),
    {**{f"r{n}": f"x{n}" for n in range(31)}, "lr": "x30", "fp": "x29"},
)

ARCHITECTURES = {one.name: one for one in (X86_64, AARCH64)}
ARCHITECTURES["arm64"] = AARCH64


def architecture(name: str = "") -> Architecture:
    """The table of architecture ``name``, by default the running one's; KeyError where there is none."""
    return ARCHITECTURES[name or os.uname().machine]
