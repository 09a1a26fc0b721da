"""Choosing the command: ``unitrace SPEC...`` traces; ``list``, ``explain``, ... are words of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from unitrace.cli.report import report
from unitrace.contract.errors import UnitraceError, UsageError

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "list": "unitrace.cli.list",
    "backends": "unitrace.cli.backends",
    "explain": "unitrace.cli.explain",
    "plugins": "unitrace.cli.plugins",
    "stat": "unitrace.cli.stat",
}
"""Sub-commands, each a module with a click command named ``command``; imported when called."""


def main(args: Sequence[str]) -> int:
    """Run the command line; the exit status. Errors are printed here and nowhere else."""
    try:
        status = _dispatched(list(args))
        sys.stdout.flush()
        return status
    except UnitraceError as error:
        report(error)
        return error.exit_status
    except BrokenPipeError:
        return _silently(141)  # what the shell says of a program that SIGPIPE ended
    except KeyboardInterrupt:
        return 130
    except RecursionError:
        report(UsageError("the program is nested too deeply"))
        return 1
    except OSError as error:
        report(UsageError(str(error)))
        return 1


def _dispatched(args: list[str]) -> int:
    if args and args[0] in COMMANDS:
        return _by_click(COMMANDS[args[0]], args[1:], f"unitrace {args[0]}")
    from unitrace.cli.quick import read

    quick = read(args)
    if quick is None:
        return _by_click("unitrace.cli.run", args, "unitrace")
    from unitrace.cli.trace import execute

    return execute(*quick)


def _by_click(home: str, args: list[str], name: str) -> int:
    import click

    command: click.Command = __import__(home, fromlist=["_"]).command
    try:
        return int(command.main(args=args, prog_name=name, standalone_mode=False) or 0)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130


def _silently(status: int) -> int:
    # The interpreter flushes stdout at exit and would complain of the closed pipe again.
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError:
        pass
    return status
