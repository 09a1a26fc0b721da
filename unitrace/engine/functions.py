"""The language's pure functions, over values that are already in user space.

``function(call, runtime)`` gives the Python function for a Call, made for its types, or None where
only a backend can compute it. Values of types.Formatted stay raw here (an address's bytes, a time's
nanoseconds, a cgroup's id, an errno): what they look like is the sinks' business.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unitrace.contract.ir import Call
from unitrace.contract.types import Array, Buffer, Formatted, Stack, Str, Symbol

from .values import cut, encode, is_integer, shape, wrap, zero

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["function"]

Made = Callable[..., Any]


def function(call: Call, runtime: Runtime) -> Made | None:
    """The function that computes ``call`` from its arguments' values; None: not in user space."""
    make = _TABLE.get(call.function)
    return None if make is None else make(call, runtime)


def _strncmp(call: Call, runtime: Runtime) -> Made:
    def strncmp(left: bytes, right: bytes, count: int = 1 << 20) -> int:
        one, two = left[:count], right[:count]
        return 0 if one == two else 1

    return strncmp


def _memcmp(call: Call, runtime: Runtime) -> Made:
    kinds = [arg.type for arg in call.args]

    def memcmp(left: Any, right: Any, count: int) -> int:
        first, second = encode(left, kinds[0]), encode(right, kinds[1])
        size = min(count, max(len(first), len(second)))
        for one, two in zip(first[:size].ljust(size, b"\0"), second[:size].ljust(size, b"\0")):
            if one != two:
                return one - two
        return 0

    return memcmp


def _strcontains(call: Call, runtime: Runtime) -> Made:
    return lambda hay, needle: needle in hay


def _strstr(call: Call, runtime: Runtime) -> Made:
    return lambda hay, needle: hay.find(needle)


def _strlen(call: Call, runtime: Runtime) -> Made:
    def strlen(value: Any) -> int:
        return len(bytes(value).split(b"\0", 1)[0]) if isinstance(value, bytes) else len(value)

    return strlen


def _strcap(call: Call, runtime: Runtime) -> Made:
    of = call.args[0].type
    if isinstance(of, Str):
        return lambda value: max(0, of.length - 1)
    return lambda value: of.size


def _len(call: Call, runtime: Runtime) -> Made:
    of = call.args[0].type
    if isinstance(of, Stack) and of.space == "user":  # the process's id comes first
        return lambda value: max(0, len(value) - 1)
    return len


def _str(call: Call, runtime: Runtime) -> Made:
    limit = call.type.size or 1 << 16

    def text(value: Any, count: int | None = None) -> bytes:
        if isinstance(value, tuple):  # an array of characters
            value = bytes(item & 0xFF for item in value)
        return cut(value, limit if count is None else min(limit, max(0, count)))

    return text


def _buf(call: Call, runtime: Runtime) -> Made:
    limit = call.type.size or 1 << 16
    text = isinstance(call.args[0].type, Str)  # its NUL and what follows count as zeros

    def buffer(value: Any, count: int | None = None) -> bytes:
        if isinstance(value, tuple):
            of = call.args[0].type
            step = of.of.size if isinstance(of, Array) else 1
            value = b"".join((item & (1 << 8 * step) - 1).to_bytes(step, "little") for item in value)
        size = limit if count is None else min(limit, max(0, count))
        return bytes(value)[:size].ljust(size if text else 0, b"\0")

    return buffer if not is_integer(call.args[0].type) else runtime.own.buffer_reader(limit)


def _bswap(call: Call, runtime: Runtime) -> Made:
    bits = (shape(call.type) or (64, False))[0]
    mask, size = (1 << bits) - 1, bits // 8

    def bswap(value: int) -> int:
        return int.from_bytes((value & mask).to_bytes(size, "little"), "big")

    return bswap


def _ntop(call: Call, runtime: Runtime) -> Made:
    """An address as its bytes in network order: 4 or 16 of them."""
    of = call.args[-1].type
    long = isinstance(of, (Array, Buffer, Str)) and of.size >= 16

    def ntop(*args: Any) -> bytes:
        value = args[-1]
        family = args[0] if len(args) == 2 else 10 if long else 2  # AF_INET6, AF_INET
        if isinstance(value, int):
            value = (value & 0xFFFFFFFF).to_bytes(4, "little")
        count = 16 if family == 10 else 4
        return bytes(item & 0xFF for item in value)[:count].ljust(count, b"\0")

    return ntop


def _pton(call: Call, runtime: Runtime) -> Made:
    def pton(text: bytes) -> Any:
        import socket

        written = text.decode("ascii", "replace")
        try:
            packed = socket.inet_pton(socket.AF_INET6 if ":" in written else socket.AF_INET, written)
        except OSError:
            packed = bytes(call.type.size)
        return tuple(packed) if isinstance(call.type, Array) else packed

    return pton


