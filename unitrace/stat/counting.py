"""Counters in place: for a command, for processes, or for CPUs."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from unitrace.contract.errors import BackendError
from unitrace.kernel import counters
from unitrace.kernel.counters import Event, Reading

__all__ = ["Counting", "Place"]

Place = tuple[int, int]
"""(thread, CPU); -1 for all."""

_ABSENT = (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV, errno.ENXIO, errno.EINVAL)


class Counting:
    """Counters for ``groups`` at ``places``. A context manager. ``absent``: events that this machine doesn't
    count, by number. ``inherit``: of new threads and processes too; ``on_exec``: counting begins when
    the thread calls exec."""

    def __init__(
        self,
        groups: Sequence[Sequence[Event]],
        places: Sequence[Place],
        *,
        inherit: bool,
        on_exec: bool = False,
    ) -> None:
        self.events = [event for group in groups for event in group]
        self.places = list(places)
        self.absent: set[int] = set()
        self._fds: dict[int, list[tuple[Place, int]]] = {number: [] for number in range(len(self.events))}
        self._leaders: list[int] = []
        try:
            for place in self.places:
                number = 0
                for group in groups:
                    self._open(group, number, place, inherit, on_exec)
                    number += len(group)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self, group: Sequence[Event], first: int, place: Place, inherit: bool, on_exec: bool) -> None:
        leader = -1
        for number, event in enumerate(group, first):
            if number in self.absent:
                continue
            try:
                fd = counters.opened(
                    event, pid=place[0], cpu=place[1], group=leader, inherit=inherit, on_exec=on_exec
                )
            except OSError as error:
                if error.errno in _ABSENT:
                    self.absent.add(number)
                elif error.errno != errno.ESRCH:  # the thread has ended meanwhile
                    raise _refused(event, error) from None
                continue
            self._fds[number].append((place, fd))
            if leader < 0:
                leader = fd
                self._leaders.append(fd)

    def start(self) -> None:
        """Count."""
        for fd in self._leaders:
            counters.enable(fd)

    def stop(self) -> None:
        """Count no more; what was counted can be read."""
        for fd in self._leaders:
            counters.disable(fd)

    def read(self) -> list[dict[Place, Reading]]:
        """Each event's counters now."""
        return [{place: counters.read(fd) for place, fd in self._fds[number]} for number in self._fds]

    def close(self) -> None:
        """Let go of all counters."""
        counters.close([fd for pairs in self._fds.values() for _, fd in pairs])
        self._fds = {number: [] for number in self._fds}
        self._leaders.clear()


def _refused(event: Event, error: OSError) -> BackendError:
    if error.errno in (errno.EACCES, errno.EPERM):
        try:
            with open("/proc/sys/kernel/perf_event_paranoid", encoding="ascii") as file:
                paranoid = file.read().strip()
        except OSError:
            paranoid = "?"
        return BackendError(
            f"{event.name} can't be counted: no permission (perf_event_paranoid is {paranoid})",
            remedy="run as root, with CAP_PERFMON, or count only user mode (:u)",
        )
    if error.errno == errno.EMFILE:
        return BackendError("no file descriptors left", remedy="ulimit -n")
    return BackendError(f"{event.name} can't be counted: {os.strerror(error.errno or 0)}")
