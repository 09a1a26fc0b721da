"""Events to typed columns as they come: M events a second of the tracer's own CPU time, on each backend.

    python -m bench.columns [--calls N] [--pause MS] [--json]

A load makes system calls as fast as it can; each batch's columns are made into arrays (tid, fd, offset). The
peers' rates to text are in ``bench.compare stream``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import time
from typing import Any

from bench.load import command
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Options
from unitrace.plugins import Plugins
from unitrace.session import Compiled

PROGRAM = 'tracepoint:syscalls:sys_enter_lseek { printf("%d %d %d", tid, args.fd, args.offset); }'
BACKENDS = ("ebpf", "ftrace", "perf")


def cpu() -> float:
    """Seconds of CPU time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def live(name: str, calls: int, pause: float) -> dict[str, Any]:
    """One run on backend ``name``: events, losses, M events per consumer CPU second."""
    import numpy as np

    compiled = Compiled(PROGRAM, Plugins().chosen(name), machine=Machine(), options=Options(buffer_kib=16384))
    offer = compiled.plan.parts[0].offer
    columns = [column.name for column in offer.shares[0].columns]
    events = 0
    spent = 0.0
    with compiled.backends[name].attach(compiled.machine, offer) as attachment:
        attachment.start()
        load = subprocess.Popen([*command(), "calls", "lseek", str(calls)], stdout=subprocess.DEVNULL)
        over = False
        while not over:
            over = load.poll() is not None
            before = cpu()
            for batch in attachment.read():
                for column in columns:
                    np.ascontiguousarray(batch.array(column))  # a view isn't decoded yet
                events += len(batch)
            spent += cpu() - before
            time.sleep(pause)
        attachment.stop()
        losses = dict(attachment.losses())
    return {
        "backend": name,
        "events": events,
        "lost": sum(losses.values()),
        "live M/s": round(events / spent / 1e6, 2),
    }


def main() -> None:
    """Print a line a backend."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=2_000_000)
    parser.add_argument("--pause", type=float, default=5.0, help="ms between two reads")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    import numpy  # noqa: F401 (its import is no part of the decoding)

    results = [live(name, asked.calls, asked.pause / 1000) for name in BACKENDS]
    if asked.json:
        print(json.dumps(results, indent=1))
        return
    for one in results:
        print(", ".join(f"{name}: {value}" for name, value in one.items()))


if __name__ == "__main__":
    main()
