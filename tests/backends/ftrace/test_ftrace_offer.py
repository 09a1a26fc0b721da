"""Offers on machines that are only data: what is taken, what is left, what is refused and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from unitrace_ftrace.backend import Ftrace
from unitrace_ftrace.losses import missed
from unitrace_ftrace.offer import Tap

from unitrace.contract.ir import Act, Binary, Clause, Const, Expr, Field, Load, MapGet, Probe, Site, Text
from unitrace.contract.machine import Answer, Machine
from unitrace.contract.offer import (
    NotStreamable,
    Offer,
    Options,
    Refusal,
    Request,
    Share,
    columns_of,
    conjuncts,
    join,
)
from unitrace.contract.types import BOOL, COMM, INT32, INT64, UINT32, UINT64, Int, Pointer, Stack, Str

DEFAULT = Options()
ROOT = "/sys/kernel/tracing"
COMMON = """\
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

"""
OPENAT = f"""\
name: sys_enter_openat
ID: 700
format:
{COMMON}\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;
\tfield:int dfd;\toffset:16;\tsize:8;\tsigned:0;
\tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;
\tfield:int flags;\toffset:32;\tsize:8;\tsigned:0;
\tfield:umode_t mode;\toffset:40;\tsize:8;\tsigned:0;

print fmt: "", REC->dfd
"""
SWITCH = f"""\
name: sched_switch
ID: 300
format:
{COMMON}\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;
\tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;
\tfield:int prev_prio;\toffset:28;\tsize:4;\tsigned:1;
\tfield:__data_loc unsigned long[] list;\toffset:32;\tsize:4;\tsigned:0;

print fmt: "", REC->prev_pid
"""
NEWTASK = f"""\
name: task_newtask
ID: 100
format:
{COMMON}\tfield:pid_t pid;\toffset:8;\tsize:4;\tsigned:1;

