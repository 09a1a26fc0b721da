"""Sampled events and call chains: offers, and what is read."""

from __future__ import annotations

import struct

from unitrace_perf import records, syscall
from unitrace_perf.chains import split, taken
from unitrace_perf.plan import Plan
from unitrace_perf.reader import Decoder, Follower, Stream

from tests.backends.perf.perf_runs import BACKEND, clause
from unitrace.contract.ir import Binary, Clause, Const, Expr, MapDecl, MapUpdate, Probe, Site
from unitrace.contract.machine import Answer, Machine
from unitrace.contract.model import Place
from unitrace.contract.offer import Offer, Refusal, Request
from unitrace.contract.types import BOOL, UINT32, UINT64, Aggregate

KERNEL, USER = (1 << 64) - 128, (1 << 64) - 512
TID = Site(UINT32, "tid")


def machine(**answers: Answer) -> Machine:
    facts: dict[str, object] = {
        name: Answer()
        for name in ("perf.software", "perf.hardware", "perf.regs", "perf.initial_pid_namespace")
    }
    facts |= {"kernel.arch": "x86_64"} | {name.replace("__", "."): one for name, one in answers.items()}
    return Machine(facts, live=False)


def planned(probe: Probe, *values: Site) -> Plan:
    answer = BACKEND.offer(machine(), Request((clause(probe, values or (TID,)),)))
    assert isinstance(answer, Offer), answer
    plan = answer.shares[0].plan
    assert isinstance(plan, Plan)
    return plan


def test_what_is_opened() -> None:
    plan = planned(Probe("profile", "hz", "99", 99))
    assert (plan.type, plan.config, plan.period, plan.hertz) == (syscall.TYPE_SOFTWARE, 0, 99, True)
    plan = planned(Probe("profile", "ms", "10", 10))
    assert (plan.period, plan.hertz) == (10_000_000, False)
    plan = planned(Probe("software", "", "page-faults", 0))
    assert (plan.config, plan.period) == (2, 100)
    plan = planned(Probe("hardware", "", "instructions", 5000))
    assert (plan.type, plan.config, plan.period) == (syscall.TYPE_HARDWARE, 1, 5000)
    plan = planned(Probe("watchpoint", "rw", "0x1000", 4, 0x1000))
    assert (plan.breakpoint, plan.config, plan.offset) == (3, 0x1000, 4)


def test_registers_and_modes() -> None:
    plan = planned(Probe("profile", "hz", "99", 99), Site(UINT64, "register", "ip"), Site(UINT32, "usermode"))
    assert plan.usermode and plan.regs == 1 << 8
    assert dict(plan.layout)["reg(ip)" if "reg(ip)" in dict(plan.layout) else "register(ip)"] == Place(48, 8)


def test_no_hardware_counters() -> None:
    on = machine(perf__hardware=Answer(2, "no PMU"))
    answer = BACKEND.offer(on, Request((clause(Probe("hardware", "", "cycles", 1000), (TID,)),)))
    assert isinstance(answer, Refusal) and answer.reason == "no PMU"


def counted(probe: Probe, predicate: Expr | None = None, **of: object) -> str:
    """The map that perf counts by itself, "" where it streams."""
    function, key, keepable = of.get("function", "count"), of.get("key", ()), of.get("keepable", True)
    assert isinstance(function, str) and isinstance(key, tuple)
    args = () if function == "count" else (TID,)
    one = Clause(0, probe, predicate, (MapUpdate("@", key, args),))
    decl = MapDecl("@", tuple(part.type for part in key), Aggregate(function))
    answer = BACKEND.offer(machine(), Request((one,), (decl,), frozenset({"@"} if keepable else ())))
    assert isinstance(answer, Offer), answer
    plan = answer.shares[0].plan
    assert isinstance(plan, Plan) and (answer.shares[0].residual is None) == bool(plan.counted)
    return plan.counted


def test_counting_mode() -> None:
    faults = Probe("software", "", "page-faults", 1)
    assert counted(faults) == "@"
    assert not counted(faults, Binary(BOOL, "==", TID, Const(UINT32, 7))), "no filter decides it"
    assert not counted(faults, key=(TID,))
    assert not counted(faults, function="sum")
    assert not counted(faults, keepable=False)
    for probe in (
        Probe("software", "", "page-faults", 100),
        Probe("software", "", "cpu-clock", 1),
        Probe("hardware", "", "cycles", 1),
        Probe("profile", "hz", "1", 1),
    ):
        assert not counted(probe)


def test_whose_frames() -> None:
    assert split((KERNEL, 1, 2, USER, 7, 8)) == ((1, 2), (7, 8))
    assert split((USER, 7)) == ((), (7,))
    assert split(()) == ((), ())


def sample(id: int, pid: int, tid: int, chain: tuple[int, ...], mode: int, raw: bytes = b"") -> bytes:
    body = struct.pack(f"<QIIQIIQ{len(chain)}Q", id, pid, tid, 55, 1, 0, len(chain), *chain)
    if raw:
        body += struct.pack("<I", len(raw)) + raw
    return struct.pack("<IHH", records.SAMPLE, mode, 8 + len(body)) + body


LAYOUT = {"nsecs": Place(records.TIME, 8), "pid": Place(records.TGID, 4), "cpu": Place(records.CPU, 4)}


def test_samples_with_chains() -> None:
    layout = {**LAYOUT, "tid": Place(records.TGID + 4, 4)}
    stacks = {"kstack": ("kernel", 127), "ustack": ("user", 2)}
    stream = Stream(0, 1, layout, stacks=stacks, sampled=True, usermode=True, tgid=True)
    data = sample(9, 40, 41, (KERNEL, 1, 2, USER, 7, 8, 9), 1) + sample(9, 50, 51, (USER, 3), 2)
    data += sample(9, 0xFFFFFFFF, 0xFFFFFFFF, (KERNEL, 1), 1)
    decoder = Decoder({9: stream}, Follower(names=False))
    (batch,) = decoder.batches(data)
    assert list(batch.values("kstack")) == [(1, 2), ()]
    assert list(batch.values("ustack")) == [(40, 7, 8), (50, 3)]
    assert [list(batch.values(name)) for name in ("pid", "tid", "usermode")] == [[40, 50], [41, 51], [0, 1]]
    assert decoder.other_lost == {"samples of tasks that had ended": 1}


def test_raw_data_behind_chains() -> None:
    layout = {**LAYOUT, "tid": Place(records.RAW_TID, 4), "x": Place(records.RAW + 8, 8)}
    raw = [struct.pack("<HBBiQI", 1, 0, 0, 77, value, 0) for value in (5, 6)]
    data = sample(9, 40, 41, (KERNEL, 1, 2), 1, raw[0]) + sample(9, 40, 41, (KERNEL,), 1, raw[1])
    stream = Stream(0, 1, layout, stacks={"kstack": ("kernel", 1)})
    (batch,) = Decoder({9: stream}).batches(data)
    assert list(batch.values("x")) == [5, 6] and list(batch.values("tid")) == [77, 77]
    assert list(batch.values("kstack")) == [(1,), ()] and list(batch.values("nsecs")) == [55, 55]
    assert batch.array("x").tolist() == [5, 6] and batch.array("pid").tolist() == [40, 40]


def test_moved_starts() -> None:
    data = sample(9, 1, 1, (KERNEL, 5), 1)
    assert taken(data, [0]) == ([24], [(KERNEL, 5)])
