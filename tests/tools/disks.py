"""Workloads on block devices of their own: null_blk devices with memory behind them, made on first use."""

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
CONFIGFS, CGROUPS = "/sys/kernel/config", "/sys/fs/cgroup"
ADD_NEW_DISK, SET_ARRAY_INFO, RUN_ARRAY = 0x40140921, 0x40480923, 0x400C0930


class Missing(Exception):
    """The machine lacks something that the workload needs."""


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")


def disk() -> str:
    """The device's path; makes it where it isn't there yet, and MEMBER beside it."""
    for path in (DISK, MEMBER):
        if not os.path.exists(path):
            _null_block(path)
    return DISK


def _null_block(path: str) -> None:
    """A null_blk device of 1 GiB that keeps what is written to it. By configfs: as a parameter of the module,
    5.10 has no memory_backed (Documentation/block/null_blk.rst)."""
    _run("modprobe", "null_blk", "nr_devices=0")
    if not os.path.ismount(CONFIGFS):
        _run("mount", "-t", "configfs", "configfs", CONFIGFS)
    place = f"{CONFIGFS}/nullb/{os.path.basename(path)}"
    os.mkdir(place)
    for name, value in (("memory_backed", "1"), ("size", "1024"), ("blocksize", "512"), ("power", "1")):
        _write(f"{place}/{name}", value)
    _until(path)
    # what 5.10 chooses by itself issues requests from a kworker
    _write(f"/sys/block/{os.path.basename(path)}/queue/scheduler", "none")


def _write(path: str, value: str) -> None:
    with open(path, "w") as file:
        file.write(value)


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
    """Pages put out to swap, and read back.

    It takes a cgroup's limit: what MADV_PAGEOUT (Linux 5.4) puts out stays in the swap cache, and nothing is
    read when it is touched again.
    """
    _run("mkswap", disk())
    _run("swapon", disk())
    try:
        with group() as place, mmap.mmap(-1, 4 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            _write(f"{place}/cgroup.procs", str(os.getpid()))
            for at in range(0, len(memory), mmap.PAGESIZE):
                memory[at] = 1
            _write(f"{place}/memory.high", "0")
            _write(f"{place}/memory.high", "max")
            assert sum(memory[at] for at in range(0, len(memory), mmap.PAGESIZE)) == 1024
            _write(f"{CGROUPS}/cgroup.procs", str(os.getpid()))
    finally:
        _run("swapoff", disk())


@contextmanager
def group() -> Iterator[str]:
    """A new cgroup whose memory is accounted for; yields its directory. Nobody is in it at the end."""
    place = f"{CGROUPS}/toolload"
    _write(f"{CGROUPS}/cgroup.subtree_control", "+memory")
    os.mkdir(place)
    try:
        yield place
    finally:
        os.rmdir(place)


def out_of_memory() -> None:
    """A cgroup's limit is hit, and the kernel kills who hit it."""
    with group() as place:
        _write(f"{place}/memory.max", str(24 << 20))
        if os.path.exists(f"{place}/memory.swap.max"):
            _write(f"{place}/memory.swap.max", "0")
        pid = os.fork()
        if pid == 0:
            _write(f"{place}/cgroup.procs", str(os.getpid()))
            kept = [b"x" * (1 << 20) for _ in range(64)]
            os._exit(len(kept))
        status = os.waitpid(pid, 0)[1]
        time.sleep(1.0)  # who prints the group's path looks for it
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
    _write("/sys/module/md_mod/parameters/new_array", os.path.basename(ARRAY))
    _until(ARRAY)
    disk()
    numbers = os.stat(MEMBER).st_rdev
    fd = os.open(ARRAY, os.O_RDWR)
    array = struct.pack("<18i", 0, 90, 0, 0, 1, 0, 1, 1, 127, 1, 0, 1, 1, 1, 0, 0, 0, 0)
    member = struct.pack("<5i", 0, os.major(numbers), os.minor(numbers), 0, 0b110)
    for number, argument in ((SET_ARRAY_INFO, array), (ADD_NEW_DISK, member), (RUN_ARRAY, bytes(12))):
        fcntl.ioctl(fd, number, argument)
    os.close(fd)
