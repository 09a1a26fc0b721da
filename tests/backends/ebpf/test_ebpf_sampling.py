"""Programs on perf events: timed samples, software events, memory that is watched."""

from __future__ import annotations

import ctypes
import os

import pytest
from unitrace_ebpf import sampling
from unitrace_ebpf.backend import Ebpf

from tests.backends.ebpf.ebpf_runs import MACHINE, PID, decl, needs, offered, ours, run, show
from unitrace.contract import ir
from unitrace.contract.errors import BackendError, ProbeError
from unitrace.contract.offer import Options
from unitrace.contract.types import UINT32, Stack
from unitrace.kernel import perf_events

pytestmark = pytest.mark.privileged

USERMODE = ir.Site(UINT32, "usermode")
KSTACK, USTACK = ir.Site(Stack("kernel"), "kstack"), ir.Site(Stack("user"), "ustack")


def spin() -> None:
    total = 0
    until = os.times().user + 0.2
    while os.times().user < until:
        total += sum(range(1000))


def profile(unit: str, number: int) -> ir.Probe:
    return ir.Probe(
        "profile", unit, str(number), offset=number, label=f"profile:{unit}:{number}", span=ir.Span(1, 0, 7)
    )


@pytest.mark.parametrize(("unit", "number"), [("hz", 299), ("ms", 5), ("us", 5000), ("ns", 5000000)])
def test_profile(unit: str, number: int) -> None:
    needs("bpf.perf_software", "bpf.get_stack")
    clauses = [
        ir.Clause(0, profile(unit, number), ours(), (show(PID, USERMODE, KSTACK, USTACK),)),
        ir.Clause(1, profile(unit, number), ours(), (ir.MapUpdate("@", (USERMODE,), ()),)),
    ]
    seen = run(clauses, spin, [decl("@", "count", UINT32)])
    _, pids, modes, kernel, user = seen.rows[0].values()
    assert pids and set(pids) == {os.getpid()}
    assert all(bool(stack) == (mode == 0) for stack, mode in zip(kernel, modes))
    assert all(stack[0] == os.getpid() for stack in user)
    assert sum(seen.maps["@"].values()) > 0


def test_one_process() -> None:
    """With a process, its threads' events alone are opened."""
    needs("bpf.perf_software")
    clause = ir.Clause(0, profile("hz", 299), None, (show(PID),))
    seen = run([clause], spin, options=Options(buffer_kib=256, pid=os.getpid()))
    assert set(list(seen.rows[0].values())[1]) == {os.getpid()}


def test_too_often() -> None:
    needs("bpf.perf_software")
    clause = ir.Clause(0, profile("hz", 10**9), None, (show(PID),))
    with pytest.raises(BackendError, match="doesn't sample that often"):
        Ebpf().attach(MACHINE, offered([clause]))


def test_software() -> None:
    needs("bpf.perf_software")
    probe = ir.Probe("software", "", "page-faults", offset=1, label="software:page-faults:1")

    def fault() -> None:
        import mmap

        with mmap.mmap(-1, 64 * mmap.PAGESIZE) as pages:
            for at in range(0, len(pages), mmap.PAGESIZE):
                pages[at] = 1

    seen = run([ir.Clause(0, probe, ours(), (ir.MapUpdate("@", (), ()),))], fault, [decl("@", "count")])
    assert seen.maps["@"][()] >= 64


def test_software_events_all_open() -> None:
    needs("bpf.perf_software")
    for name in perf_events.BPFTRACE["software"]:
        for fd in sampling.opened(ir.Probe("software", "", name, label=f"software:{name}"), os.getpid()):
            os.close(fd)


def test_hardware_that_is_not_there() -> None:
    needs("bpf.perf_software")
    if MACHINE.answer("bpf.perf_hardware"):
        pytest.skip("this machine has hardware counters")
    probe = ir.Probe("hardware", "", "cache-misses", label="hardware:cache-misses:")
    with pytest.raises((ProbeError, OSError)):
        sampling.opened(probe, 0)


def test_watchpoint() -> None:
    needs("bpf.watchpoint")
    word = ctypes.c_uint64(0)
    at = ctypes.addressof(word)
    probe = ir.Probe("watchpoint", "w", hex(at), offset=8, address=at, label=f"watchpoint:{at:#x}:8:w")

    def write() -> None:
        for value in range(3):
            word.value = value

    clause = ir.Clause(0, probe, None, (show(PID),))
    seen = run([clause], write, options=Options(buffer_kib=256, pid=os.getpid()))
    assert list(seen.rows[0].values())[1] == [os.getpid()] * 3
