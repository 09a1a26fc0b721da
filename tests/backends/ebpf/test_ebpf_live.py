"""The backend on this kernel: exact counts and fields, by every mechanism that it has."""

from __future__ import annotations

import ctypes
import os
import time

import pytest
from ebpf_runs import (
    COMM_SITE,
    I64,
    MACHINE,
    NSECS,
    PID,
    TID,
    U32,
    decl,
    field,
    needs,
    num,
    offered,
    op,
    ours,
    run,
    show,
    tracepoint,
)
from unitrace_ebpf.backend import Ebpf
from unitrace_ebpf.survey import version

from unitrace.contract import ir
from unitrace.contract.errors import ProbeError
from unitrace.contract.offer import Options
from unitrace.contract.types import BOOL, COMM, INT64, UINT32, Str
from unitrace.kernel import elf

pytestmark = pytest.mark.privileged

CALLS = 50
libc = ctypes.CDLL(None, use_errno=True)
libc.labs.argtypes, libc.labs.restype = [ctypes.c_long], ctypes.c_long
PATH = b"/etc/hostname"


@pytest.fixture(autouse=True)
def _able() -> None:
    needs("bpf.syscall", "bpf.tracepoint_events")


def opens() -> None:
    for _ in range(5):
        os.close(os.open(PATH, os.O_RDONLY))


def rest() -> None:
    for _ in range(10):
        time.sleep(0.02)


def parents() -> None:
    for _ in range(CALLS):
        os.getppid()


def absolutes() -> None:
    for number in range(CALLS):
        libc.labs(-number)


def comm() -> bytes:
    with open("/proc/self/comm", "rb") as file:
        return file.read().strip()


def at_labs(kind: str) -> ir.Probe:
    path = elf.resolve_file("libc")
    symbol = elf.find(path, "labs")
    assert symbol is not None
    return ir.Probe(kind, path, "labs", address=symbol.offset_in_file, label=f"{kind}:libc:labs")


def path_of(probe: ir.Probe) -> ir.Text:
    return ir.Text(Str(64), field(probe, "filename"), "user")


OLD = {
    "as it is": (),
    "perf buffer": ("bpf.ringbuf",),
    "no links": ("bpf.perf_link",),
    "4.x": ("bpf.ringbuf", "bpf.perf_link", "bpf.split_reads", "bpf.direct_values", "bpf.batch",
            "bpf.raw_tracepoint", "bpf.uprobe_multi"),
}  # fmt: skip


@pytest.mark.parametrize("without", OLD.values(), ids=list(OLD))
def test_tracepoint_fields(without: tuple[str, ...]) -> None:
    probe = tracepoint("syscalls", "sys_enter_openat")
    columns = (NSECS, path_of(probe), field(probe, "flags"), COMM_SITE, PID, TID, ir.Site(UINT32, "cpu"))
    when = op(ours(), "&&", op(path_of(probe), "==", num(PATH, Str(64))))
    before = time.monotonic_ns()
    seen = run([ir.Clause(0, probe, when, (show(*columns),))], opens, machine=MACHINE.masked(without))
    after = time.monotonic_ns()
    times, paths, flags, comms, pids, tids, cpus = seen.rows[0].values()
    assert paths == [PATH] * 5
    assert comms == [comm()] * 5
    assert pids == [os.getpid()] * 5
    assert tids == [os.getpid()] * 5
    assert flags == [os.O_RDONLY | os.O_CLOEXEC] * 5
    assert set(cpus) <= set(range(os.cpu_count() or 1))
    assert before < min(times) <= max(times) < after
    assert not seen.losses


UPROBES = {
    "best": (),
    "PMU": ("bpf.uprobe_multi",),
    "PMU, no link": ("bpf.uprobe_multi", "bpf.perf_link"),
    "tracefs": ("bpf.uprobe_multi", "bpf.uprobe_pmu"),
    "perf buffer": ("bpf.ringbuf",),
}


@pytest.mark.parametrize("without", UPROBES.values(), ids=list(UPROBES))
def test_uprobes(without: tuple[str, ...]) -> None:
    needs("bpf.kprobe", "bpf.uprobe_events")
    argument, result = ir.Site(I64, "arg", 0), ir.Site(I64, "retval")
    clauses = [
        ir.Clause(0, at_labs("uprobe"), ours(), (show(argument, COMM_SITE),)),
        ir.Clause(1, at_labs("uretprobe"), op(ours(), "&&", op(result, ">", num(9))), (show(result),)),
    ]
    seen = run(clauses, absolutes, machine=MACHINE.masked(without))
    assert seen.rows[0]["arg0"] == [-number for number in range(CALLS)]
    assert seen.rows[0]["comm"] == [comm()] * CALLS
    assert seen.rows[1]["retval"] == list(range(10, CALLS))
    assert not seen.losses


