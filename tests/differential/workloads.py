"""Workloads whose events are known to the last field, made by this process itself."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile

__all__ = ["LIBC", "OFFSETS", "WHENCES", "executed", "getppid", "lseeks", "opens", "renames"]

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.lseek64.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int]
LIBC.lseek64.restype = ctypes.c_int64

OFFSETS = (0, 5, -1, 7, 7, 1 << 33, -(1 << 40), 100, 3, 64)
WHENCES = (0, 1, 2, 0, 1, 0, 0, 2, 1, 5)
RESULTS: list[int] = []
"""What the last ``lseeks`` returned, as the kernel has it (-errno)."""


def lseeks(times: int = 1) -> None:
    """lseek() on /dev/null with every pair of OFFSETS and WHENCES, in order."""
    RESULTS.clear()
    fd = os.open("/dev/null", os.O_RDONLY)
    for _ in range(times):
        for offset, whence in zip(OFFSETS, WHENCES):
            got = LIBC.lseek64(fd, offset, whence)
            RESULTS.append(got if got != -1 else -ctypes.get_errno())
    os.close(fd)


def getppid(times: int = 25) -> None:
    """getppid() through libc's function."""
    for _ in range(times):
        LIBC.getppid()


def opens() -> None:
    """Three files opened: one that is there, one that isn't, one with a long non-UTF-8 name."""
    os.close(os.open("/etc/hostname", os.O_RDONLY))
    for path in (b"/nonexistent/unitrace", b"/nonexistent/\xff\xfe" + b"x" * 40):
        try:
            os.open(path, os.O_RDONLY)
        except OSError:
            pass


def renames() -> None:
    """This thread renamed to "ut-one", "ut-two", and back."""
    with open("/proc/thread-self/comm", "rb") as file:
        before = file.read().rstrip(b"\n")
    for name in (b"ut-one", b"ut-two", before):
        LIBC.prctl(15, name, 0, 0, 0)


def executed() -> None:
    """A program with a name of its own, executed twice."""
    true = shutil.which("true") or "/bin/true"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        own = os.path.join(folder, "ut-exec")
        shutil.copy(true, own)
        for _ in range(2):
            subprocess.run([own], check=True)
