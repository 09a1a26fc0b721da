"""Kprobes, where the kernel has them: the ftrace backend's fetch arguments, filters and misses."""

from __future__ import annotations

import ctypes
import os
import time

import pytest
from ftrace_runs import (
    BACKEND,
    MACHINE,
    NAME,
    PID,
    RETVAL,
    ROOT,
    TID,
    WORKER,
    arg,
    both,
    clause,
    comm,
    compare,
    leftovers,
    libc,
    mine,
    needs_tracefs,
    offered,
    run,
    string,
)

from unitrace.contract.errors import BackendError
from unitrace.contract.ir import Binary, Const, Field, Load, Probe, Site, Text
from unitrace.contract.offer import Refusal, Request
from unitrace.contract.types import INT32, INT64, UINT32, UINT64, Int, Pointer, Str

pytestmark = [pytest.mark.privileged, needs_tracefs()]

OPEN = Probe("kprobe", "", "do_sys_openat2", label="kprobe:do_sys_openat2")
OPENED = Probe("kretprobe", "", "do_sys_openat2", label="kretprobe:do_sys_openat2")


def open_paths(*paths: bytes | int) -> None:
    for path in paths:
        fd = libc.openat(-100, path, os.O_RDONLY)
        if fd >= 0:
            os.close(fd)


def texts(rows: dict[str, list[object]]) -> list[object]:
    return next(rows[name] for name in rows if name.startswith(("str(", "ustr(", "kstr(")))


def test_arguments_strings_and_names() -> None:
    paths = (b"/nonexistent/unitrace", b"", b"x" * 200)
    (rows,) = run(
        lambda: open_paths(*paths, 8),
        clause(OPEN, (TID, PID, NAME, arg(0), arg(1), string(arg(1), 64)), mine()),
    )
    assert texts(rows) == [paths[0], b"", b"x" * 63, b""]
    assert rows["arg1"][-1] == 8
    assert {value & 0xFFFFFFFF for value in rows["arg0"]} == {-100 & 0xFFFFFFFF}
    assert rows["comm"] == [comm()] * 4
    assert rows["pid"] == [os.getpid()] * 4
    assert rows["tid"] == [WORKER.tid] * 4


def test_long_strings() -> None:
    if not os.path.exists(f"{ROOT}/buffer_subbuf_size_kb"):
        pytest.skip("pages of the ring can't be enlarged before 6.8")
    one = clause(OPEN, (string(arg(1), 64), string(arg(1), 128)), mine())
    (rows,) = run(lambda: open_paths(b"1" * 2500, b"2" * 4095, b"3" * 9000), one)
    assert [len(text) for text in texts(rows)] == [63, 63, 63]


def test_a_string_through_a_pointer() -> None:
    """str(*(char **)arg1): the chain may break at each step; then it's "" ."""
    text = ctypes.create_string_buffer(b"there")
    first = ctypes.c_void_p(ctypes.addressof(text))
    chained = Text(Str(64), Load(Pointer(Int(8, True), "user"), arg(1), 0, "user"), "user")
    one = clause(OPEN, (chained,), mine())
    answer = BACKEND.offer(MACHINE, Request((one,)))
    if isinstance(answer, Refusal):
        pytest.skip(answer.reason)
    bad = ctypes.c_void_p(8)
    (rows,) = run(lambda: open_paths(ctypes.addressof(first), ctypes.addressof(bad), 8), one)
    assert texts(rows) == [b"there", b"", b""]


def test_named_arguments_by_register() -> None:
    fields = (Field("dfd", INT32, 0, 4), Field("filename", Pointer(Int(8, True), "user"), 1, 8))
    probe = OPEN.replace(kind="fentry", fields=fields)
    dfd = Site(INT32, "args", "dfd")
    (rows,) = run(
        lambda: open_paths(b"/nonexistent"),
        clause(probe, (dfd,), both(mine(), compare("==", dfd, -100))),
    )
    assert rows["args.dfd"] == [-100]


@pytest.mark.parametrize(
    ("op", "value", "expected"), [("==", -9, 1), ("!=", -9, 2), ("<", 0, 1), (">=", -9, 3)]
)
def test_return_values_and_their_filter(op: str, value: int, expected: int) -> None:
    """ksys_read returns a ssize_t: the register's 64 bits all count."""
    probe = Probe("kretprobe", "", "ksys_read")
    one = clause(probe, (RETVAL, NAME), both(mine(), compare(op, RETVAL, value)))
    (share,) = offered(one).shares
    assert share.residual is not None and share.residual.predicate is None
    room = ctypes.create_string_buffer(8)
    zero, null = os.open("/dev/zero", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)
    (rows,) = run(lambda: [libc.read(fd, room, 5) for fd in (zero, null, 1 << 20)], one)
    os.close(zero)
    os.close(null)
    assert len(rows["retval"]) == expected
    assert set(rows["retval"]) <= {5, 0, -9}
    assert rows["comm"] == [comm()] * expected


