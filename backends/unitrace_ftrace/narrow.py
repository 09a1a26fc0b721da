"""Narrowing an instance, where all of its clauses ask for the same process or CPU.

``set_event_pid`` (4.4) drops other tasks' events before they are recorded, at half a filter's cost. It holds
thread ids: those of the process are listed when it is set, and ``event-fork`` (4.7) adds what they fork.
That lets child processes in, too, so each record's process is still looked at (reader.Stream.only). Names and
threads are followed by the task's own events, which the process has itself (only its own threads may rename a
thread: comm_write(), fs/proc/base.c).

``tracing_cpumask`` keeps the other CPUs' rings closed, and nobody has to read them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from unitrace.contract.ir import Clause, Expr, Site
from unitrace.contract.offer import conjuncts
from unitrace.kernel import tracefs
from unitrace.kernel.filters import Named, filter_text
from unitrace.kernel.guard import INITIAL_PID_NAMESPACE
from unitrace.kernel.perf_events import threads

from .instance import Instance

__all__ = ["OneProcess", "cpu_of", "keep_cpus", "process_of"]


def process_of(clause: Clause) -> tuple[Expr | None, int]:
    """The conjunct ``pid == N`` of the clause's predicate, and N; None and 0 where there is none."""
    return _equal(clause, "pid", Named("pid", 4), 0)


def cpu_of(clause: Clause) -> int:
    """N, where ``cpu == N`` is a conjunct of the clause's predicate; else -1."""
    return _equal(clause, "cpu", Named("cpu", 4), -1)[1]


def _equal(clause: Clause, name: str, named: Named, missing: int) -> tuple[Expr | None, int]:
    def naming(site: Site) -> Named | None:
        return named if site.name == name else None

    for part in conjuncts(clause.predicate):
        found = re.fullmatch(rf"{name} == (\d+)", filter_text(part, naming) or "")
        if found:
            return part, int(found[1])
    return None, missing


class OneProcess:
    """The instance records process ``pid`` alone, and what it forks, as long as there is that process: when
    it is gone, its id may become another's, and all tasks are recorded again."""

    def __init__(self, instance: Instance, pid: int) -> None:
        self._instance = instance
        self._pid = pid
        self._on = self._set()

    def _set(self) -> bool:
        for name in ("set_event_pid", "options/event-fork"):
            if not os.path.exists(f"{self._instance.path}/{name}"):
                return False
        try:  # the kernel compares ids of the initial namespace, /proc shows those of ours
            if os.stat("/proc/self/ns/pid").st_ino != INITIAL_PID_NAMESPACE:
                return False
        except OSError:
            return False
        self._instance.write("options/event-fork", "1")
        known: set[int] = set()
        while new := set(threads(self._pid)) - known:  # until there is none that came in between
            self._instance.append("set_event_pid", " ".join(map(str, sorted(new))))
            known |= new
        return bool(known)

    def check(self) -> None:
        """Let all tasks be recorded again, where the process is gone."""
        if self._on and not os.path.exists(f"/proc/{self._pid}"):
            self._on = False
            tracefs.write(f"{self._instance.path}/set_event_pid", "", truncate=True)


def keep_cpus(instance: Instance, wanted: Iterable[int]) -> None:
    """Record on these CPUs alone."""
    mask = sum(1 << cpu for cpu in set(wanted))
    words: list[str] = []
    while mask or not words:
        words.append(f"{mask & 0xFFFFFFFF:x}" if mask >> 32 == 0 else f"{mask & 0xFFFFFFFF:08x}")
        mask >>= 32
    instance.write("tracing_cpumask", ",".join(reversed(words)))
