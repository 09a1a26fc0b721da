"""Tasks: histories of comm and tgid, as lists and as arrays."""

from __future__ import annotations

import os

import pytest

from unitrace.kernel.tasks import UNKNOWN, Tasks


def history() -> Tasks:
    tasks = Tasks()
    tasks.renamed(50, 10, b"first", old=b"before")
    tasks.forked(100, 20, 10, b"first", False)
    tasks.renamed(120, 20, b"ls", old=b"first")
    tasks.forked(130, 21, 20, b"worker", True)
    tasks.exited(200, 20)
    tasks.forked(300, 20, 10, b"again", False)
    return tasks


EVENTS = [
    (40, 10, b"before"),
    (50, 10, b"first"),
    (110, 20, b"first"),
    (120, 20, b"ls"),
    (135, 21, b"worker"),
    (250, 20, b"ls"),
    (300, 20, b"again"),
    (90, 99, UNKNOWN),
    (90, 0, b"swapper/1"),
]


def test_comm_at_a_time() -> None:
    times, tids, comms = zip(*EVENTS)
    assert history().comm_of(times, tids, 1) == list(comms)


def test_comm_arrays_say_the_same() -> None:
    np = pytest.importorskip("numpy")
    times, tids, comms = zip(*EVENTS)
    cpus = np.ones(len(tids), np.uint32)
    found = history().comm_array(np.array(times, np.uint64), np.array(tids, np.int32), cpus)
    assert found.tolist() == list(comms)
    assert history().comm_array(np.array([], np.uint64), np.array([], np.int32)).tolist() == []


def test_many_tasks_that_change() -> None:
    np = pytest.importorskip("numpy")
    tasks = Tasks()
    for tid in range(1, 41):
        tasks.renamed(100 + tid, tid, b"after%d" % tid, old=b"before")
    times = np.arange(400, dtype=np.uint64)
    tids = np.arange(400) % 41
    expected = tasks.comm_of(times.tolist(), tids.tolist(), 0)
    assert tasks.comm_array(times, tids, 0).tolist() == expected
    assert b"after40" in expected and b"before" in expected


def test_tgid() -> None:
    np = pytest.importorskip("numpy")
    tasks = history()
    times, tids = [110, 135, 310, 90, 90], [20, 21, 20, 99, 0]
    assert tasks.tgid_of(times, tids) == [20, 20, 20, -1, 0]
    assert tasks.tgid_array(np.array(times, np.uint64), np.array(tids)).tolist() == [20, 20, 20, -1, 0]
    assert tasks.unknown


def test_forget_keeps_what_can_still_be_asked_for() -> None:
    tasks = history()
    tasks.exited(140, 21)
    tasks.forget(250)
    assert tasks.comm_of([250, 300], [20, 20]) == [b"ls", b"again"]
    assert tasks.comm_of([250], [21]) == [UNKNOWN]


def test_snapshot_has_this_process_and_keeps_to_what_events_said() -> None:
    tasks = Tasks()
    me = os.getpid()
    taken = tasks.snapshot()
    if not taken:
        pytest.skip("in a PID namespace of its own /proc says nothing of the trace's ids")
    with open("/proc/self/comm", "rb") as file:
        comm = file.read().rstrip(b"\n")
    assert tasks.comm_of([1], [me]) == [comm]
    assert tasks.tgid_of([1], [me]) == [me]
    # a rename that came before the snapshot: its "old" is what earlier events saw
    tasks.renamed(50, me, comm, old=b"shell")
    assert tasks.comm_of([49, 50], [me, me]) == [b"shell", comm]
