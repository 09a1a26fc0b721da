"""The ftrace backend on the running kernel: tracepoints and uprobes, their filters, losses and removal."""

from __future__ import annotations

import ctypes
import os
import re
import threading
import time

import pytest
from ftrace_runs import (
    BACKEND,
    CPU,
    MACHINE,
    NAME,
    NSECS,
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
    field,
    leftovers,
    libc,
    mine,
    needs_tracefs,
    offered,
    run,
    string,
    tracepoint,
    user_function,
)
from unitrace_ftrace.instance import Instance
from unitrace_ftrace.pages import parse_header_page, walk, walk_arrays
from unitrace_ftrace.reader import Ring, Scratch

from unitrace.contract.errors import BackendError
from unitrace.contract.ir import Binary
from unitrace.contract.offer import Refusal, Request

pytestmark = [pytest.mark.privileged, needs_tracefs()]


@pytest.fixture
def null() -> int:
    fd = os.open("/dev/null", os.O_WRONLY)
    yield fd
    os.close(fd)


def write(fd: int, count: int) -> None:
    for size in range(count):
        os.write(fd, b"x" * size)


def to(fd: int) -> Binary:
    """Only this thread's writes to ``fd``: switching tracing off is a write too."""
    return both(mine(), compare("==", field(tracepoint("syscalls", "sys_enter_write"), "fd"), fd))


def test_fields_of_a_tracepoint(null: int) -> None:
    probe = tracepoint("syscalls", "sys_enter_write")
    before = time.monotonic_ns()
    values = (NSECS, CPU, TID, PID, NAME, field(probe, "fd"), field(probe, "count"))
    predicate = to(null)
    (rows,) = run(lambda: write(null, 100), clause(probe, values, predicate))
    assert rows["args.count"] == list(range(100))
    assert set(rows["args.fd"]) == {null}
    assert set(rows["tid"]) == {WORKER.tid}
    assert set(rows["pid"]) == {os.getpid()}
    assert set(rows["comm"]) == {comm()}
    assert before < rows["nsecs"][0] and rows["nsecs"][-1] < time.monotonic_ns()
    assert set(rows["cpu"]) <= set(range(os.cpu_count() or 1))


def test_many_events_by_numpy(null: int) -> None:
    probe = tracepoint("syscalls", "sys_enter_write")
    (rows,) = run(lambda: write(null, 6000), clause(probe, (TID, NAME, field(probe, "count")), to(null)))
    assert rows["args.count"] == list(range(6000))
    assert set(rows["tid"]) == {WORKER.tid}


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [("==", 3, 1), ("!=", 3, 9), ("<", 3, 3), ("<=", 3, 4), (">", 3, 6), (">=", 3, 7)],
)
def test_filter_on_a_number(null: int, op: str, value: int, expected: int) -> None:
    probe = tracepoint("syscalls", "sys_enter_write")
    predicate = both(
        both(mine(), compare("==", field(probe, "fd"), null)), compare(op, field(probe, "count"), value)
    )
    one = clause(probe, (field(probe, "count"),), predicate)
    (share,) = offered(one).shares
    assert share.accepted is not None and "count" in share.plan.filter
    (rows,) = run(lambda: write(null, 10), one)
    if share.residual.predicate is None:
        assert len(rows["args.count"]) == expected


def test_filter_on_comm(null: int) -> None:
    probe = tracepoint("syscalls", "sys_enter_write")
    thread_ids: list[int] = []

    def work() -> None:
        def renamed() -> None:
            thread_ids.append(threading.get_native_id())
            with open(f"/proc/self/task/{threading.get_native_id()}/comm", "wb", buffering=0) as name:
                name.write(b"unitrace'test")
            write(null, 7)

        thread = threading.Thread(target=renamed)
        thread.start()
        thread.join()
        write(null, 5)

    (rows,) = run(work, clause(probe, (TID, PID, NAME), compare("==", NAME, b"unitrace'test")))
    assert rows["tid"] == thread_ids * 7
    assert rows["comm"] == [b"unitrace'test"] * 7
    assert rows["pid"] == [os.getpid()] * 7


def test_names_are_followed(null: int) -> None:
    """Each event has the name that its task had then, though the task is long gone when it is read."""
    probe = tracepoint("syscalls", "sys_enter_write")
    children: list[int] = []

    def work() -> None:
        child = os.fork()
        if child == 0:
            libc.prctl(15, b"first", 0, 0, 0)
            os.write(null, b"")
            libc.prctl(15, b"second", 0, 0, 0)
            os.write(null, b"")
            os._exit(0)
        children.append(child)
        os.waitpid(child, 0)

    (rows,) = run(
        work, clause(probe, (TID, PID, NAME, field(probe, "fd")), compare("==", field(probe, "count"), 0))
    )
    mine_ = [row for row, tid in enumerate(rows["tid"]) if tid == children[0]]
    assert [rows["comm"][row] for row in mine_] == [b"first", b"second"]
    assert [rows["pid"][row] for row in mine_] == children * 2


