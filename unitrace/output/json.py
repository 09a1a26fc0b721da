"""Records as bpftrace's JSON: one object a line, ``type`` and ``data``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from typing import Any

from unitrace.contract.types import (
    Aggregate,
    Enum,
    Int,
    Pointer,
    Tuple,
    Type,
)  # fmt: skip
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
from unitrace.output.tseries import cells, newest, starts
from unitrace.output.values import Resolver, average, value_text

__all__ = ["JsonSink", "decoded"]


class JsonSink(Plain):
    """Renders to a Writer, a line a record. ``quiet``: nothing on the attached probes."""

    def __init__(
        self, writer: Writer, resolve: Resolver | None = None, warnings: bool = True, quiet: bool = False
    ) -> None:
        super().__init__(resolve)
        self._writer = writer
        self._warnings = warnings
        self._quiet = quiet

    def __enter__(self) -> JsonSink:
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
                    lines.append(_line(shown) + "\n")
                if isinstance(one, Attached) and "__BPFTRACE_NOTIFY_PROBES_ATTACHED" in os.environ:
                    lines.append("__BPFTRACE_NOTIFY_PROBES_ATTACHED\n")
        if lines:
            self._writer.write("".join(lines).encode(errors="replace"))

    def end(self) -> None:
        """Nothing more to say."""

    def _object(self, record: Out) -> dict[str, Any] | None:
        if isinstance(record, Printed):
            text = self._text(record)
            if record.level == "printf":
                return {"type": "printf", "data": text}
            span = record.span
            where = {"line": span.line, "col": span.start + 1} if span else {}
            return {"type": record.level, "msg": text, "filename": "stdin", **where}
        if isinstance(record, MapShown):
            return self._map(record)
        if isinstance(record, ValueShown):
            return {"type": "value", "data": self._value(record.type, record.value)}
        if isinstance(record, Attached):
            if self._quiet:
                return None
            return {"type": "attached_probes", "count": record.count, "data": {"probes": record.count}}
        if isinstance(record, TimeShown):
            return {"type": "time", "data": decoded(record.text)}
        if isinstance(record, Joined):
            return {"type": "join", "data": decoded(record.text)}
        if isinstance(record, Text):
            return {
                "type": "syscall" if record.kind == "system" else record.kind,
                "data": decoded(record.text),
            }
        if isinstance(record, Lost):
            return {"type": "lost_events", "data": {"events": record.count, "cause": record.cause}}
        if isinstance(record, Message):
            return {"type": f"runtime_{record.level}", "msg": record.text} if self._warnings else None
        if isinstance(record, Event):
            return self._event(record)
        if isinstance(record, (Tested, Benched)):
            from unitrace.output.selftests import as_data

            return as_data(record)
        return None

    def _event(self, event: Event) -> dict[str, Any]:
        args = {n: self._value(t, v) for n, t, v in zip(event.names, event.types, event.values)}
        return {
            "type": "event",
            "data": {
                "time": event.time, "cpu": event.cpu, "comm": decoded(event.comm), "tid": event.tid,
                "probe": event.probe, "args": args,
            },
        }  # fmt: skip

    def _map(self, shown: MapShown) -> dict[str, Any] | None:
        decl = shown.decl
        pairs = entries(shown)
        if not pairs:
            return None
        kind = decl.value.function if isinstance(decl.value, Aggregate) else ""
        name = decl.name
        last = newest(shown.content.values()) if kind == "tseries" else 0
        values = {self._key(decl.key, key): self._value(decl.value, value, last) for key, value in pairs}
        word = "map"
        if kind in ("hist", "lhist"):
            word = "hist"
        elif kind == "tseries":
            word = "tseries"
        elif kind == "stats" or (kind == "avg" and decl.key):
            word = "stats"
        return {"type": word, "data": {name: values if decl.key else next(iter(values.values()))}}

    def _key(self, types: tuple[Type, ...], key: tuple[Any, ...]) -> str:
        texts = [decoded(value_text(of, value, self._resolve)) for of, value in zip(types, key)]
        parts = [
            text.replace("(", "").replace(")", "").replace(" ", "") if isinstance(of, Tuple) else text
            for of, text in zip(types, texts)
        ]
        return ",".join(parts)

    def _number(self, of: Int | Enum | Pointer, value: int) -> Any:
        return _exact(value)

    def _aggregate(self, of: Aggregate, value: Any, last: int) -> Any:
        if of.function == "stats":
            return {"count": value[0], "average": average(value), "total": value[1]}
        if of.function == "avg":
            return average(value)
        if of.function == "tseries":
            return [
                {"interval_start": _date(starts(of, at)), "value": _exact(one)}
                for at, one in cells(of, value, last)
                if one is not None
            ]
        if of.function not in HISTOGRAMS:
            return _exact(value or 0)
        used = [bucket for bucket, count in value.items() if count]
        rows = []
        for bucket in range(min(used), max(used) + 1) if used else ():
            low, high = bounds(of, bucket)
            row = {"min": low, "max": None if high is None else high - 1, "count": value.get(bucket, 0)}
            rows.append({name: number for name, number in row.items() if number is not None})
        return rows


def _line(shown: Any) -> str:
    """As bpftrace spaces it: ``{"a": [1,2], "b": {}}``."""
    if isinstance(shown, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {_line(one)}" for key, one in shown.items())
            + "}"
        )
    if isinstance(shown, list):
        return "[" + ",".join(map(_line, shown)) + "]"
    return json.dumps(shown, ensure_ascii=False)


def _date(ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09}"


def _exact(number: int) -> int | str:
    # bpftrace's JSON library holds numbers as doubles; others' parsers do too.
    return number if int(float(number)) == number else str(number)
