"""Reads the kernel for clauses that user space fires, as the task that asks.

Small programs of type raw_tracepoint run in the calling thread, by BPF_PROG_TEST_RUN (5.10, commit
1b4d60ec162f): what they find, they leave in an array map. Each is loaded when it is first needed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from unitrace.contract.errors import BackendError
from unitrace.contract.machine import Machine

from . import syscall
from .asm import R0, R1, R2, R3, R4, R6, R7, Code
from .survey import explained

__all__ = ["Reader"]

ROOM = 4096
"""Bytes that one run of a program can bring."""

_TEXT = 511
"""Bytes of a string that bpf_trace_printk takes (MAX_BPRINTF_BUF, before 5.13 a buffer on the stack)."""

_NUMBER = struct.Struct("<Q")


class Reader:
    """A contract.backend.KernelReader. BackendError where the kernel can't run programs by themselves."""

    def __init__(self, machine: Machine) -> None:
        answer = machine.answer("bpf.test_run")
        if answer:
            answer = machine.answer("bpf.read_kernel")
        if not answer:
            raise BackendError(f"ebpf: {answer.reason}", remedy=answer.remedy)
        self._split = bool(machine.answer("bpf.split_reads"))
        self._get_stack = machine.answer("bpf.get_stack")
        self._programs: dict[str, int] = {}
        self._map = syscall.map_create(syscall.ARRAY, 4, ROOM, 1)

    def task(self) -> int:
        return _NUMBER.unpack(self._run("task", self._task, 8))[0]  # type: ignore[no-any-return]

    def ids(self) -> tuple[int, int]:
        number = _NUMBER.unpack(self._run("ids", self._ids, 8))[0]
        return number >> 32, number & 0xFFFFFFFF

    def stack(self, depth: int) -> tuple[int, ...]:
        if not self._get_stack:
            return ()
        size = 8 * min(depth, ROOM // 8)
        words = struct.unpack(f"<{size // 8}Q", self._run("stack", self._stack, size, size))
        return words[: words.index(0)] if 0 in words else words

    def memory(self, address: int, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = min(ROOM, size - len(found))
            try:
                found += self._run("memory", self._memory, part, address + len(found), part)
            except OSError:
                break
        return found

    def trace(self, text: bytes) -> None:
        """The kernel puts 511 bytes of it in the trace, and on its own lets the event bpf_trace_printk in,
        whoever loads such a program (kernel/trace/bpf_trace.c, __set_printk_clr_event)."""
        value = text.split(b"\0")[0][:_TEXT].ljust(ROOM - 8, b"\0") + b"%s".ljust(8, b"\0")
        syscall.map_update(self._map, bytes(4), value)
        self._run("trace", self._trace, 0)

    def close(self) -> None:
        for fd in (*self._programs.values(), self._map):
            os.close(fd)
        self._programs.clear()
        self._map = -1

    def _run(self, name: str, emit: Callable[[Code], None], size: int, *arguments: int) -> bytes:
        """What the program leaves in the map. It gets its arguments as a tracepoint's, and returns 0, or
        else an error (OSError)."""
        if name not in self._programs:
            code = Code()
            code.mov(R6, R1)
            code.map_value(R7, "map")
            emit(code)
            code.exit()
            try:
                linked = code.link({"map": self._map})
                self._programs[name] = syscall.prog_load(syscall.RAW_TRACEPOINT, linked, f"ut_{name}")
            except OSError as error:
                answer = explained(error)
                raise BackendError(f"ebpf: {answer.reason}", remedy=answer.remedy) from None
        words = [one & (1 << 64) - 1 for one in arguments] or [0]
        returned = syscall.prog_test_run(self._programs[name], struct.pack(f"<{len(words)}Q", *words))
        if returned:
            number = (1 << 32) - returned
            raise OSError(number, os.strerror(number))
        found = syscall.map_lookup(self._map, bytes(4), ROOM)
        assert found is not None  # an array's elements are always there
        return found[:size]

    def _task(self, code: Code) -> None:
        code.call("get_current_task")
        self._leave(code)

    def _ids(self, code: Code) -> None:
        code.call("get_current_pid_tgid")
        self._leave(code)

    def _leave(self, code: Code) -> None:
        """A number: R0."""
        code.store(R7, 0, R0, 8)
        code.alui("mov", R0, 0)

    def _stack(self, code: Code) -> None:
        """bpf_get_stack clears what it doesn't fill, also where it fails."""
        code.mov(R1, R6)
        code.mov(R2, R7)
        self._size(code, R3, 0)
        code.alui("mov", R4, 0)
        code.call("get_stack")
        code.alui("mov", R0, 0)

    def _memory(self, code: Code) -> None:
        code.mov(R1, R7)
        self._size(code, R2, 8)
        code.load(R3, R6, 0, 8)
        code.call("probe_read_kernel" if self._split else "probe_read")

    def _trace(self, code: Code) -> None:
        code.mov(R1, R7)
        code.alui("+", R1, ROOM - 8)
        code.alui("mov", R2, 3)
        code.mov(R3, R7)
        code.call("trace_printk")
        code.alui("mov", R0, 0)

    def _size(self, code: Code, register: int, off: int) -> None:
        """An argument that the verifier knows to be a size within the map's value."""
        within = code.label()
        code.load(register, R6, off, 8)
        code.jump_ifi("<=", register, ROOM, within)
        code.alui("mov", register, ROOM)
        code.place(within)