def _macaddr(call: Call, runtime: Runtime) -> Made:
    def macaddr(value: Any) -> bytes:
        if isinstance(value, int):
            value = value.to_bytes(8, "little", signed=value < 0)
        return bytes(item & 0xFF for item in value)[:6].ljust(6, b"\0")

    return macaddr


def _raw(call: Call, runtime: Runtime) -> Made:
    """A value that only prints differently: strerror(errno), ksym(address), cgroup_path(id, filter)."""
    return lambda value, *rest: value


def _strftime(call: Call, runtime: Runtime) -> Made:
    if isinstance(call.type, Formatted):
        return lambda *args: args[-1]

    def strftime(form: bytes, stamp: int) -> bytes:
        return runtime.strftime(form, stamp + runtime.to_wall)

    return strftime


def _usym(call: Call, runtime: Runtime) -> Made:
    if isinstance(call.type, Symbol) and call.type.space == "user":
        return lambda address, pid=0: (address, pid)
    return lambda address, pid=0: address


def _strerror(call: Call, runtime: Runtime) -> Made:
    if isinstance(call.type, Str):
        return lambda number: os.strerror(number).encode()
    return lambda number: number


def _globmatch(call: Call, runtime: Runtime) -> Made:
    def globmatch(text: bytes, pattern: bytes) -> bool:
        import fnmatch

        return fnmatch.fnmatchcase(text.decode("latin-1"), pattern.decode("latin-1"))

    return globmatch


def _comm(call: Call, runtime: Runtime) -> Made:
    def comm(pid: int) -> bytes:
        try:
            with open(f"/proc/{pid}/comm", "rb") as file:
                return file.read().rstrip(b"\n")
        except OSError:
            return b""

    return comm


def _kaddr(call: Call, runtime: Runtime) -> Made:
    return runtime.own.kernel_address


def _ncpus(call: Call, runtime: Runtime) -> Made:
    return lambda: os.cpu_count() or 1


def _clock(call: Call, runtime: Runtime) -> Made:
    """nsecs(tai), from the event's monotonic time: ("tai" or "sw_tai", nsecs)."""
    tai = 11  # CLOCK_TAI, include/uapi/linux/time.h
    return lambda name, nsecs: nsecs + time.clock_gettime_ns(tai) - time.monotonic_ns()


def _elapsed(call: Call, runtime: Runtime) -> Made:
    """Since the run began, at an event's time."""
    return lambda nsecs: max(0, nsecs - runtime.started)


def _concat(call: Call, runtime: Runtime) -> Made:
    length = call.type.size
    return lambda one, two: cut(one + two, length)


def _signal_name(call: Call, runtime: Runtime) -> Made:
    def signal_name(number: int) -> bytes:
        import signal

        try:
            return (signal.strsignal(number) or f"Unknown signal {number}").encode()
        except ValueError:
            return b"Unknown signal 0" if number == 0 else b"N/A"

    return signal_name


def _abs(call: Call, runtime: Runtime) -> Made:
    bits, signed = shape(call.type) or (64, True)
    return lambda value: wrap(abs(value), bits, signed)


def _address_of(call: Call, runtime: Runtime) -> Made:
    """Where a variable lies: one place for each time that its address is written."""
    import ctypes

    of = call.args[0].type
    place = ctypes.create_string_buffer(max(1, of.size))
    address = ctypes.addressof(place)

    def address_of(value: Any) -> int:
        place.raw = encode(value, of)[: of.size].ljust(len(place), b"\0")
        return address

    return address_of


def _unread(call: Call, runtime: Runtime) -> Made:
    """Memory at an address that nobody fetched, at an event's time (plan.witness)."""
    nothing = zero(call.type)

    def unread(address: int, time: int) -> Any:
        if address:
            runtime.lose("memory behind pointers that weren't the call's arguments any more", (address, time))
        return nothing

    return unread


_TABLE: dict[str, Callable[[Call, Runtime], Made | None]] = {
    "abs": _abs,
    "address_of": _address_of,
    "bswap": _bswap,
    "buf": _buf,
    "buffer": _buf,  # of a value that is here already, whoever read it
    "cgroup_path": _raw,
    "comm": _comm,
    "elapsed": _elapsed,
    "globmatch": _globmatch,
    "kaddr": _kaddr,
    "kptr": _raw,
    "ksym": _raw,
    "len": _len,
    "macaddr": _macaddr,
    "memcmp": _memcmp,
    "ncpus": _ncpus,
    "nsecs": _clock,
    "ntop": _ntop,
    "pton": _pton,
    "str": _str,
    "signal_name": _signal_name,
    "str_concat": _concat,
    "strcap": _strcap,
    "strcontains": _strcontains,
    "strerror": _strerror,
    "strftime": _strftime,
    "strlen": _strlen,
    "strncmp": _strncmp,
    "strstr": _strstr,
    "unread": _unread,
    "uptr": _raw,
    "usym": _usym,
}
