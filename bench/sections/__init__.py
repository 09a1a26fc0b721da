"""The sections of the comparison, by name; each is a function from a Bench to its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.harness import Bench, Table
from bench.sections import memory, overhead, rate, record, start, stream

SECTIONS: Mapping[str, Callable[[Bench], list[Table]]] = {
    "start": start.measure,
    "overhead": overhead.measure,
    "recorded": overhead.measure_recorded,
    "uprobe": overhead.measure_uprobe,
    "stream": stream.measure,
    "stream2": stream.measure_two_cpus,
    "record": record.measure,
    "decode": record.measure_decode,
    "rate": rate.measure,
    "rate2": rate.measure_two_cpus,
    "memory": memory.measure,
}
