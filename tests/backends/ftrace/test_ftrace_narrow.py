"""Instances that record one process's events, or one CPU's, alone."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from ftrace_runs import CPU, PID, both, clause, compare, needs_tracefs
from unitrace_ftrace.narrow import cpu_of, process_of

import unitrace
from tests.differential.workloads import LIBC, Workload
from unitrace.contract.ir import Binary, Cast, Const, Expr, Probe
from unitrace.contract.types import BOOL, INT64, UINT32

GETPPID = Probe("tracepoint", "syscalls", "sys_enter_getppid")


@pytest.mark.parametrize(
    ("predicate", "pid", "cpu"),
    [
        (compare("==", PID, 7), 7, -1),
        (both(compare("==", CPU, 3), compare("==", PID, 7)), 7, 3),
        (Binary(BOOL, "==", Const(INT64, 7), Cast(INT64, PID)), 7, -1),
        (compare("!=", PID, 7), 0, -1),
        (Binary(BOOL, "||", compare("==", PID, 7), compare("==", CPU, 3)), 0, -1),
        (Binary(BOOL, "==", PID, Cast(UINT32, CPU)), 0, -1),
    ],
)
def test_what_a_predicate_narrows_to(predicate: Expr, pid: int, cpu: int) -> None:
    one = clause(GETPPID, (), predicate)
    assert process_of(one)[1] == pid and cpu_of(one) == cpu


def control(run: unitrace.Trace, name: str) -> str:
    """The instance's file ``name``."""
    attached: Any = run._attachments[0]
    return str(attached._instance.read(name)).strip()


def called(times: int) -> None:
    for _ in range(times):
        LIBC.getppid()


def in_threads_and_a_child() -> None:
    """Three calls by the first thread, four by another, five by a child process."""
    called(3)
    other = threading.Thread(target=called, args=(4,))
    other.start()
    other.join()
    child = os.fork()
    if not child:
        called(5)
        os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.privileged
@needs_tracefs()
def test_one_process_with_the_threads_to_come() -> None:
    work = Workload(in_threads_and_a_child)
    program = "tracepoint:syscalls:sys_enter_getppid /pid == PID/ { @[tid == pid] = count(); }"
    try:
        with unitrace.trace(program.replace("PID", str(work.pid)), "ftrace") as run:
            if not os.path.exists(run._attachments[0]._instance.path + "/options/event-fork"):  # type: ignore
                pytest.skip("this kernel's instances follow no forks (before 4.7)")
            assert control(run, "set_event_pid") == str(work.pid)
            work.run()
            run.finish()
            assert control(run, "set_event_pid") == ""  # the process is gone: its id may become another's
        assert run.maps["@"] == {(True,): 3, (False,): 4} and not run.stats.losses
    finally:
        work.close()


@pytest.mark.privileged
@needs_tracefs()
def test_one_cpu() -> None:
    def on_each_cpu() -> None:
        for cpu in sorted(os.sched_getaffinity(0)):
            os.sched_setaffinity(0, {cpu})
            called(2 + cpu)

    work = Workload(on_each_cpu)
    last = max(os.sched_getaffinity(0))
    program = "tracepoint:syscalls:sys_enter_getppid /tid == PID && cpu == LAST/ { @[cpu] = stats(tid); }"
    try:
        with unitrace.trace(
            program.replace("LAST", str(last)).replace("PID", str(work.pid)), "ftrace"
        ) as run:
            assert int(control(run, "tracing_cpumask").replace(",", ""), 16) == 1 << last
            work.run()
            run.finish()
        assert run.maps["@"] == {(last,): (2 + last, (2 + last) * work.pid)} and not run.stats.losses
    finally:
        work.close()
