"""``unitrace SPEC...`` as a click command: for help, and for whatever the quick reading leaves to click."""

from __future__ import annotations

from typing import Any

import click

from unitrace.cli.options import OPTIONS, Option
from unitrace.cli.trace import execute

__all__ = ["command"]

HELP = """Trace SPEC: probes (tracepoint:sched:sched_switch), a program file, or a program by -e.

The language is bpftrace's; the framework is whichever the machine has.
"""
EPILOG = "Other commands: list, backends, explain, plugins (each with --help)."


class _Tracer(click.Command):
    """A command whose usage stands on lines of its own, for whoever looks for ``USAGE:``."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"USAGE:\n    {ctx.command_path} {' '.join(self.collect_usage_pieces(ctx))}\n")


def _called(spec: tuple[str, ...], **given: Any) -> int:
    return execute(spec, given)


def _parameter(option: Option) -> click.Option:
    convert = option.convert

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        return value if convert is None or not isinstance(value, str) else convert(value)

    return click.Option(
        [*option.flags, option.name],
        is_flag=not option.value,
        multiple=option.many,
        default=option.default,
        metavar=option.value or None,
        help=option.help,
        hidden=not option.help,
        callback=callback,
        type=None if not option.value else click.UNPROCESSED,
    )


command = _Tracer(
    "unitrace",
    callback=_called,
    params=[click.Argument(["spec"], nargs=-1), *map(_parameter, OPTIONS)],
    help=HELP,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
