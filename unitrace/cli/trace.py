"""The main job of the command line: a spec is compiled, traced, and shown. It knows no click."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from unitrace.cli.progress import Progress
from unitrace.cli.report import note, report, say, warn_lines
from unitrace.cli.spec import Spec, read_spec
from unitrace.contract.errors import UnitraceError, UsageError
from unitrace.contract.machine import FACTS, Machine
from unitrace.contract.offer import Options
from unitrace.plugins import Plugins
from unitrace.session import Compiled, Trace

__all__ = ["execute"]

LANGUAGE = "0.27.0"
"""The release of bpftrace whose language this is."""


def execute(spec: tuple[str, ...], given: dict[str, Any]) -> int:
    """Do what the words of the command line and the options (options.OPTIONS) say; the exit status."""
    if given["version"]:
        say(_version())
        return 0
    if given["informing"]:
        from unitrace.cli.info import info

        say(info())
        return 0
    if given["listing"]:
        return _list(spec, given)
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
    show(patterns, given["backend"], given["pid"], given["verbose"], given["debug"])
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
            say("No probes to attach")
            return 1
        if given["stages"]:
            from unitrace.cli.stages import stages

            for line in stages(given["stages"], compiled):
                say(line)
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
        progress=None if given["quiet"] else Progress(),
    )
    machine = None
    if given["mask"]:
        machine = _masked(given["mask"])
    if given["functions"] is not None:
        from unitrace.kernel.functions import listed_in

        machine = machine or Machine()
        listed_in(machine, given["functions"])
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
        unsafe=given["unsafe"],
        debug=given["debug"],
        pretty=given["pretty"],
    )
    for failed in plugins.failures():
        note(f"plugin {failed.entry.name} failed to load: {failed.failure}")
    for notice in compiled.notices:
        note(notice)
    if not given["no_warnings"]:
        for warning in compiled.warnings:
            say("\n".join(warn_lines(warning, source.origin)))
    if given["verbose"]:
        from unitrace.plan.explain import part_lines

        for part in compiled.plan.parts:
            sys.stderr.write("\n".join(part_lines(part.answers, part.offer)) + "\n")
    return compiled


def _masked(facts: Sequence[str]) -> Any:
    from unitrace.cli.backends import surveyed

    machine = surveyed()
    for name in facts:
        if name not in FACTS:
            raise UsageError(f"no fact {name!r} to mask", remedy="see: unitrace backends --json")
    return machine.masked(facts)


def _stream(run: Trace, given: dict[str, Any]) -> int:
    from unitrace.output.open import open_sink

    gc.freeze()
    gc.enable()
    with (
        open_sink(
            given["form"],
            given["output"],
            run,
            quiet=given["quiet"],
            warnings=not given["no_warnings"],
            arguments=_print_fmt(run, given),
        ) as sink,
        _signals(run),
    ):
        mode = given["mode"] or ("test" if given["testing"] else "bench" if given["benching"] else None)
        for records in run.selftests(mode) if mode else run.rounds():
            sink.emit(records)
        sink.emit(run.finish())
        sink.end()
    return run.exit_code


def _print_fmt(run: Trace, given: dict[str, Any]) -> Any:
    """--pretty: what makes the text of a tracepoint's arguments. UsageError where it can't be had."""
    if not given["pretty"]:
        return None
    if given["form"] != "text":
        raise UsageError("--pretty is of text: the other formats have the fields")
    from unitrace.kernel.print_fmt import PrintFmt

    return PrintFmt(run.compiled.machine).arguments


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
