"""The command of ``-c``: started stopped, so that its first instruction is already traced."""

from __future__ import annotations

import os
import shlex
import signal
import time

from unitrace.contract.errors import UsageError

__all__ = ["Child"]


class Child:
    """A forked child that waits for ``release`` before it becomes ``command``.

    ``pid``: known at once. ``status``: its wait status once it has ended, else None.
    """

    def __init__(self, command: str) -> None:
        try:
            argv = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"-c {command}: {error}") from None
        if not argv:
            raise UsageError("-c needs a command")
        self.argv = argv
        self.status: int | None = None
        self._fd: int | None = None  # a pidfd; -1: none to be had
        wait_read, self._go = os.pipe()
        self._failed, fail_write = os.pipe()  # close-on-exec: EOF means that exec succeeded
        self.pid = os.fork()
        if self.pid == 0:
            self._become(wait_read, fail_write)
        os.close(wait_read)
        os.close(fail_write)

    def _become(self, wait_read: int, fail_write: int) -> None:
        """In the child: wait for the word, then exec. Never returns."""
        try:
            os.close(self._go)
            os.close(self._failed)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            if os.read(wait_read, 1):
                os.execvp(self.argv[0], self.argv)
        except OSError as error:
            os.write(fail_write, str(error.errno).encode())
        finally:
            os._exit(127)

    def release(self) -> None:
        """Let it run. UsageError where it can't be executed."""
        os.write(self._go, b"g")
        os.close(self._go)
        self._go = -1
        said = os.read(self._failed, 16)
        os.close(self._failed)
        self._failed = -1
        if said:
            self.status = os.waitpid(self.pid, 0)[1]
            raise UsageError(f"-c {self.argv[0]}: {os.strerror(int(said))}")

    def ended(self) -> bool:
        """Whether it has ended; reaps it."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
        return self.status is not None

    def wait(self, seconds: float) -> None:
        """Sleep, until it ends at the longest (pidfd_open(2), Linux 5.3)."""
        if self._fd is None:
            try:
                self._fd = os.pidfd_open(self.pid)
            except OSError:
                self._fd = -1
        if self._fd < 0 or self.status is not None:
            time.sleep(seconds)
            return
        import select

        select.select([self._fd], [], [], seconds)

    def close(self) -> None:
        """End it if it still runs, as bpftrace does with its -c command."""
        for fd in (self._go, self._failed, self._fd):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._go = self._failed = self._fd = -1
        if not self.ended():
            os.kill(self.pid, signal.SIGTERM)
            self.status = os.waitpid(self.pid, 0)[1]
