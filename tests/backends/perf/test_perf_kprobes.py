"""kprobes through perf, by PMU and by tracefs event: on kernels that have them (tests/kernels)."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from perf_runs import (
    BACKEND,
    COMM_SITE,
    MACHINE,
    PID,
    RETVAL,
    TID,
    arg,
    both,
    clause,
    equal,
    field,
    function,
    mine,
    need,
    offered,
    ours,
    seen,
    tracepoint,
)

from unitrace.contract.errors import BackendError
from unitrace.contract.ir import Binary, Const, Expr, Field, Probe, Site, Text
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Refusal, Request
from unitrace.contract.types import BOOL, INT32, INT64, UINT64, Int, Pointer, Str

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

FIELDS = (Field("dfd", INT32, 0), Field("filename", Pointer(Int(8, True), "user"), 1))
OPEN = function("kprobe", "do_sys_openat2", FIELDS)
OPENED = function("kretprobe", "do_sys_openat2")
DFD, FILENAME = Site(INT32, "args", "dfd"), Site(FIELDS[1].type, "args", "filename")


@pytest.fixture(params=["PMU", "tracefs"])
def machine(request: pytest.FixtureRequest) -> Machine:
    if request.param == "PMU":
        need("perf.kprobe_pmu")
        return MACHINE.masked(["perf.kprobe_events"])
    need("perf.kprobe_events")
    return MACHINE.masked(["perf.kprobe_pmu"])


def opens(count: int = 3) -> list[int]:
    """Open a file ``count`` times; the descriptors that came of it."""
    got = [os.open("/etc/hostname", os.O_RDONLY) for _ in range(count)]
    for fd in got:
        os.close(fd)
    return got


def how(machine: Machine) -> str:
    return "tracefs event" if machine.answer("perf.kprobe_events") else "kprobe PMU"


AT_FDCWD = -100


def test_arguments(machine: Machine) -> None:
    one = clause(OPEN, (DFD, arg(0), arg(1), TID, PID, COMM_SITE), mine())
    assert offered(one, machine=machine).shares[0].how == how(machine)
    found, lost = seen(opens, one, machine=machine)
    assert [row[0] for row in found[0]] == [AT_FDCWD] * 3
    assert {row[1] & 0xFFFFFFFF for row in found[0]} == {AT_FDCWD & 0xFFFFFFFF}
    assert all(row[2] for row in found[0])
    comm = Path("/proc/self/comm").read_bytes().strip()
    assert {row[3:] for row in found[0]} == {(os.getpid(), os.getpid(), comm)}
    assert lost == {}


def test_result(machine: Machine) -> None:
    fds: list[int] = []
    wanted = (RETVAL, COMM_SITE)
    one = clause(OPENED, wanted, mine())
    answer = offered(one, machine=machine)
    assert answer.exact == (how(machine) == "tracefs event")  # missed returns can't be counted there
    found, lost = seen(lambda: fds.extend(opens()), one, machine=machine)
    comm = Path("/proc/self/comm").read_bytes().strip()
    assert found[0] == [(fd, comm) for fd in fds]
    assert lost == {}


def test_fentry_and_fexit_are_kprobes_with_types(machine: Machine) -> None:
    fds: list[int] = []
    enter = clause(OPEN.replace(kind="fentry"), (DFD, FILENAME), mine(), 0)
    leave = clause(OPENED.replace(kind="fexit"), (RETVAL,), mine(), 1)
    found, _ = seen(lambda: fds.extend(opens()), enter, leave, machine=machine)
    assert [row[0] for row in found[0]] == [AT_FDCWD] * 3
    assert found[1] == [(fd,) for fd in fds]
    both_ends = clause(OPENED.replace(kind="fexit", fields=FIELDS), (DFD,), mine())
    assert isinstance(BACKEND.offer(machine, Request((both_ends,))), Refusal)  # entry's registers are gone


def test_every_register_argument(machine: Machine) -> None:
    # ksys_read's siblings differ by kernel; this one has had four arguments since 5.6.
    found, _ = seen(opens, clause(OPEN, tuple(arg(number) for number in range(6)), mine()), machine=machine)
    assert len(found[0]) == 3
    assert all(len(row) == 6 for row in found[0])
    assert {row[0] & 0xFFFFFFFF for row in found[0]} == {AT_FDCWD & 0xFFFFFFFF}


def test_entry_and_return_in_one_run(machine: Machine) -> None:
    fds: list[int] = []
    found, _ = seen(
        lambda: fds.extend(opens(50)),
        clause(OPEN, (DFD,), mine(), 0),
        clause(OPENED, (RETVAL,), mine(), 1),
        machine=machine,
    )
    assert [row[0] for row in found[0]] == [AT_FDCWD] * 50
    assert [row[0] for row in found[1]] == fds


def test_function_with_an_offset(machine: Machine) -> None:
    # Past the first instruction (endbr64, or the ftrace call): still within the entry.
    base = Probe("kprobe", "", "do_sys_openat2", offset=0)
    found, _ = seen(opens, clause(base, (Site(UINT64, "func"),), mine()), machine=masked_dynamic(machine))
    assert len(found[0]) == 3
    assert len({row[0] for row in found[0]}) == 1


def masked_dynamic(machine: Machine) -> Machine:
    if not machine.answer("perf.kprobe_pmu"):
        pytest.skip("func is the PMU's")
    return machine


def test_filters_by_an_argument() -> None:
    need("perf.kprobe_events")
    folder = os.open("/etc", os.O_PATH)
    try:
        one = clause(OPEN, (DFD,), both(mine(), equal(DFD, folder)))
        share = offered(one).shares[0]
        assert share.how == "tracefs event"
        assert share.residual is not None and share.residual.predicate is None

        def work() -> None:
            opens()
            os.close(os.open("hostname", os.O_RDONLY, dir_fd=folder))

        found, _ = seen(work, one)
        assert found[0] == [(folder,)]
        less = both(mine(), Binary(BOOL, "<", DFD, Const(INT32, 0)))
        found, _ = seen(work, clause(OPEN, (DFD,), less))
        assert found[0] == [(AT_FDCWD,)] * 3
    finally:
        os.close(folder)


def text(space: str) -> Expr:
    return Text(Str(64), Site(Pointer(Int(8, True), space), "arg", 1), space)


@pytest.mark.parametrize("space", ["user", ""])
def test_strings(space: str) -> None:
    need("perf.kprobe_events")
    one = clause(OPEN, (text(space), TID), mine())
    assert offered(one).shares[0].how == "tracefs event"
    found, _ = seen(opens, one)
    assert found[0] == [(b"/etc/hostname", os.getpid())] * 3
    assert ours("kprobe_events") == []


def test_strings_of_a_system_calls_tracepoint() -> None:
    # perf can't follow the pointer; the call's entry function gets the same arguments.
    need("perf.kprobe_events")
    probe = tracepoint("syscalls", "sys_enter_openat")
    pointer = field(probe, "filename")
    name = Text(Str(64), pointer, "user")
    columns = (name, field(probe, "dfd"), field(probe, "flags"), pointer, TID, COMM_SITE)
    by_entry, by_id = clause(probe, columns, mine(), 0), clause(probe, columns[1:], mine(), 1)
    hows = [share.how for share in offered(by_entry, by_id).shares]
    assert hows[0].startswith("tracefs event on __")
    assert hows[1] == "tracepoint"
    found, lost = seen(opens, by_entry, by_id)
    assert [row[0] for row in found[0]] == [b"/etc/hostname"] * 3
    assert [row[1:] for row in found[0]] == found[1]
    assert lost == {}


def test_memory_where_a_call_ends() -> None:
    """By the function that calls the tracepoint's users: the same events, each with the call's arguments."""
    need("perf.kprobe_events")
    probe = tracepoint("syscalls", "sys_exit_openat")
    ret, call = field(probe, "ret"), field(probe, "__syscall_nr")
    name = Text(Str(64), Site(UINT64, "entry", 1), "user")
    failed = both(mine(), Binary(BOOL, "<", ret, Const(INT64, 0)))
    shares = [clause(probe, (ret, call, name), mine(), 0), clause(probe, (ret, call), mine(), 1)]
    shares += [clause(probe, (ret, Site(UINT64, "entry", 2), name), failed, 2)]
    hows = [share.how for share in offered(*shares).shares]
    assert hows == ["tracefs event on __traceiter_sys_exit", "tracepoint", hows[0]]

    def work() -> None:
        opens()
        for path in ("/nonexistent/unitrace", "/"):
            try:
                os.close(os.open(path, os.O_RDONLY))
            except OSError:
                pass

    found, lost = seen(work, *shares)
    assert [row[2] for row in found[0]] == [b"/etc/hostname"] * 3 + [b"/nonexistent/unitrace", b"/"]
    assert [row[:2] for row in found[0]] == found[1] and {row[1] for row in found[1]} == {257}
    assert found[2] == [(-errno.ENOENT, os.O_RDONLY | os.O_CLOEXEC, b"/nonexistent/unitrace")]
    assert lost == {}


def test_strings_elsewhere_are_refused() -> None:
    probe = tracepoint("sched", "sched_process_exec")
    text = Text(Str(64), Site(UINT64, "args", "old_pid"))
    answer = BACKEND.offer(MACHINE, Request((clause(probe, (text,)),)))
    assert isinstance(answer, Refusal)
    assert "can't follow a tracepoint's pointer" in answer.reason
    assert answer.remedy


def test_a_string_that_cannot_be_read_is_empty() -> None:
    need("perf.kprobe_events")
    bad = Text(Str(64), arg(0), "user")  # -100 is no address
    found, _ = seen(opens, clause(OPEN, (bad,), mine()))
    assert found[0] == [(b"",)] * 3


def test_unknown_function(machine: Machine) -> None:
    probe = function("kprobe", "unitrace_no_such_function")
    with pytest.raises(BackendError, match="unitrace_no_such_function"):
        BACKEND.attach(machine, offered(clause(probe, (arg(0),), mine()), machine=machine))
    assert ours("kprobe_events") == []


def test_wide_values_keep_their_bits(machine: Machine) -> None:
    found, _ = seen(
        opens, clause(OPEN, (Site(UINT64, "arg", 1), Site(INT64, "arg", 2)), mine()), machine=machine
    )
    assert all(0 < row[0] < 2**47 for row in found[0])  # a user address
    assert all(row[1] < 0 for row in found[0])  # struct open_how on the kernel's stack
