"""Raw bytes of each framework's buffer to typed columns, offline: M events a second on one core.

    python -m bench.decode [--calls N]

A load makes lseek() calls while a backend records tid, fd and offset of each; its buffer's bytes are kept as
the kernel wrote them, and decoded again and again. The best of ten, by CPU time.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Callable
from typing import Any

from bench.columns import BACKENDS, PROGRAM
from bench.load import command
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Options
from unitrace.plugins import Plugins
from unitrace.session import Compiled

Decode = Callable[[], int]
"""Makes all columns of what was recorded; the number of events."""


def ebpf(attachment: Any, columns: list[str]) -> Decode:
    """Records of the ring buffer."""
    from unitrace_ebpf.ring import decode

    (ring, shapes) = attachment.rings[0]
    pieces = list(ring.pieces())

    def run() -> int:
        batches = [one for piece, stride in pieces for one in decode(piece, stride, ring.head, shapes)]
        return made(batches, columns)

    return run


def ftrace(attachment: Any, columns: list[str]) -> Decode:
    """Pages of the per-CPU ring buffers."""
    import numpy as np
    from unitrace_ftrace.pages import decode

    reader = attachment._reader
    (event, (stream,)) = next(iter(reader.streams.items()))
    pages = [(ring.layout, ring.drain()) for ring in reader.rings]
    wanted = {name: stream.layout[name] for name in columns if name in stream.layout}

    def run() -> int:
        found = [decode(raw, layout, event, wanted) for layout, raw in pages if raw]
        for one in found:
            for column in one.values():
                np.ascontiguousarray(column)
        return sum(len(one["nsecs"]) for one in found if one)

    return run


def perf(attachment: Any, columns: list[str]) -> Decode:
    """Samples of the mmap rings."""
    taken = [(ring.take(), ring.cpu) for ring in attachment._rings]

    def run() -> int:
        decoder = attachment._decoder
        batches = [one for data, cpu in taken if data for one in decoder.batches(data, cpu)]
        return made(batches, columns)

    return run


def made(batches: list[Any], columns: list[str]) -> int:
    """All columns of the batches as arrays; how many rows."""
    import numpy as np

    for batch in batches:
        for column in columns:
            np.ascontiguousarray(batch.array(column))  # a view of the records isn't decoded yet
    return sum(map(len, batches))


def recorded(name: str, calls: int) -> tuple[int, float]:
    """Events recorded on backend ``name``, and M events a second when they are decoded."""
    options = Options(buffer_kib=max(16384, calls // 6))
    compiled = Compiled(PROGRAM, Plugins().chosen(name), machine=Machine(), options=options)
    offer = compiled.plan.parts[0].offer
    columns = [column.name for column in offer.shares[0].columns]
    with compiled.backends[name].attach(compiled.machine, offer) as attachment:
        attachment.start()
        subprocess.run([*command(), "calls", "lseek", str(calls)], stdout=subprocess.DEVNULL, check=True)
        attachment.stop()
        run = {"ebpf": ebpf, "ftrace": ftrace, "perf": perf}[name](attachment, columns)
        events = run()
        best = float("inf")
        for _ in range(10):
            before = time.process_time()
            run()
            best = min(best, time.process_time() - before)
    return events, events / best / 1e6


def main() -> None:
    """Print a line a backend."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=400_000)
    asked = parser.parse_args()
    for name in BACKENDS:
        events, rate = recorded(name, asked.calls)
        print(f"{name}: {events} events, {rate:.1f} M events/s")


if __name__ == "__main__":
    main()
