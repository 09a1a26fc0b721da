"""Our own JSON Lines: typed, 64-bit integers exact, a header first and the losses last.

{"type": "header", "unitrace": "0.1.0", "backend": ["ebpf"], "probes": [...], "exact": true, ...}
{"type": "event", "time": 1, "cpu": 0, "comm": "cat", "tid": 7, "probe": "...", "args": {...}}
{"type": "printf", "format": "%d\\n", "args": [1], "text": "1\\n"}
{"type": "map", "name": "@", "function": "count", "entries": [{"key": ["cat"], "value": 1}]}
{"type": "end", "events": 1, "lost": {}}
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from unitrace.contract.types import (
    Aggregate,
    Enum,
    Int,
    Pointer,
)
from unitrace.output.histogram import bounds
from unitrace.output.maps import HISTOGRAMS, entries
from unitrace.output.plain import Plain, decoded
from unitrace.output.records import (
    Attached,
    Benched,
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
from unitrace.output.rows import single
from unitrace.output.sink import Writer
from unitrace.output.values import Resolver, average

if TYPE_CHECKING:
    from unitrace.session import Trace

__all__ = ["JsonLinesSink"]


class JsonLinesSink(Plain):
    """Renders to a Writer, a line a record; the first line names the run, the last its losses."""

    def __init__(self, writer: Writer, run: Trace, resolve: Resolver | None = None) -> None:
        super().__init__(resolve)
        self._writer = writer
        self._run = run

    def __enter__(self) -> JsonLinesSink:
        from unitrace import __version__

        run = self._run
        self._write(
            {
                "type": "header",
                "unitrace": __version__,
                "backend": list(run.plan.backends),
                "kernel": os.uname().release,
                "probes": [clause.probe.label or clause.probe.written for clause in run.program.clauses],
                "exact": all(part.offer.exact for part in run.plan.parts),
                "caveats": [text for part in run.plan.parts for text in part.offer.caveats],
                "notices": list(run.compiled.notices),
            }
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self._writer.close()

    def emit(self, records: Iterable[Out]) -> None:
        """Render and write ``records``."""
        lines = []
        for record in records:
            for one in single(record):
                shown = self._object(one)
                if shown is not None:
                    lines.append(json.dumps(shown, ensure_ascii=False) + "\n")
        if lines:
            self._writer.write("".join(lines).encode(errors="backslashreplace"))

    def end(self) -> None:
        """The last line: how many events, and what was lost."""
        stats = self._run.stats
        self._write({"type": "end", "events": stats.events, "lost": dict(stats.losses)})

    def _write(self, line: dict[str, Any]) -> None:
        self._writer.write((json.dumps(line, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))

    def _object(self, record: Out) -> dict[str, Any] | None:
        if isinstance(record, Event):
            args = {n: self._value(t, v) for n, t, v in zip(record.names, record.types, record.values)}
            return {
                "type": "event", "time": record.time, "cpu": record.cpu, "comm": decoded(record.comm),
                "tid": record.tid, "probe": record.probe, "args": args,
            }  # fmt: skip
        if isinstance(record, Printed):
            return {
                "type": record.level,
                "format": decoded(record.format),
                "args": [self._value(of, value) for of, value in zip(record.types, record.values)],
                "text": self._text(record),
            }
        if isinstance(record, MapShown):
            return self._map(record)
        if isinstance(record, ValueShown):
            return {"type": "value", "value": self._value(record.type, record.value)}
        if isinstance(record, Attached):
            return {"type": "attached", "probes": record.count}
        if isinstance(record, (TimeShown, Joined)):
            return {"type": type(record).__name__.lower().replace("shown", ""), "text": decoded(record.text)}
        if isinstance(record, Text):
            return {"type": record.kind, "text": decoded(record.text)}
        if isinstance(record, Message):
            return {"type": record.level, "text": record.text}
        if isinstance(record, Lost):
            return {"type": "lost", "events": record.count, "cause": record.cause}
        if isinstance(record, (Tested, Benched)):
            from unitrace.output.selftests import as_data

            return as_data(record)
        return None

    def _map(self, shown: MapShown) -> dict[str, Any]:
        kind = shown.decl.value
        return {
            "type": "map",
            "name": shown.decl.name,
            "function": kind.function if isinstance(kind, Aggregate) else None,
            "entries": [
                {
                    "key": [self._value(of, part) for of, part in zip(shown.decl.key, key)],
                    "value": self._value(kind, value),
                }
                for key, value in entries(shown)
            ],
        }

    def _number(self, of: Int | Enum | Pointer, value: int) -> Any:
        if isinstance(of, Enum):
            return next((name for name, number in of.values if number == value), value)
        return value

    def _aggregate(self, of: Aggregate, value: Any, last: int) -> Any:
        if of.function in ("avg", "stats"):
            return {"count": value[0], "average": average(value), "total": value[1]}
        if of.function not in HISTOGRAMS:
            return value or 0
        rows = []
        for bucket in sorted(bucket for bucket, count in value.items() if count):
            low, high = bounds(of, bucket)
            rows.append({"low": low, "high": high, "count": value[bucket]})
        return rows
