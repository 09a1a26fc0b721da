"""Call stacks and user symbols: values of several words, their number before them.

In memory, in a record as in a map's key: u64 count, then ``count`` u64. A kernel stack's words are its
addresses; a user stack has the process's id before them; a user symbol is (address, process's id).
"""

from __future__ import annotations

from unitrace.contract.ir import Call, Expr, Site
from unitrace.contract.types import UINT32, UINT64, Stack, Symbol, Type

from ..asm import R0, R1, R2, R3, R4, R6
from .base import Base, CannotCompile

__all__ = ["READERS", "is_words", "put", "reads_stack", "room"]

USER_STACK = 1 << 8  # BPF_F_USER_STACK

READERS = ("kstack", "ustack")


def is_words(of: Type) -> bool:
    """Whether values of the type lie in memory as counted words."""
    return isinstance(of, Stack) or (isinstance(of, Symbol) and of.space == "user")


def room(of: Type) -> int:
    """Bytes that a value takes in a record or a key."""
    if isinstance(of, Stack):
        return 8 * (1 + (of.space == "user") + of.depth)
    return 24 if is_words(of) else of.size


def reads_stack(expr: Expr) -> bool:
    """Whether the expression itself asks for the probe's registers at the moment it fires: a raw
    tracepoint's program has none, and would see the kernel's BPF machinery on the stack."""
    return isinstance(expr, Site) and expr.name in READERS


def put(into: Base, expr: Expr, base: int, off: int) -> None:
    """A stack or user symbol to ``base + off``. R0-R5 are lost."""
    if isinstance(expr.type, Stack) and isinstance(expr, Site):
        _stack(into, expr.type, base, off)
    elif isinstance(expr, Site) and expr.name == "func":
        into.scalar(Site(UINT64, "func"))
        _symbol(into, base, off)
    elif isinstance(expr, Call) and expr.function == "usym" and isinstance(expr.type, Symbol):
        into.scalar(expr.args[0])
        _symbol(into, base, off)
    else:
        raise CannotCompile(f"a computed {'stack' if isinstance(expr.type, Stack) else 'symbol'}")


def _symbol(into: Base, base: int, off: int) -> None:
    code = into.code
    code.store(base, off + 8, R0, 8)
    into.scalar(Site(UINT32, "pid"))
    code.store(base, off + 16, R0, 8)
    code.storei(base, off, 2, 8)


def _stack(into: Base, of: Stack, base: int, off: int) -> None:
    """bpf_get_stack (4.18) clears what it doesn't fill, also where it fails."""
    if not into.abilities.get_stack:
        raise CannotCompile("call stacks (kernel 4.18)")
    code, user = into.code, of.space == "user"
    at = off + (16 if user else 8)
    code.mov(R1, R6)
    into.address(R2, base, at)
    code.alui("mov", R3, 8 * of.depth)
    code.alui("mov", R4, USER_STACK if user else 0)
    code.call("get_stack")
    there = code.label()
    code.jump_ifi("s>=", R0, 0, there)
    code.alui("mov", R0, 0)
    code.place(there)
    code.alui(">>", R0, 3)
    if user:
        code.alui("+", R0, 1)
    code.store(base, off, R0, 8)
    if user:
        into.scalar(Site(UINT32, "pid"))
        code.store(base, off + 8, R0, 8)
