"""Workloads whose events are known to the last field, run by a process of their own.

A tracer makes system calls itself, so the events of the tracing process can't be told to the last one.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable

__all__ = [
    "LIBC", "OFFSETS", "WATCHED", "WHENCES", "Workload", "busy", "collected", "executed", "getppid", "lseeks",
    "opens", "refused", "renames", "worded", "written",
]  # fmt: skip

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.lseek64.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int]
LIBC.lseek64.restype = ctypes.c_int64

OFFSETS = (0, 5, -1, 7, 7, 1 << 33, -(1 << 40), 100, 3, 64)
WHENCES = (0, 1, 2, 0, 1, 0, 0, 2, 1, 5)

SYS_GETCWD = 79 if os.uname().machine == "x86_64" else 17

WATCHED = ctypes.c_uint64()
"""A word of memory that a child finds at the same address."""


class Workload:
    """A forked child, ``pid``, that runs ``job`` once it is told to."""

    def __init__(self, job: Callable[[], object]) -> None:
        wait, self._go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self._go)
                if os.read(wait, 1):
                    job()
                    status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(wait)

    def run(self) -> None:
        """Let it run to its end. Where it fails, this does too."""
        os.write(self._go, b"g")
        self.close()

    def close(self) -> None:
        """Reap it, run or not."""
        if self._go >= 0:
            os.close(self._go)
            self._go = -1
            status = os.waitpid(self.pid, 0)[1]
            assert status in (0, 256), f"the workload ended with {status}"


def lseeks(times: int = 1) -> list[int]:
    """lseek() on /dev/null with every pair of OFFSETS and WHENCES, in order. What the kernel
    returned: -errno for a failure."""
    results = []
    fd = os.open("/dev/null", os.O_RDONLY)
    for _ in range(times):
        for offset, whence in zip(OFFSETS, WHENCES):
            got = LIBC.lseek64(fd, offset, whence)
            results.append(got if got != -1 else -ctypes.get_errno())
    os.close(fd)
    return results


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


def worded() -> None:
    """A program executed with an empty argument between others."""
    subprocess.run(["/bin/true", "a", "bc", "", "d"], check=True)


def refused() -> None:
    """getcwd(2), and once more when seccomp refuses it: that call begins nowhere, and ends."""
    place = ctypes.create_string_buffer(4096)
    LIBC.syscall(SYS_GETCWD, place, 4096)
    load, jump, give = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
    lines = ((load, 0, 0, 0), (jump, 0, 1, SYS_GETCWD), (give, 0, 0, 0x50001), (give, 0, 0, 0x7FFF0000))
    program = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in lines))
    filter = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(lines), ctypes.addressof(program)))
    assert LIBC.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert (
        LIBC.prctl(22, 2, filter, 0, 0) == 0
    )  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER: EPERM (SECCOMP_RET_ERRNO)
    LIBC.syscall(SYS_GETCWD, place, 4096)


def busy() -> None:
    """Half a second of computing."""
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass


def collected() -> None:
    """Python collects garbage of the second generation seven times: its static probes fire."""
    program = "import gc; gc.disable(); [gc.collect(1) for _ in range(7)]"
    subprocess.run(["/usr/bin/python3.11", "-IS", "-c", program], check=True)


def written(times: int = 5) -> None:
    """WATCHED written so many times."""
    for number in range(times):
        WATCHED.value = number
