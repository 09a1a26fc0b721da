"""Takes bytes out of rings while whoever reads them is busy.

A ring of the peers' size is full within some ten ms of a million events/s. Decoding and printing what was
read takes longer now and then, and importing numpy always does. So once many bytes come, a thread
empties the rings into memory meanwhile; a run with few events never starts one.
"""

from __future__ import annotations

import sys
import time
from _thread import LockType, allocate_lock, start_new_thread
from collections.abc import Callable, Sequence

__all__ = ["Collector"]

SHORTEST, LONGEST = 0.002, 0.016
"""Seconds between two looks at the rings: as long as they stay between a thirty-second and an eighth full."""

SWITCH = 0.0005
"""Seconds after which the reader's Python lets the thread's run: by default it is ten times as many."""

LIMIT = 64 << 20
"""Bytes that are held at most: what comes then stays in the rings, where the kernel counts what it drops."""

SHARE, MUCH = 16, 16 << 10
"""Rings that held this part of one's room when they were read, or so many bytes, are worth a thread: at three
times as much or so, somebody is going to import numpy, and does nothing else for a tenth of a second."""


class Collector:
    """``takes``: for each ring, what takes all bytes out that are there now; nobody else may call them.
    ``size``: of the smallest ring, in bytes. For one reader, which calls ``take`` and at the end ``stop``."""

    __slots__ = ("_done", "_held", "_interval", "_lock", "_room", "_size", "_stopping", "_takes")

    def __init__(self, takes: Sequence[Callable[[], bytes]], size: int) -> None:
        self._takes = takes
        self._room = size
        self._held: list[list[bytes]] = [[] for _ in takes]
        self._size = 0
        self._lock = allocate_lock()
        self._stopping = False
        self._done: LockType | None = None
        self._interval = 0.0

    def take(self) -> list[bytes]:
        """All bytes of each ring since the last call, those among them that are in it now."""
        if self._done is None:
            taken = [take() for take in self._takes]
            if sum(map(len, taken)) > min(self._room // SHARE, MUCH):
                self._start()
            return taken
        with self._lock:
            self._look()
            held, self._held, self._size = self._held, [[] for _ in self._takes], 0
        return [parts[0] if len(parts) == 1 else b"".join(parts) for parts in held]

    def stop(self) -> None:
        """End the thread, if there is one; what it holds is dropped."""
        if self._done is not None and not self._stopping:
            self._stopping = True
            self._done.acquire()
            sys.setswitchinterval(self._interval)

    def _start(self) -> None:
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        self._done = allocate_lock()
        self._done.acquire()
        start_new_thread(self._run, (self._done,))

    def _run(self, done: LockType) -> None:
        pause = SHORTEST
        try:
            while not self._stopping:
                time.sleep(pause)
                with self._lock:
                    if self._size >= LIMIT or self._stopping:
                        continue
                    most = self._look()
                if 8 * most > self._room:
                    pause = max(pause / 2, SHORTEST)
                elif 32 * most < self._room:
                    pause = min(pause * 2, LONGEST)
        except OSError:
            pass  # whoever reads the ring meets it too
        finally:
            done.release()

    def _look(self) -> int:
        """Empty the rings; the bytes that most were in one."""
        most = 0
        for take, parts in zip(self._takes, self._held):
            taken = take()
            if taken:
                parts.append(taken)
                self._size += len(taken)
                most = max(most, len(taken))
        return most
