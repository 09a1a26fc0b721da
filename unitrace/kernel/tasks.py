"""Tasks: what a thread was called, and which process it was of, at a given time.

ftrace's records carry a thread id and no more. A look in /proc afterwards isn't exact: threads are renamed
by exec and prctl, and ids are used again. So: start following task_newtask, task_rename and
sched_process_exit, then take a ``snapshot`` of /proc, then feed the events in order of time. Times are
CLOCK_MONOTONIC, ns, like the events'.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .guard import INITIAL_PID_NAMESPACE

if TYPE_CHECKING:
    import numpy as np

__all__ = ["UNKNOWN", "Tasks"]

UNKNOWN = b"<...>"
"""The name of a task that nothing is known of (ftrace's own word)."""


class _Life:
    """One thread id over time: from ``times[n]`` on it is ``comms[n]``, of process ``tgids[n]``."""

    __slots__ = ("comms", "ended", "tgids", "times")

    def __init__(self, time: int, comm: bytes, tgid: int) -> None:
        self.times, self.comms, self.tgids = [time], [comm], [tgid]
        self.ended = 0

    def at(self, time: int) -> int:
        """Which entry holds at ``time``; -1 before the first."""
        return bisect_right(self.times, time) - 1

    def add(self, time: int, comm: bytes, tgid: int) -> None:
        at = bisect_right(self.times, time)
        self.times.insert(at, time)
        self.comms.insert(at, comm)
        self.tgids.insert(at, tgid)


class Tasks:
    """The history of all tasks. ``unknown``: how many look-ups found nothing."""

    __slots__ = ("_lives", "unknown")

    def __init__(self) -> None:
        self._lives: dict[int, _Life] = {}
        self.unknown = 0

    # --- what happened -----------------------------------------------------------------------

    def snapshot(self) -> int:
        """Take in all threads that /proc shows and that no event told of yet. Returns how many.

        In another PID namespace than the first it does nothing: /proc's ids aren't the trace's.
        """
        try:
            if os.stat("/proc/self/ns/pid").st_ino != INITIAL_PID_NAMESPACE:
                return 0
        except OSError:
            pass
        before = len(self._lives)
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                threads = os.listdir(f"/proc/{name}/task")
            except OSError:
                continue  # it ended meanwhile
            for thread in threads:
                self._take_in(int(name), int(thread))
        return len(self._lives) - before

    def _take_in(self, tgid: int, tid: int) -> None:
        if tid in self._lives:
            return
        try:
            fd = os.open(f"/proc/{tgid}/task/{tid}/comm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            comm = _own_name(os.read(fd, 64).removesuffix(b"\n"))
        except OSError:
            return
        finally:
            os.close(fd)
        self._lives[tid] = _Life(0, comm, tgid)

    def renamed(self, time: int, tid: int, comm: bytes, old: bytes | None = None) -> None:
        """task_rename: ``tid`` is ``comm`` from ``time`` on. ``old``: what it was until then, where the
        event says: the snapshot may have been taken after it."""
        life = self._lives.get(tid)
        if life is None:
            life = self._lives[tid] = _Life(0, UNKNOWN if old is None else old, 0)
        elif old is not None and len(life.times) == 1 and life.times[0] == 0:
            life.comms[0] = old
        life.add(time, comm, life.tgids[max(0, life.at(time))])

    def forked(self, time: int, tid: int, parent_tid: int, comm: bytes, is_thread: bool) -> None:
        """task_newtask: ``tid`` began as ``comm``; a thread of ``parent_tid``'s process, or a process."""
        tgid = tid
        if is_thread:
            parent = self._lives.get(parent_tid)
            at = -1 if parent is None else max(0, parent.at(time))
            # a parent we know nothing of: the snapshot may still have said it of the child
            tgid = 0 if parent is None else parent.tgids[at]
        life = self._lives.get(tid)
        if life is None:
            self._lives[tid] = _Life(time, comm, tgid)
            return
        life.add(time, comm, tgid or life.tgids[-1])
        life.ended = 0

    def exited(self, time: int, tid: int, comm: bytes | None = None) -> None:
        """sched_process_exit: nothing is known of ``tid`` after ``time`` but that it was. ``comm``: as the
        event says, for a task that ended before the snapshot came to it."""
        life = self._lives.get(tid)
        if life is None:
            if comm is None:
                return
            life = self._lives[tid] = _Life(0, comm, 0)
        life.ended = time

    def forget(self, before: int) -> None:
        """Drop what no event from ``before`` on can ask for: a long run would keep all tasks there ever
        were."""
        for tid, life in list(self._lives.items()):
            if 0 < life.ended < before and life.times[-1] < before:
                del self._lives[tid]
                continue
            at = life.at(before)
            if at > 0:
                del life.times[:at], life.comms[:at], life.tgids[:at]

    # --- asking, as lists --------------------------------------------------------------------

    def comm_of(
        self, times: Sequence[int], tids: Sequence[int], cpus: Sequence[int] | int | None = None
    ) -> list[bytes]:
        """The comm of each (time, tid). Tid 0 is each CPU's idle task, "swapper/<cpu>": ``cpus`` says which
        (one for all, or one each)."""
        lives, found = self._lives, []
        for row, tid in enumerate(tids):
            life = lives.get(tid)
            if tid == 0:
                found.append(_idle(cpus, row))
            elif life is None:
                self.unknown += 1
                found.append(UNKNOWN)
            elif len(life.times) == 1:
                found.append(life.comms[0])
            else:
                found.append(life.comms[max(0, life.at(times[row]))])
        return found

    def tgid_of(self, times: Sequence[int], tids: Sequence[int]) -> list[int]:
        """The process id of each (time, tid); 0 for idle tasks, -1 where it isn't known."""
        lives, found = self._lives, []
        for row, tid in enumerate(tids):
            life = lives.get(tid)
            if tid == 0:
                found.append(0)
                continue
            tgid = 0 if life is None else life.tgids[max(0, life.at(times[row]))]
            if not tgid:
                self.unknown += 1
            found.append(tgid or -1)
        return found

    # --- asking, as arrays -------------------------------------------------------------------

    def comm_array(
        self,
        times: np.ndarray[Any, Any],
        tids: np.ndarray[Any, Any],
        cpus: np.ndarray[Any, Any] | int | None = None,
    ) -> np.ndarray[Any, Any]:
        """``comm_of`` for arrays: ``S16``."""
        import numpy as np

        found = self._column(times, tids, "comms", UNKNOWN, np.dtype("S16"))
        idle = np.flatnonzero(tids == 0)
        if len(idle):
            if isinstance(cpus, np.ndarray):
                names = np.array([b"swapper/%d" % cpu for cpu in range(int(cpus.max()) + 1)], "S16")
                found[idle] = names[cpus[idle].astype(np.int64)]
            else:
                found[idle] = _idle(cpus, 0)
        return found

    def tgid_array(self, times: np.ndarray[Any, Any], tids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """``tgid_of`` for arrays: int64."""
        import numpy as np

        found = self._column(times, tids, "tgids", -1, np.dtype(np.int64))
        found[found == 0] = -1
        found[tids == 0] = 0
        return found

    def _column(
        self,
        times: np.ndarray[Any, Any],
        tids: np.ndarray[Any, Any],
        what: str,
        unknown: Any,
        kind: np.dtype[Any],
    ) -> np.ndarray[Any, Any]:
        import numpy as np

        if not len(tids):
            return np.empty(0, kind)
        # number the tids that occur by way of a table: a tenth of the cost of sorting them
        seen = np.zeros(int(tids.max()) + 1, np.bool_)
        seen[tids] = True
        distinct = np.flatnonzero(seen)
        number = np.empty(len(seen), np.int32)
        number[distinct] = np.arange(len(distinct), dtype=np.int32)
        numbers = number[tids]
        first, last = int(times.min()), int(times.max())
        table = np.empty(len(distinct), kind)
        changing: list[tuple[int, _Life]] = []
        for at, tid in enumerate(distinct.tolist()):
            life = self._lives.get(tid)
            if life is None:
                table[at] = unknown
                self.unknown += int(tid != 0)
                continue
            table[at] = getattr(life, what)[max(0, life.at(first))]
            if life.at(first) != life.at(last):
                changing.append((at, life))
        found: np.ndarray[Any, Any] = table[numbers]
        if len(changing) > 16:  # one sort is less work than many passes
            order = np.argsort(numbers, kind="stable")
            begins = np.searchsorted(numbers, np.arange(len(distinct) + 1), sorter=order)
        for at, life in changing:
            if len(changing) > 16:
                rows = order[begins[at] : begins[at + 1]]
            else:
                rows = np.flatnonzero(numbers == at)
            entries = np.searchsorted(np.array(life.times, times.dtype), times[rows], side="right") - 1
            found[rows] = np.array(getattr(life, what), kind)[np.maximum(entries, 0)]
        return found


def _own_name(shown: bytes) -> bytes:
    """task->comm of what /proc shows: there kernel threads have long names (5.17), and a kworker's is
    followed by "-" or "+" and its work (4.18; wq_worker_comm(), kernel/workqueue.c)."""
    if shown.startswith(b"kworker/") and not shown.startswith(b"kworker/R-"):  # R: a rescuer, named so
        shown = shown.partition(b"-")[0].partition(b"+")[0]
    return shown[:15]


def _idle(cpus: Sequence[int] | int | None, row: int) -> bytes:
    if cpus is None:
        return b"swapper"
    return b"swapper/%d" % (cpus if isinstance(cpus, int) else cpus[row])
