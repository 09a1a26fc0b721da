"""Nothing stays: after leaving, after an exception, after a refusal, after a kill."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time

import pytest
from ebpf_runs import COMM_SITE, MACHINE, decl, needs, offered, ours, show, tracepoint
from unitrace_ebpf import syscall, verifier
from unitrace_ebpf.asm import R0, R1, Code
from unitrace_ebpf.backend import Ebpf
from unitrace_ebpf.offer import Plan

from unitrace.contract import ir
from unitrace.contract.errors import BackendError
from unitrace.contract.offer import Offer
from unitrace.contract.types import COMM

pytestmark = pytest.mark.privileged


@pytest.fixture(autouse=True)
def _able() -> None:
    needs("bpf.syscall", "bpf.tracepoint_events")


def offer_of(mark: int) -> Offer:
    """A clause that sends records and one that keeps a map; their programs have ``mark`` in them."""
    probe = tracepoint("sched", "sched_process_exec")
    fields = {one.name: one for one in probe.fields}
    never = ir.Binary(
        ours().type, "==", ir.Site(fields["pid"].type, "args", "pid"), ir.Const(fields["pid"].type, mark)
    )
    clauses = [ir.Clause(0, probe, never, (show(COMM_SITE),)),
               ir.Clause(1, probe, never, (ir.MapUpdate("@", (COMM_SITE,), ()),))]  # fmt: skip
    return offered(clauses, [decl("@", "count", COMM)])


def programs() -> set[int]:
    """Ids of programs named as ours."""
    found: set[int] = set()
    number = syscall.next_id("prog", 0)
    while number is not None:
        try:
            fd = syscall.prog_by_id(number)
        except OSError:
            fd = -1
        if fd >= 0:
            info = syscall.object_info(fd, 80)
            os.close(fd)
            if info[64:80].startswith(b"unitrace_"):
                found.add(number)
        number = syscall.next_id("prog", number)
    return found


def gone(ids: set[int]) -> bool:
    """Whether the programs go, within some seconds: the kernel takes its time over the last close."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if not ids & programs():
            return True
        time.sleep(0.05)
    return False


def own_program_ids(attached: object) -> set[int]:
    ids = set()
    for fd in attached.programs.values():  # type: ignore[attr-defined]
        ids.add(struct.unpack_from("<I", syscall.object_info(fd, 8), 4)[0])
    assert ids
    return ids


def descriptors() -> set[str]:
    return {
        f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}" for fd in os.listdir("/proc/self/fd") if _is_open(fd)
    }


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_after_leaving() -> None:
    offer = offer_of(-11)
    before = descriptors()
    with Ebpf().attach(MACHINE, offer) as attached:
        ids = own_program_ids(attached)
        attached.start()
        attached.stop()
    assert descriptors() == before
    assert gone(ids)


def test_after_an_exception() -> None:
    before = descriptors()
    ids: set[int] = set()
    with pytest.raises(ZeroDivisionError), Ebpf().attach(MACHINE, offer_of(-12)) as attached:
        attached.start()
        ids = own_program_ids(attached)
        raise ZeroDivisionError
    assert descriptors() == before
    assert gone(ids)


def test_after_a_kill() -> None:
    """The child attaches, tells its programs' ids, and is killed."""
    text = (
        f"import sys, time; sys.path[:0] = {[os.path.dirname(__file__), *sys.path]!r}\n"
        "from test_ebpf_removal import *\n"
        "attached = Ebpf().attach(MACHINE, offer_of(-13)).__enter__(); attached.start()\n"
        "print(*own_program_ids(attached), flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    ids = {int(word) for word in child.stdout.readline().split()}
    assert ids and ids <= programs()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert gone(ids)


def broken() -> Code:
    """A program that reads where nothing was written."""
    code = Code()
    code.span = ir.Span(3, 4, 9)
    code.alui("mov", R0, 0)
    code.span = ir.Span(4, 0, 7)
    code.load(R0, R1, 1 << 14, 8)
    code.exit()
    return code


def test_the_verifiers_word() -> None:
    code = broken()
    with pytest.raises(BackendError) as caught:
        verifier.load(syscall.TRACEPOINT, code, code.link({}), "unitrace_x", "tracepoint:a:b", source="text")
    error = caught.value
    assert (
        "verifier rejects the program of tracepoint:a:b: invalid bpf_context access off=16384"
        in error.message
    )
    assert error.span == ir.Span(4, 0, 7)
    assert any("r0 = *(u64 *)(r1 +16384)" in line for line in error.notes)
    assert error.source == "text"


def test_a_rejected_program_leaves_nothing() -> None:
    offer = offer_of(-14)
    before = descriptors()
    last = offer.shares[1]
    assert isinstance(last.plan, Plan)
    plan = last.plan.replace(compiled=last.plan.compiled.replace(code=broken()))
    spoilt = offer.replace(shares=(offer.shares[0], last.replace(plan=plan)))
    with pytest.raises(BackendError, match="verifier rejects"):
        Ebpf().attach(MACHINE, spoilt)
    assert descriptors() == before
