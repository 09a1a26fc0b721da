"""The pipes through which a guest speaks: its command's stdout and stderr, and a word on how it ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import BinaryIO

Reader = Callable[[BinaryIO], None]


class Ports:
    """A pipe per name, and a thread per pipe that runs its reader until QEMU closes the other end."""

    def __init__(self, readers: Mapping[str, Reader]) -> None:
        self.fds: dict[str, int] = {}  # the writing ends, for QEMU
        self._threads: list[threading.Thread] = []
        for name, reader in readers.items():
            reading, self.fds[name] = os.pipe()
            thread = threading.Thread(target=self._read, args=(reading, reader), daemon=True)
            thread.start()
            self._threads.append(thread)

    @staticmethod
    def _read(fd: int, reader: Reader) -> None:
        with os.fdopen(fd, "rb", buffering=0) as pipe:
            reader(pipe)

    def hand_over(self) -> None:
        """Close this process's writing ends: QEMU has its own by now."""
        while self.fds:
            os.close(self.fds.popitem()[1])

    def __enter__(self) -> Ports:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.hand_over()
        for thread in self._threads:
            thread.join()


def copy_to(fd: int) -> Reader:
    """A reader that copies all it gets to `fd` at once.

    It goes on reading when nobody reads `fd` any more: a full pipe would stop QEMU as a whole.
    """

    def copy(pipe: BinaryIO) -> None:
        lost = False
        while data := pipe.read(65536):
            while data and not lost:
                try:
                    data = data[os.write(fd, data) :]
                except OSError:
                    lost = True

    return copy


def lines_to(sink: Callable[[str], None]) -> Reader:
    """A reader that calls `sink` with each line."""

    def read(pipe: BinaryIO) -> None:
        pending = b""
        while data := pipe.read(4096):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                sink(line.decode(errors="replace"))

    return read
