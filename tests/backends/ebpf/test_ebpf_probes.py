"""Probe kinds beyond tracepoints, kprobes and uprobes: USDT, raw tracepoints, trampolines, iterators, and
many functions by one link."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from pathlib import Path

import pytest
from unitrace_ebpf import usdt
from unitrace_ebpf.backend import Ebpf
from unitrace_ebpf.compile.base import Abilities, CannotCompile, Context
from unitrace_ebpf.compile.records import Records

from tests.backends.ebpf.ebpf_runs import (
    COMM_SITE,
    I64,
    MACHINE,
    PID,
    decl,
    needs,
    num,
    offered,
    op,
    ours,
    run,
    show,
)
from unitrace.contract import ir
from unitrace.contract.errors import ProbeError
from unitrace.contract.types import COMM, INT64, UINT32, UINT64, Pointer, Struct, Symbol
from unitrace.kernel import btf
from unitrace.kernel import usdt as notes
from unitrace.kernel.arch import X86_64

pytestmark = pytest.mark.privileged

libc = ctypes.CDLL(None)
CALLS = 5


def sync() -> None:
    for _ in range(CALLS):
        os.getppid()


def function(kind: str, name: str) -> ir.Probe:
    found = btf.prototype(MACHINE, name)
    if found is None:
        pytest.skip(f"BTF has no {name}")
    return ir.Probe(kind, "", name, fields=found.fields, result=found.result, label=f"{kind}:{name}")


def site(probe: ir.Probe, name: str) -> ir.Site:
    return ir.Site(next(one.type for one in probe.fields if one.name == name), "args", name)


# --- raw tracepoints -------------------------------------------------------------------------------


def test_raw_tracepoint() -> None:
    """sys_enter's arguments: pt_regs and the system call's number."""
    needs("bpf.raw_tracepoint")
    fields = (ir.Field("regs", Pointer(Struct("struct pt_regs", 0)), 0, 8), ir.Field("id", I64, 1, 8))
    probe = ir.Probe("rawtracepoint", "", "sys_enter", fields=fields, label="rawtracepoint:sys_enter")
    number = {"x86_64": 110, "aarch64": 173}[os.uname().machine]
    here = op(ours(), "&&", op(site(probe, "id"), "==", num(number)))
    clause = ir.Clause(0, probe, here, (show(site(probe, "id"), ir.Site(I64, "arg", 1)),))
    assert list(run([clause], sync).rows[0].values())[1:] == [[number] * CALLS] * 2


def test_raw_tracepoint_that_is_not_there() -> None:
    needs("bpf.raw_tracepoint")
    probe = ir.Probe("rawtracepoint", "", "no_such", label="rawtracepoint:no_such")
    with pytest.raises(ProbeError, match="is not there"):
        Ebpf().attach(MACHINE, offered([ir.Clause(0, probe, None, (show(PID),))]))


# --- trampolines -----------------------------------------------------------------------------------


def test_fentry_and_fexit() -> None:
    needs("bpf.fentry")
    entry, leave = function("fentry", "vfs_read"), function("fexit", "vfs_read")
    func = ir.Site(Symbol("kernel"), "func")
    result = ir.Site(leave.result or INT64, "retval")
    clauses = [
        ir.Clause(0, entry, op(ours(), "&&", op(site(entry, "count"), "==", num(4321, UINT64))), (show(func),)),
        ir.Clause(1, leave, op(ours(), "&&", op(site(leave, "count"), "==", num(4321, UINT64))),
                  (show(result, site(leave, "count")),)),
    ]  # fmt: skip
    zero = os.open("/dev/zero", os.O_RDONLY)
    try:
        seen = run(clauses, lambda: [os.read(zero, 4321) for _ in range(CALLS)])
    finally:
        os.close(zero)
    assert len(seen.rows[0]["nsecs"]) == CALLS
    assert list(seen.rows[1].values())[1:] == [[4321] * CALLS] * 2


# --- many functions --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["kprobe", "kretprobe"])
def test_many_functions_by_one_link(kind: str) -> None:
    needs("bpf.kprobe_multi")
    prefix = "__x64_sys_" if os.uname().machine == "x86_64" else "__arm64_sys_"
    words = ("getppid", "getuid", "getgid", "geteuid", "getegid", "sched_yield", "gettid", "umask")
    probes = [ir.Probe(kind, "", f"{prefix}{word}", label=f"{kind}:{prefix}{word}") for word in words]
    streamed = [ir.Clause(n, probe, ours(), (show(PID),)) for n, probe in enumerate(probes)]
    offer = offered(streamed)
    assert {one.how for one in offer.shares} == {"kprobe.multi link"}

    def work() -> None:
        os.getppid()
        os.getuid()
        os.getuid()

    seen = run(streamed, work)
    assert len(seen.rows[0]["nsecs"]) == 1  # the cookie tells which
    assert len(seen.rows[1]["nsecs"]) == 2
    func = ir.Site(Symbol("kernel"), "func")
    kept = [ir.Clause(n, probe, ours(), (ir.MapUpdate("@", (func,), ()),)) for n, probe in enumerate(probes)]
    counts = run(kept, work, [decl("@", "count", func.type)]).maps["@"]
    assert sorted(counts.values())[-2:] == [1, 2]


# --- iterators -------------------------------------------------------------------------------------


def test_iterator() -> None:
    needs("bpf.iter")
    struct = btf.struct(MACHINE, "struct task_struct")
    assert struct is not None
    at = {one.name: one for one in struct.members}
    probe = ir.Probe("iter", "", "task", label="iter:task")
    ctx = ir.Site(Pointer(Struct("struct bpf_iter__task", 16), "kernel"), "ctx")
    task = ir.Load(Pointer(Struct("struct task_struct", 0), "kernel"), ctx, 8, "kernel")
    tgid = ir.Load(UINT32, task, at["tgid"].offset, "kernel")
    mine = op(tgid, "==", num(os.getpid(), UINT32))
    seen = run([ir.Clause(0, probe, mine, (show(tgid),))], lambda: None)
    assert set(list(seen.rows[0].values())[1]) == {os.getpid()}
    assert len(seen.rows[0]["nsecs"]) == len(os.listdir("/proc/self/task"))


# --- USDT ------------------------------------------------------------------------------------------

PROGRAM = """
#include <stdint.h>
#include <stdlib.h>
uint16_t counter __attribute__((section(".probes")));
#define NOTE(args) __asm__ volatile( \
 "990: nop\\n.pushsection .note.stapsdt,\\"?\\",\\"note\\"\\n.balign 4\\n" \
 ".4byte 992f-991f,994f-993f,3\\n991: .asciz \\"stapsdt\\"\\n992: .balign 4\\n" \
 "993: .8byte 990b\\n.8byte _.stapsdt.base\\n.8byte counter\\n.asciz \\"ours\\"\\n.asciz \\"hit\\"\\n" \
 ".asciz \\"" args "\\"\\n994: .balign 4\\n.popsection\\n" \
 ".ifndef _.stapsdt.base\\n.pushsection .stapsdt.base,\\"aG\\",\\"progbits\\",.stapsdt.base,comdat\\n" \
 ".weak _.stapsdt.base\\n.hidden _.stapsdt.base\\n_.stapsdt.base: .space 1\\n" \
 ".size _.stapsdt.base,1\\n.popsection\\n.endif\\n"
