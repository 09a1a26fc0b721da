"""A program that the verifier rejects: its events are streamed instead, and that is said."""

from __future__ import annotations

import os

import pytest
from ebpf_runs import needs
from unitrace_ebpf.backend import Ebpf
from unitrace_ebpf.compile import loops

from unitrace.contract.errors import Rejected
from unitrace.output.records import Message
from unitrace.session import Compiled, Trace

pytestmark = pytest.mark.privileged

LOOPS = "unroll(100) { unroll(100) { unroll(100) { @n = count(); } } }"


@pytest.fixture(autouse=True)
def _walks_any_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("bpf.syscall", "bpf.tracepoint_events")
    monkeypatch.setattr(loops, "STEPS", 1 << 40)


def trace(body: str) -> Trace:
    program = f"tracepoint:syscalls:sys_enter_getcwd /pid == {os.getpid()}/ {{ {body} }}"
    return Trace(Compiled(program, {"ebpf": Ebpf()}))


def test_it_is_streamed_instead() -> None:
    with trace(f"@ = count(); if (tid == 0) {{ {LOOPS} }}") as run:
        for _ in range(3):
            os.getcwd()
        records = run.finish()
    (said,) = [one.text for one in records if isinstance(one, Message)]
    assert "verifier" in said and said.endswith("its events come to user space instead")
    assert run.maps["@"] == {(): 3} and not run.maps.get("@n")


def test_it_is_an_error_where_it_can_only_run_whole() -> None:
    through = "$p = (struct task_struct *)curtask; $p = $p->real_parent;"
    with pytest.raises(Rejected), trace(f"{through} @ = $p->pid; {LOOPS}"):
        pass
