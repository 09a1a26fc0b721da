"""``unitrace SPEC...``: the main job."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from unitrace.cli.habits import Tracer, needless, pattern
from unitrace.cli.habits import pid as as_pid
from unitrace.cli.report import note, report, warn_lines
from unitrace.cli.spec import Spec, read_spec
from unitrace.contract.errors import UnitraceError, UsageError
from unitrace.contract.offer import Options
from unitrace.plugins import Plugins
from unitrace.session import Compiled, Trace

__all__ = ["command"]

LANGUAGE = "0.27.0"
"""The release of bpftrace whose language this is."""

EPILOG = "Other commands: list, backends, explain, plugins (each with --help)."


@click.command(cls=Tracer, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("spec", nargs=-1)
@click.option("-e", "programs", multiple=True, metavar="PROGRAM", help="Run this program.")
@click.option("--backend", metavar="NAME", help="Use this backend only (see: unitrace backends).")
@click.option("-c", "--cmd", "child", metavar="COMMAND", help="Run COMMAND; end when it ends.")
@click.option("-p", "--pid", callback=as_pid, metavar="PID", help="Trace this process.")
@click.option("-f", "--format", "form", default="text", metavar="FORMAT", help="text, json or jsonl.")
@click.option("-o", "--output", metavar="FILE", help="Write the output to FILE.")
@click.option("-q", "--quiet", is_flag=True, help="No 'Attached' line.")
@click.option("-v", "--verbose", is_flag=True, help="Say which backend was chosen, and why.")
@click.option("-l", "--list", "listing", is_flag=True, help="List matching probes (unitrace list).")
@click.option(
    "-B", "--buffering", type=click.Choice(["line", "full", "none"]), default="line", help="Of output."
)
@click.option("-b", "--buffer-kib", type=click.IntRange(4, 1 << 22), default=8192, help="Buffer per CPU.")
@click.option("--timeout", type=float, metavar="SECONDS", help="End after this time.")
@click.option("--unsafe", is_flag=True, help="Allow system(), signal() and their like.")
@click.option("--approx", is_flag=True, help="Allow inexact results (they are marked).")
@click.option("--exact-probes", is_flag=True, help="Never trace a successor of a renamed function.")
@click.option("--dry-run", is_flag=True, help="Compile and plan, then end.")
@click.option("--no-warnings", is_flag=True, help="Silence warnings.")
@click.option("--probe-filter", callback=pattern, metavar="REGEX", help="Only probes whose name it finds.")
@click.option("--mask", multiple=True, metavar="FACT", help="Plan as if the machine lacked FACT.")
@needless
@click.option("-V", "--version", is_flag=True, help="Print the version.")
@click.option("--info", "informing", is_flag=True, help="What is there (see also: unitrace backends).")
def command(spec: tuple[str, ...], **given: Any) -> int:
    """Trace SPEC: probes (tracepoint:sched:sched_switch), a program file, or a program by -e.

    The language is bpftrace's; the framework is whichever the machine has.
    """
    if given["version"]:
        click.echo(_version())
        return 0
    if given["informing"]:
        from unitrace.cli.info import info

        click.echo(info())
        return 0
    if given["listing"]:
        return _list(spec, given)
    if given["form"] not in ("text", "json", "jsonl"):
        raise UsageError(f'Invalid output format "{given["form"]}"', remedy="text, json or jsonl")
    source = read_spec(given["programs"], spec)
    try:
        return _run(source, given)
    except UnitraceError as error:
        report(error, source.origin)
        return error.exit_status


def _list(spec: tuple[str, ...], given: dict[str, Any]) -> int:
    """-l: what matches the patterns, or the probes of a program."""
    from unitrace.cli.list import show

    patterns = ",".join(spec)
    if given["programs"] or (spec and os.path.isfile(spec[0])):
        from unitrace.session import written_probes

        source = read_spec(given["programs"], spec)
        try:
            patterns = ",".join(written_probes(source.text))
        except UnitraceError as error:
            report(error, source.origin)
            return error.exit_status
    show(patterns, given["backend"], given["pid"], given["verbose"])
    return 0  # as bpftrace's -l, matches or none


def _version() -> str:
    from unitrace import __version__

    # Scripts ask a program called bpftrace for the version of the language.
    if os.path.basename(sys.argv[0]) == "bpftrace":
        return f"bpftrace v{LANGUAGE} (unitrace v{__version__})"
    return f"unitrace v{__version__}"


def _run(source: Spec, given: dict[str, Any]) -> int:
    child = None
    if given["child"] is not None:
        from unitrace.child import Child

        child = Child(given["child"])
    try:
        compiled = _compiled(source, given, child.pid if child else 0)
        if not compiled.program.clauses:
            click.echo("No probes to attach")
            return 1
        if given["dry_run"]:
            return 0
        with Trace(compiled, timeout=given["timeout"], unsafe=given["unsafe"], child=child) as run:
            return _stream(run, given)
    finally:
        if child is not None:
            child.close()


def _compiled(source: Spec, given: dict[str, Any], cpid: int) -> Compiled:
    options = Options(
        buffer_kib=given["buffer_kib"],
        approximate=given["approx"],
        exact_probes=given["exact_probes"],
        pid=given["pid"],
    )
    machine = None
    if given["mask"]:
        machine = _masked(given["mask"])
    plugins = Plugins()
    compiled = Compiled(
        source.text,
        plugins.chosen(given["backend"]),
        options=options,
        positional=source.positional,
        cpid=cpid,
        ask_all=given["verbose"],
        machine=machine,
        probes=given["probe_filter"],
    )
    for failed in plugins.failures():
        note(f"plugin {failed.entry.name} failed to load: {failed.failure}")
    for notice in compiled.notices:
        note(notice)
    if not given["no_warnings"]:
        for warning in compiled.warnings:
            click.echo("\n".join(warn_lines(warning, source.origin)))
    if given["verbose"]:
        from unitrace.plan.explain import part_lines

        for part in compiled.plan.parts:
            click.echo("\n".join(part_lines(part.answers, part.offer)), err=True)
    return compiled


def _masked(facts: Sequence[str]) -> Any:
    from unitrace.cli.backends import surveyed

    try:
        return surveyed().masked(facts)
    except KeyError as error:
        raise UsageError(
            f"no fact {error.args[0]!r} to mask", remedy="see: unitrace backends --json"
        ) from None


def _stream(run: Trace, given: dict[str, Any]) -> int:
    from unitrace.output.open import open_sink

    with (
        open_sink(
            given["form"], given["output"], run, quiet=given["quiet"], warnings=not given["no_warnings"]
        ) as sink,
        _signals(run),
    ):
        for records in run.rounds():
            sink.emit(records)
        sink.emit(run.finish())
        sink.end()
    return run.exit_code


@contextmanager
def _signals(run: Trace) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP end the run in order; a second one at once (still cleaning up). Those
    that the program has clauses for fire them."""
    asked: list[int] = []

    def handler(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        run.stop()

    def fire(number: int, frame: object) -> None:
        run.signalled(signal.Signals(number).name)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    own = [signal.Signals[name] for name in run.signals if name in signal.Signals.__members__]
    before = {number: signal.signal(number, handler) for number in numbers}
    before.update({number: signal.signal(number, fire) for number in own if number not in before})
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
