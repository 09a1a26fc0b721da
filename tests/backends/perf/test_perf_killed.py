"""A tracer that is killed leaves nothing: not its perf events, not its tracefs events."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from perf_runs import BACKEND, MACHINE, clause, function, libc_path, mine, need, offered, tracepoint

from unitrace.contract.ir import Site, Text
from unitrace.contract.types import Int, Pointer, Str

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_stays_after_a_signal(signal_number: int) -> None:
    need("perf.tracepoint")
    need("perf.uprobe_events")
    entry = function("uprobe", "atoi", path=libc_path())
    text = Text(Str(64), Site(Pointer(Int(8, True)), "arg", 0))
    offer = offered(
        clause(entry, (text,), mine(), 0), clause(tracepoint("syscalls", "sys_enter_lseek"), (), mine(), 1)
    )
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            attachment = BACKEND.attach(MACHINE, offer)
            attachment.start()
            os.write(writing, b"x")
            time.sleep(600)
        finally:
            os._exit(1)
    try:
        assert os.read(reading, 1) == b"x"
        assert left(child)
    finally:
        os.kill(child, signal_number)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
    deadline = time.monotonic() + 30
    while left(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left(child) == []


def left(pid: int) -> list[str]:
    events = Path("/sys/kernel/tracing/uprobe_events").read_text()
    return [line for line in events.splitlines() if f"unitrace_{pid}_" in line]
