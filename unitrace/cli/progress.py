"""How far attaching is, where it takes long: a thousand kprobes one by one, before 5.18."""

from __future__ import annotations

import sys
import time

__all__ = ["Progress"]

PATIENCE = 1.0
"""Seconds before anything is said."""


class Progress:
    """Called with how many probes are attached, and of how many. On a terminal one line that counts, gone
    at the end; elsewhere one line, once."""

    def __init__(self) -> None:
        self.next = time.monotonic() + PATIENCE
        self.said = False
        self.terminal = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total and self.said and self.terminal:
            self._write("\r\x1b[K")
        elif now >= self.next and done < total and (self.terminal or not self.said):
            self.next, self.said = now + 0.2, True
            self._write(f"\rAttaching {done}/{total}" if self.terminal else f"Attaching {total} probes...\n")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
