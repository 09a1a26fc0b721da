"""``unitrace explain SPEC``: what each backend would do with it, without attaching."""

from __future__ import annotations

import click

from unitrace.cli.report import report
from unitrace.cli.spec import read_spec
from unitrace.contract.errors import UnitraceError
from unitrace.contract.machine import Machine
from unitrace.session import explained

__all__ = ["command"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("spec", nargs=-1)
@click.option("-e", "programs", multiple=True, metavar="PROGRAM", help="Explain this program.")
@click.option("--backend", metavar="NAME", help="Ask this backend only.")
@click.option("--machine", metavar="FILE", help="Plan for a saved machine (unitrace backends --save).")
def command(
    spec: tuple[str, ...], programs: tuple[str, ...], backend: str | None, machine: str | None
) -> int:
    """Show what each backend would do with SPEC, and which one is chosen. Attaches nothing."""
    source = read_spec(programs, spec)
    try:
        found = explained(source.text, backend, machine=Machine.load(machine) if machine else None)
    except UnitraceError as error:
        report(error, source.origin)
        return error.exit_status
    click.echo(str(found))
    if found.error is not None:
        click.echo(f"ERROR: {found.error.message}", err=True)
        return 1
    return 0
