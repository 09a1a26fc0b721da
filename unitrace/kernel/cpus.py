"""CPUs: which are online, and how many there may ever be."""

from __future__ import annotations

import os

__all__ = ["core", "online", "parse_list", "possible"]

_FOLDER = "/sys/devices/system/cpu"


def parse_list(text: str) -> list[int]:
    """``0-3,8`` to [0, 1, 2, 3, 8] (the kernel's cpulist format)."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found.extend(range(int(first), int(last or first) + 1))
    return found


def online() -> list[int]:
    """The CPUs that are online now, ascending."""
    try:
        return parse_list(_read("online"))
    except OSError:
        return list(range(os.cpu_count() or 1))


def possible() -> int:
    """How many CPUs the kernel made room for: the values of a per-CPU map element. CPU numbers are
    below it."""
    try:
        return parse_list(_read("possible"))[-1] + 1
    except OSError:
        return os.cpu_count() or 1


def core(cpu: int) -> tuple[int, int]:
    """Package and core of a CPU; (0, cpu) where the kernel doesn't say."""
    try:
        return int(_read(f"cpu{cpu}/topology/physical_package_id")), int(_read(f"cpu{cpu}/topology/core_id"))
    except (OSError, ValueError):
        return 0, cpu


def _read(name: str) -> str:
    with open(f"{_FOLDER}/{name}", "rb", buffering=0) as file:
        return file.readall().decode()
