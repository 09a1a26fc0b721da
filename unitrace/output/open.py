"""Opening the sink that the user asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrace.contract.ir import Show
from unitrace.output.sink import Sink, Writer

if TYPE_CHECKING:
    from unitrace.output.events import Arguments
    from unitrace.session import Trace

__all__ = ["open_sink"]


def open_sink(
    form: str,
    path: str | None,
    run: Trace,
    *,
    quiet: bool = False,
    warnings: bool = True,
    arguments: Arguments | None = None,
) -> Sink:
    """The sink for ``form`` ("text", "json", "jsonl") writing to ``path`` (None: standard output);
    ``arguments``: of text, as in output.events."""
    writer = Writer(path)
    if form == "json":
        from unitrace.output.json import JsonSink

        return JsonSink(writer, run.resolve, warnings, quiet)
    if form == "jsonl":
        from unitrace.output.jsonl import JsonLinesSink

        return JsonLinesSink(writer, run, run.resolve)
    from unitrace.output.text import TextSink

    bare = all(isinstance(stmt, Show) for clause in run.program.clauses for stmt in clause.body)
    return TextSink(
        writer,
        quiet=quiet,
        warnings=warnings,
        bare=bare,
        resolve=run.resolve,
        arguments=arguments,
        source=run.program.source,
    )
