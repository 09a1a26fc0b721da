"""Choosing the command: ``unitrace SPEC...`` runs; ``list``, ``explain``, ... are words of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from unitrace.cli.report import report
from unitrace.contract.errors import UnitraceError

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "list": "unitrace.cli.list",
    "backends": "unitrace.cli.backends",
    "explain": "unitrace.cli.explain",
    "plugins": "unitrace.cli.plugins",
}
"""Sub-commands, each a module with a click command named ``command``; imported when called."""


def main(args: Sequence[str]) -> int:
    """Run the command line; the exit status. Errors are printed here and nowhere else."""
    home = "unitrace.cli.run"
    rest = list(args)
    if rest and rest[0] in COMMANDS:
        home = COMMANDS[rest.pop(0)]
    command: click.Command = __import__(home, fromlist=["_"]).command
    name = "unitrace" if home.endswith(".run") else f"unitrace {args[0]}"
    try:
        status = command.main(args=rest, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
        return int(status or 0)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except UnitraceError as error:
        report(error)
        return error.exit_status
    except BrokenPipeError:
        return _silently(141)  # what the shell says of a program that SIGPIPE ended
    except KeyboardInterrupt:
        return 130
    except RecursionError:
        click.echo("ERROR: the program is nested too deeply", err=True)
        return 1
    except OSError as error:
        click.echo(f"ERROR: {error}", err=True)
        return 1


def _silently(status: int) -> int:
    # The interpreter flushes stdout at exit and would complain of the closed pipe again.
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError:
        pass
    return status
