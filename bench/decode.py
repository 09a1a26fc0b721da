"""Raw bytes of each framework's buffers to typed columns, or to lines of text, offline: one core.

    python -m bench.decode [--calls N] [--json]

A load makes lseek() calls while a backend traces them; its buffers' bytes are kept as the kernel wrote
them, and put before the product's reader again and again, as if they came from the kernel. The best of ten,
by CPU time. ``bench.compare decode`` has the peers beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.load import command
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Options
from unitrace.engine.engine import Engine
from unitrace.output.sink import Writer
from unitrace.output.text import TextSink
from unitrace.plugins import Plugins
from unitrace.session import Compiled

PROBE = "tracepoint:syscalls:sys_enter_lseek"
BACKENDS = ("ebpf", "ftrace", "perf")
REPEATS = 10
PART = 256 << 10
"""Bytes of a ring that are read at a time: what comes in some 10 ms at a million events/s."""


class Kept:
    """A ring whose bytes are at hand, some KiB a read, as a live run finds them there."""

    def __init__(self, name: str, ring: Any) -> None:
        self._ring = ring
        self._parts = list(PARTS[name](ring))
        self._next = len(self._parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ring, name)

    def refill(self) -> None:
        """Begin again."""
        self._next = 0

    def left(self) -> bool:
        """Whether there is more to read."""
        return self._next < len(self._parts)

    def drain(self) -> bytes:
        """ftrace's pages."""
        if not self.left():
            return b""
        self._next += 1
        return self._parts[self._next - 1]

    take = drain  # perf's and eBPF's records


def ftrace_parts(ring: Any) -> Iterator[bytes]:
    """Whole pages."""
    raw = ring.drain()
    size = PART // ring.layout.size * ring.layout.size
    return (raw[at : at + size] for at in range(0, len(raw), size))


def perf_parts(ring: Any) -> Iterator[bytes]:
    """Whole records."""
    from unitrace_perf.records import walk

    raw = ring.take()
    first = 0
    for at, _, size, _ in walk(raw):
        if at + size - first >= PART or at + size == len(raw):
            yield raw[first : at + size]
            first = at + size


def ebpf_parts(ring: Any) -> Iterator[bytes]:
    """Whole records."""
    raw = ring.take()
    size = PART // ring.stride * ring.stride
    return (raw[at : at + size] for at in range(0, len(raw), size))


PARTS: dict[str, Callable[[Any], Iterator[bytes]]] = {
    "ftrace": ftrace_parts,
    "perf": perf_parts,
    "ebpf": ebpf_parts,
}


def kept_rings(name: str, attachment: Any) -> list[Kept]:
    """The attachment's rings, replaced by such as keep their bytes."""
    rings: list[Kept]
    if name == "ftrace":
        attachment._reader._collector = None
        attachment._reader.rings = rings = [Kept(name, ring) for ring in attachment._reader.rings]
    elif name == "perf":
        attachment._rings = rings = [Kept(name, ring) for ring in attachment._rings]
    else:
        rings = [Kept(name, ring) for ring, _ in attachment.rings]
        attachment.rings = [(kept, shapes) for kept, (_, shapes) in zip(rings, attachment.rings)]
    return rings


def recorded(name: str, calls: int) -> dict[str, Any]:
    """Events recorded on backend ``name``, and M events a second when they are decoded to ``columns`` and
    written as ``text``."""
    options = Options(buffer_kib=max(16384, calls // 4))
    compiled = Compiled(PROBE, Plugins().chosen(name), machine=Machine(), options=options)
    share = compiled.plan.parts[0].offer.shares[0]
    assert share.residual is not None
    names = [column.name for column in share.columns]
    with compiled.backends[name].attach(compiled.machine, compiled.plan.parts[0].offer) as attachment:
        attachment.start()
        subprocess.run([*command(), "calls", "lseek", str(calls)], stdout=subprocess.DEVNULL, check=True)
        attachment.stop()
        rings = kept_rings(name, attachment)
        records: list[Any] = []
        engine = Engine(compiled.program, {0: (share.residual, share.columns)}, {}, records.append)
        sink = TextSink(Writer(os.devnull), resolve=engine.resolve)

        def turns() -> Iterator[list[Any]]:
            for ring in rings:
                ring.refill()
            while any(ring.left() for ring in rings):
                yield list(attachment.read())

        def columns() -> int:
            return sum(made(batches, names) for batches in turns())

        def text() -> None:
            for batches in turns():
                engine.feed(batches)
                sink.emit(records)
                records.clear()

        events = columns()
        return {
            "backend": name,
            "events": events,
            "columns": events / best(columns) / 1e6,
            "text": events / best(text) / 1e6,
        }


def best(run: Callable[[], object]) -> float:
    """CPU seconds of the best of some runs."""
    found = float("inf")
    for _ in range(REPEATS):
        before = time.process_time()
        run()
        found = min(found, time.process_time() - before)
    return found


def made(batches: list[Any], columns: list[str]) -> int:
    """All columns of the batches as arrays; how many rows."""
    import numpy as np

    for batch in batches:
        for column in columns:
            np.ascontiguousarray(batch.array(column))  # a view of the records isn't decoded yet
    return sum(map(len, batches))


def main() -> None:
    """Print a line a backend."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=400_000)
    parser.add_argument("--backend", choices=BACKENDS, help="that one alone")
    parser.add_argument("--json", action="store_true", help="a list of objects")
    asked = parser.parse_args()
    results = [recorded(name, asked.calls) for name in BACKENDS if asked.backend in (None, name)]
    if asked.json:
        print(json.dumps(results))
        return
    for one in results:
        print("{backend}: {events} events, M/s: columns {columns:.1f}, text {text:.1f}".format(**one))


if __name__ == "__main__":
    main()
