"""Dynamic events: kprobes, uprobes, eprobes and fprobes made through tracefs, in a group of our own.

Documentation/trace/kprobetrace.rst, uprobetracer.rst, eprobetrace.rst, fprobetrace.rst. Each command is
appended to a file that is everybody's, so only our own group is ever named. Events are made disabled.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Sequence

from unitrace.contract.errors import BackendError
from unitrace.contract.record import Record

from . import tracefs
from .guard import guard, mark

__all__ = ["DynamicEvents", "Made"]

RETURNS_PENDING = 1024
"""Calls of a kretprobe's function that may be under way at once (its maxactive). The kernel's own choice is
10 on small machines; beyond it returns are missed, and before 6.0 kprobe_profile doesn't count them."""

_FILES = {
    "p": ("kprobe_events", "p"),
    "r": ("kprobe_events", f"r{RETURNS_PENDING}"),
    "up": ("uprobe_events", "p"),
    "ur": ("uprobe_events", "r"),
    "e": ("dynamic_events", "e"),
    "f": ("dynamic_events", "f"),
}

NAME_MAX = 63
"""MAX_EVENT_NAME_LEN is 64, its NUL counted (kernel/trace/trace_probe.h)."""

_groups = 0


class Made(Record):
    """A dynamic event: its category (our group), name, id (as ``events/.../id`` says) and directory."""

    category: str
    name: str
    id: int
    dir: str


class DynamicEvents:
    """A group of dynamic events, removed when left, by the guard if we die before."""

    __slots__ = ("_count", "_fds", "_token", "group", "made", "root")

    def __init__(self, root: str) -> None:
        global _groups
        _groups += 1
        self.root = root
        self.group = f"{mark()}_{_groups}"
        self.made: list[Made] = []
        self._fds: dict[str, int] = {}
        self._token = 0
        self._count = 0

    def __enter__(self) -> DynamicEvents:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def add(self, kind: str, name: str, place: str, fetch: Sequence[str] = (), *, maxactive: int = 0) -> Made:
        """Make one event, disabled.

        ``kind``: "p", "r" (kprobe, kretprobe), "up", "ur" (uprobe, uretprobe), "e" (eprobe, 5.15),
        "f" (fprobe, 6.5; ``place`` ends in "%return" for the return). ``name``: any text; what
        isn't a C identifier's becomes "_", and a number is added where it is taken. ``place``:
        "do_sys_openat2+4", "/path:0xoffset", "sched.sched_switch". ``fetch``: "a=%di",
        "f=+0($arg2):ustring". ``maxactive`` ("r" only): how many calls may be under way before
        returns are missed; 0: the kernel's own rule.

        BackendError with the kernel's own complaint where it refuses.
        """
        file, letter = _FILES[kind]
        if maxactive and kind == "r":
            letter = f"r{maxactive}"
        event = self._name(name)
        if not self._token:
            self._token = guard(self.root).add(("group", self.root, self.group))
        self._write(file, letter, event, place, fetch)
        folder = tracefs.event_dir(self.root, self.group, event)
        made = Made(self.group, event, _id(folder), folder)
        self.made.append(made)
        self._count += 1
        return made

    def extend(self, made: Made, kind: str, place: str, fetch: Sequence[str] = ()) -> None:
        """A further place for an event that was just made, with arguments of the same names and types (5.3).
        BackendError where the kernel refuses."""
        file, letter = _FILES[kind]
        self._write(file, letter, made.name, place, fetch)

    def _write(self, file: str, letter: str, event: str, place: str, fetch: Sequence[str]) -> None:
        command = " ".join((f"{letter}:{self.group}/{event}", place, *fetch))
        try:
            tracefs.write_all(self._open(file), command)
        except OSError as error:
            raise self._refused(error, file, place, event) from None

    def close(self) -> None:
        """Disable and remove the group's events. BackendError where somebody holds one for too long:
        the guard then goes on trying."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
        if not self._token:
            return
        pause, deadline = 0.001, time.monotonic() + 2
        refused = tracefs.remove_group(self.root, self.group)
        while refused == errno.EBUSY and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(pause * 2, 0.1)
            refused = tracefs.remove_group(self.root, self.group)
        if refused:
            raise BackendError(
                f"dynamic events {self.group} can't be removed: {os.strerror(refused)}",
                remedy="somebody else uses them; they are removed when that ends",
            )
        guard().done(self._token)
        self._token = 0
        self.made.clear()

    def _name(self, wanted: str) -> str:
        name = re.sub(r"\W", "_", wanted, flags=re.ASCII)
        if not name or name[0].isdigit():
            name = f"_{name}"
        if len(name) > NAME_MAX or any(one.name == name for one in self.made):
            tail = f"_{self._count}"
            name = name[: NAME_MAX - len(tail)] + tail
        return name

    def _open(self, file: str) -> int:
        fd = self._fds.get(file)
        if fd is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            fd = self._fds[file] = os.open(f"{self.root}/{file}", flags)
        return fd

    def _refused(self, error: OSError, file: str, place: str, event: str) -> BackendError:
        if file not in self._fds:
            if error.errno == errno.ENOENT:
                return BackendError(f"this kernel has no {file}")
            return BackendError(f"{self.root}/{file}: {os.strerror(error.errno or 0)}")
        said = tracefs.last_error(self.root, f"{self.group}/{event} ")
        why = f"{said} ({os.strerror(error.errno or 0)})" if said else os.strerror(error.errno or 0)
        return BackendError(f"the kernel refuses a probe on {place}: {why}")


def _id(folder: str) -> int:
    with open(f"{folder}/id", "rb", buffering=0) as file:
        return int(file.readall())
