"""Records as text, to the byte as bpftrace prints them; and a bare probe's lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from unitrace.contract.errors import marked
from unitrace.contract.ir import Span
from unitrace.contract.types import Type
from unitrace.output.events import Arguments, EventLines
from unitrace.output.maps import map_text
from unitrace.output.printf import Format
from unitrace.output.records import (
    Attached,
    Benched,
    Ended,
    Event,
    Joined,
    Lost,
    MapShown,
    Message,
    Out,
    Printed,
    Tested,
    Text,
    TimeShown,
    ValueShown,
)  # fmt: skip
from unitrace.output.rows import EventRows, PrintedRows
from unitrace.output.sink import Writer
from unitrace.output.values import Resolver, value_text

__all__ = ["TextSink"]


class TextSink:
    """Renders to a Writer; what one ``emit`` is given becomes one write, or a write each some thousand lines.

    ``quiet``: no "Attached" line. ``warnings``: print runtime warnings. ``bare``: the program is a list of
    bare probes, whose end needs no blank lines before the maps. ``arguments``: as in EventLines. ``source``:
    the program's text, of which messages show lines.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        quiet: bool = False,
        warnings: bool = True,
        bare: bool = False,
        resolve: Resolver | None = None,
        arguments: Arguments | None = None,
        source: str = "",
    ) -> None:
        self._writer = writer
        self._quiet = quiet
        self._source = source
        self._warnings = warnings
        self._bare = bare
        self._resolve = resolve
        self._formats: dict[tuple[bytes, tuple[Type, ...]], Format] = {}
        events = EventLines(resolve, arguments)
        self._render: dict[type, Callable[[Any], bytes]] = {
            Printed: self._printed,
            Event: events.line,
            ValueShown: lambda shown: value_text(shown.type, shown.value, self._resolve) + b"\n",
            MapShown: lambda shown: map_text(shown, self._resolve),
            TimeShown: lambda shown: shown.text,
            Joined: lambda joined: joined.text + b"\n",
            Text: lambda text: text.text,
            Ended: lambda ended: b"" if self._bare else b"\n\n",
            Attached: self._attached,
            Message: self._message,
            Lost: self._lost,
            Tested: _selftest,
            Benched: _selftest,
        }
        self._render_many: dict[type, Callable[[Any], Iterator[bytes | bytearray]]] = {
            PrintedRows: self._printed_rows,
            EventRows: events.lines,
        }

    def __enter__(self) -> TextSink:
        return self

    def __exit__(self, *exc: object) -> None:
        self._writer.close()

    def emit(self, records: Iterable[Out]) -> None:
        """Render and write ``records``."""
        few: list[bytes] = []
        for record in records:
            many = self._render_many.get(type(record))
            if many is None:
                few.append(self._render[type(record)](record))
                continue
            self._write(few)
            for part in many(record):
                self._writer.write(part)
        self._write(few)

    def _write(self, texts: list[bytes]) -> None:
        data = b"".join(texts)
        texts.clear()
        if data:
            self._writer.write(data)

    def end(self) -> None:
        """Nothing: a text's end needs no mark."""

    def _format(self, text: bytes, types: tuple[Type, ...]) -> Format:
        key = (text, types)
        found = self._formats.get(key)
        if found is None:
            found = self._formats[key] = Format(text, types, self._resolve)
        return found

    def _printed(self, printed: Printed) -> bytes:
        text = self._format(printed.format, printed.types).row(printed.values)
        if printed.level == "printf":
            return text
        if printed.level == "errorf" or self._warnings:
            word = b"ERROR" if printed.level == "errorf" else b"WARNING"
            self._said(printed.span, word, text)
        return b""

    def _printed_rows(self, rows: PrintedRows) -> Iterator[bytes | bytearray]:
        return self._format(rows.format, rows.types).rows(rows.columns, rows.count)

    def _attached(self, attached: Attached) -> bytes:
        if not self._quiet:
            self._writer.err(
                b"Attached %d probe%s\n" % (attached.count, b"" if attached.count == 1 else b"s")
            )
        if "__BPFTRACE_NOTIFY_PROBES_ATTACHED" in os.environ:
            return b"__BPFTRACE_NOTIFY_PROBES_ATTACHED\n"
        return b""

    def _message(self, message: Message) -> bytes:
        if message.level != "warning" or self._warnings:
            word = message.level.upper().encode()
            self._said(message.span, word, message.text.encode())
        return b""

    def _said(self, span: Span | None, word: bytes, text: bytes) -> None:
        """A message at a place; the calls of macros that led there."""
        line = word + b": " + text
        if span is not None:
            said = line.decode("utf-8", "surrogateescape")
            placed = marked(said, span, self._source, lines=False)
            line = "\n".join(placed).encode("utf-8", "surrogateescape")
        self._writer.err(line + b"\n")

    def _lost(self, lost: Lost) -> bytes:
        self._writer.err(b"WARNING: lost %d events: %s\n" % (lost.count, lost.cause.encode()))
        return b""


def _selftest(result: Any) -> bytes:
    from unitrace.output.selftests import as_text

    return as_text(result)
