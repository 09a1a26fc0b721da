"""Clauses that run whole: maps that are set, what is printed, memory beyond the stack, user space's own clauses."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import pytest
from ebpf_runs import needs

from unitrace.output.records import Message, Printed
from unitrace.output.rows import single
from unitrace.plugins import Plugins
from unitrace.session import Compiled, Trace

pytestmark = pytest.mark.privileged

LIBC = ctypes.CDLL(None)
ENTER = f"tracepoint:syscalls:sys_enter_getppid /pid == {os.getpid()}/"
LEAVE = f"tracepoint:syscalls:sys_exit_getppid /pid == {os.getpid()}/"


def traced(spec: str, work: Callable[[], object]) -> tuple[list[str], Trace]:
    """The lines that a program prints while ``work`` runs. All its clauses at kernel probes run whole."""
    needs("bpf.direct_values", "bpf.ringbuf", "bpf.tracepoint_events")
    compiled = Compiled(spec, Plugins().chosen("ebpf"))
    assert all(share.residual is None for part in compiled.plan.parts for share in part.offer.shares)
    with Trace(compiled) as run:
        begun = list(run._taken())
        work()
        records = [one for record in (*begun, *run.finish()) for one in single(record)]
    assert not run.stats.losses or "full" in str(run.stats.losses), run.stats.losses
    return [_line(one) for one in records if isinstance(one, Printed)], run


def _line(one: Printed) -> str:
    return " ".join(value.decode() if isinstance(value, bytes) else str(value) for value in one.values)


def getppid(times: int) -> Any:
    return lambda: [LIBC.getppid() for _ in range(times)]


def test_user_space_reaches_the_kernels_maps() -> None:
    spec = 'BEGIN { @x["a", 1] = (7, "seven"); @n = 3; } ' + ENTER
    spec += (
        ' { @got = @x["a", 1]; @n++; } END { printf("%d %s %d", @got.0, @got.1, @n); delete(@x, ("a", 1)); }'
    )
    shown, run = traced(spec, getppid(4))
    assert shown == ["7 seven 7"]
    assert run.maps["@x"] == {} and run.maps["@n"] == {(): 7}


def test_two_records_of_a_run_and_values_of_every_type() -> None:
    spec = ENTER + ' { $t = (comm, (1, (int8)-2)); @t[tid] = $t; printf("first %d", $t.1.1); '
    spec += 'printf("second %s %d", @t[tid].0, @t[tid].1.0); delete(@t, tid); }'
    shown, run = traced(spec, getppid(3))
    with open("/proc/self/comm") as file:
        comm = file.read().rstrip("\n")
    assert shown == ["-2", f"{comm} 1"] * 3
    assert run.maps["@t"] == {}


def test_exit_ends_what_is_counted() -> None:
    spec = f"{ENTER} {{ @[tid] = 1; @a[tid]++; if (@a[tid] == 5) {{ exit(7); }} }}"
    _, run = traced(spec, getppid(20))
    assert list(run.maps["@a"].values()) == [5] and run.exit_code == 7


def test_a_full_map_is_a_loss() -> None:
    spec = "let @m = hash(2); " + ENTER + " { $n = 0; unroll (5) { @m[$n] = 1; $n = $n + 1; } }"
    _, run = traced(spec, getppid(1))
    assert len(run.maps["@m"]) == 2 and run.stats.losses == {"map @m full": 3}


def test_a_division_by_zero_is_reported() -> None:
    spec = ENTER + " { @ = 7 / ((uint64)args.__syscall_nr & 0); }"
    compiled = Compiled(spec, Plugins().chosen("ebpf"))
    needs("bpf.direct_values")
    with Trace(compiled) as run:
        LIBC.getppid()
        said = [one.text for one in run.finish() if isinstance(one, Message)]
    assert run.maps["@"] == {(): 1} and any(text.startswith("Divide or modulo by 0") for text in said)


def test_long_strings_in_user_code() -> None:
    """More than the stack holds, in a program that can be preempted."""
    needs("bpf.uprobe_pmu")
    spec = f"uprobe:libc:getenv /pid == {os.getpid()}/ {{ $a = str(arg0, 400); $b = $a; @s[tid] = $b; "
    spec += '$c = ($a, @s[tid]); printf("%s", $c.1); @same = $a == $b && @s[tid] == $c.0; }'
    long = b"UNITRACE_" + b"x" * 300
    shown, run = traced(spec, lambda: [LIBC.getenv(long), LIBC.getenv(b"SHORT")])
    assert [one for one in shown if one[0] in "US"][:2] == [long.decode(), "SHORT"]
    assert run.maps["@same"] == {(): True}


def test_loops() -> None:
    spec = ENTER + " { $n = 0; while ($n < 1000) { $n++; if ($n == 500) { continue; } @turns[tid] += 1; } "
    spec += "for $i : 0..((int64)tid * 0 + 10) { @i[$i] = $i * 2; } }"
    needs("kernel.version")
    from unitrace_ebpf.survey import version

    from unitrace.contract.machine import Machine

    if version(Machine()) < (5, 17):
        pytest.skip("bpf_loop came with 5.17")
    _, run = traced(spec, getppid(2))
    assert list(run.maps["@turns"].values()) == [1998]
    assert run.maps["@i"] == {(at,): 2 * at for at in range(10)}


def test_addresses_of_a_programs_data() -> None:
    needs("bpf.uprobe_pmu")
    spec = f'uprobe:libc:getenv,uprobe:libc:getenv+0 /pid == {os.getpid()}/ {{ @[*uaddr("stdout")] = 1; }}'
    _, run = traced(spec, lambda: LIBC.getenv(b"UNITRACE"))
    assert list(run.maps["@"]) == [(ctypes.c_uint64.in_dll(LIBC, "stdout").value,)]
