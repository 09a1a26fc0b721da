"""Following tasks: from the instance's own task events to kernel.tasks.Tasks.

A record of ftrace carries the tid alone. task_newtask says what a thread is called when it begins and
whether it is a process of its own, task_rename every new name (exec, prctl, /proc/PID/comm), and
sched_process_exit which names are done with. With a snapshot of /proc that was taken after these
events were on, the name and process of any later record are exact.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from unitrace.contract.machine import Machine
from unitrace.contract.model import Place
from unitrace.kernel.formats import Format, read_format
from unitrace.kernel.packed import PackedBatch
from unitrace.kernel.tasks import Tasks

from .pages import Walked
from .places import place_of

__all__ = ["EVENTS", "Follower"]

EVENTS = (("task", "task_newtask"), ("task", "task_rename"), ("sched", "sched_process_exit"))

CLONE_THREAD = 0x10000
"""include/uapi/linux/sched.h: the new task belongs to its parent's process."""

KEPT_NS = 10_000_000_000
"""How long the name of a task that ended is kept, ns; what is in the rings is younger."""


class Follower:
    """Feeds ``tasks`` with what the instance recorded."""

    __slots__ = ("_forgot", "_ids", "_layouts", "_seen", "tasks")

    def __init__(self, machine: Machine) -> None:
        self.tasks = Tasks()
        self._ids: list[int] = []
        self._layouts: list[dict[str, Place]] = []
        self._seen: list[tuple[Any, ...]] = []
        self._forgot = 0
        for category, name in EVENTS:
            described = read_format(machine, category, name)
            self._ids.append(described.id)
            self._layouts.append(_layout(described))

    def take(self, raw: bytes, walked: Walked) -> None:
        """Note the task events among ``walked``."""
        for number, (event, layout) in enumerate(zip(self._ids, self._layouts)):
            found = walked.events.get(event)
            if found is None:
                continue
            batch = PackedBatch(0, raw, found.starts, layout, found.times)
            columns = [batch.values(name) for name in ("nsecs", *layout)]
            self._seen.extend((row[0], number, *row[1:]) for row in zip(*columns))

    def settle(self, upto: int) -> None:
        """Apply what was noted and happened until ``upto`` (ns), in order of time. All rings were read since
        then: of what is later, one ring may lack what another's counts on (the fork of a thread's parent)."""
        self._seen.sort()
        cut = bisect_right(self._seen, upto, key=_time)
        settled, self._seen = self._seen[:cut], self._seen[cut:]
        if not settled:
            return
        tasks = self.tasks
        for time, number, by, *rest in settled:
            if number == 0:
                tid, comm, flags = rest
                tasks.forked(time, tid, by, comm, bool(flags & CLONE_THREAD))
            elif number == 1:
                old, comm, *whose = rest
                # the event comes before the name is set (__set_task_comm()): at it, the old one holds
                tasks.renamed(time + 1, whose[0] if whose else by, comm, old)
            else:
                tasks.exited(time, by, rest[0])
        latest = settled[-1][0]
        if latest - self._forgot > KEPT_NS:
            if self._forgot:
                tasks.forget(latest - KEPT_NS)
            self._forgot = latest


def _time(noted: tuple[Any, ...]) -> int:
    return int(noted[0])


_WANTED = ("pid", "oldcomm", "newcomm", "comm", "clone_flags")


def _layout(described: Format) -> dict[str, Place]:
    """Places of common_pid and of the fields that count, in the order that ``settle`` takes them."""
    fields = {field.name: field for field in (*described.common, *described.fields)}
    if "newcomm" in fields:  # task_rename; its pid is gone since 6.16: it was the current task's then
        names = ["common_pid", "oldcomm", "newcomm", "pid"]
    elif "clone_flags" in fields:
        names = ["common_pid", "pid", "comm", "clone_flags"]
    else:
        names = ["common_pid", "comm"]
    return {name: place_of(fields[name]) for name in names if name in fields}
