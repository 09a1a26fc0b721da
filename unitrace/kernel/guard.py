"""The guard: a small process that undoes what we made in the kernel when we die without doing it.

tracefs instances and dynamic events outlive whoever made them, SIGKILL included. So each is told to
the guard before it is made. The guard waits for the end of our pipe (and of our process), undoes what
is still on its list, newest first, and exits. It holds none of our files, sits in a session of its
own, and ignores the signals that end us.

Every name we give carries our process id and start time (``mark``), so that what even the guard had
to leave behind can be told from a live run's, and swept by the next.
"""

from __future__ import annotations

import errno
import os
import re
import struct

from . import tracefs

__all__ = ["Guard", "guard", "mark", "sweep"]

INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""PROC_PID_INIT_INO, include/linux/proc_ns.h."""

PATIENCE = 30.0
"""Seconds that the guard tries while something is busy."""

_NAME = re.compile(r"unitrace_([0-9]+)_([0-9]+)(?:n([0-9a-f]+))?(?:_[A-Za-z0-9_]+)?")

_mark: tuple[int, str] = (0, "")
_guard: Guard | None = None


def mark() -> str:
    """``unitrace_<pid>_<starttime>``: this process's name for instances and groups (add "_suffix").

    Start time is field 22 of /proc/PID/stat. In a PID namespace other than the first, "n<inode>"
    follows: its pids mean nothing elsewhere.
    """
    global _mark
    pid = os.getpid()
    if _mark[0] != pid:
        space = _namespace()
        where = "" if space == INITIAL_PID_NAMESPACE else f"n{space:x}"
        _mark = (pid, f"unitrace_{pid}_{_started(pid)}{where}")
    return _mark[1]


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return INITIAL_PID_NAMESPACE


def _started(pid: int) -> int:
    """When process ``pid`` started, in clock ticks since boot; -1 if that can't be read."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return int(file.readall().rpartition(b")")[2].split()[19])
    except OSError:
        return -1


