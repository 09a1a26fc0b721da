"""Format files: each kind of declaration, and all the files of this kernel."""

from __future__ import annotations

import os

import pytest

from unitrace.contract.errors import ProbeError, UnitraceError
from unitrace.contract.machine import Answer, Machine
from unitrace.contract.types import BOOL, VOID, Array, Buffer, Int, Pointer, Str, Struct
from unitrace.kernel import formats, tracefs

CHAR = Int(8, True)

DECLARED = [
    ("char comm[16]", 16, False, "comm", Str(16)),
    ("const char name[32]", 32, False, "name", Str(32)),
    ("pid_t pid", 4, True, "pid", Int(32, True)),
    ("unsigned long args[6]", 48, False, "args", Array(Int(64), 6)),
    ("__u8 saddr[4]", 4, False, "saddr", Array(Int(8), 4)),
    ("u8 mac[ETH_ALEN]", 6, False, "mac", Array(Int(8), 6)),
    ("unsigned char bits[8]", 8, False, "bits", Array(Int(8), 8)),
    ("const void * skaddr", 8, False, "skaddr", Pointer(VOID)),
    ("const char * filename", 8, False, "filename", Pointer(CHAR)),
    ("const char *const * argv", 8, False, "argv", Pointer(Pointer(CHAR))),
    ("struct file * filp", 8, False, "filp", Pointer(Struct("struct file", 0))),
    ("struct io_event x", 32, False, "x", Struct("struct io_event", 32)),
    ("bool success", 1, False, "success", BOOL),
    ("umode_t mode", 2, False, "mode", Int(16)),
    ("enum migrate_mode mode", 4, True, "mode", Int(32, True)),
    ("enum foo mode", 4, False, "mode", Int(32)),
    ("dev_t dev", 4, False, "dev", Int(32)),
    ("sector_t sector", 8, False, "sector", Int(64)),
    ("void *x[2]", 16, False, "x", Array(Pointer(VOID), 2)),
    ("odd_t thing", 12, False, "thing", Buffer(12)),
    # the eight-byte slots of system calls
    ("int dfd", 8, False, "dfd", Int(64, True)),
    ("unsigned int fd", 8, False, "fd", Int(64)),
    ("umode_t mode", 8, False, "mode", Int(16)),
    ("pid_t pid", 8, False, "pid", Int(32, True)),
    ("size_t count", 8, False, "count", Int(64)),
]


@pytest.mark.parametrize(("text", "size", "signed", "name", "kind"), DECLARED)
def test_declarations(text: str, size: int, signed: bool, name: str, kind: object) -> None:
    assert formats.declared(text, size, signed) == (name, kind)


EXEC = """name: sched_process_exec
ID: 365
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;
\tfield:__rel_loc char[] other;\toffset:12;\tsize:4;\tsigned:0;
\tfield:__data_loc u32[] words;\toffset:16;\tsize:4;\tsigned:0;
\tfield:__data_loc cpumask_t *[] cpumask;\toffset:20;\tsize:4;\tsigned:0;
\tfield:pid_t old_pid;\toffset:24;\tsize:4;\tsigned:1;

print fmt: "filename=%s field:int fake; offset:9; size:9;", __get_str(filename)
"""


def test_a_whole_file() -> None:
    found = formats.parse_format(EXEC)
    assert (found.id, found.size) == (365, 28)
    assert [(f.name, f.how, f.offset, f.length) for f in found.fields] == [
        ("filename", "data_loc", 8, 4),
        ("other", "rel_loc", 12, 4),
        ("words", "data_loc", 16, 4),
        ("cpumask", "data_loc", 20, 4),
        ("old_pid", "value", 24, 4),
    ]
    assert [field.name for field in found.common] == ["common_type", "common_pid"]
    assert isinstance(found.fields[0].type, Str)
    assert found.fields[2].type == Array(Int(32), 0)


def recorded(**files: str) -> Machine:
    known = {"tracefs": Answer(), "tracefs.root": "/sys/kernel/tracing"}
    return Machine(
        known, {f"/sys/kernel/tracing/{n.replace('__', '/')}": t for n, t in files.items()}, live=False
    )


def test_recorded_machines_answer() -> None:
    machine = recorded(
        events__sched__sched_process_exec__format=EXEC,
        available_events="sched:sched_switch\nsched:sched_process_exec\nirq:irq_entry\n",
    )
    assert formats.read_format(machine, "sched", "sched_process_exec").id == 365
    assert list(formats.tracepoints(machine, "sched", "*exec")) == [("sched", "sched_process_exec")]
    with pytest.raises(ProbeError):
        formats.read_format(machine, "sched", "nosuch")


def test_no_tracefs_is_an_error_with_a_remedy() -> None:
    machine = Machine({"tracefs": Answer(2, "tracefs is not mounted", "mount it")}, live=False)
    with pytest.raises(UnitraceError) as caught:
        formats.read_format(machine, "sched", "sched_switch")
    assert caught.value.remedy == "mount it"


@pytest.mark.privileged
def test_every_format_of_this_kernel() -> None:
    machine = Machine()
    if os.geteuid() != 0 or not machine.answer("tracefs"):
        pytest.skip("needs root and tracefs")
    root = tracefs.root(machine)
    count = 0
    for category, event in formats.tracepoints(machine):
        try:
            text = machine.read(f"{root}/events/{category}/{event}/format")
        except OSError:
            continue  # somebody's dynamic event, gone since
        found = formats.parse_format(text)
        assert found.id > 0 and found.common
        assert len(found.fields) + len(found.common) == text.count("\tfield:"), f"{category}:{event}"
        for field in found.fields:
            assert field.name.isidentifier(), (category, event, field)
            if field.how == "value" and field.length:
                assert 0 < field.type.size <= field.length, (category, event, field)
        count += 1
    assert count > 100
