"""Records from the kernel: the ring buffer that all CPUs share (5.8), or a perf buffer a CPU before.

Kernel side: kernel/bpf/ringbuf.c, kernel/events/ring_buffer.c. All records of a ring have one size, so a
piece of it is a table that numpy views as it lies.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from unitrace.contract.model import VECTOR_FROM, Place
from unitrace.kernel.packed import PackedBatch

from . import perf_event, syscall

__all__ = ["PerfBuffer", "Ring", "decode"]

PAGE = mmap.PAGESIZE
BUSY = 1 << 31  # BPF_RINGBUF_BUSY_BIT
RING_HEAD, PERF_HEAD = 8, 12  # before a record: the ring's header; perf's header and the u32 size
PIECE = 16 << 20
"""Bytes taken out at a time."""

PATIENCE = 0.05
"""Seconds to wait for a record that is being written: longer than any program runs, but its CPU (a
virtual one) may be taken away meanwhile."""


def decode(
    piece: bytes, stride: int, head: int, shapes: Mapping[int, Mapping[str, Place]]
) -> Iterator[PackedBatch]:
    """Batches of the records in ``piece``, ``stride`` bytes apart, each ``head`` bytes after its start.
    ``shapes``: the columns of each clause; the record's first u32 says which clause it is of."""
    count = len(piece) // stride
    if not count:
        return
    if len(shapes) == 1:
        ((clause, places),) = shapes.items()
        yield PackedBatch(clause, piece, range(head, head + count * stride, stride), places)
        return
    found: dict[int, Sequence[int]]
    if count >= VECTOR_FROM and stride % 4 == 0:
        import numpy as np

        clauses = np.ndarray((count,), "<u4", piece, head, (stride,))
        found = {
            int(one): np.flatnonzero(clauses == one) * stride + head  # type: ignore[misc]
            for one in np.unique(clauses)
        }
    else:
        found = {}
        for start in range(head, head + count * stride, stride):
            found.setdefault(struct.unpack_from("<I", piece, start)[0], []).append(start)  # type: ignore[attr-defined]
    for clause, starts in found.items():
        if clause in shapes:
            yield PackedBatch(clause, piece, starts, shapes[clause])


class Ring:
    """The reader of a BPF ring buffer whose records are all ``size`` bytes.

    The consumer's page is written by one aligned 8-byte store; the data is mapped twice in a row, so
    that records never wrap."""

    __slots__ = ("_consumer", "_data", "_maps", "_position", "fd", "length", "lost", "stride")

    head = RING_HEAD

    def __init__(self, length: int, size: int) -> None:
        self.length = length
        self.stride = -(-(size + RING_HEAD) // 8) * 8
        self.lost = 0
        self.fd = syscall.map_create(syscall.RINGBUF, 0, 0, length, name="ut_ring")
        consumer = mmap.mmap(self.fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        data = mmap.mmap(self.fd, PAGE + 2 * length, mmap.MAP_SHARED, mmap.PROT_READ, offset=PAGE)
        self._maps = (consumer, data)
        self._consumer = ctypes.c_uint64.from_buffer(consumer)
        self._data = memoryview(data)
        self._position = 0

    def take(self) -> bytes:
        """The records that the ring holds now, taken out."""
        return b"".join(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        position, data = self._position, self._data
        end = data[:8].cast("Q")[0]
        words = data[PAGE:].cast("I")
        step = self.stride // 4
        while position < end:
            count = min(end - position, PIECE // self.stride * self.stride) // self.stride
            at = position % self.length
            heads = words[at // 4 : at // 4 + count * step : step]
            ready = self._ready(heads, count)
            if ready:
                piece = bytes(data[PAGE + at : PAGE + at + ready * self.stride])
                position += len(piece)
                self._position = self._consumer.value = position
                yield piece
            if ready < count:
                return

    def _ready(self, heads: memoryview, count: int) -> int:
        """How many records from the first on are written; waits a moment for one that is not."""
        until = 0.0
        while True:
            done = _first_busy(heads, count)
            if done == count:
                return count
            now = time.monotonic()
            until = until or now + PATIENCE
            if now > until:
                return done
            time.sleep(0)

    def close(self) -> None:
        del self._consumer
        self._data.release()
        for one in self._maps:
            one.close()
        os.close(self.fd)


def _first_busy(heads: memoryview, count: int) -> int:
    if count >= VECTOR_FROM and "numpy" in sys.modules:  # its import would keep the ring from being emptied
        import numpy as np

        busy = np.asarray(heads) >= BUSY
        return int(busy.argmax()) if busy.any() else count
    listed = heads.tolist()
    if max(listed) < BUSY:
        return count
    return next(at for at, head in enumerate(listed) if head >= BUSY)


class PerfBuffer:
    """Readers of a perf buffer on each CPU, whose records are all ``size`` bytes (4 more than a multiple
    of 8, so that perf's own u32 of size makes it one)."""

    __slots__ = ("_cpus", "fd", "length", "lost", "stride")

    head = PERF_HEAD

    def __init__(self, length: int, size: int, cpus: Sequence[int], possible: int) -> None:
        self.fd = syscall.map_create(syscall.PERF_EVENT_ARRAY, 4, 4, possible, name="ut_perf")
        self.length = length
        self.stride = size + PERF_HEAD
        self.lost = 0
        self._cpus: list[tuple[int, mmap.mmap, int]] = []
        for cpu in cpus:
            event = perf_event.bpf_output(cpu)
            ring = mmap.mmap(event, PAGE + length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            self._cpus.append((event, ring, length))
            syscall.map_update(self.fd, struct.pack("<I", cpu), struct.pack("<I", event))

    def take(self) -> bytes:
        """The records that the rings hold now, taken out, CPU by CPU."""
        return b"".join(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        for _, ring, length in self._cpus:
            view = memoryview(ring)
            positions = view[1024:1040].cast("Q")  # data_head, data_tail
            head, tail = positions[0], positions[1]
            if head != tail:
                first, last = tail % length, head % length
                body = view[PAGE:]
                held = bytes(body[first:last]) if first < last else bytes(body[first:]) + bytes(body[:last])
                body.release()
                ctypes.c_uint64.from_buffer(ring, 1032).value = head
                yield from self._records(held)
            positions.release()
            view.release()

    def _records(self, held: bytes) -> Iterator[bytes]:
        """Runs of records between the kernel's notes of loss (PERF_RECORD_LOST)."""
        at = start = 0
        while at < len(held):
            kind, _, size = struct.unpack_from("<IHH", held, at)
            if kind == 9 and size == self.stride:  # PERF_RECORD_SAMPLE
                at += size
                continue
            if start < at:
                yield held[start:at]
            if kind == 2:
                self.lost += struct.unpack_from("<Q", held, at + 16)[0]
            at += size
            start = at
        if start < at:
            yield held[start:at]

    def close(self) -> None:
        for event, ring, _ in self._cpus:
            ring.close()
            os.close(event)
        os.close(self.fd)