def test_returns_of_many_sleepers() -> None:
    """More calls under way than the kernel keeps room for unasked."""
    reading, writing = os.pipe()
    probe = Probe("kretprobe", "", "ksys_read")
    children: list[int] = []

    def work() -> None:
        for _ in range(40):
            child = os.fork()
            if child == 0:
                os.read(reading, 1)
                os._exit(0)
            children.append(child)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not all(map(_asleep, children)):
            time.sleep(0.05)
        os.write(writing, b"x" * 40)
        for child in children:
            os.waitpid(child, 0)

    (rows,) = run(work, clause(probe, (PID, RETVAL), compare("==", RETVAL, 1)))
    os.close(reading)
    os.close(writing)
    assert set(children) <= set(rows["pid"])


def _asleep(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return stat.read().rpartition(b")")[2].split()[0] == b"S"


def test_filter_on_a_register_that_is_no_column() -> None:
    one = clause(OPEN, (TID,), both(mine(), compare("==", arg(1), 8)))
    (share,) = offered(one).shares
    assert share.residual is not None and share.residual.predicate is None
    assert [column.name for column in share.columns] == ["nsecs", "tid"]
    (rows,) = run(lambda: open_paths(b"/nonexistent", 8, 16, 8), one)
    assert len(rows["tid"]) == 2


def test_a_count_is_exact() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    probe = Probe("kprobe", "", "ksys_read")
    (rows,) = run(
        lambda: [os.read(fd, n) for n in range(3000)],
        clause(probe, (arg(2),), both(mine(), compare("==", arg(0), fd))),
    )
    os.close(fd)
    assert rows["arg2"] == list(range(3000))


def test_many_kprobes_at_once() -> None:
    names = ("vfs_read", "vfs_write", "vfs_open", "vfs_statx", "do_sys_openat2", "vfs_fstat")
    rows = run(
        lambda: open_paths(b"/dev/null", b"/nonexistent"),
        *(clause(Probe("kprobe", "", name), (TID,), mine(), at) for at, name in enumerate(names)),
    )
    assert len(rows[4]["tid"]) == 2


def test_memory_as_a_number() -> None:
    """What can't be read is 0, whatever the ring held there; so is what is 0."""
    value = Load(UINT32, Binary(INT64, "+", arg(1), Const(INT64, 4)), 0, "user")
    paths: list[bytes | int] = [
        b"/tmp\x01\x02\x03\x04",
        8,
        b"/tmp\0\0\0\0",
        b"/tmp\x05\0\0\0",
        1 << 62,
        b"/tmp\0\0\x07\0",
    ] * 20
    (rows,) = run(lambda: open_paths(*paths), clause(OPEN, (value,), mine()))
    (numbers,) = (rows[name] for name in rows if name.startswith("load("))
    assert numbers == [0x04030201, 0, 0, 5, 0, 0x70000] * 20


def test_the_current_task() -> None:
    sites = [Site(kind, name) for name, kind in (("uid", UINT32), ("gid", UINT32), ("curtask", UINT64))]
    (rows,) = run(lambda: open_paths(b"/dev/null", b"/nonexistent"), clause(OPEN, sites, mine()))
    assert rows["uid"] == rows["gid"] == [0, 0]
    assert len(set(rows["curtask"])) == 1 and rows["curtask"][0] >> 47 == (1 << 17) - 1


def test_unknown_function() -> None:
    offer = offered(clause(Probe("kprobe", "", "unitrace_no_such_function"), (TID,)))
    with pytest.raises(BackendError, match="unitrace_no_such_function"):
        BACKEND.attach(MACHINE, offer)
    assert leftovers() == []


def test_what_a_return_probe_lacks() -> None:
    offered(clause(OPENED, (RETVAL,)))
    answer = BACKEND.offer(MACHINE, Request((clause(OPENED, (arg(1),)),)))
    assert isinstance(answer, Refusal) and answer.clause is not None


def test_columns_that_events_lack() -> None:
    offered(clause(OPEN, (TID,)))
    for name, kind in (("jiffies", UINT64), ("random", UINT32), ("usermode", UINT32)):
        answer = BACKEND.offer(MACHINE, Request((clause(OPEN, (Site(kind, name),)),)))
        assert isinstance(answer, Refusal) and name in answer.reason