def test_uprobe_of_another_process_is_not_seen() -> None:
    needs("bpf.kprobe", "bpf.uprobe_events")
    clause = ir.Clause(0, at_labs("uprobe"), None, (show(ir.Site(I64, "arg", 0)),))
    seen = run([clause], absolutes, options=Options(buffer_kib=64, pid=os.getppid()))
    assert not seen.rows


@pytest.mark.parametrize("without", [(), ("bpf.raw_tracepoint",), ("bpf.batch",)])
def test_kept_maps(without: tuple[str, ...]) -> None:
    """The whole clause in the kernel: every aggregate of labs()'s argument, held against Python."""
    needs("bpf.kprobe", "bpf.uprobe_events")
    value = ir.Site(I64, "arg", 0)
    key = op(ir.Unary(INT64, "-", value), "%", num(3))
    decls = [
        decl("@c", "count", I64),
        decl("@s", "sum", I64),
        decl("@l", "min", COMM),
        decl("@m", "max", U32, COMM),
        decl("@a", "avg", I64),
        decl("@t", "stats"),
        decl("@h", "hist", I64, parameters=(0,)),
        decl("@n", "lhist", parameters=(-20, 0, 5)),
    ]
    keys: dict[str, tuple[ir.Expr, ...]] = {
        "@c": (key,), "@s": (key,), "@l": (COMM_SITE,), "@m": (PID, COMM_SITE),
        "@a": (key,), "@t": (), "@h": (key,), "@n": (),
    }  # fmt: skip
    body = tuple(ir.MapUpdate(name, one, () if name == "@c" else (value,)) for name, one in keys.items())
    machine = MACHINE.masked(without)
    seen = run([ir.Clause(0, at_labs("uprobe"), ours(), body)], absolutes, decls, machine=machine)
    values = {rest: [-n for n in range(CALLS) if n % 3 == rest] for rest in range(3)}
    flat = [-n for n in range(CALLS)]
    assert seen.maps["@c"] == {(rest,): len(of) for rest, of in values.items()}
    assert seen.maps["@s"] == {(rest,): sum(of) for rest, of in values.items()}
    assert seen.maps["@l"] == {(comm(),): min(flat)}
    assert seen.maps["@m"] == {(os.getpid(), comm()): 0}
    assert seen.maps["@a"] == {(rest,): (len(of), sum(of)) for rest, of in values.items()}
    assert seen.maps["@t"] == {(): (CALLS, sum(flat))}
    assert seen.maps["@h"] == {(0,): {0: 16, 1: 1}, (1,): {0: 17}, (2,): {0: 16}}
    assert seen.maps["@n"] == {(): {0: 29, 1: 5, 2: 5, 3: 5, 4: 5, 5: 1}}
    assert not seen.losses


def test_raw_tracepoint_and_perf_event_count_the_same() -> None:
    """One syscall tracepoint, by its own event and by the fieldless raw one."""
    needs("bpf.raw_tracepoint")
    probe = tracepoint("raw_syscalls", "sys_enter")
    getppid = {"x86_64": 110, "aarch64": 173}[os.uname().machine]
    by_number = ir.MapUpdate("@n", (field(probe, "id"),), ())
    by_thread = ir.MapUpdate("@t", (TID,), ())
    clauses = [ir.Clause(0, probe, ours(), (by_number,)), ir.Clause(1, probe, ours(), (by_thread,))]
    decls = [decl("@n", "count", I64), decl("@t", "count", U32)]
    assert [one.how for one in offered(clauses, decls).shares] == ["BPF on a perf event", "raw tracepoint"]
    seen = run(clauses, parents, decls)
    assert seen.maps["@n"][getppid,] == CALLS
    assert seen.maps["@t"] == {(os.getpid(),): sum(seen.maps["@n"].values())}


