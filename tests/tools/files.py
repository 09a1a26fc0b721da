"""Workloads that open, read, write and sync files, and start processes. Each runs as a process named COMM."""

from __future__ import annotations

import ctypes
import mmap
import os
import pty
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

__all__ = [
    "COMM", "capabilities", "counted_calls", "executed", "forks", "killed", "lookups", "naps", "nothing", "opened",
    "passed_on", "read_line", "statted", "synced", "threads", "touched", "users",
]  # fmt: skip

COMM = "toolload"
LIBC = ctypes.CDLL(None, use_errno=True)
SYS_STAT, SYS_LSTAT, SYS_GETPPID, SYS_STATFS = 4, 6, 110, 137  # arch/x86/entry/syscalls/syscall_64.tbl


def nothing() -> None:
    """Time goes by."""
    time.sleep(2.5)


def busy(seconds: float = 1.0) -> None:
    """One CPU at work."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def read_line() -> None:
    """An interactive bash reads three commands from a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve("/bin/bash", ["bash", "--norc", "-i"], {"PATH": "/usr/bin:/bin", "TERM": "dumb"})
    for line in (b"echo one\n", b": two three\n", b"exit\n"):
        time.sleep(1.0)
        os.write(terminal, line)
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:
        pass  # the terminal ends with its process
    os.waitpid(pid, 0)


def executed() -> None:
    """Three programs are started, one of which isn't there."""
    for words in (["/bin/echo", "tool", "load"], ["/bin/true", "-x", "a b"], ["/nowhere/to/be/found"]):
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
                os.execv(words[0], words)
            finally:
                os._exit(1)
        os.waitpid(pid, 0)


def forks() -> None:
    """Processes come and go, for longer than the interval of a second."""
    for _ in range(30):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        time.sleep(0.05)


def killed() -> None:
    """Signals: none, one that is ignored, one to nobody."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.kill(os.getpid(), 0)
    os.kill(os.getpid(), signal.SIGUSR1)
    try:
        os.kill(0x3FFFFFF, signal.SIGTERM)
    except ProcessLookupError:
        pass


def naps() -> None:
    """Three sleeps of known lengths, by clock_nanosleep(2)."""
    for seconds, nanoseconds in ((0, 20_000_000), (1, 5_000_000), (0, 0)):
        wanted = struct.pack("<qq", seconds, nanoseconds)
        LIBC.clock_nanosleep(1, 0, wanted, None)


def opened() -> None:
    """Files that are there, that aren't, and by a relative path."""
    os.close(os.open("/etc/hostname", os.O_RDONLY))
    for path in ("/nowhere/at/all", b"/run/tmp/\xff\xfe"):
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError:
            pass
    os.chdir("/etc")
    os.close(os.open("passwd", os.O_RDONLY))


def lookups() -> None:
    """Names that the dcache knows, and names that it doesn't."""
    for _ in range(3):
        for path in ("/etc/hostname", "/etc/toolload-missing"):
            try:
                os.stat(path)
            except OSError:
                pass


def statted() -> None:
    """stat(2) in its older forms and its newest."""
    found = ctypes.create_string_buffer(512)
    for path in (b"/etc/passwd", b"/no/such/file"):
        LIBC.syscall(SYS_STAT, path, found)
        LIBC.syscall(SYS_LSTAT, path, found)
        LIBC.syscall(SYS_STATFS, path, found)
        LIBC.statx(-100, path, 0, 0x7FF, found)


def synced() -> None:
    """Each call that syncs something."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x" * 8192)
        file.flush()
        os.fsync(file.fileno())
        os.fdatasync(file.fileno())
        LIBC.syncfs(file.fileno())
        LIBC.sync_file_range(file.fileno(), 0, 4096, 2)
        with mmap.mmap(file.fileno(), 4096) as mapped:
            mapped[0] = 1
            mapped.flush()


def users() -> None:
    """setuid(2), setfsuid(2), setresuid(2), in a process of their own."""
    pid = os.fork()
    if pid == 0:
        LIBC.setuid(0)
        LIBC.setfsuid(0)
        LIBC.setresuid(0, 12, 0)
        LIBC.setresuid(5, 5, 5)
        LIBC.setuid(0)
        os._exit(0)
    os.waitpid(pid, 0)


def capabilities() -> None:
    """Calls that ask for capabilities."""
    os.chroot("/")
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    os.nice(-1)


def counted_calls() -> None:
    """More of one system call than anybody else makes."""
    for _ in range(20_000):
        LIBC.syscall(SYS_GETPPID)


def threads() -> None:
    """Four threads."""
    started = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(4)]
    for one in started:
        one.start()
    for one in started:
        one.join()


def passed_on() -> None:
    """Messages between processes, through sockets of both kinds."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        one, other = socket.socketpair(socket.AF_UNIX, kind)
        one.send(b"tool\x01load\xff")
        other.recv(100)
        one.close()
        other.close()


def touched() -> None:
    """Files made, written, read, synced: the calls of the virtual file system."""
    with tempfile.TemporaryDirectory() as directory:
        for number in range(10):
            with open(f"{directory}/{number}", "w+b") as file:
                file.write(b"x" * 5000)
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                file.read()
    subprocess.run(["/bin/true"], check=True)
