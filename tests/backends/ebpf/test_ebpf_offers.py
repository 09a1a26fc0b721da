"""Offers on machines that aren't here: planned from facts alone, without privilege."""

from __future__ import annotations

from typing import Any

import pytest
import unitrace_ebpf.survey as _survey  # (registers the facts)
import unitrace_ebpf.usdt
from ebpf_runs import COMM_SITE, PID, decl, num, op, show
from unitrace_ebpf import ways
from unitrace_ebpf.backend import Ebpf

from unitrace.contract import ir
from unitrace.contract.machine import FACTS, Answer, Machine
from unitrace.contract.offer import Offer, Refusal, Request, join
from unitrace.contract.types import BOOL, COMM, INT64, UINT32, Str
from unitrace.kernel import usdt

assert _survey

NO = Answer(22, "not on this kernel", "a later one")
FIELDS = (ir.Field("prev_comm", COMM, 8, 16), ir.Field("prev_pid", INT64, 24, 8),
          ir.Field("where", Str(1024), 32, 4, "data_loc"))  # fmt: skip
SWITCH = ir.Probe("tracepoint", "sched", "sched_switch", fields=FIELDS, label="tracepoint:sched:sched_switch")
ENTER = ir.Probe(
    "tracepoint", "syscalls", "sys_enter_x", fields=FIELDS, label="tracepoint:syscalls:sys_enter_x"
)
PREV = ir.Site(INT64, "args", "prev_pid")


def machine(**facts: Any) -> Machine:
    known = {name: Answer() for name in FACTS if name.startswith("bpf.")}
    known.update({f"bpf.{name}": value for name, value in facts.items()})
    return Machine({**known, "kernel.version": [6, 1]}, {}, live=False)


def answered(*clauses: ir.Clause, decls: tuple[ir.MapDecl, ...] = (), keep: bool = True, **facts: Any) -> Any:
    names = frozenset(one.name for one in decls) if keep else frozenset()
    return Ebpf().offer(machine(**facts), Request(clauses, decls, names))


def test_whole_clauses_keep_their_map() -> None:
    clause = ir.Clause(0, SWITCH, op(PREV, ">", num(0)), (ir.MapUpdate("@", (COMM_SITE,), ()),))
    offer = answered(clause, decls=(decl("@", "count", COMM),))
    (one,) = offer.shares
    assert (one.residual, one.columns, one.accepted) == (None, (), clause.predicate)
    streamed = answered(clause, decls=(decl("@", "count", COMM),), keep=False).shares[0]
    assert streamed.residual == clause.replace(predicate=None)
    assert [column.name for column in streamed.columns] == ["nsecs", "comm"]


def test_a_map_is_kept_by_all_or_none() -> None:
    """The second clause can't run whole, so neither does the first; the third has its own map."""
    unknown = ir.Call(BOOL, "globmatch", (COMM_SITE, num(b"a*", COMM)))
    clauses = (
        ir.Clause(0, SWITCH, None, (ir.MapUpdate("@a", (), ()),)),
        ir.Clause(1, SWITCH, unknown, (ir.MapUpdate("@a", (), ()), ir.MapUpdate("@b", (), ()))),
        ir.Clause(2, SWITCH, None, (ir.MapUpdate("@c", (), ()),)),
    )
    offer = answered(*clauses, decls=tuple(decl(name, "count") for name in ("@a", "@b", "@c")))
    assert [one.residual is None for one in offer.shares] == [False, False, True]
    assert offer.shares[1].accepted is None
    assert offer.shares[1].residual == clauses[1]


def test_the_law() -> None:
    """accepted and residual together are the request, conjunct by conjunct."""
    divided = op(op(num(7, UINT32), "/", PID), "==", num(1, UINT32))
    taken = op(PREV, "!=", num(3))
    clause = ir.Clause(
        0, SWITCH, op(op(taken, "&&", divided), "&&", op(PID, ">", num(2, UINT32))), (show(PID),)
    )
    (one,) = answered(clause).shares
    assert one.accepted == join((taken, op(PID, ">", num(2, UINT32))))
    assert one.residual.predicate == divided
    assert one.residual.body == clause.body


def test_mechanisms(monkeypatch: pytest.MonkeyPatch) -> None:
    def how(probe: ir.Probe, **facts: Any) -> str:
        found = answered(ir.Clause(0, probe, None, (show(PID),)), **facts)
        return str(found.shares[0].how) if isinstance(found, Offer) else f"{found.reason} | {found.remedy}"

    kprobe, kretprobe = ir.Probe("kprobe", "", "f"), ir.Probe("kretprobe", "", "f")
    uprobe = ir.Probe("uprobe", "/bin/x", "f", address=16)
    assert how(SWITCH) == "raw tracepoint"
    assert how(SWITCH, raw_tracepoint=NO) == "BPF on a perf event"
    assert how(ENTER) == "BPF on a perf event"
    assert how(kprobe) == "kprobe PMU"
    assert how(kprobe, kprobe_pmu=NO) == "tracefs kprobe event"
    assert how(kretprobe) == "tracefs kprobe event"  # which counts missed returns before 6.7
    assert how(uprobe) == "uprobe.multi link"
    assert how(uprobe, uprobe_multi=NO) == "uprobe PMU"
    assert how(uprobe, uprobe_multi=NO, uprobe_pmu=NO) == "tracefs uprobe event"
    refused = how(kprobe, kprobe_pmu=NO, kprobe_events=Answer(2, "no tracefs", "mount it"))
    assert refused == "kprobe PMU: not on this kernel; tracefs kprobe event: no tracefs | a later one"
    assert how(SWITCH, syscall=Answer(1, "no CAP_BPF", "be root")) == "no CAP_BPF | be root"
    assert how(ir.Probe("iter", "", "task")) == "bpf_iter"
    semaphore = usdt.Usdt("a", "b", 16, 32, ())
    monkeypatch.setattr(unitrace_ebpf.usdt, "places", lambda probe: [semaphore])
    static = ir.Probe("usdt", "/bin/x", "a:b")
    assert how(static) == "uprobe.multi link"
    monkeypatch.setattr(ways, "version", lambda machine: (4, 19))
    assert how(static) == "the kernel raises a USDT probe's semaphore since 4.20 | kernel 4.20 or later"
    monkeypatch.undo()
    many = tuple(ir.Clause(n, kprobe.replace(name=f"f{n}"), None, (show(PID),)) for n in range(8))
    assert {one.how for one in answered(*many).shares} == {"kprobe.multi link"}
    assert {one.how for one in answered(*many[:7]).shares} == {"kprobe PMU"}
    assert {one.how for one in answered(*many, kprobe_multi=NO).shares} == {"kprobe PMU"}


@pytest.mark.parametrize(
    "value,reason",
    [
        (
            ir.Site(Str(1024), "args", "where"),
            "BPF can't give args.where: a string inside a system call's event",
        ),
        (ir.Site(INT64, "retval"), "BPF can't give retval: retval of this probe"),
        (
            ir.Site(INT64, "args", "gone"),
            "BPF can't give args.gone: args.gone: the probe has no such argument",
        ),
    ],
)
def test_refusals_say_which_expression(value: ir.Expr, reason: str) -> None:
    refusal = answered(ir.Clause(0, ENTER, None, (show(value),)))
    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith(reason)
    assert refusal.clause is not None
