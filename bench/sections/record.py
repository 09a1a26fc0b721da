"""Raw bytes from the kernel's buffers into a file, and from bytes to what they say: each beside its peer.

`record`: what `trace-cmd record` and `perf record` do, and the same by unitrace's readers, which else take
the bytes into memory only. Rates are events over the recorder's own CPU time, start and end left out: for the
peers by the difference from a run with one event, in the same round.

`decode`: `trace-cmd report` and `perf script` over such a file, and unitrace's decoders over the same event's
bytes: to typed columns (time, CPU, task, name, all arguments), and to lines of text that say as much.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.decode import PROBE
from bench.harness import Bench, Metric, Table
from bench.measure import Case, Failed, Sample, in_turns
from bench.peers import program
from bench.sections.stream import lines_of_load
from bench.tools import BUFFER_MB, Step

EVENT = PROBE.removeprefix("tracepoint:")
CALL = EVENT.removeprefix("syscalls:sys_enter_")
PEERS = {"ftrace": "trace-cmd", "perf": "perf"}
FACTOR = 3  # more calls than the other sections make: a recorder needs little time an event


def recorder(backend: str, data: Path) -> list[str]:
    """The peer's command that records the load's events, with room for all."""
    if backend == "ftrace":
        return [
            str(program("trace-cmd")), "record", "-C", "mono", "--compression", "none",
            "-b", str(BUFFER_MB << 10), "-o", str(data), "-e", EVENT,
        ]  # fmt: skip
    return [
        str(program("perf")), "record", "-q", "-a", "-c", "1", "-k", "CLOCK_MONOTONIC",
        "-m", f"{BUFFER_MB}M", "-o", str(data), "-e", EVENT,
    ]  # fmt: skip


def reporter(backend: str, data: Path) -> list[str]:
    """The peer's command that prints them."""
    if backend == "ftrace":
        return [str(program("trace-cmd")), "report", "-t", "-i", str(data)]
    return [str(program("perf")), "script", "--ns", "-i", str(data), "-F", "comm,tid,cpu,time,event,trace"]


def with_calls(bench: Bench, command: Sequence[str], calls: int) -> Step:
    """The command, which runs so many calls of the load."""
    return Step([*command, "--", *bench.load_command("calls", CALL, calls, unseen=True)])


# --- record ------------------------------------------------------------------------------------


def measure(bench: Bench) -> list[Table]:
    """A table for each peer."""
    return [measure_record(bench, backend, peer) for backend, peer in PEERS.items()]


def measure_record(bench: Bench, backend: str, peer: str) -> Table:
    ours: dict[str, Sample] = {}
    cases = [
        Case(f"{peer} record", partial(record_by_peer, bench, backend)),
        Case(f"unitrace {backend}, into a file", partial(record_by_us, bench, backend, "cpu", ours)),
        Case(
            f"unitrace {backend}, into memory",
            partial(record_by_us, bench, backend, "cpu_without_file", ours),
        ),
    ]
    in_turns(cases, bench.rounds, warm_up=False)
    metrics = [
        Metric("rate", "M events / CPU s", 2),
        Metric("lost", "lost, %", 2, ratio=False),
        Metric("load_ns", "traced program, ns per call", 0, ratio=False),
    ]
    return Table("record", f"Raw bytes into a file, {backend} (rates: more is better)", metrics, cases)


def record_by_peer(bench: Bench, backend: str) -> Sample:
    """The peer's recorder."""
    calls = bench.calls * FACTOR
    data = bench.scratch / "record.data"
    command = recorder(backend, data)
    cpu = bench.run(with_calls(bench, command, calls)).cpu
    load_ns = bench.load_result()["ns"]
    bench.run(Step(reporter(backend, data)))
    events = lines_of_load(bench.output)[0]
    spent = cpu - bench.run(with_calls(bench, command, 1)).cpu
    if spent <= 0:
        raise Failed("too few calls to tell its CPU time from that of its start")
    return {"rate": events / spent / 1e6, "lost": 100 * (1 - events / calls), "load_ns": load_ns}


def record_by_us(bench: Bench, backend: str, what: str, kept: dict[str, Sample]) -> Sample:
    """Our reader of the same rings. A run measures both ways, each of which is a row: the second takes what
    the first left."""
    if what not in kept:
        calls = bench.calls * FACTOR
        command = [
            sys.executable, "-m", "bench.drain", backend, str(bench.scratch / "record.data"),
            "--kib", str(BUFFER_MB << 10),
        ]  # fmt: skip
        bench.run(with_calls(bench, command, calls))
        found = json.loads(bench.output.read_text())
        lost = 100 * max(0.0, 1 - found["events"] / calls)
        load_ns = bench.load_result()["ns"]
        for way in ("cpu", "cpu_without_file"):
            kept[way] = {"rate": found["events"] / found[way] / 1e6, "lost": lost, "load_ns": load_ns}
    return kept.pop(what)


# --- decode ------------------------------------------------------------------------------------


def measure_decode(bench: Bench) -> list[Table]:
    """A table for each peer."""
    return [measure_decoders(bench, backend, peer) for backend, peer in PEERS.items()]


def measure_decoders(bench: Bench, backend: str, peer: str) -> Table:
    word = "report" if backend == "ftrace" else "script"
    ours: dict[str, float] = {}
    cases = [
        Case(f"{peer} {word}", partial(decode_by_peer, bench, backend)),
        Case(f"unitrace {backend}, columns", partial(decode_by_us, bench, backend, "columns", ours)),
        Case(f"unitrace {backend}, text", partial(decode_by_us, bench, backend, "text", ours)),
    ]
    in_turns(cases, bench.rounds, warm_up=False)
    title = f"Recorded bytes decoded, {backend} (rates: more is better)"
    return Table("decode", title, [Metric("rate", "M events / CPU s", 2)], cases)


def decode_by_peer(bench: Bench, backend: str) -> Sample:
    """The peer's printer, less what it needs for one event."""
    data = bench.scratch / "record.data"
    spent, lines = [], []
    for calls in (bench.calls, 1):
        bench.run(with_calls(bench, recorder(backend, data), calls))
        bench.load_result()
        spent.append(bench.run(Step(reporter(backend, data))).cpu)
        lines.append(bench.output.read_bytes().count(b"\n"))
    return {"rate": (lines[0] - lines[1]) / (spent[0] - spent[1]) / 1e6}


def decode_by_us(bench: Bench, backend: str, what: str, kept: dict[str, float]) -> Sample:
    """Our decoder; one run for both rows, as above."""
    if what not in kept:
        command = [sys.executable, "-m", "bench.decode", "--json", "--backend", backend]
        bench.run(Step([*command, "--calls", str(bench.calls)]))
        (found,) = json.loads(bench.output.read_text())
        kept.update(columns=found["columns"], text=found["text"])
    return {"rate": kept.pop(what)}