def test_clauses_on_one_event(null: int) -> None:
    """Two clauses, two predicates: the one filter of the event must not starve either."""
    probe = tracepoint("syscalls", "sys_enter_write")
    small = both(mine(), compare("<", field(probe, "count"), 3))
    offer = offered(
        clause(probe, (field(probe, "count"),), small, 0),
        clause(probe, (TID,), mine(), 1),
        clause(tracepoint("syscalls", "sys_exit_write"), (TID,), mine(), 2),
    )
    assert [share.plan.filter.count("count") for share in offer.shares] == [0, 0, 0]
    assert offer.shares[0].residual is not None and offer.shares[0].residual.predicate is not None
    rows = run(lambda: write(null, 10), *(share.clause for share in offer.shares))
    assert len(rows[0]["nsecs"]) == len(rows[1]["nsecs"]) == len(rows[2]["nsecs"]) >= 10


def test_a_whole_category(null: int) -> None:
    names = sorted(os.listdir(f"{ROOT}/events/syscalls"))
    events = [name for name in names if name.startswith(("sys_enter_", "sys_exit_"))][:120]
    for wanted in ("sys_enter_write", "sys_exit_write"):
        if wanted not in events:
            events.append(wanted)
    probes = [tracepoint("syscalls", name) for name in events]
    rows = run(
        lambda: write(null, 50), *(clause(probe, (TID,), mine(), at) for at, probe in enumerate(probes))
    )
    assert len(rows[events.index("sys_enter_write")]["tid"]) >= 50


