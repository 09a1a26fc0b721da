"""A program's stack: 512 bytes below R10 (MAX_BPF_STACK), handed out in slots of 8."""

from __future__ import annotations

__all__ = ["Frame", "LIMIT"]

LIMIT = 512


class Frame:
    """``take`` returns a slot's offset from R10; ``back`` gives up all slots taken since ``used`` was
    read. ``most``: the deepest so far."""

    __slots__ = ("most", "used")

    def __init__(self) -> None:
        self.used = 0
        self.most = 0

    def take(self, size: int = 8) -> int:
        self.used += -(-size // 8) * 8
        self.most = max(self.most, self.used)
        return -self.used

    def back(self, used: int) -> None:
        self.used = used