print fmt: "", REC->pid
"""

WORKING = (
    "tracefs",
    "ftrace.instances",
    "ftrace.raw_pages",
    "ftrace.clock_mono",
    "ftrace.filters",
    "ftrace.task_events",
    "ftrace.eprobes",
    "ftrace.kprobe_events",
    "ftrace.uprobe_events",
    "kprobes.armed",
)
TID, PID, NAME, CPU = Site(UINT32, "tid"), Site(UINT32, "pid"), Site(COMM, "comm"), Site(UINT32, "cpu")
FILENAME = Site(Pointer(Int(8, True), "user"), "args", "filename")
FLAGS = Site(INT64, "args", "flags")
OPEN = Probe("tracepoint", "syscalls", "sys_enter_openat")


def machine(**missing: str) -> Machine:
    """A machine where all works but ``missing``: fact (dots as "__") to reason."""
    known: dict[str, object] = {name: Answer() for name in WORKING}
    known |= {name.replace("__", "."): Answer(2, reason, "the remedy") for name, reason in missing.items()}
    known |= {"tracefs.root": ROOT, "kernel.arch": "x86_64"}
    files: dict[str, str | int] = {
        f"{ROOT}/events/syscalls/sys_enter_openat/format": OPENAT,
        f"{ROOT}/events/sched/sched_switch/format": SWITCH,
        f"{ROOT}/events/task/task_newtask/format": NEWTASK,
    }
    return Machine(known, files, live=False)


def clause(probe: Probe, values: tuple[Expr, ...], *predicate: Expr, ordinal: int = 0) -> Clause:
    return Clause(ordinal, probe, join(predicate), (Act("printf", values, b""),))


def compare(op: str, left: Expr, value: int | bytes) -> Binary:
    return Binary(BOOL, op, left, Const(left.type, value))


def taken(on: Machine, *clauses: Clause, options: Options = DEFAULT) -> Offer:
    """The offer, whose shares obey the law."""
    answer = Ftrace().offer(on, Request(clauses, options=options))
    assert isinstance(answer, Offer), answer
    assert answer.exact and [share.clause for share in answer.shares] == list(clauses)
    for share in answer.shares:
        assert share.residual is not None and share.residual.body == share.clause.body
        both = conjuncts(share.accepted) + conjuncts(share.residual.predicate)
        assert sorted(map(repr, both)) == sorted(map(repr, conjuncts(share.clause.predicate)))
        assert share.columns == columns_of(share.residual)
        assert {source.column for source in tap(share).sources} == {column.name for column in share.columns}
    return answer


def refused(on: Machine, *clauses: Clause) -> Refusal:
    answer = Ftrace().offer(on, Request(clauses))
    assert isinstance(answer, Refusal) and answer.reason
    return answer


def tap(share: Share) -> Tap:
    assert isinstance(share.plan, Tap)
    return share.plan


def test_a_predicate_is_split() -> None:
    computed = compare("==", Binary(INT64, "+", FLAGS, Const(INT64, 1)), 3)
    (share,) = taken(machine(), clause(OPEN, (FLAGS,), compare("==", TID, 7), computed)).shares
    assert tap(share).filter == "(common_pid == 7)"
    assert share.residual is not None and share.residual.predicate == computed


def test_without_filters_all_is_left() -> None:
    (share,) = taken(machine(ftrace__filters="none"), clause(OPEN, (FLAGS,), compare("==", TID, 7))).shares
    assert share.accepted is None and tap(share).filter == ""


def test_clauses_on_one_event_share_its_filter() -> None:
    tid, cpu = compare("==", TID, 7), compare("==", CPU, 0)
    first, second = taken(
        machine(), clause(OPEN, (TID,), tid, cpu), clause(OPEN, (CPU,), cpu, ordinal=1)
    ).shares
    assert tap(first).filter == tap(second).filter == "(CPU == 0)"
    assert first.residual is not None and first.residual.predicate == tid
    (alone,) = taken(machine(), clause(OPEN, (TID,), tid, cpu)).shares
    assert alone.residual is not None and alone.residual.predicate is None


def test_events_that_are_followed_have_no_filter() -> None:
    probe = Probe("tracepoint", "task", "task_newtask")
    (share,) = taken(machine(), clause(probe, (NAME,), compare("==", TID, 7))).shares
    assert share.accepted is None and tap(share).filter == ""


def test_a_long_predicate_stays_partly_here() -> None:
    parts = tuple(compare("!=", TID, 1_000_000 + n) for n in range(400))
    (share,) = taken(machine(), clause(OPEN, (TID,), *parts)).shares
    assert 0 < len(conjuncts(share.accepted)) < 400
    assert len(tap(share).filter) < 4096


def test_strings_behind_a_tracepoints_pointer() -> None:
    text = Text(Str(64), FILENAME, "user")
    (share,) = taken(machine(), clause(OPEN, (text, TID, FLAGS), compare("==", TID, 7))).shares
    plan = tap(share)
    assert (plan.kind, plan.places) == ("e", ("syscalls.sys_enter_openat",))
    assert dict(plan.fetch[0]) == {"v0": "+0($filename):ustring", "v1": "$flags:s64"}
    assert plan.filter == "(common_pid == 7)"
    answer = refused(machine(ftrace__eprobes="no eprobes"), clause(OPEN, (text,)))
    assert "no eprobes" in answer.reason and answer.remedy == "the remedy" and answer.clause is not None


def test_strings_of_a_call_without_event_probes() -> None:
    text = Text(Str(64), FILENAME, "user")
    old = machine(ftrace__eprobes="no eprobes")
    old.files["/proc/kallsyms"] = "ffffffff81000000 T __x64_sys_openat\n"
    fields = tuple(
        Field(name, INT64, at) for at, name in enumerate(("__syscall_nr", "dfd", "filename", "flags"))
    )
    call = clause(OPEN.replace(fields=fields), (text, FLAGS, Site(Stack("kernel"), "kstack")))
    plan = tap(taken(old, call).shares[0])
    assert (plan.kind, plan.places) == ("p", ("__x64_sys_openat",))
    assert dict(plan.fetch[0]) == {"v0": "+0(+104(%di)):ustring", "v1": "+96(%di):s64", "v2": "$comm:string"}
    assert [one.value for one in plan.sources if one.how == "kstack"] == [0], "a call's tracepoint has none"


def test_function_arguments() -> None:
    fields = (Field("a", INT32, 0, 4), Field("p", Pointer(Int(8, True)), 1, 8))
    probe = Probe("kprobe", "", "vfs_read", 4, fields=fields)
    values = (
        Site(INT64, "arg", 2),
        Site(INT32, "args", "a"),
        Text(Str(64), Site(INT64, "arg", 1), "user"),
        NAME,
    )
    (share,) = taken(machine(), clause(probe, values, compare("==", Site(INT64, "arg", 3), -1))).shares
    plan = tap(share)
    assert (plan.kind, plan.places) == ("p", ("vfs_read+4",))
    assert sorted(text for _, text in plan.fetch[0]) == [
        "$comm",
        "%cx:s64",
        "%di:s32",
        "%dx:s64",
        "+0(%si):ustring",
    ]
    name = next(name for name, text in plan.fetch[0] if text == "%cx:s64")
    assert plan.filter == f"({name} == -1)"


def test_functions_without_kprobes() -> None:
    on = machine(ftrace__kprobe_events="none")
    assert "none" in refused(on, clause(Probe("kprobe", "", "f"), (TID,))).reason
    on.known["ftrace.fprobe_events"] = Answer()
    text = Text(Str(64), Site(INT64, "arg", 1), "user")
    (share,) = taken(on, clause(Probe("kprobe", "", "f"), (text, Site(INT64, "arg", 0)))).shares
    assert (tap(share).kind, tap(share).places) == ("f", ("f",))
    assert [how for _, how in tap(share).fetch[0]] == ["+0($arg2):ustring", "$arg1:s64"]
    (share,) = taken(on, clause(Probe("kretprobe", "", "f"), (Site(INT64, "retval"),))).shares
    assert tap(share).places == ("f%return",) and tap(share).fetch[0][0][1] == "$retval:s64"
    for probe, site in (
        (Probe("kprobe", "", "f", 4), TID),
        (Probe("kprobe", "", "f"), Site(UINT64, "register", "sp")),
        (Probe("kprobe", "", "f"), Site(Stack("kernel"), "kstack")),
    ):
        assert refused(on, clause(probe, (site,))).reason


def test_strings_through_pointers() -> None:
    probe = Probe("kprobe", "", "vfs_open")
    path = Site(Pointer(Int(8, True)), "arg", 0)
    dentry = Load(Pointer(Int(8, True)), path, 8, "kernel")
    name = Load(Pointer(Int(8, True)), Binary(UINT64, "+", dentry, Const(UINT64, 0x28)), 0, "kernel")
    (share,) = taken(
        machine(), clause(probe, (Text(Str(64), name, "kernel"), Text(Str(64), dentry, "user")))
    ).shares
    assert [text for _, text in tap(share).fetch[0]] == [
        "+0(+40(+8(%di))):string",
        "+0(+8(%di)):ustring",
        "$comm:string",
    ]


def test_return_values() -> None:
    probe = Probe("uretprobe", "/bin/true", "main", address=0x1234)
    (share,) = taken(machine(), clause(probe, (Site(INT64, "retval"),)), options=Options(pid=5)).shares
    plan = tap(share)
    assert (plan.kind, plan.places, plan.fetch, plan.pid) == (
        "ur",
        ("/bin/true:0x1234",),
        ((("v0", "$retval:s64"),),),
        5,
    )


@pytest.mark.parametrize(
    ("missing", "probe"),
    [
        ("tracefs", OPEN),
        ("ftrace__instances", OPEN),
        ("ftrace__clock_mono", OPEN),
        ("ftrace__kprobe_events", Probe("kprobe", "", "f")),
        ("kprobes__armed", Probe("kretprobe", "", "f")),
        ("ftrace__uprobe_events", Probe("uprobe", "/bin/true", "main")),
    ],
)
def test_what_is_missing_is_said(missing: str, probe: Probe) -> None:
    answer = refused(machine(**{missing: "because"}), clause(probe, (TID,)))
    assert (answer.backend, answer.reason, answer.remedy) == ("ftrace", "because", "the remedy")


def test_names_need_task_events() -> None:
    lacking = machine(ftrace__task_events="no such tracepoints")
    taken(lacking, clause(OPEN, (TID,)))
    taken(lacking, clause(Probe("kprobe", "", "f"), (NAME,)))
    for site in (NAME, PID):
        assert "no such tracepoints" in refused(lacking, clause(OPEN, (site,))).reason


def test_what_ftrace_cannot_do() -> None:
    for probe in (Probe("iter", "", "task"), Probe("hardware", "cycles", "1000")):
        assert probe.kind in refused(machine(), clause(probe, (TID,))).reason
    on = machine()
    switch = Probe("tracepoint", "sched", "sched_switch")
    assert "list" in refused(on, clause(switch, (Site(Str(1), "args", "list"),))).reason
    assert "current task" in refused(on, clause(switch, (Site(UINT32, "uid"),))).reason
    computed = Load(UINT32, Binary(INT64, "*", Site(INT64, "arg", 0), Const(INT64, 2)), 8, "kernel")
    assert "computed" in refused(on, clause(Probe("kprobe", "", "f"), (computed,))).reason
    assert refused(on, clause(Probe("kretprobe", "", "f"), (Site(INT64, "arg", 0),))).reason
    with pytest.raises(NotStreamable):
        through_map = Load(UINT64, MapGet(UINT64, "@p", ()), 0)
        Ftrace().offer(on, Request((clause(Probe("kprobe", "", "f"), (through_map,)),)))


def test_misses_of_kprobes(tmp_path: Path) -> None:
    profile = "  u1_a      3      0\n  u1_b   9   2\n  other   1   7\n"
    (tmp_path / "kprobe_profile").write_text(profile)
    mine = {"u1_a": False, "u1_b": True}
    assert missed(str(tmp_path), mine, (6, 1)) == {"probe u1_b missed": 2}
    (cause,) = missed(str(tmp_path), mine, (5, 10))
    assert "couldn't read" in cause
    assert missed(str(tmp_path / "none"), mine, (6, 1)) == {}
