"""What all layers of the compiler share: the probe's context, the machine's abilities, the state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unitrace.contract import types
from unitrace.contract.ir import Expr, Field
from unitrace.contract.record import Record
from unitrace.contract.types import Type

from ..asm import FP, R0, R6, Code
from .frame import LIMIT, Frame

__all__ = [
    "NAMES", "SIGNALS", "SWITCH", "Abilities", "Base", "CannotCompile", "Context", "StackFull", "shape",
]  # fmt: skip


SIGNALS = {"signal": "send_signal", "signal_thread": "send_signal_thread"}
"""Acts that the kernel does at once, and their helpers."""


class CannotCompile(Exception):
    """An expression or statement that has no translation (yet): ``reason`` says what, for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StackFull(CannotCompile):
    """More than the stack holds."""


class Abilities(Record):
    """What the running kernel's BPF knows. ``split_reads``: probe_read_user and _kernel (5.5), else the
    one probe_read. ``direct_values``: an array's value by address (5.2). ``ringbuf``: 5.8, else perf
    buffers. ``boot_clock``: 5.8, ``jiffies``: 5.5, ``get_stack``: 4.18, ``func_ip``: bpf_get_func_ip
    (5.15). ``loops``: bounded ones (5.3), ``callbacks``: bpf_loop (5.17) and
    bpf_for_each_map_elem (5.13). ``other_cpus``: bpf_map_lookup_percpu_elem (5.19). ``signals``:
    bpf_send_signal (5.3) and _thread (5.6)."""

    split_reads: bool = True
    direct_values: bool = True
    ringbuf: bool = True
    boot_clock: bool = True
    jiffies: bool = True
    get_stack: bool = True
    func_ip: bool = True
    loops: bool = True
    callbacks: bool = True
    other_cpus: bool = True
    signals: bool = True


class Context(Record):
    """What R1 points to at the start. ``kind``: "tracepoint" (the event's record), "function" (struct
    pt_regs), "raw" (u64 arguments). ``registers``: where argument n lies in pt_regs; ``result``: the
    return value. ``constants``: sites known already
    (``probe``); ``named``: they are looked up by the cookie instead, in NAMES, with so much room for
    ``probe`` and ``name`` there, so that clauses share a program. ``atomic``: another run may come between
    two instructions (a uprobe's program can be preempted; two raw tracepoints nest). ``cookie``: the
    clause's number comes with the link, so that clauses share a program. ``tgid``: only this process (0:
    all). ``user``: the probed code is a process's. ``func``: where the function's address is: "helper"
    (bpf_get_func_ip), a register's name, or "" (nowhere); ``address``: known already. ``scratch``: whose
    memory beyond the stack is: a "cpu"'s, where no other program can come between, a "task"'s, or nobody's
    (""). ``slots``: how many u64 a raw context has; ``typed``: the verifier knows what those that are
    pointers point to. ``static``: the places of a USDT probe, whose arguments
    its notes locate."""

    kind: str
    fields: Mapping[str, Field] = {}
    constants: Mapping[str, bytes] = {}
    registers: tuple[int, ...] = ()
    result: int = -1
    syscall: bool = False
    atomic: bool = False
    cookie: bool = False
    tgid: int = 0
    user: bool = False
    func: str = ""
    address: int = 0
    scratch: str = ""
    slots: int = 12
    typed: bool = False
    static: tuple[Any, ...] = ()
    named: tuple[int, ...] = ()


SWITCH = "map:switch"
"""An array's element: u32 whether events count, and at 8 u64 when the run began (for ``elapsed``)."""

NAMES = "map:names"
"""An array of the probes' names, by the clauses' numbers."""


def shape(of: Type) -> tuple[int, bool]:
    """(bits, signed) of a type that a register holds; CannotCompile for others."""
    found = types.shape(of)
    if found is None:
        raise CannotCompile(f"a value of type {type(of).__name__}")
    return found


class Base:
    """State of one program's compilation. In every program R6 is the context and R7 the record.

    An integer in a register is extended to 64 bits by its type's own sign, always."""

    deepest = 0
    """Callbacks within each other."""

    def __init__(self, context: Context, abilities: Abilities, *, warns: bool = False) -> None:
        self.code = Code()
        self.frame = Frame()
        self.context = context
        self.abilities = abilities
        self.warns = warns  # division by a computed zero may pass unreported (tests)
        self.helpers: dict[str, int] = {}  # values of helpers called once, and their slots

    def scalar(self, expr: Expr) -> None:
        """Compute an integer, pointer or BOOL into R0. R1-R5 are lost."""
        raise NotImplementedError

    def fetch(self, space: str, base: int, off: int, size: int, *, text: bool = False) -> None:
        """Copy ``size`` bytes (R2 where 0) from address R3 to ``base + off``; ``text``: up to the NUL."""
        raise NotImplementedError

    def spill(self) -> int:
        """R0 into a new slot."""
        slot = self.frame.take()
        self.code.store(FP, slot, R0, 8)
        return slot

    def address(self, reg: int, base: int, off: int) -> None:
        """``reg = base + off``."""
        self.code.mov(reg, base)
        if off:
            self.code.alui("+", reg, off)

    def zero(self, base: int, off: int, size: int) -> None:
        """Clear memory; ``off`` is a multiple of 8 where ``base`` is aligned."""
        while size:
            step = next(s for s in (8, 4, 2, 1) if s <= size and off % s == 0)
            self.code.storei(base, off, 0, step)
            off, size = off + step, size - step

    def copy(self, source: int, at: int, base: int, off: int, size: int) -> None:
        """Copy between aligned memory by R0."""
        while size:
            step = next(s for s in (8, 4, 2, 1) if s <= size and off % s == 0 and at % s == 0)
            self.code.load(R0, source, at, step)
            self.code.store(base, off, R0, step)
            at, off, size = at + step, off + step, size - step

    def check_stack(self) -> None:
        limit = LIMIT - 32 * self.deepest  # each function's stack counts as 32 bytes at least
        if self.frame.most > limit:
            raise StackFull(f"a program with {self.frame.most} bytes of stack, of {limit}")

    def field(self, name: object) -> Field:
        """The named argument of the probe."""
        found = self.context.fields.get(str(name))
        if found is None:
            raise CannotCompile(f"args.{name}: the probe has no such argument")
        return found


CONTEXT = R6
