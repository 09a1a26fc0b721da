"""A perf ring buffer: one page of control data, then a power of two of data pages, shared with the kernel.

The kernel moves data_head, we move data_tail (struct perf_event_mmap_page). Both only grow; the
place in the data is the value modulo its size.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os

__all__ = ["Ring", "open_ring"]

PAGE = mmap.PAGESIZE
_DATA_HEAD, _DATA_TAIL = 1024, 1032  # offsets in struct perf_event_mmap_page, since 2.6.31

_ORDERED = os.uname().machine in ("x86_64", "i686")
"""Loads aren't reordered with loads, nor with later stores: no fence is needed between the control
words and the data."""


class Ring:
    """The ring of event ``fd``, on CPU ``cpu``; ``size`` bytes of data. OSError where it can't be mapped.

    The control words are read and written as aligned 8-byte units through ctypes views:
    struct.pack_into stores single bytes, after zeroing them, and the kernel may look in between.
    """

    __slots__ = ("_fence", "_head", "_map", "_tail", "cpu", "fd", "size")

    def __init__(self, fd: int, cpu: int, pages: int) -> None:
        self.fd = fd
        self.cpu = cpu
        self.size = pages * PAGE
        self._map = mmap.mmap(fd, PAGE + self.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._head: ctypes.c_uint64 | None = ctypes.c_uint64.from_buffer(self._map, _DATA_HEAD)
        self._tail: ctypes.c_uint64 | None = ctypes.c_uint64.from_buffer(self._map, _DATA_TAIL)
        self._fence = None if _ORDERED else _Fence()

    def head(self) -> int:
        """How far the kernel has written: complete records only."""
        assert self._head is not None
        return int(self._head.value)

    def take(self) -> bytes:
        """All complete records that are there now, copied out; their room is the kernel's again."""
        assert self._head is not None and self._tail is not None
        head, tail = self._head.value, self._tail.value
        if head == tail:
            return b""
        if self._fence:
            self._fence.full()
        start, stop = tail % self.size, head % self.size
        if start < stop:
            data = self._map[PAGE + start : PAGE + stop]
        else:
            data = b"".join((self._map[PAGE + start :], self._map[PAGE : PAGE + stop]))
        if self._fence:
            self._fence.full()
        self._tail.value = head
        return data

    def close(self) -> None:
        """Unmap it. The event's fd stays open."""
        self._head = self._tail = None  # a mmap with views on it can't be closed
        self._map.close()


class _Fence:
    """A full memory barrier for machines with weak ordering: release and acquire of locks order what
    lies between them, and Python offers nothing more direct."""

    __slots__ = ("_one", "_two")

    def __init__(self) -> None:
        from _thread import allocate_lock

        self._one, self._two = allocate_lock(), allocate_lock()

    def full(self) -> None:
        with self._one:
            pass
        with self._two:
            pass


def open_ring(fd: int, cpu: int, kib: int) -> Ring:
    """A ring of at most ``kib`` KiB of data (a power of two of pages), halved until the limits on
    locked memory allow it. OSError where not even one page can be had."""
    pages = 1 << max(0, (max(1, kib * 1024 // PAGE)).bit_length() - 1)
    while True:
        try:
            return Ring(fd, cpu, pages)
        except OSError as error:
            # EPERM: RLIMIT_MEMLOCK and perf_event_mlock_kb; ENOMEM: no memory
            if error.errno not in (errno.EPERM, errno.ENOMEM) or pages == 1:
                raise OSError(error.errno, os.strerror(error.errno or 0)) from None
            pages //= 2
