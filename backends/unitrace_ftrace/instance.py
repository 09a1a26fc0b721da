"""An instance of tracefs: a set of ring buffers and enabled events that is ours alone.

Documentation/trace/ftrace.rst, "Instances". It is known to the guard before it is made, so it goes even
if we are killed.
"""

from __future__ import annotations

import errno
import os
import time

from unitrace.contract.errors import BackendError
from unitrace.kernel import tracefs
from unitrace.kernel.guard import guard, mark

__all__ = ["Instance"]

_made = 0

BUSY_SECONDS = 5.0
"""How long rmdir is tried while somebody (a reader of ours that just closed) holds the instance."""


class Instance:
    """Made switched off (tracing_on 0), stamped with CLOCK_MONOTONIC, newest events dropped when full.

    ``buffer_kib``: per CPU. BackendError where the kernel refuses; then nothing stays.
    """

    __slots__ = ("_token", "path", "root")

    def __init__(self, root: str, buffer_kib: int) -> None:
        global _made
        _made += 1
        self.root = root
        self.path = f"{root}/instances/{mark()}_i{_made}"
        self._token = guard(root).add(("rmdir", self.path))
        try:
            os.mkdir(self.path)
        except OSError as error:
            guard().done(self._token)
            raise BackendError(
                f"no instance of tracefs can be made: {os.strerror(error.errno or 0)}",
                remedy="see `unitrace backends` for what ftrace lacks here",
            ) from None
        try:
            self.write("tracing_on", "0")
            self.write("trace_clock", "mono")
            # as perf's and BPF's rings do: what is there stays, what comes is dropped and counted
            self.write("options/overwrite", "0")
            try:
                self.write("buffer_size_kb", str(buffer_kib))
            except BackendError as error:
                error.remedy = "ask for a smaller buffer (it is per CPU)"
                raise
        except BaseException:
            self.close()
            raise

    def enlarge_pages(self, kib: int) -> None:
        """Let an event be as large as ``kib`` KiB, where the kernel can (6.8): what doesn't fit a page of the
        ring is dropped without being counted. Before anything is recorded."""
        if os.path.exists(f"{self.path}/buffer_subbuf_size_kb"):
            self.write("buffer_subbuf_size_kb", str(kib))

    def write(self, name: str, text: str) -> None:
        """Write a control file of the instance. BackendError, with the kernel's words, where it refuses."""
        self._put(name, text, False)

    def append(self, name: str, text: str) -> None:
        """The same for a file whose lines are added one by one (triggers)."""
        self._put(name, text, True)

    def _put(self, name: str, text: str, append: bool) -> None:
        try:
            tracefs.write(f"{self.path}/{name}", text, append=append)
        except OSError as error:
            said = tracefs.last_error(self.path, text[:40])
            why = f"{said} ({os.strerror(error.errno or 0)})" if said else os.strerror(error.errno or 0)
            raise BackendError(f"the kernel refuses {text.strip()!r} for {name}: {why}") from None

    def read(self, name: str) -> str:
        """The text of a file of the instance. OSError."""
        with open(f"{self.path}/{name}", "rb", buffering=0) as file:
            return file.readall().decode(errors="replace")

    @property
    def alive(self) -> bool:
        """Whether it is still there."""
        return bool(self._token)

    def cpus(self) -> list[int]:
        """The CPUs that have a ring here, ascending."""
        names = os.listdir(f"{self.path}/per_cpu")
        return sorted(int(name[3:]) for name in names if name.startswith("cpu"))

    def close(self) -> None:
        """Remove it, with all its events. BackendError where somebody holds it for too long."""
        if not self._token:
            return
        pause, deadline = 0.001, time.monotonic() + BUSY_SECONDS
        while True:
            try:
                os.rmdir(self.path)
                break
            except FileNotFoundError:
                break
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise BackendError(
                        f"{self.path} can't be removed: {os.strerror(error.errno or 0)}",
                        remedy="somebody else uses it; it is removed when that ends",
                    ) from None
                time.sleep(pause)
                pause = min(pause * 2, 0.1)
        guard().done(self._token)
        self._token = 0
