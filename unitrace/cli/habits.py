"""bpftrace's ways on the command line, so that habits and scripts carry over."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from unitrace.contract.errors import UsageError

__all__ = ["NEEDLESS", "Tracer", "needless", "pattern", "pid"]

F = TypeVar("F", bound=Callable[..., object])

NEEDLESS = (
    ("--verify-llvm-ir", False, "there is no LLVM"),
    ("--debuginfo", True, "places are found by symbol table and debug information beside the file"),
    ("--dwarf-pid", True, "processes' mappings are read when a stack is shown"),
    ("--usdt-file-activation", False, "a file's semaphores are counted by the kernel anyway"),
    ("--include", True, "types and constants come from the kernel, whatever header has them"),
    ("-I", True, "the same"),
)
"""Options, whether each has a value, and why it isn't needed."""

PID_MAX = 1 << 22
"""PID_MAX_LIMIT of a 64-bit kernel, include/linux/threads.h."""


class Tracer(click.Command):
    """A command whose usage stands on lines of its own, for whoever looks for ``USAGE:``."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the usage."""
        formatter.write(f"USAGE:\n    {ctx.command_path} {' '.join(self.collect_usage_pieces(ctx))}\n")


def needless(command: F) -> F:
    """Let a command take the options of `NEEDLESS` and forget them."""
    for number, (name, valued, _) in enumerate(NEEDLESS):
        take = click.option(
            name, f"needless_{number}", is_flag=not valued, multiple=valued, hidden=True, expose_value=False
        )
        command = take(command)
    return command


def pid(ctx: click.Context, param: click.Parameter, given: str | None) -> int:
    """The process id of -p; 0 where none is given."""
    if given is None:
        return 0
    digits = re.match(r"\s*[+-]?\d+", given)
    if digits is None:
        raise UsageError(f"Failed to parse pid: invalid integer: {given}")
    if digits.end() < len(given):
        raise UsageError(f"Failed to parse pid: invalid trailing bytes: {given}")
    if not 0 < int(given) <= PID_MAX:
        raise UsageError(f"Pid out of range: {given}")
    return int(given)


def pattern(ctx: click.Context, param: click.Parameter, given: str | None) -> Any:
    """The compiled regular expression of --probe-filter."""
    try:
        return None if given is None else re.compile(given)
    except re.error as error:
        raise UsageError(f"Invalid --probe-filter regex: {error}") from None
