"""A program's memory: 512 bytes of stack below R10 (MAX_BPF_STACK), handed out in slots of 8; and, for a
program that needs more, a scratch of its own below R8."""

from __future__ import annotations

__all__ = ["Frame", "LIMIT", "SCRATCH_LIMIT", "SMALL"]

LIMIT = 512

SCRATCH_LIMIT = 28 << 10
"""Below what an offset of 16 bits reaches, and a per-CPU value's limit (PCPU_MIN_UNIT_SIZE)."""

SMALL = 32
"""Bytes of a value that stays on the stack in a program that has a scratch too."""


class Frame:
    """``take`` returns a slot's offset from R10; ``back`` gives up all slots taken since ``used`` was
    read. ``most``: the deepest so far. ``room`` takes from the stack or, where ``scratch``, from there;
    ``mark`` and ``release`` are ``used`` and ``back`` of both."""

    __slots__ = ("held", "most", "scratch", "scratch_most", "used")

    def __init__(self, scratch: bool = False) -> None:
        self.used = 0
        self.most = 0
        self.scratch = scratch
        self.held = 0
        self.scratch_most = 0

    def take(self, size: int = 8) -> int:
        self.used += -(-size // 8) * 8
        self.most = max(self.most, self.used)
        return -self.used

    def back(self, used: int) -> None:
        self.used = used

    def room(self, size: int) -> tuple[bool, int]:
        """(in the scratch?, offset) of ``size`` bytes."""
        if not self.scratch or size <= SMALL:
            return False, self.take(size)
        at = self.held
        self.held += -(-size // 8) * 8
        self.scratch_most = max(self.scratch_most, self.held)
        return True, at

    def mark(self) -> tuple[int, int]:
        return self.used, self.held

    def release(self, mark: tuple[int, int]) -> None:
        self.used, self.held = mark
