"""What is counted: a command that waits until its counters are there, threads; and sums over them."""

from __future__ import annotations

import os
import select
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence

from unitrace.child import Child
from unitrace.contract.errors import UsageError
from unitrace.kernel.counters import Reading

from .counting import Place

__all__ = ["Command", "Totals", "threads_of"]


class Command:
    """A command, forked and stopped before it becomes itself. ``status``: its exit status at the end, 128 and
    the signal's number where one ended it."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._child = Child(shlex.join(argv))
        self.pid = self._child.pid
        try:
            self._fd = os.pidfd_open(self.pid)  # 5.3
        except OSError:
            self._fd = -1

    @property
    def status(self) -> int:
        """What the shell would say."""
        code = os.waitstatus_to_exitcode(self._child.status) if self._child.status is not None else 0
        return code if code >= 0 else 128 - code

    def release(self) -> None:
        """Let it run. UsageError where it can't be executed."""
        self._child.release()

    def ended(self, seconds: float) -> bool:
        """Whether it has ended, after waiting for so long at most."""
        if self._child.ended():
            return True
        if self._fd < 0:
            time.sleep(seconds)
        else:
            select.select([self._fd], [], [], seconds)
        return self._child.ended()

    def close(self) -> None:
        """End it if it still runs."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._child.close()


def threads_of(listed: str, *, gone: bool = False) -> list[int]:
    """The threads of the processes in ``listed`` ("12,34"). UsageError where one isn't there; not if it may
    be ``gone``."""
    found: list[int] = []
    for word in listed.split(","):
        if not word.strip().isdigit():
            raise UsageError(f"-p takes process ids, not {word!r}")
        try:
            found += sorted(map(int, os.listdir(f"/proc/{int(word)}/task")))
        except OSError:
            if not gone:
                raise UsageError(f"-p {word.strip()}: there is no such process") from None
    return found


class Totals:
    """Readings of all events: each event's by place."""

    def __init__(self, readings: Sequence[Mapping[Place, Reading]]) -> None:
        self._readings = readings

    def minus(self, before: Totals) -> Totals:
        """What came since ``before``."""
        if not before._readings:
            return self
        return Totals(
            [
                {place: reading.minus(old.get(place, Reading())) for place, reading in now.items()}
                for now, old in zip(self._readings, before._readings)
            ]
        )

    def all(self, number: int) -> Reading:
        """Event ``number``, everywhere."""
        return _sum(self._readings[number].values())

    def on(self, number: int, cpus: Sequence[int]) -> Reading:
        """Event ``number`` on some CPUs."""
        return _sum(one for (_, cpu), one in self._readings[number].items() if cpu in cpus)


def _sum(readings: Iterable[Reading]) -> Reading:
    total = Reading()
    for one in readings:
        total = total.plus(one)
    return total
