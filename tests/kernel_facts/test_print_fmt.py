"""Arguments as a tracepoint's print fmt has them: raw records made of values, and libtraceevent's text of them
beside the kernel's own."""

from __future__ import annotations

import ctypes
import os
import re

import pytest

import unitrace
from tests.differential.workloads import Workload, executed, renames
from unitrace.contract.errors import UsageError
from unitrace.contract.machine import Answer, Machine
from unitrace.kernel import tracefs
from unitrace.kernel.formats import parse_format
from unitrace.kernel.guard import guard, mark
from unitrace.kernel.print_fmt import PrintFmt, record
from unitrace.output.records import Event
from unitrace.output.rows import single
from unitrace.plugins import Plugins
from unitrace.session import Compiled, Trace

FORMAT = """name: thing
ID: 771
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:__data_loc char[] file;\toffset:8;\tsize:4;\tsigned:0;
\tfield:short small;\toffset:12;\tsize:2;\tsigned:1;
\tfield:char name[6];\toffset:14;\tsize:6;\tsigned:0;
\tfield:__rel_loc char[] more;\toffset:20;\tsize:4;\tsigned:0;
\tfield:u32 pair[2];\toffset:24;\tsize:8;\tsigned:0;

print fmt: "file=%s small=%hd name=%s", __get_str(file), REC->small, REC->name
"""


def test_a_record_is_what_the_kernel_would_have_written() -> None:
    values = {"file": b"/x", "small": -2, "name": b"longer", "more": b"yz", "pair": (1, 1 << 31)}
    made = record(parse_format(FORMAT), 0x1234, values)
    assert made is not None and made[:8].hex() == "0303000034120000"
    assert made[8:12].hex() == "20000300" and made[32:35] == b"/x\0"
    assert made[12:20] == b"\xfe\xfflonger"
    assert made[20:24].hex() == "0b000300" and made[24 + 11 :] == b"yz\0"
    assert made[24:32].hex() == "0100000000000080"
    assert record(parse_format(FORMAT), 1, {"pair": "text"}) is None


def library() -> None:
    try:
        ctypes.CDLL("libtraceevent.so.1")
    except OSError:
        pytest.skip("libtraceevent isn't installed")


def test_without_the_library_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unitrace.kernel.print_fmt.LIBRARY", "libtraceevent.so.0")
    with pytest.raises(UsageError, match="isn't installed"):
        PrintFmt(Machine(live=False))


def test_text_by_the_print_fmt() -> None:
    library()
    folder = "/sys/kernel/tracing"
    files: dict[str, str | int] = {f"{folder}/events/own/thing/format": FORMAT}
    machine = Machine({"tracefs": Answer(), "tracefs.root": folder}, files, live=False)
    pretty = PrintFmt(machine)
    values = {"file": b"/x", "small": -2, "name": b"abc", "more": b"", "pair": (1, 2)}
    assert pretty.arguments("tracepoint:own:thing", 1, values) == b"file=/x small=-2 name=abc"
    assert pretty.arguments("tracepoint:own:other", 1, values) is None
    assert pretty.arguments("kprobe:f", 1, values) is None


@pytest.mark.privileged
@pytest.mark.parametrize("backend", ["ebpf", "ftrace", "perf"])
@pytest.mark.parametrize(
    ("category", "name", "work"),
    [("task", "task_rename", renames), ("sched", "sched_process_exec", executed)],
)
def test_it_is_the_kernels_own_text(backend: str, category: str, name: str, work: object) -> None:
    library()
    machine = Machine()
    root = tracefs.root(machine)
    try:
        compiled = Compiled(f"tracepoint:{category}:{name}", Plugins().chosen(backend), pretty=True)
    except unitrace.BackendError as refused:
        pytest.skip(refused.message)
    pretty = PrintFmt(machine)
    folder = f"{root}/instances/{mark()}_oracle"
    token = guard(root).add(("rmdir", folder))
    os.mkdir(folder)
    job = Workload(work)  # type: ignore[arg-type]
    try:
        with Trace(compiled) as run:
            tracefs.write(f"{folder}/events/{category}/{name}/enable", "1")
            job.run()
            tracefs.write(f"{folder}/tracing_on", "0")
            events = [one for record in run.finish() for one in single(record) if isinstance(one, Event)]
        with open(f"{folder}/trace", encoding="utf-8", errors="replace") as file:
            kernels = re.findall(rf": {name}: (.*)", file.read())
    finally:
        job.close()
        os.rmdir(folder)
        guard(root).done(token)
    ours = [
        (pretty.arguments(one.probe, one.tid, dict(zip(one.names, one.values))) or b"").decode(
            errors="replace"
        )
        for one in events
    ]
    assert len(kernels) > 1 and set(kernels) <= set(ours)
