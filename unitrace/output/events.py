"""A bare probe's line: when, on which CPU, which task, which probe, and the probe's arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unitrace.contract.types import Int, Pointer, Str, Type
from unitrace.output.records import Event
from unitrace.output.rows import EventRows, events, listed
from unitrace.output.values import Resolver, value_text

if TYPE_CHECKING:
    from unitrace.output.lines import Cell

__all__ = ["Arguments", "EventLines", "safe"]

SECOND = 1_000_000_000

Arguments = Callable[[str, int, "Mapping[str, Any]"], "bytes | None"]
"""The text of an event's arguments, of its probe's label, its thread and its fields; None: there is none."""


class EventLines:
    """Writes bare probes' lines; the arguments as ``arguments`` has them, if given, where it has them."""

    def __init__(self, resolve: Resolver | None = None, arguments: Arguments | None = None) -> None:
        self._resolve = resolve
        self._arguments = arguments
        self._cells: dict[tuple[str, tuple[str, ...], tuple[Type, ...]], list[bytes | Cell] | None] = {}

    def line(self, event: Event) -> bytes:
        """The line of one event."""
        seconds, ns = divmod(event.time, SECOND)
        head = b"%6d.%09d [%03d] %s-%d %s" % (
            seconds, ns, event.cpu, safe(event.comm), event.tid, event.probe.encode()
        )  # fmt: skip
        if self._arguments is not None:
            text = self._arguments(event.probe, event.tid, dict(zip(event.names, event.values)))
            if text is not None:
                return b"%s %s\n" % (head, _CONTROL.sub(lambda one: _ESCAPES[one[0][0]], text))
        parts = [head]
        for name, of, value in zip(event.names, event.types, event.values):
            parts.append(b"%s=%s" % (name.encode(), self._argument(of, value)))
        return b" ".join(parts) + b"\n"

    def lines(self, rows: EventRows) -> Iterator[bytes | bytearray]:
        """The lines of many, in parts: by columns where those are arrays of numbers and strings."""
        columns = (rows.times, rows.cpus, rows.comms, rows.tids, *rows.columns)
        if self._arguments is None and all(hasattr(column, "dtype") for column in columns):
            from unitrace.output.lines import FROM

            cells = self._as_cells(rows) if rows.count >= FROM else None
            if cells is not None:
                yield from self._by_columns(rows, cells, columns)
                return
        yield b"".join(map(self.line, events(rows)))

    def _by_columns(
        self, rows: EventRows, cells: Sequence[bytes | Cell], columns: tuple[Any, ...]
    ) -> Iterator[bytes | bytearray]:
        from unitrace.output.lines import lines

        def one_by_one(part: Sequence[Any], count: int) -> bytes:
            seconds, ns, cpus, comms, tids, *rest = part
            times = [second * SECOND + more for second, more in zip(listed(seconds), listed(ns))]
            few = rows.replace(
                times=times, cpus=cpus, comms=comms, tids=tids, columns=tuple(rest), count=count
            )
            return b"".join(map(self.line, events(few)))

        times, *others = columns
        seconds = times // SECOND
        return lines(cells, (seconds, times - seconds * SECOND, *others), rows.count, one_by_one)

    def _as_cells(self, rows: EventRows) -> list[bytes | Cell] | None:
        """A line for lines(); None where an argument is neither number, pointer nor string."""
        key = (rows.probe, rows.names, rows.types)
        if key not in self._cells:
            self._cells[key] = _cells(*key)
        return self._cells[key]

    def _argument(self, of: Type, value: Any) -> bytes:
        if isinstance(of, Str):
            return b'"' + safe(value) + b'"'
        if isinstance(of, Pointer):
            return b"0x%x" % (value & 0xFFFFFFFFFFFFFFFF)
        return value_text(of, value, self._resolve)


def _cells(probe: str, names: tuple[str, ...], types: tuple[Type, ...]) -> list[bytes | Cell] | None:
    from unitrace.output.lines import Cell

    text, number = Cell("q"), Cell("d")
    cells: list[bytes | Cell] = [
        Cell("d", 6), b".", Cell("d", 9, zeros=True), b" [", Cell("d", 3, zeros=True), b"] ",
        text, b"-", number, b" " + probe.encode(),
    ]  # fmt: skip
    for name, of in zip(names, types):
        cells.append(b" %s=" % name.encode())
        if isinstance(of, Str):
            cells += [b'"', text, b'"']
        elif isinstance(of, Pointer):
            cells += [b"0x", Cell("x", kind="u8")]
        elif type(of) is Int:
            cells.append(number)
        else:
            return None
    return [*cells, b"\n"]


_ESCAPES = {n: f"\\x{n:02x}".encode() for n in (*range(32), 127)}
_ESCAPES.update({10: b"\\n", 9: b"\\t", 13: b"\\r", 34: b'\\"', 92: b"\\\\"})

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def safe(text: bytes) -> bytes:
    """``text`` with control characters, quotes and backslashes escaped, so that a file's name can't
    write to the terminal; bytes beyond ASCII stay as they are."""
    if text.isalnum() or not any(byte in _ESCAPES for byte in text):
        return text
    return b"".join(_ESCAPES.get(byte, b"%c" % byte) for byte in text)
