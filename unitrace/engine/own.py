"""What a clause reads that user space fires itself: begin, end, interval, self.

Its task is this process, its memory ours, its time now; as in bpftrace, whose begin probe sits in
bpftrace. The kernel's side of it a backend reads, where one can (contract.backend.KernelReader).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unitrace.contract import ir
from unitrace.contract.errors import BackendError
from unitrace.contract.types import Stack

from .values import cut, decode, shape, wrap, zero

if TYPE_CHECKING:
    from unitrace.contract.backend import KernelReader

__all__ = ["Own"]

_HIGHEST_USER = (1 << 47) - 1  # x86-64 and arm64 (48 bits): above, addresses are the kernel's


class Own:
    """Readers of this process's values; each call reads anew. ``reader_of_kernel`` is asked for once, when
    a program first needs it; it raises BackendError where nobody can."""

    def __init__(self, reader_of_kernel: Callable[[], KernelReader] | None = None) -> None:
        self._reader_of_kernel = reader_of_kernel
        self._kernel: KernelReader | None = None
        self._memory: int | None = None
        self._libc: Any = None

    def reader(self, site: ir.Site) -> Callable[[], Any] | None:
        """A function that gives the site's value; None where user space can't."""
        if site.name == "ustack":  # nothing here unwinds it
            return tuple
        if site.name == "kstack" and isinstance(site.type, Stack):
            kernel, depth = self.kernel(), site.type.depth
            return lambda: kernel.stack(depth)
        if site.name == "curtask":
            return self.kernel().task
        found: Callable[[], Any] | None = getattr(self, f"_{site.name}", None)
        return found

    _pid = staticmethod(os.getpid)
    _uid = staticmethod(os.getuid)
    _gid = staticmethod(os.getgid)
    _nsecs = staticmethod(time.monotonic_ns)

    @staticmethod
    def _tid() -> int:
        import threading

        return threading.get_native_id()

    @staticmethod
    def _boot() -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    @staticmethod
    def _comm() -> bytes:
        try:
            with open("/proc/thread-self/comm", "rb") as file:
                return file.read().rstrip(b"\n")
        except OSError:
            return b"unitrace"

    def _cpu(self) -> int:
        return int(self._c().sched_getcpu())

    def _numaid(self) -> int:
        import ctypes

        node = ctypes.c_uint(0)
        getcpu = getattr(self._c(), "getcpu", None)  # glibc 2.29
        if getcpu is not None:
            getcpu(None, ctypes.byref(node))
        return node.value

    @staticmethod
    def _random() -> int:
        return int.from_bytes(os.urandom(4), "little")

    @staticmethod
    def _usermode() -> int:
        return 1

    @staticmethod
    def _jiffies() -> int:
        """jiffies_64: from /proc/timer_list (root), else counted from boot at CONFIG_HZ's usual 250;
        it starts at -300 seconds of 32 bits (include/linux/jiffies.h, INITIAL_JIFFIES)."""
        try:
            with open("/proc/timer_list", encoding="ascii", errors="replace") as file:
                for line in file:
                    if line.startswith("jiffies:"):
                        return int(line.split()[1])
        except (OSError, ValueError):
            pass
        return ((-300 * 250) & 0xFFFFFFFF) + time.monotonic_ns() * 250 // 1_000_000_000

    @staticmethod
    def _cgroup() -> int:
        """The id of our cgroup v2: the inode number of its directory (kernfs)."""
        try:
            with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
                for line in file:
                    if line.startswith("0::"):
                        for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
                            if os.path.exists(mount + "/cgroup.controllers"):
                                return os.stat(mount + line[3:].rstrip("\n")).st_ino
        except OSError:
            pass
        return 1

    @staticmethod
    def kernel_address(name: bytes) -> int:
        """The address of a kernel symbol; 0 where there is none or it's hidden."""
        try:
            with open("/proc/kallsyms", "rb") as file:
                text = file.read()
        except OSError:
            return 0
        at = max(text.find(b" " + name + end) for end in (b"\n", b"\t"))
        if at < 0:
            return 0
        return int(text[text.rfind(b"\n", 0, at) + 1 :].split(b" ", 1)[0], 16)

    # --- memory ------------------------------------------------------------------------------

    def kernel(self) -> KernelReader:
        """What reads the kernel. BackendError where nobody can."""
        if self._kernel is None:
            if self._reader_of_kernel is None:
                raise BackendError("no backend reads the kernel")
            self._kernel = self._reader_of_kernel()
        return self._kernel

    def memory(self, address: int, size: int) -> bytes:
        """Our own memory, or the kernel's; short, or empty, where it can't be read."""
        if address > _HIGHEST_USER:
            try:
                return self.kernel().memory(address, size)
            except BackendError:
                return b""
        if address <= 0:
            return b""
        if self._memory is None:
            self._memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(self._memory, size, address)
        except OSError:
            page = 4096 - address % 4096
            return self.memory(address, page) if page < size else b""

    def loader(self, expr: ir.Load) -> Callable[[int], Any]:
        """What evaluates a Load, given its pointer's value."""
        of, offset = expr.type, expr.offset
        missing = zero(of)

        def load(address: int) -> Any:
            data = self.memory(address + offset & (1 << 64) - 1, of.size)
            return decode(data, of) if len(data) == of.size else missing

        if not expr.bit_size:
            return load
        signed = (shape(of) or (64, False))[1]

        def bits(address: int) -> int:
            unit = load(address) >> expr.bit_offset
            return wrap(unit, expr.bit_size, signed)

        return bits

    def text_reader(self, expr: ir.Text) -> Callable[[int, int | None], bytes]:
        """What evaluates a Text, given its pointer's value and its limit's."""
        most = expr.type.size

        def text(address: int, limit: int | None) -> bytes:
            size = most if limit is None else min(most, max(0, limit))
            return cut(self.memory(address, size), size) if size else b""

        return text

    def buffer_reader(self, most: int) -> Callable[..., bytes]:
        """buf(address, length) of our own memory."""
        return lambda address, count=most: self.memory(address, min(most, max(0, count)))

    def _c(self) -> Any:
        if self._libc is None:
            import ctypes

            self._libc = ctypes.CDLL(None)
        return self._libc