def test_clear_and_zero() -> None:
    needs("bpf.kprobe", "bpf.uprobe_events")
    value = ir.Site(I64, "arg", 0)
    body = (ir.MapUpdate("@c", (value,), ()), ir.MapUpdate("@s", (), (value,)))
    clause = ir.Clause(0, at_labs("uprobe"), ours(), body)
    with Ebpf().attach(MACHINE, offered([clause], [decl("@c", "count", I64), decl("@s", "sum")])) as attached:
        assert attached.snapshot("@s") == attached.snapshot("@c") == {}
        absolutes()
        assert attached.snapshot("@c") == {}  # not started
        attached.start()
        absolutes()
        attached.zero("@c")
        attached.zero("@s")
        assert attached.snapshot("@c") == {(-number,): 0 for number in range(CALLS)}
        assert attached.snapshot("@s") == {(): 0}
        libc.labs(-3)
        assert attached.snapshot("@c")[-3,] == 1
        attached.clear("@c")
        attached.clear("@s")
        assert attached.snapshot("@s") == attached.snapshot("@c") == {}
        libc.labs(-3)
        assert attached.snapshot("@c") == {(-3,): 1}
        assert attached.snapshot("@s") == {(): -3}
        attached.stop()
        libc.labs(-3)
        assert attached.snapshot("@c") == {(-3,): 1}


def test_what_fired_before_a_read_is_in_it() -> None:
    needs("bpf.kprobe", "bpf.uprobe_events")
    clause = ir.Clause(0, at_labs("uprobe"), ours(), (show(ir.Site(I64, "arg", 0)),))
    with Ebpf().attach(MACHINE, offered([clause])) as attached:
        attached.start()
        for number in range(200):
            libc.labs(number)
            assert [list(batch.values("arg0")) for batch in attached.read()] == [[number]]
        assert list(attached.read()) == []


def test_two_clauses_in_one_ring() -> None:
    needs("bpf.kprobe", "bpf.uprobe_events")
    argument = ir.Site(I64, "arg", 0)
    clauses = [
        ir.Clause(at, at_labs("uprobe"), op(ours(), "&&", op(argument, sign, num(-25))), (show(argument),))
        for at, sign in ((3, ">"), (8, "<="))
    ]
    seen = run(clauses, absolutes)
    assert seen.rows[3]["arg0"] == [-number for number in range(25)]
    assert seen.rows[8]["arg0"] == [-number for number in range(25, CALLS)]


def test_strings_in_events() -> None:
    """A char array, and a string that the record holds elsewhere (__data_loc)."""
    probe = tracepoint("sched", "sched_process_exec")
    when = op(field(probe, "filename"), "==", num(b"/bin/true", Str(64)))

    def execute() -> None:
        pids.append(os.spawnv(os.P_WAIT, "/bin/true", ["true"]))

    pids: list[int] = []
    columns = (field(probe, "filename"), COMM_SITE, field(probe, "pid"), TID)
    seen = run([ir.Clause(0, probe, when, (show(*columns),))], execute)
    assert b"/bin/true" in seen.rows[0]["args.filename"]
    assert b"true" in seen.rows[0]["comm"]
    assert seen.rows[0]["args.pid"] == seen.rows[0]["tid"]


def test_large_strings_as_keys() -> None:
    """A path of up to 1024 bytes, in the record and by pointer."""
    if version(MACHINE) < (5, 11):
        pytest.skip("a hash's keys have at most 512 bytes before 5.11: such clauses are streamed")
    execs, enter = tracepoint("sched", "sched_process_exec"), tracepoint("syscalls", "sys_enter_openat")
    path = ir.Text(Str(1024), field(enter, "filename"), "user")
    clauses = [
        ir.Clause(0, execs, None, (ir.MapUpdate("@e", (field(execs, "filename"),), ()),)),
        ir.Clause(1, enter, ours(), (ir.MapUpdate("@o", (path, PID), ()),)),
    ]
    decls = [decl("@e", "count", field(execs, "filename").type), decl("@o", "count", Str(1024), UINT32)]

    def work() -> None:
        os.spawnv(os.P_WAIT, "/bin/true", ["true"])
        opens()

    seen = run(clauses, work, decls)
    assert seen.maps["@e"][b"/bin/true",] >= 1
    assert seen.maps["@o"][PATH, os.getpid()] == 5


def test_comm_compared() -> None:
    probe = tracepoint("sched", "sched_switch")
    mine = op(field(probe, "prev_comm"), "==", num(comm(), COMM))
    other = op(COMM_SITE, "!=", num(comm(), COMM))
    both = [ir.Clause(0, probe, mine, (show(field(probe, "prev_comm"), field(probe, "prev_pid")),)),
            ir.Clause(1, probe, op(mine, "&&", other), (show(PID),))]  # fmt: skip
    seen = run(both, rest)
    assert set(seen.rows[0]["args.prev_comm"]) == {comm()}
    assert seen.rows[0]["args.prev_pid"].count(os.getpid()) >= 10
    assert 1 not in seen.rows


