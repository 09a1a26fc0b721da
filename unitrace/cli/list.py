"""``unitrace list PATTERN``: what there is to trace here."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from unitrace.cli.listing import ARGUMENTS_UP_TO, listing
from unitrace.contract.errors import UnitraceError
from unitrace.contract.machine import Machine
from unitrace.plugins import Plugins

__all__ = ["command", "show"]

AT_ONCE = 1 << 16


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("patterns", nargs=-1)
@click.option("--backend", metavar="NAME", help="Only what this backend can trace.")
@click.option("-p", "--pid", type=int, default=0, metavar="PID", help="Probes in this process's files, too.")
@click.option("-v", "--verbose", is_flag=True, help="With arguments.")
def command(patterns: tuple[str, ...], backend: str | None, pid: int, verbose: bool) -> int:
    """List the probes that match PATTERN (tracepoint:*open*, kprobe:vfs_*, uprobe:/bin/bash:*).

    "struct NAME" shows the kernel's definition.
    """
    return show(",".join(patterns), backend, pid, verbose)


def show(
    patterns: str,
    backend: str | None = None,
    pid: int = 0,
    verbose: bool = False,
    debug: Sequence[str] = (),
) -> int:
    """Print the list; the exit status. ``debug``: folders where programs' debug files may be."""
    machine = Machine()
    patterns = patterns or "*"
    if patterns.endswith(".bt") and ":" not in patterns and not os.path.exists(patterns):
        click.echo(
            f"WARNING: It appears that '{patterns}' is a filename but the file does not exist."
            f" Treating '{patterns}' as a search pattern."
        )
    if backend:
        found = iter(Plugins().backend(backend).probes(machine, patterns))
    else:
        found = listing(machine, patterns, pid, verbose, debug)
    problem = ""
    lines: list[str] = []
    count = 0
    try:
        for one in found:
            count += 1
            lines.append(one.label)
            if verbose:
                lines += [f"    {arg}" for arg in one.args]
            if len(lines) > AT_ONCE:
                _write(lines)
                lines.clear()
    except UnitraceError as error:
        problem = error.message
    _write(lines)
    if problem:
        click.echo(f"note: {problem}", err=True)
    if verbose and count > ARGUMENTS_UP_TO:
        click.echo(
            f"note: arguments of the first {ARGUMENTS_UP_TO} of each type; narrow the pattern", err=True
        )
    if not count:
        click.echo(f"ERROR: no probe matches {patterns}", err=True)
    return 0 if count else 1


def _write(lines: list[str]) -> None:
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))
    sys.stdout.buffer.flush()
