"""Workloads on a block device of their own: a null_blk device with memory behind it, made on first use."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "Missing", "array_ready", "disk", "flushed", "out_of_memory", "swapped", "transfers", "written_back", "xfs",
    "xfs_ready",
]  # fmt: skip

DISK, MEMBER, ARRAY = "/dev/nullb0", "/dev/nullb1", "/dev/md127"
ADD_NEW_DISK, SET_ARRAY_INFO, RUN_ARRAY = 0x40140921, 0x40480923, 0x40100930
MADV_PAGEOUT = 21  # Linux 5.4, include/uapi/asm-generic/mman-common.h


class Missing(Exception):
    """The machine lacks something that the workload needs."""


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")


def disk() -> str:
    """The device's path; makes it where it isn't there yet."""
    if not os.path.exists(DISK):
        _run("modprobe", "null_blk", "memory_backed=1", "gb=1", "nr_devices=2", "bs=512")
        _until(DISK)
        _until(MEMBER)
    return DISK


def _until(path: str) -> None:
    for _ in range(100):
        if os.path.exists(path):
            return
        time.sleep(0.05)
    raise Missing(f"{path} doesn't appear")


@contextmanager
def mounted(kind: str, *options: str) -> Iterator[str]:
    """A new file system of a kind on the disk; yields where it is."""
    directory = f"/run/tmp/tool-{kind}"
    os.makedirs(directory, exist_ok=True)
    _run(f"mkfs.{kind}", *options, disk())
    _run("mount", "-t", kind, disk(), directory)
    try:
        yield directory
    finally:
        _run("umount", directory)


def transfers() -> None:
    """Forty reads and writes past the page cache, of four sizes."""
    fd = os.open(disk(), os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(-1, 1 << 16) as buffer:
        for number in range(40):
            size = 4096 << number % 4
            view = memoryview(buffer)[:size]
            if number % 2:
                os.pwritev(fd, [view], number << 17)
            else:
                os.preadv(fd, [view], number << 17)
            view.release()
    os.close(fd)


def written_back() -> None:
    """Dirty pages of a file system, written by sync()."""
    with mounted("ext4", "-q", "-F") as directory:
        for number in range(3):
            with open(f"{directory}/{number}", "wb") as file:
                file.write(b"x" * 200_000)
            os.sync()


def xfs() -> None:
    """Reads, writes and syncs on XFS."""
    with mounted("xfs", "-q", "-f") as directory:
        for number in range(5):
            with open(f"{directory}/{number}", "w+b") as file:
                file.write(b"x" * 20_000)
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                file.read()


def xfs_ready() -> None:
    """The module is there before anybody traces."""
    _run("modprobe", "xfs")


def swapped() -> None:
    """Pages put out to swap, and read back."""
    _run("mkswap", disk())
    _run("swapon", disk())
    try:
        memory = mmap.mmap(-1, 4 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for at in range(0, len(memory), 4096):
            memory[at] = 1
        memory.madvise(MADV_PAGEOUT)
        time.sleep(0.2)
        assert sum(memory[at] for at in range(0, len(memory), 4096)) == 1024
        memory.close()
        time.sleep(1.2)
    finally:
        _run("swapoff", disk())


def out_of_memory() -> None:
    """A cgroup's limit is hit, and the kernel kills who hit it."""
    group = "/sys/fs/cgroup/toolload"
    with open("/sys/fs/cgroup/cgroup.subtree_control", "w") as file:
        file.write("+memory")
    os.makedirs(group, exist_ok=True)
    for name, value in (("memory.max", str(24 << 20)), ("memory.swap.max", "0")):
        if os.path.exists(f"{group}/{name}"):
            with open(f"{group}/{name}", "w") as file:
                file.write(value)
    pid = os.fork()
    if pid == 0:
        with open(f"{group}/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))
        kept = [b"x" * (1 << 20) for _ in range(64)]
        os._exit(len(kept))
    status = os.waitpid(pid, 0)[1]
    os.rmdir(group)
    if not os.WIFSIGNALED(status):
        raise Missing("no memory limit: the process ended by itself")


def flushed() -> None:
    """Two flushes go through an md device: a mirror with one side."""
    fd = os.open(ARRAY, os.O_RDWR)
    for at in (0, 4096):
        os.pwrite(fd, b"x" * 4096, at)
        os.fsync(fd)
    os.close(fd)


def array_ready() -> None:
    """The array is there before anybody traces: a mirror of one disk, without a superblock, made by the
    ioctls of include/uapi/linux/raid/md_u.h."""
    if os.path.exists(ARRAY):
        return
    _run("modprobe", "md_mod")
    _run("modprobe", "raid1")
    with open("/sys/module/md_mod/parameters/new_array", "w") as file:
        file.write("md127")
    _until(ARRAY)
    disk()
    numbers = os.stat(MEMBER).st_rdev
    fd = os.open(ARRAY, os.O_RDWR)
    array = struct.pack("<18i", 0, 90, 0, 0, 1, 0, 1, 1, 127, 1, 0, 1, 1, 1, 0, 0, 0, 0)
    member = struct.pack("<5i", 0, os.major(numbers), os.minor(numbers), 0, 0b110)
    for number, argument in ((SET_ARRAY_INFO, array), (ADD_NEW_DISK, member), (RUN_ARRAY, bytes(16))):
        fcntl.ioctl(fd, number, argument)
    os.close(fd)