def test_losses_of_a_full_ring_are_counted() -> None:
    probe = tracepoint("raw_syscalls", "sys_enter")
    getppid = {"x86_64": 110, "aarch64": 173}[os.uname().machine]
    when = op(ours(), "&&", op(field(probe, "id"), "==", num(getppid)))

    def work() -> None:
        for _ in range(2000):
            os.getppid()

    for without in ((), ("bpf.ringbuf",)):
        seen = run(
            [ir.Clause(0, probe, when, (show(PID),))],
            work,
            machine=MACHINE.masked(without),
            options=Options(buffer_kib=4),
        )
        lost = sum(seen.losses.values())
        assert lost > 0
        assert all(cause.startswith("ring buffer full on CPU ") for cause in seen.losses)
        assert len(seen.rows[0]["pid"]) + lost == 2000


def test_losses_of_a_full_map_are_counted() -> None:
    needs("bpf.kprobe", "bpf.uprobe_events")
    body = ir.MapUpdate("@", (ir.Site(I64, "arg", 0),), ())
    seen = run(
        [ir.Clause(0, at_labs("uprobe"), ours(), (body,))], absolutes, [decl("@", "count", I64, entries=8)]
    )
    assert len(seen.maps["@"]) == 8
    assert seen.losses == {"map @ full": CALLS - 8}


KPROBES = {"best": (), "tracefs": ("bpf.kprobe_pmu",), "old": ("bpf.kprobe_pmu", *OLD["4.x"])}


@pytest.mark.parametrize("without", KPROBES.values(), ids=list(KPROBES))
def test_kprobes(without: tuple[str, ...]) -> None:
    needs("bpf.kprobe", "bpf.kprobe_events")
    name = ir.Text(Str(64), ir.Cast(INT64, ir.Site(I64, "arg", 1)), "user")
    probe = ir.Probe("kprobe", "", "do_sys_openat2", label="kprobe:do_sys_openat2")
    back = ir.Probe("kretprobe", "", "do_sys_openat2", label="kretprobe:do_sys_openat2")
    result = ir.Site(I64, "retval")
    clauses = [
        ir.Clause(0, probe, op(ours(), "&&", op(name, "==", num(PATH, Str(64)))), (show(name, COMM_SITE),)),
        ir.Clause(
            1, back, op(ours(), "&&", op(result, ">=", num(0))), (ir.MapUpdate("@", (COMM_SITE,), ()),)
        ),
    ]
    seen = run(clauses, opens, [decl("@", "count", COMM)], machine=MACHINE.masked(without))
    assert seen.rows[0]["comm"] == [comm()] * 5
    assert list(seen.rows[0].values())[1] == [PATH] * 5
    assert seen.maps["@"] == {(comm(),): 5}


def test_a_function_that_is_not_there() -> None:
    needs("bpf.kprobe", "bpf.kprobe_pmu")
    probe = ir.Probe("kprobe", "", "unitrace_no_such", label="kprobe:unitrace_no_such", span=ir.Span(1, 0, 5))
    with pytest.raises(ProbeError, match="is not there"):
        Ebpf().attach(MACHINE, offered([ir.Clause(0, probe, None, (show(PID),))]))


def test_memory_by_kind_of_address() -> None:
    """Load and Text by the address itself, and zeros where nothing can be read."""
    needs("bpf.kprobe", "bpf.uprobe_events")
    buffer = ctypes.create_string_buffer(b"unitrace", 16)
    at = ctypes.addressof(buffer)
    pointer = ir.Cast(INT64, ir.Site(I64, "arg", 0))
    columns = (
        ir.Load(INT64, pointer),
        ir.Load(UINT32, pointer, 4, "user", 8, 12),
        ir.Text(Str(32), pointer),
        ir.Text(Str(4), pointer, "user"),
        ir.Load(INT64, num(16)),
        ir.Text(Str(8), num(16)),
    )
    seen = run([ir.Clause(0, at_labs("uprobe"), ours(), (show(*columns),))], lambda: libc.labs(at))
    held = [values for name, values in seen.rows[0].items() if name != "nsecs"]
    word = int.from_bytes(b"unitrace", "little")
    assert held == [[word], [word >> 40 & 0xFFF], [b"unitrace"], [b"uni"], [0], [b""]]


def test_condition_as_a_value() -> None:
    needs("bpf.kprobe", "bpf.uprobe_events")
    small = op(ir.Site(I64, "arg", 0), ">", num(-10))
    clause = ir.Clause(0, at_labs("uprobe"), ours(), (ir.MapUpdate("@", (small,), ()),))
    seen = run([clause], absolutes, [decl("@", "count", BOOL)])
    assert seen.maps["@"] == {(True,): 10, (False,): CALLS - 10}
