"""The perf backend on the running kernel: counts and values equal to what the workload did."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import struct
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from perf_runs import (
    BACKEND,
    COMM_SITE,
    CPU,
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
    libc,
    libc_path,
    mine,
    need,
    offered,
    ours,
    seen,
    tracepoint,
)
from unitrace_perf import syscall

from unitrace.contract.errors import BackendError
from unitrace.contract.ir import Binary, Const, Expr, Field, Site, Text
from unitrace.contract.machine import Machine
from unitrace.contract.model import VECTOR_FROM
from unitrace.contract.types import BOOL, INT32, INT64, UINT32, Int, Pointer, Str
from unitrace.kernel.formats import read_format
from unitrace.kernel.perf_events import perf_event_open

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

PR_SET_NAME = 15


@pytest.fixture(autouse=True)
def usable() -> None:
    need("perf.tracepoint")


def seek(*offsets: int) -> None:
    """A sys_enter_lseek for each of these."""
    for offset in offsets:
        try:
            os.lseek(-1, offset, 0)
        except OSError:
            pass


def test_tracepoint_fields() -> None:
    probe = tracepoint("syscalls", "sys_enter_lseek")
    offset = field(probe, "offset")
    wanted = [0, 1, -1, 2**40 + 5, -(2**63), 2**63 - 1]
    found, lost = seen(lambda: seek(*wanted), clause(probe, (offset, TID, PID, CPU), mine()))
    assert [row[0] for row in found[0]] == wanted
    assert {row[1:3] for row in found[0]} == {(os.getpid(), os.getpid())}
    assert {row[3] for row in found[0]} <= set(MACHINE.fact("cpus.online"))
    assert lost == {}


def test_many_go_through_numpy() -> None:
    probe = tracepoint("syscalls", "sys_enter_lseek")
    count = VECTOR_FROM * 2 + 7
    found, lost = seen(
        lambda: seek(*range(count)),
        clause(probe, (field(probe, "offset"), COMM_SITE), mine()),
        buffer_kib=4096,
    )
    comm = Path("/proc/self/comm").read_bytes().strip()
    assert found[0] == [(one, comm) for one in range(count)]
    assert lost == {}


def test_clauses_of_two_shapes_share_the_rings() -> None:
    enter, leave = tracepoint("syscalls", "sys_enter_lseek"), tracepoint("syscalls", "sys_exit_lseek")
    count = VECTOR_FROM * 2
    found, lost = seen(
        lambda: seek(*range(count)),
        clause(enter, (field(enter, "offset"),), mine(), 0),
        clause(leave, (field(leave, "ret"),), mine(), 1),
        buffer_kib=4096,
    )
    assert [row[0] for row in found[0]] == list(range(count))
    assert [row[0] for row in found[1]] == [-9] * count
    assert lost == {}


@pytest.mark.parametrize(
    ("op", "value", "wanted"),
    [
        ("==", -22, [-22]),
        ("!=", 7, [-22, 0, 8]),
        ("<", 0, [-22]),
        (">=", 7, [7, 8]),
    ],
)
def test_filters_by_a_signed_field(tmp_path: Path, op: str, value: int, wanted: list[int]) -> None:
    probe = tracepoint("syscalls", "sys_exit_lseek")
    result = field(probe, "ret")
    one = clause(probe, (result,), both(mine(), Binary(BOOL, op, result, Const(INT64, value))))
    assert offered(one).shares[0].residual == one.replace(predicate=None)  # all of it is the kernel's
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    def work() -> None:
        for offset in (-5, 0, 7, 8):
            try:
                os.lseek(fd, offset, 0)
            except OSError:
                pass

    try:
        found, _ = seen(work, one)
    finally:
        os.close(fd)
    assert [row[0] for row in found[0]] == wanted


@pytest.mark.parametrize("value", [-5, -(2**63), 7])
def test_filters_by_equal_bits_where_the_sign_differs(value: int) -> None:
    probe = tracepoint("syscalls", "sys_enter_lseek")
    offset = field(probe, "offset")  # off_t, which this format calls unsigned
    one = clause(probe, (offset,), both(mine(), equal(offset, value)))
    assert offered(one).shares[0].residual == one.replace(predicate=None)
    found, _ = seen(lambda: seek(-(2**63), -5, 0, 7, 8), one)
    assert [row[0] for row in found[0]] == [value]


def test_filters_by_comm_and_cpu() -> None:
    probe = tracepoint("syscalls", "sys_enter_lseek")
    before = Path("/proc/self/comm").read_bytes().strip()
    name = b"perf %d" % os.getpid()
    offset = field(probe, "offset")
    named = both(mine(), equal(COMM_SITE, name))
    nowhere = both(mine(), equal(CPU, 4000))

    def work() -> None:
        seek(1)
        libc.prctl(PR_SET_NAME, name)
        try:
            seek(2)
        finally:
            libc.prctl(PR_SET_NAME, before)
        seek(3)

    clauses = (clause(probe, (offset,), named, 0), clause(probe, (offset,), nowhere, 1))
    assert all(share.residual and share.residual.predicate is None for share in offered(*clauses).shares)
    found, _ = seen(work, *clauses)
    assert found == {0: [(2,)], 1: []}


def test_pid_is_left_to_the_engine() -> None:
    probe = tracepoint("syscalls", "sys_enter_lseek")
    one = clause(probe, (), both(mine(), equal(PID, 1)))
    residual = offered(one).shares[0].residual
    assert residual is not None
    assert residual.predicate == equal(PID, 1)


def test_comm_is_the_one_at_the_time() -> None:
    probe = tracepoint("syscalls", "sys_enter_lseek")
    before = Path("/proc/self/comm").read_bytes().strip()

    def work() -> None:
        for number, name in enumerate((b"one", b"a name that is too long", b"")):
            libc.prctl(PR_SET_NAME, name)
            seek(number)
        libc.prctl(PR_SET_NAME, before)
        seek(3)

    try:
        found, _ = seen(work, clause(probe, (field(probe, "offset"), COMM_SITE), mine()))
    finally:
        libc.prctl(PR_SET_NAME, before)
    assert found[0] == [(0, b"one"), (1, b"a name that is "), (2, b""), (3, before)]


def test_comm_and_tid_are_the_schedulers_own() -> None:
    # The record of a switch holds the comm and tid of the task that it fires in: all tasks of the
    # machine, kernel threads and idle ones among them.
    probe = tracepoint("sched", "sched_switch")
    columns = (field(probe, "prev_comm"), COMM_SITE, field(probe, "prev_pid"), TID)

    def work() -> None:
        for _ in range(3):
            time.sleep(0.05)
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)

    found, lost = seen(work, clause(probe, columns), buffer_kib=4096)
    assert lost == {}
    assert found[0]
    assert [row for row in found[0] if row[0] != row[1] or row[2] != row[3]] == []
    assert {row[0] for row in found[0]} >= {Path("/proc/self/comm").read_bytes().strip()}


def test_comm_of_a_child_from_fork_to_exec() -> None:
    probe = tracepoint("syscalls", "sys_enter_lseek")
    offset = field(probe, "offset")
    mark = 0x5EEC_0000_0000 + os.getpid()
    program = f"import os\ntry: os.lseek(-1, {mark}, 0)\nexcept OSError: pass"

    def work() -> None:
        child = os.fork()
        if child == 0:
            try:
                seek(mark)  # still by our name
                os.execv(sys.executable, ["other", "-SEc", program])
            finally:
                os._exit(1)
        os.waitpid(child, 0)

    found, _ = seen(work, clause(probe, (COMM_SITE, PID, TID), equal(offset, mark)))
    assert len(found[0]) == 2
    ours, theirs = found[0]
    name = os.path.basename(sys.executable).encode()[:15]
    assert ours[0] == Path("/proc/self/comm").read_bytes().strip()
    assert theirs[0] == name
    assert ours[1] == ours[2] == theirs[1] == theirs[2]


def test_the_pid_of_a_task_that_is_dead() -> None:
    # The last switch away from a reaped task: perf itself says pid and tid -1 there.
    probe = tracepoint("sched", "sched_switch")
    previous = field(probe, "prev_pid")
    children: list[int] = []

    def work() -> None:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
            children.append(child)

    found, _ = seen(
        work, clause(probe, (previous, TID, PID, field(probe, "prev_state")), None), buffer_kib=4096
    )
    rows = [row for row in found[0] if row[0] in children]
    assert {row[0] for row in rows} == set(children)
    assert all(row[0] == row[1] == row[2] for row in rows)


def test_lost_events_are_counted() -> None:
    probe = tracepoint("syscalls", "sys_enter_lseek")
    count = 3000  # of 80 bytes, into rings of 4 KiB
    found, lost = seen(
        lambda: seek(*range(count)),
        clause(probe, (field(probe, "offset"),), mine()),
        buffer_kib=4,
    )
    assert 0 < len(found[0]) < count
    assert len(found[0]) + sum(lost.values()) == count
    assert all(cause.startswith("perf ring full on CPU ") for cause in lost)


def test_lost_events_are_counted_without_format_lost() -> None:
    probe = tracepoint("syscalls", "sys_enter_lseek")
    count = 3000
    found, lost = seen(
        lambda: seek(*range(count)),
        clause(probe, (field(probe, "offset"),), mine()),
        machine=MACHINE.masked(["perf.format_lost"]),
        buffer_kib=4,
    )
    assert 0 < len(found[0]) < count
    assert len(found[0]) + sum(lost.values()) == count


def test_reads_while_running() -> None:
    probe = tracepoint("syscalls", "sys_enter_lseek")
    offer = offered(clause(probe, (field(probe, "offset"),), mine()), buffer_kib=4)
    got: list[int] = []
    with BACKEND.attach(MACHINE, offer) as attachment:
        seek(-1)  # not armed yet
        attachment.start()
        for number in range(500):
            seek(number)
            if number % 10 == 0:  # the ring wraps some ten times
                got += [v for b in attachment.read() for v in b.values("args.offset")]
        attachment.stop()
        seek(-2)
        got += [value for batch in attachment.read() for value in batch.values("args.offset")]
        assert attachment.losses() == {}
    assert sorted(got) == list(range(500))


def test_other_peoples_bpf_programs_are_told_of() -> None:
    # One that returns 0 takes the tracepoint's events away from every perf user, without a trace.
    probe = tracepoint("syscalls", "sys_enter_lseek")
    offer = offered(clause(probe, (), mine()))
    number = read_format(MACHINE, "syscalls", "sys_enter_lseek").id
    event = perf_event_open(syscall.attr(syscall.TYPE_TRACEPOINT, number, flags=0), cpu=0)
    try:
        program = load_program_that_returns_0()
        try:
            fcntl.ioctl(event, 0x40042408, program)  # PERF_EVENT_IOC_SET_BPF
            with BACKEND.attach(MACHINE, offer) as attachment:
                attachment.start()
                seek(1)
                attachment.stop()
                assert sum(map(len, attachment.read())) == 0
                assert "BPF programs of others" in " ".join(attachment.notes)
        finally:
            os.close(program)
    finally:
        os.close(event)


def load_program_that_returns_0() -> int:
    code = ctypes.create_string_buffer(struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0))
    text = ctypes.create_string_buffer(b"GPL")
    attr = struct.pack("<IIQQ104x", 5, 2, ctypes.addressof(code), ctypes.addressof(text))
    number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    fd = libc.syscall(number, 5, attr, len(attr))  # bpf(BPF_PROG_LOAD), BPF_PROG_TYPE_TRACEPOINT
    if fd < 0:
        pytest.skip(f"bpf(2): {os.strerror(ctypes.get_errno())}")
    return int(fd)


# --- user probes -----------------------------------------------------------------------------

NUMBERS = [5, -7, 0, 2**62, -(2**63) + 1]


def call_labs() -> None:
    for number in NUMBERS:
        libc.labs(number)


@pytest.fixture(params=["PMU", "tracefs"])
def user_machine(request: pytest.FixtureRequest) -> Machine:
    if request.param == "PMU":
        need("perf.uprobe_pmu")
        return MACHINE.masked(["perf.uprobe_events"])
    need("perf.uprobe_events")
    return MACHINE.masked(["perf.uprobe_pmu"])


def test_uprobe_arguments(user_machine: Machine) -> None:
    entry = function("uprobe", "labs", path=libc_path())
    found, lost = seen(call_labs, clause(entry, (arg(0), TID, PID), mine()), machine=user_machine)
    assert found[0] == [(number, os.getpid(), os.getpid()) for number in NUMBERS]
    assert lost == {}


def test_uretprobe_result(user_machine: Machine) -> None:
    leave = function("uretprobe", "labs", path=libc_path())
    found, _ = seen(call_labs, clause(leave, (RETVAL, COMM_SITE), mine()), machine=user_machine)
    comm = Path("/proc/self/comm").read_bytes().strip()
    assert found[0] == [(abs(number), comm) for number in NUMBERS]


def string_at(number: int, length: int = 64) -> Expr:
    return Text(Str(length), Site(Pointer(Str(1)), "arg", number))


def test_uprobe_string_by_a_tracefs_event() -> None:
    need("perf.uprobe_events")
    entry = function("uprobe", "atoi", path=libc_path())
    texts = [b"12", b"", b"345 is a number", b"6" * 63, b"7" * 64, b"8" * 300]

    def work() -> None:
        for text in texts:
            libc.atoi(ctypes.c_char_p(text))

    one = clause(entry, (string_at(0), arg(0)), mine())
    assert offered(one).shares[0].how == "tracefs event"
    found, _ = seen(work, one)
    assert [row[0] for row in found[0]] == [text[:63] for text in texts]
    assert all(row[1] for row in found[0])
    assert ours("uprobe_events") == []


def test_a_string_that_cannot_be_read_is_empty() -> None:
    need("perf.uprobe_events")
    entry = function("uprobe", "labs", path=libc_path())
    found, _ = seen(lambda: libc.labs(8), clause(entry, (string_at(0),), mine()))
    assert found[0] == [(b"",)]


def test_narrow_arguments_keep_their_sign(user_machine: Machine) -> None:
    fields = (Field("low", INT32, 0), Field("bits", UINT32, 0), Field("byte", Int(8, True), 0))
    entry = function("uprobe", "labs", fields, libc_path())
    values = [Site(one.type, "args", one.name) for one in fields]
    found, _ = seen(call_labs, clause(entry, values, mine()), machine=user_machine)
    assert found[0] == [
        tuple(wide(number).value for wide in (ctypes.c_int32, ctypes.c_uint32, ctypes.c_int8))
        for number in NUMBERS
    ]


# --- leaving ---------------------------------------------------------------------------------


class Broken(Exception):
    pass


def perf_fds() -> int:
    links = (os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _there(fd))
    return sum(link == "anon_inode:[perf_event]" for link in links)


def _there(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_nothing_stays_after_an_exception() -> None:
    need("perf.uprobe_events")
    probe = tracepoint("syscalls", "sys_enter_lseek")
    entry = function("uprobe", "atoi", path=libc_path())
    offer = offered(clause(probe, (), mine(), 0), clause(entry, (string_at(0),), mine(), 1))
    with pytest.raises(Broken), BACKEND.attach(MACHINE, offer) as attachment:
        attachment.start()
        assert len(ours("uprobe_events")) == 1
        assert perf_fds() > 0
        raise Broken
    assert ours("uprobe_events") == []
    assert perf_fds() == 0


def test_nothing_stays_when_attaching_fails() -> None:
    need("perf.uprobe_events")
    good = function("uprobe", "atoi", path=libc_path())
    bad = good.replace(scope="/no/such/file")
    offer = offered(clause(good, (string_at(0),), None, 0), clause(bad, (string_at(0),), None, 1))
    with pytest.raises(BackendError):
        BACKEND.attach(MACHINE, offer)
    assert ours("uprobe_events") == []
    assert perf_fds() == 0


def test_more_events_than_files_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    probe = tracepoint("syscalls", "sys_enter_lseek")
    clauses = [clause(probe, (), mine(), number) for number in range(12)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, hard))
    try:
        found, _ = seen(lambda: seek(1), *clauses)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (used + 8, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == {number: [()] for number in range(12)}


def test_closing_twice_does_nothing() -> None:
    attachment = BACKEND.attach(MACHINE, offered(clause(tracepoint("syscalls", "sys_enter_lseek"), ())))
    attachment.close()
    attachment.close()
    assert perf_fds() == 0
