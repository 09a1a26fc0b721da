"""The processes of a case, found by name; and the ``pidof`` and ``pkill`` that cases get."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator

__all__ = ["ROOTS", "comm", "main", "named", "of_session"]

COMM_MAX = 15
ROOTS = "COMPAT_ROOTS"
"""The variable with the process ids, parted by spaces, that pidof and pkill start from."""


def comm(pid: int) -> str:
    """The name of a process as the kernel has it; "" if it is gone."""
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def named(name: str, roots: Iterable[int]) -> list[int]:
    """The processes called ``name``, newest first, that descend from ``roots`` or are in their sessions."""
    wanted = set(roots)
    parents: dict[int, int] = {}
    sessions: dict[int, int] = {}
    for pid, parent, session in _alive():
        parents[pid], sessions[pid] = parent, session
    found = []
    for pid in sorted(parents, reverse=True):
        if comm(pid) != name[:COMM_MAX]:
            continue
        above = pid
        while above and above not in wanted:
            above = parents.get(above, 0)
        if above or sessions[pid] in wanted:
            found.append(pid)
    return found


def of_session(leader: int) -> list[int]:
    """The processes whose session ``leader`` began, itself included."""
    return [pid for pid, _, session in _alive() if session == leader]


def _alive() -> Iterator[tuple[int, int, int]]:
    """Each process that isn't a zombie: its id, its parent's, its session's."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", errors="replace") as file:
                words = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if words[0] != "Z":
            yield int(entry), int(words[1]), int(words[3])


def main(argv: list[str], runner: int) -> int:
    """``pidof NAME`` and ``pkill [-SIGNAL] NAME``; ``runner`` is the root if the environment names none."""
    roots = [int(word) for word in os.environ.get(ROOTS, str(runner)).split()]
    pids = named(argv[-1], roots)
    if os.path.basename(argv[0]) == "pkill":
        number = _signal(argv[1]) if len(argv) > 2 else signal.SIGTERM
        for pid in pids:
            os.kill(pid, number)
    elif pids:
        sys.stdout.write(" ".join(map(str, pids)) + "\n")
    return 0 if pids else 1


def _signal(word: str) -> signal.Signals:
    name = word.lstrip("-").upper()
    if name.isdigit():
        return signal.Signals(int(name))
    return signal.Signals[name if name.startswith("SIG") else "SIG" + name]
