"""``unitrace list PATTERN``: what can be traced here, by any backend."""

from __future__ import annotations

import sys

import click

from unitrace.contract.errors import UnitraceError
from unitrace.contract.machine import Machine
from unitrace.plugins import Plugins

__all__ = ["command"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("pattern", default="*")
@click.option("--backend", metavar="NAME", help="What this backend can trace.")
@click.option("-v", "--verbose", is_flag=True, help="With arguments.")
def command(pattern: str, backend: str | None, verbose: bool) -> int:
    """List the probes that match PATTERN (tracepoint:*open*, kprobe:vfs_*, uprobe:/bin/bash:*)."""
    plugins, machine = Plugins(), Machine()
    chosen = [plugins.backend(backend)] if backend else list(plugins.backends())
    found: dict[str, tuple[str, ...]] = {}
    problems = []
    for one in chosen:
        try:
            for listed in one.probes(machine, pattern):
                if listed.args or listed.label not in found:
                    found[listed.label] = listed.args
        except UnitraceError as error:
            problems.append(f"{one.name}: {error.message}")
    lines = []
    for label in sorted(found):
        lines.append(label)
        if verbose:
            lines += [f"    {arg}" for arg in found[label]]
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))
    if not lines:
        for problem in problems:
            click.echo(f"note: {problem}", err=True)
        click.echo(f"ERROR: no probe matches {pattern}", err=True)
        return 1
    return 0
