"""Registers in samples: numbers for perf_event_attr.sample_regs_intr.

enum perf_event_x86_regs and perf_event_arm_regs (arch/*/include/uapi/asm/perf_regs.h). A sample
holds the registers of the mask in the order of their numbers, eight bytes each, after a u64 that tells
the ABI of the task.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

__all__ = ["NUMBERS", "mask_of", "rank"]

_X86_64 = {
    "ax": 0,
    "bx": 1,
    "cx": 2,
    "dx": 3,
    "si": 4,
    "di": 5,
    "bp": 6,
    "sp": 7,
    "ip": 8,
    "flags": 9,
    "cs": 10,
    "ss": 11,  # perf_reg_validate() refuses 12 to 15, ds to gs, on x86-64
    **{f"r{n}": 8 + n for n in range(8, 16)},
}

_AARCH64 = {f"x{n}": n for n in range(31)} | {"sp": 31, "pc": 32}

NUMBERS: Mapping[str, Mapping[str, int]] = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""Architecture to register (as kernel/arch.py spells it) to number."""


def mask_of(numbers: Collection[int]) -> int:
    """The mask that asks for these."""
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def rank(mask: int, number: int) -> int:
    """How many registers of ``mask`` come before ``number`` in a sample."""
    return (mask & ((1 << number) - 1)).bit_count()