int main(int argc, char **argv) {
    volatile int32_t cell[4] = {-7, -8, -9, -10};
    if (!counter) return 3;
    NOTE("-4@(%%rbx,%%rcx,4) 8@$77 2@%%ax") :: "b"(cell), "c"(2L), "a"(0x12345678) : "memory");
    NOTE("-4@4(%%rbx) 8@$78 2@%%dx") :: "b"(cell), "d"(0x1234abcd) : "memory");
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program with a USDT probe in two copies, with arguments of all kinds."""
    if os.uname().machine != "x86_64":
        pytest.skip("the program is for x86-64")
    folder = tmp_path_factory.mktemp("usdt")
    source = folder / "usdt.c"
    source.write_text(PROGRAM)
    try:
        made = subprocess.run(["gcc", "-O1", "-o", folder / "usdt", source], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no gcc")
    assert made.returncode == 0, made.stderr
    return str(Path(folder / "usdt"))


@pytest.mark.parametrize("without", [(), ("bpf.uprobe_multi",), ("bpf.uprobe_multi", "bpf.uprobe_pmu")])
def test_usdt(program: str, without: tuple[str, ...]) -> None:
    """The semaphore is up while the probe is attached: else the program says 3."""
    needs("bpf.kprobe", "bpf.uprobe_events")
    machine = MACHINE.masked(without)
    probe = ir.Probe("usdt", program, "ours:hit", label=f"usdt:{program}:ours:hit")
    first, second, third = (ir.Site(I64, "arg", number) for number in range(3))
    clauses = [
        ir.Clause(0, probe, None, (show(first, second, third),)),
        ir.Clause(1, probe, op(first, "==", num(-8)), (ir.MapUpdate("@", (COMM_SITE, second), ()),)),
    ]
    codes: list[int] = []
    seen = run(
        clauses,
        lambda: codes.append(subprocess.run([program], check=False).returncode),
        [decl("@", "count", COMM, I64)],
        machine=machine,
    )
    assert codes == [0]
    assert list(seen.rows[0].values())[1:] == [[-9, -8], [77, 78], [0x5678, 0xABCD]]
    assert seen.maps["@"] == {(b"usdt", 78): 1}
    until = time.monotonic() + 20  # probes are taken down behind our back
    while subprocess.run([program], check=False).returncode != 3:
        assert time.monotonic() < until


def test_usdt_that_is_not_there(program: str) -> None:
    needs("bpf.kprobe")
    with pytest.raises(ProbeError, match="has no USDT probe"):
        usdt.places(ir.Probe("usdt", program, "ours:miss"))


def test_copies_that_look_the_same() -> None:
    """Two places at the same byte of a page whose arguments differ can't be told apart."""
    one, two = notes.parse_argument("-4@%edi", X86_64), notes.parse_argument("-4@%esi", X86_64)
    places = (notes.Usdt("p", "n", 0x1010, 0, (one,)), notes.Usdt("p", "n", 0x2010, 0, (two,)))
    made = Records(Context("function"), Abilities())
    with pytest.raises(CannotCompile, match="can't be told apart"):
        usdt.argument(made, places, 0)
