"""What a process has in the kernel that could outlive it: tracefs objects, and BPF programs."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path

__all__ = ["bpf_programs", "exists_program", "tracefs", "tracefs_objects"]

_BPF = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), 321)
_LIBC = ctypes.CDLL(None, use_errno=True)


def tracefs() -> Path | None:
    """Where tracefs is mounted and readable; None where it isn't."""
    for path in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
        if os.access(f"{path}/trace_clock", os.R_OK):
            return Path(path)
    return None


def tracefs_objects(pid: int) -> list[str]:
    """Instances and dynamic events that carry ``pid`` in their name as unitrace's do."""
    root = tracefs()
    if root is None:
        return []
    mark = f"unitrace_{pid}_"
    found = [f"instance {name.name}" for name in (root / "instances").iterdir() if mark in name.name]
    for file in ("kprobe_events", "uprobe_events", "dynamic_events"):
        try:
            text = (root / file).read_text(errors="replace")
        except OSError:
            continue
        found += [line for line in text.splitlines() if mark in line]
    return found


def bpf_programs(pid: int) -> set[int]:
    """The ids of the BPF programs that ``pid`` holds by a descriptor."""
    found = set()
    folder = Path(f"/proc/{pid}/fdinfo")
    for entry in folder.iterdir():
        try:
            lines = entry.read_text().splitlines()
        except OSError:
            continue
        found |= {int(line.split()[1]) for line in lines if line.startswith("prog_id:")}
    return found


def exists_program(number: int) -> bool:
    """Whether a BPF program of that id is in the kernel (BPF_PROG_GET_FD_BY_ID)."""
    attr = ctypes.create_string_buffer(struct.pack("<III", number, 0, 0).ljust(128, b"\0"))
    fd = _LIBC.syscall(_BPF, 13, attr, 128)
    if fd >= 0:
        os.close(fd)
    return bool(fd >= 0)
