"""bpftrace's options that change nothing here, so that command lines and scripts carry over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

__all__ = ["NEEDLESS", "needless"]

F = TypeVar("F", bound=Callable[..., object])

NEEDLESS = (
    ("--verify-llvm-ir", False, "there is no LLVM"),
    ("--debuginfo", True, "places are found by symbol table and debug information beside the file"),
    ("--dwarf-pid", True, "processes' mappings are read when a stack is shown"),
    ("--usdt-file-activation", False, "a file's semaphores are counted by the kernel anyway"),
    ("-I", True, "types come from the kernel, whatever header has them"),
)
"""Options, whether each has a value, and why it isn't needed."""


def needless(command: F) -> F:
    """Let a command take the options of `NEEDLESS` and forget them."""
    for number, (name, valued, _) in enumerate(NEEDLESS):
        take = click.option(
            name, f"needless_{number}", is_flag=not valued, multiple=valued, hidden=True, expose_value=False
        )
        command = take(command)
    return command