def test_decoders_agree_with_the_kernels_text(null: int) -> None:
    """The kernel's own rendering of a ring is the oracle: names, threads and times of each event."""
    instance = Instance(ROOT, 512)
    try:
        for event in ("syscalls/sys_enter_write", "syscalls/sys_exit_write", "sched/sched_switch"):
            instance.write(f"events/{event}/enable", "1")
        instance.write("tracing_on", "1")
        write(null, 500)
        time.sleep(0.3)  # a gap that needs a time extension
        write(null, 20)
        instance.write("tracing_on", "0")
        layout = parse_header_page(instance.read("events/header_page"))
        line = re.compile(r"-(\d+)\s+\[0*(\d+)\].*?\s(\d+)\.(\d{6}): ")
        text = instance.read("trace")
        shown = [match.groups() for match in map(line.search, text.splitlines()) if match]
        assert len(shown) >= 520
        for cpu in instance.cpus():
            ring = Ring(instance.path, cpu, layout, 512, Scratch(layout.size))
            raw = memoryview(ring.drain())
            ring.close()
            walked, arrays = walk(raw, layout), walk_arrays(raw, layout)
            assert walked.events.keys() == arrays.events.keys()
            decoded = []
            for event, found in walked.events.items():
                assert list(found.starts) == list(arrays.events[event].starts)
                assert list(found.times) == list(arrays.events[event].times)
                decoded += [
                    (t // 1000, int.from_bytes(raw[s + 4 : s + 8], "little")) for s, t in zip(*_pair(found))
                ]
            wanted = [(int(s) * 10**6 + int(u), int(tid)) for tid, on, s, u in shown if int(on) == cpu]
            assert len(decoded) == len(wanted)
            for (time_, tid), (shown_time, shown_tid) in zip(sorted(decoded), sorted(wanted)):
                assert abs(time_ - shown_time) <= 1 and tid == shown_tid  # the text is rounded
    finally:
        instance.close()


def _pair(found: object) -> tuple[list[int], list[int]]:
    return list(found.starts), list(found.times)  # type: ignore[attr-defined]


def test_losses_are_counted(null: int) -> None:
    probe = tracepoint("syscalls", "sys_enter_write")
    offer = offered(clause(probe, (TID,), to(null)), buffer_kib=8)
    with BACKEND.attach(MACHINE, offer) as attachment:
        attachment.start()
        WORKER.do(lambda: [os.write(null, b"") for _ in range(20_000)])
        attachment.stop()
        got = sum(len(batch) for batch in attachment.read())
        lost = attachment.losses()
        assert got + sum(lost.values()) == 20_000
        assert all("ring buffer" in cause for cause in lost)
    assert sum(attachment.losses().values()) + got == 20_000  # also known afterwards


def test_nothing_before_the_start(null: int) -> None:
    probe = tracepoint("syscalls", "sys_enter_write")
    for values in ((TID,), (TID, NAME)):
        with BACKEND.attach(MACHINE, offered(clause(probe, values, to(null)))) as attachment:
            WORKER.do(lambda: write(null, 10))
            assert list(attachment.read()) == []
            attachment.start()
            WORKER.do(lambda: write(null, 3))
            attachment.stop()
            WORKER.do(lambda: write(null, 10))
            assert sum(len(batch) for batch in attachment.read()) == 3
            assert list(attachment.read()) == []


def test_uprobe() -> None:
    probe = user_function("uprobe", "libc", "labs")
    work = [libc.labs(n) for n in ()]  # the function is resolved before
    (rows,) = run(
        lambda: work.extend(libc.labs(n) for n in range(-5, 5)), clause(probe, (TID, NAME, arg(0)), mine())
    )
    assert rows["arg0"] == list(range(-5, 5))
    assert rows["comm"] == [comm()] * 10


def test_uretprobe_filtered_by_value() -> None:
    probe = user_function("uretprobe", "libc", "labs")
    one = clause(probe, (RETVAL,), both(mine(), compare(">=", RETVAL, 3)))
    (share,) = offered(one).shares
    assert share.residual is not None and share.residual.predicate is None
    (rows,) = run(lambda: [libc.labs(n) for n in range(-5, 5)], one)
    assert rows["retval"] == [5, 4, 3, 3, 4]


def test_uprobe_string() -> None:
    probe = user_function("uprobe", "libc", "atoi")
    libc.atoi.argtypes = [ctypes.c_char_p]
    texts = [b"12", b"", b"1" * 40, b"2" * 300]
    (rows,) = run(
        lambda: [libc.atoi(text) for text in texts],
        clause(probe, (string(arg(0), 64, "user"), arg(0)), mine()),
    )
    assert next(rows[name] for name in rows if "str" in name) == [b"12", b"", b"1" * 40, b"2" * 63]


def test_uprobe_of_one_process() -> None:
    probe = user_function("uprobe", "libc", "labs")

    def work() -> None:
        child = os.fork()
        if child == 0:
            libc.labs(1)
            os._exit(0)
        os.waitpid(child, 0)
        libc.labs(2)

    (rows,) = run(work, clause(probe, (arg(0),)), pid=os.getpid())
    assert rows["arg0"] == [2]


def test_a_string_behind_a_tracepoints_pointer() -> None:
    """An event probe where there are such; else a refusal that says why, and what to do."""
    probe = tracepoint("syscalls", "sys_enter_openat")
    filename = field(probe, "filename")
    one = clause(probe, (TID, NAME, string(filename), filename), mine())
    answer = BACKEND.offer(MACHINE, Request((one,)))
    if isinstance(answer, Refusal):
        assert "eprobe" in answer.reason and "5.15" in answer.remedy
        return
    paths = [b"/nonexistent/unitrace", b"x" * 100]

    def work() -> None:
        for path in paths:
            libc.openat(-100, path, 0)
        libc.openat(-100, 8, 0)  # unreadable: ""

    (rows,) = run(work, one)
    assert next(rows[name] for name in rows if "str" in name) == [paths[0], b"x" * 63, b""]
    assert rows["args.filename"][-1] == 8
    assert rows["comm"] == [comm()] * 3


def test_nothing_stays_after_an_exception(null: int) -> None:
    probe = user_function("uprobe", "libc", "labs")
    with (
        pytest.raises(ZeroDivisionError),
        BACKEND.attach(MACHINE, offered(clause(probe, (TID,)))) as attachment,
    ):
        attachment.start()
        assert leftovers()
        raise ZeroDivisionError
    assert leftovers() == []


def test_nothing_stays_when_the_kernel_refuses() -> None:
    good = clause(user_function("uprobe", "libc", "labs"), (TID,), None, 0)
    bad = clause(user_function("uprobe", "libc", "labs").replace(address=1 << 40), (TID,), None, 1)
    offer = offered(good, bad)
    with pytest.raises(BackendError):
        attachment = BACKEND.attach(MACHINE, offer)
        attachment.close()  # not reached where the kernel checks the offset at once
    assert leftovers() == []


def test_buffer_that_cant_be_had() -> None:
    offer = offered(clause(tracepoint("sched", "sched_switch"), (TID,)), buffer_kib=1 << 40)
    with pytest.raises(BackendError, match="buffer_size_kb"):
        BACKEND.attach(MACHINE, offer)
    assert leftovers() == []