def _alive(pid: int, started: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return _started(pid) in (started, -1)


def stale(name: str) -> bool:
    """Whether ``name`` is one of ours and its owner, of this PID namespace, is dead."""
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    space = int(match[3], 16) if match[3] else INITIAL_PID_NAMESPACE
    return space == _namespace() and not _alive(int(match[1]), int(match[2]))


def sweep(root: str) -> list[str]:
    """Remove the instances and dynamic events that dead unitraces left; the names removed."""
    removed = []
    try:
        instances = os.listdir(f"{root}/instances")
    except OSError:
        instances = []
    for name in instances:
        if stale(name):
            try:
                os.rmdir(f"{root}/instances/{name}")
                removed.append(name)
            except OSError:
                pass
    try:
        groups = [name for name in os.listdir(f"{root}/events") if name.startswith("unitrace_")]
    except OSError:
        groups = []
    dead = [group for group in groups if stale(group)]
    if dead:
        events = tracefs.event_groups(root)
        removed += [g for g in dead if g in events and tracefs.remove_group(root, g, events[g]) == 0]
    return removed


class Guard:
    """Our end of the pipe to the guard. ``pid``: the process that it watches."""

    __slots__ = ("_child", "_list", "_next", "_pipe", "pid")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._next = 0
        self._list: dict[int, bytes] = {}
        self._pipe, self._child = _launch()

    def add(self, undo: tuple[str, ...]) -> int:
        """Have ``undo`` done when we die: ("rmdir", path), ("write", path, text), ("append", path, text)
        or ("group", tracefs root, group). Call it before making the thing. Returns a token."""
        self._next += 1
        message = b"+%d\0" % self._next + "\0".join(undo).encode(errors="surrogateescape")
        self._list[self._next] = message
        self._send(message)
        return self._next

    def done(self, token: int) -> None:
        """What ``token`` stands for is undone; forget it."""
        self._list.pop(token, None)
        self._send(b"-%d" % token)

    def _send(self, message: bytes) -> None:
        try:
            _write_message(self._pipe, message)
        except BrokenPipeError:  # somebody killed the guard: another takes over its list
            os.close(self._pipe)
            self._pipe, self._child = _launch()
            for held in self._list.values():
                _write_message(self._pipe, held)
        if self._child:
            self._reap()

    def _reap(self) -> None:
        """Take leave of the child between us and the guard, which ends at once."""
        try:
            if os.waitpid(self._child, os.WNOHANG)[0]:
                self._child = 0
        except ChildProcessError:  # somebody else's wait() had it
            self._child = 0


def _write_message(pipe: int, message: bytes) -> None:
    data = struct.pack("<I", len(message)) + message
    while data:
        data = data[os.write(pipe, data) :]


def guard(root: str = "") -> Guard:
    """This process's guard, started on first use. With tracefs's ``root``, what dead unitraces left is
    swept then: only both of them being killed at once leaves anything."""
    global _guard
    if _guard is None or _guard.pid != os.getpid():
        _guard = Guard()
        if root:
            sweep(root)
    return _guard


def _launch() -> tuple[int, int]:
    """Start a guard process, by way of a child that ends at once, so that it is nobody's child. Returns the
    pipe's writing end and that child's id; nobody waits for them."""
    import signal
    import warnings

    reading, writing = os.pipe()
    try:  # a child of ours may hold a copy of the pipe for longer than we live
        life = os.pidfd_open(os.getpid())
    except (AttributeError, OSError):  # since 5.3, Python 3.9 built against its headers
        life = -1
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with warnings.catch_warnings():  # 3.12 warns of threads: the child does plain system calls alone
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                _forsake({reading, life})
                if os.fork() == 0:
                    _watch(reading, life)
            finally:
                os._exit(0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(reading)
    if life >= 0:
        os.close(life)
    return writing, child


def _forsake(keep: set[int]) -> None:
    """In the child: let go of all that is our parent's. All signals are blocked."""
    os.setsid()
    os.chdir("/")
    try:
        fds = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        fds = list(range(4096))
    for fd in fds:
        if fd not in keep:
            try:
                os.close(fd)
            except OSError:
                pass
    try:
        name = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
        os.write(name, b"unitrace-guard")
        os.close(name)
    except OSError:
        pass


def _watch(pipe: int, life: int) -> None:
    """Keep the list until the pipe or the process of pidfd ``life`` ends; then undo what is on it."""
    import select
    import time

    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    if life >= 0:
        poll.register(life, select.POLLIN)
    todo: dict[int, list[str]] = {}
    pending = b""
    os.set_blocking(pipe, False)
    ended = False
    while not ended:
        ended = any(fd == life for fd, _ in poll.poll())
        while True:
            try:
                got = os.read(pipe, 65536)
            except BlockingIOError:
                break
            if not got:
                ended = True
                break
            pending = _note(todo, pending + got)
    deadline = time.monotonic() + PATIENCE
    pause = 0.002
    while todo:
        for token in sorted(todo, reverse=True):
            if _undo(todo[token]):
                del todo[token]
        if not todo or time.monotonic() > deadline:
            break
        time.sleep(pause)
        pause = min(pause * 2, 0.5)


def _note(todo: dict[int, list[str]], data: bytes) -> bytes:
    while len(data) >= 4:
        end = 4 + struct.unpack_from("<I", data)[0]
        if len(data) < end:
            break
        message, data = data[4:end], data[end:]
        token, *undo = message[1:].decode(errors="surrogateescape").split("\0")
        if message[:1] == b"+":
            todo[int(token)] = undo
        else:
            todo.pop(int(token), None)
    return data


def _undo(action: list[str]) -> bool:
    """Do one; whether it is finished with. Files of a process that just died close one by one, so
    EBUSY is worth another try; nothing else is."""
    kind, path, *rest = action
    try:
        if kind == "rmdir":
            os.rmdir(path)
        elif kind == "group":
            return tracefs.remove_group(path, rest[0]) != errno.EBUSY
        else:
            tracefs.write(path, rest[0], append=kind == "append")
    except OSError as error:
        return error.errno != errno.EBUSY
    return True
