"""Raw bytes out of a backend's rings into a file, as the product takes them out: `trace-cmd record`'s job.

    python -m bench.drain BACKEND FILE [--kib N] -- COMMAND...

Nothing is decoded meanwhile. Prints the CPU seconds that it took to take and write the bytes, and how many
events they hold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any, BinaryIO

from bench.decode import PROBE
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Options
from unitrace.plugins import Plugins
from unitrace.session import BUSY, Compiled


def drained(name: str, command: list[str], kib: int, file: BinaryIO) -> dict[str, float]:
    """Run ``command`` while backend ``name`` records into rings of ``kib`` KiB a CPU."""
    compiled = Compiled(PROBE, Plugins().chosen(name), machine=Machine(), options=Options(buffer_kib=kib))
    with compiled.backends[name].attach(compiled.machine, compiled.plan.parts[0].offer) as attachment:
        if name == "ftrace":
            takers = [ring.drain for ring in attachment._reader.rings]  # type: ignore[attr-defined]
        else:
            takers = [ring.take for ring in attachment._rings]  # type: ignore[attr-defined]
        attachment.start()
        load = subprocess.Popen(command)
        over = False
        before = time.process_time()
        writing = 0.0
        while not over:
            over = load.poll() is not None
            if over:
                attachment.stop()
            for taken in [take() for take in takers]:
                since = time.process_time()
                file.write(taken)
                writing += time.process_time() - since
            if not over:
                time.sleep(BUSY)
        spent = time.process_time() - before
        file.seek(0)
        events = counted(name, attachment, file.read())
    return {"events": events, "cpu": spent, "cpu_without_file": spent - writing}


def counted(name: str, attachment: Any, raw: bytes) -> int:
    """How many events raw bytes hold."""
    if name == "ftrace":
        from unitrace_ftrace.pages import walk_arrays

        reader = attachment._reader
        events = walk_arrays(memoryview(raw), reader.rings[0].layout).events
        return sum(len(events[event].starts) for event in reader.streams if event in events)
    return sum(map(len, attachment._decoder.batches(raw, 0)))


def main() -> None:
    """Drain, and say how it went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("backend", choices=("ftrace", "perf"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--kib", type=int, default=Options().buffer_kib)
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    with asked.file.open("w+b", buffering=0) as file:
        print(json.dumps(drained(asked.backend, asked.command, asked.kib, file)))


if __name__ == "__main__":
    main()
