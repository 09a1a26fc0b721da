"""Call stacks and symbols: read when the probe fires, streamed and as keys of kept maps."""

from __future__ import annotations

import ctypes
import os

import pytest

from tests.backends.ebpf.ebpf_runs import MACHINE, PID, decl, needs, num, op, ours, run, show, tracepoint
from unitrace.contract import ir
from unitrace.contract.types import UINT64, Stack, Symbol
from unitrace.kernel import elf, functions

pytestmark = pytest.mark.privileged

libc = ctypes.CDLL(None)
CALLS = 5

KSTACK, USTACK = ir.Site(Stack("kernel"), "kstack"), ir.Site(Stack("user"), "ustack")
SHORT = ir.Site(Stack("kernel", 2), "kstack")
FUNC, USER_FUNC = ir.Site(Symbol("kernel"), "func"), ir.Site(Symbol("user"), "func")


def sync() -> None:
    for _ in range(CALLS):
        os.getppid()


def entered() -> ir.Probe:
    return tracepoint("syscalls", "sys_enter_getppid")


def in_kernel(name: str) -> int:
    found = functions.address(MACHINE, name)
    if not found:
        pytest.skip(f"/proc/kallsyms has no address of {name}")
    return found


def test_streamed() -> None:
    needs("bpf.tracepoint_events", "bpf.get_stack")
    clause = ir.Clause(0, entered(), ours(), (show(KSTACK, SHORT, USTACK),))
    kernel, short, user = list(run([clause], sync).rows[0].values())[1:]
    assert len(kernel) == CALLS
    assert all(address >> 63 for stack in kernel for address in stack)
    assert (
        len(set(map(bool, kernel))) == 1
    )  # 5.10 has the caller's registers at a system call: no kernel stack
    assert short == [stack[:2] for stack in kernel]
    assert all(stack[0] == os.getpid() and len(stack) > 1 for stack in user)


def test_no_frames_of_bpf() -> None:
    """Where no field is read, a raw tracepoint would do, but its stack begins in BPF's own code."""
    needs("bpf.raw_tracepoint", "bpf.get_stack")
    schedule = in_kernel("__schedule")
    probe = tracepoint("sched", "sched_switch")
    seen = run([ir.Clause(0, probe, ours(), (show(SHORT),))], lambda: os.sched_yield())
    for (stack,) in zip(*list(seen.rows.get(0, {"": []}).values())[-1:]):
        assert any(0 <= address - schedule < 16384 for address in stack)


def test_keys_of_a_kept_map() -> None:
    needs("bpf.tracepoint_events", "bpf.get_stack")
    clause = ir.Clause(0, entered(), ours(), (ir.MapUpdate("@", (KSTACK, USTACK, PID), ()),))
    kept = run([clause], sync, [decl("@", "count", KSTACK.type, USTACK.type, PID.type)])
    if not kept.maps:
        pytest.skip("keys of this size can't be kept here: they are streamed")
    assert sum(kept.maps["@"].values()) == CALLS
    for _, user, pid in kept.maps["@"]:
        assert user[0] == pid == os.getpid()


def test_user_functions() -> None:
    needs("bpf.kprobe", "bpf.uprobe_events")
    path = elf.resolve_file("libc.so.6")
    symbol = elf.find(path, "labs")
    assert symbol is not None
    probe = ir.Probe("uprobe", path, "labs", address=symbol.offset_in_file, label="uprobe:libc:labs")
    at = ctypes.cast(libc.labs, ctypes.c_void_p).value
    if at is None or at & 4095 != symbol.offset_in_file & 4095:
        pytest.skip("labs is resolved to another implementation")
    clause = ir.Clause(0, probe, ours(), (show(USER_FUNC, USTACK),))
    found = list(run([clause], lambda: libc.labs(1)).rows[0].values())
    assert found[1] == [(at, os.getpid())]
    assert found[2][0][0] == os.getpid()


@pytest.mark.parametrize("kind", ["kprobe", "kretprobe"])
def test_kernel_functions(kind: str) -> None:
    needs("bpf.kprobe", "bpf.kprobe_events", "bpf.get_stack")
    function = "__x64_sys_getppid" if os.uname().machine == "x86_64" else "__arm64_sys_getppid"
    probe = ir.Probe(kind, "", function, label=f"{kind}:{function}")
    clause = ir.Clause(0, probe, ours(), (show(FUNC, KSTACK),))
    kept = ir.Clause(1, probe, ours(), (ir.MapUpdate("@", (FUNC,), ()),))
    address = in_kernel(function)
    seen = run([clause], sync)
    found = list(seen.rows[0].values())
    assert found[1] == [address] * CALLS
    assert all(found[2])
    assert run([kept], sync, [decl("@", "count", FUNC.type)]).maps["@"] == {(address,): CALLS}


def test_registers() -> None:
    needs("bpf.kprobe", "bpf.uprobe_events")
    path = elf.resolve_file("libc.so.6")
    symbol = elf.find(path, "labs")
    assert symbol is not None
    probe = ir.Probe("uprobe", path, "labs", address=symbol.offset_in_file, label="uprobe:libc:labs")
    first = ir.Site(UINT64, "register", "di" if os.uname().machine == "x86_64" else "x0")
    mode = ir.Site(PID.type, "usermode")
    clause = ir.Clause(0, probe, op(ours(), "&&", op(first, "==", num(77, UINT64))), (show(first, mode),))
    assert list(run([clause], lambda: libc.labs(77)).rows[0].values())[1:] == [[77], [1]]
