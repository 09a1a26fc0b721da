"""Clauses that user space fires read the kernel by BPF programs that run for the caller."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from unitrace_ebpf.reader import ROOM, Reader

import unitrace
from tests.backends.ebpf.ebpf_runs import MACHINE, needs
from unitrace.contract.errors import BackendError
from unitrace.kernel import btf, functions

pytestmark = pytest.mark.privileged


@pytest.fixture
def reader() -> Reader:
    needs("bpf.test_run", "bpf.read_kernel", "btf")
    return Reader(MACHINE)


def member(reader: Reader, task: int, name: str) -> bytes:
    of = btf.struct(MACHINE, "task_struct")
    assert of is not None
    found = next(one for one in of.members if one.name == name)
    return reader.memory(task + found.offset, found.type.size)


def test_the_caller_is_the_task(reader: Reader) -> None:
    seen = []

    def look() -> None:
        task = reader.task()
        seen.append((task, int.from_bytes(member(reader, task, "pid"), "little"), threading.get_native_id()))

    look()
    other = threading.Thread(target=look)
    other.start()
    other.join()
    assert all(pid == thread for _, pid, thread in seen)
    assert seen[0][0] != seen[1][0]
    assert reader.ids() == (os.getpid(), threading.get_native_id())
    reader.close()


def test_memory(reader: Reader) -> None:
    task = reader.task()
    long = reader.memory(task, ROOM + 8)
    assert len(long) == ROOM + 8  # two runs
    assert reader.memory(16, 8) == b""
    assert len(reader.memory((1 << 64) - 16, 64)) < 64
    reader.close()


def test_stack(reader: Reader) -> None:
    needs("bpf.get_stack")
    entered = functions.address(MACHINE, "__sys_bpf")
    whole = reader.stack(127)
    assert len(whole) >= 3 and all(address >> 63 for address in whole)
    assert not entered or any(0 <= address - entered < 1 << 16 for address in whole)
    assert len(reader.stack(2)) == 2
    reader.close()


def test_trace(reader: Reader) -> None:
    """An instance of its own can't have it: bpf_trace_printk goes to the main trace, others' lines with it."""
    mark = f"unitrace-{os.getpid()}".encode()
    reader.trace(mark + b"." * 600)
    reader.close()
    try:
        with open("/sys/kernel/tracing/trace", "rb") as file:
            lines = [line for line in file if mark in line]
    except OSError as error:
        pytest.skip(f"the trace can't be read: {error}")
    if not lines:
        pytest.skip("the trace is off, or others cleared it")
    assert b"bpf_trace_printk: " + mark + b"....." in lines[-1]


def test_in_a_program() -> None:
    needs("bpf.test_run", "bpf.read_kernel", "btf")
    before = bpf_fds()
    spec = """begin { $t = curtask; @pid = $t->pid == tid; @up = $t.parent.pid; @null = ((struct task_struct *)8)->pid; }
        end { @again[curtask.tgid == pid, curtask != 0] = 1; @deep = len(kstack(3)); }"""
    with unitrace.trace(spec) as run:
        list(run)
    values = {name: next(iter(content.values()), None) for name, content in run.maps.items()}
    assert run.backend == "ebpf"
    assert values["@pid"] in (1, True)
    assert values["@up"] == os.getppid()
    assert values["@null"] == 0
    assert values["@deep"] == 3
    assert [tuple(map(bool, key)) for key in run.maps["@again"]] == [(True, True)]
    assert bpf_fds() == before


def test_each_cpu_has_its_own() -> None:
    needs("bpf.test_run", "bpf.read_kernel")
    if not all(map(known, ("process_counts", "__per_cpu_offset"))):
        pytest.skip("/proc/kallsyms hasn't the per-CPU variable process_counts")
    spec = """begin { @one = percpu_kaddr("process_counts", 0); @same = percpu_kaddr("process_counts") ==
        percpu_kaddr("process_counts", cpu); @none = percpu_kaddr("process_counts", 8192); @read = *@one; }"""
    with unitrace.trace(spec) as run:
        list(run)
    values = {name: content[()] for name, content in run.maps.items()}
    assert values["@one"] >> 63 and values["@none"] == 0 and values["@same"] in (1, True)
    assert values["@read"] < 1 << 32


def bpf_fds() -> int:
    """How many maps, programs and links of BPF this process holds."""
    links = [Path("/proc/self/fd", one) for one in os.listdir("/proc/self/fd")]
    return sum(one.is_symlink() and os.readlink(one).startswith("anon_inode:bpf") for one in links)


def known(symbol: str) -> bool:
    with open("/proc/kallsyms") as file:
        return any(line.split()[2] == symbol for line in file)


def test_without_a_backend_that_reads_the_kernel() -> None:
    needs("bpf.test_run")
    with (
        pytest.raises(BackendError, match="begin: curtask can't be read"),
        unitrace.trace("begin { print(curtask); }", "ftrace"),
    ):
        pass
