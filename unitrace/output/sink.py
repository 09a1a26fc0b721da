"""What a sink is, and where its bytes go."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Protocol

from unitrace.contract.errors import UsageError
from unitrace.output.records import Out

__all__ = ["Sink", "Writer"]


class Sink(Protocol):
    """Renders records. A context manager; ``end`` comes after the last record of a run in order."""

    def __enter__(self) -> Sink: ...

    def __exit__(self, *exc: object) -> None: ...

    def emit(self, records: Iterable[Out]) -> None: ...

    def end(self) -> None: ...


class Writer:
    """Bytes to standard output, or to the file ``path``; every write is whole. ``err``: stderr."""

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self._fd = 1
        if path is not None:
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise UsageError(f"failed to open output file {path!r}: {error.strerror}") from None

    def write(self, data: bytes | bytearray) -> None:
        """Write all of ``data`` now. BrokenPipeError where the reader is gone; UsageError on a full disk."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # a non-blocking stdout, inherited from a terminal multiplexer
                import select

                select.select([], [self._fd], [])
            except BrokenPipeError:
                raise
            except OSError as error:
                where = self.path or "standard output"
                raise UsageError(f"can't write to {where}: {error.strerror}") from None

    @staticmethod
    def err(data: bytes) -> None:
        """Write to stderr; a reader that is gone is no reason to stop."""
        try:
            os.write(2, data)
        except OSError:
            pass

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._fd != 1:
            os.close(self._fd)
            self._fd = 1
