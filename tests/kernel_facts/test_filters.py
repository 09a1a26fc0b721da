"""Predicates as event filters: the text where it is exact, None for all else."""

from __future__ import annotations

import pytest

from unitrace.contract.ir import Binary, Cast, Const, Expr, Field, Probe, Site, Text, Unary
from unitrace.contract.types import BOOL, COMM, INT32, INT64, UINT32, UINT64, Array, Int, Pointer, Str
from unitrace.kernel.arch import AARCH64, X86_64
from unitrace.kernel.fetchargs import Unfetchable, fetch
from unitrace.kernel.filters import filter_text, named_fields, signs
from unitrace.kernel.formats import parse_format

FORMAT = """\
name: made_up
ID: 7
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;
\tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;
\tfield:long prev_state;\toffset:32;\tsize:8;\tsigned:1;
\tfield:__data_loc char[] name;\toffset:40;\tsize:4;\tsigned:0;
\tfield:u64 bytes;\toffset:48;\tsize:8;\tsigned:0;
\tfield:umode_t flags;\toffset:56;\tsize:8;\tsigned:0;
\tfield:off_t offset;\toffset:64;\tsize:8;\tsigned:0;
\tfield:const char * where;\toffset:72;\tsize:8;\tsigned:0;
\tfield:u8 mac[6];\toffset:80;\tsize:6;\tsigned:0;
\tfield:unsigned int cpu;\toffset:88;\tsize:4;\tsigned:0;

print fmt: "x"
"""
FIELDS = parse_format(FORMAT).fields
TYPES = {field.name: field.type for field in FIELDS}
NAMING = named_fields(FIELDS, FORMAT)


def args(name: str) -> Site:
    return Site(TYPES[name], "args", name)


def op(word: str, left: Expr, right: Expr | int | bytes) -> Expr:
    return Binary(BOOL, word, left, right if isinstance(right, Expr) else Const(left.type, right))


PID, STATE, COMM_SITE = args("prev_pid"), args("prev_state"), Site(COMM, "comm")
TID, CPU = Site(UINT32, "tid"), Site(UINT32, "cpu")


def anded(value: Expr, mask: int) -> Expr:
    return Binary(value.type, "&", value, Const(value.type, mask))


@pytest.mark.parametrize(
    ("expr", "wanted"),
    [
        (op("==", PID, 7), "prev_pid == 7"),
        (op("<", PID, -7), "prev_pid < -7"),
        (op("<", Const(INT32, 3), PID), "prev_pid > 3"),
        (op(">=", args("bytes"), 2**63), f"bytes >= {2**63}"),
        (op("==", Cast(INT64, PID), Const(INT64, -1)), "prev_pid == -1"),
        (op("==", PID, Cast(INT32, Const(INT64, 2**32 + 5))), "prev_pid == 5"),
        (op("==", args("prev_comm"), b"bash"), 'prev_comm == "bash"'),
        (op("!=", COMM_SITE, b'a "b"'), "COMM != 'a \"b\"'"),
        (op("==", TID, 12), "common_pid == 12"),
        (op(">", CPU, 1), "CPU > 1"),
        (op("!=", anded(STATE, 3), 0), "prev_state & 3"),
        (op("==", anded(STATE, 3), 0), "!(prev_state & 3)"),
        (op("&&", op("==", PID, 1), op("!=", TID, 2)), "(prev_pid == 1) && (common_pid != 2)"),
        (op("||", op("==", PID, 1), op("!=", TID, 2)), "(prev_pid == 1) || (common_pid != 2)"),
        (Unary(BOOL, "!", op("==", PID, 1)), "!(prev_pid == 1)"),
        (Cast(BOOL, PID), "prev_pid != 0"),
        (op("==", args("offset"), -1), f"offset == {2**64 - 1}"),  # signed here, unsigned in the format
    ],
)
def test_exact(expr: Expr, wanted: str) -> None:
    assert filter_text(expr, NAMING) == wanted


@pytest.mark.parametrize(
    "expr",
    [
        op("==", Site(UINT32, "pid"), 1),  # the process: no field holds it
        op("==", TID, 2**31),  # tids are ints
        op("==", args("name"), b"x"),  # may lack its NUL, then a beginning would do
        op("==", args("prev_comm"), b"0123456789abcdef"),
        op("==", args("prev_comm"), b""),
        op("==", COMM_SITE, b"\xff"),
        op("==", COMM_SITE, b"a'\""),
        op("<", COMM_SITE, b"a"),
        op("==", args("flags"), 1),  # 16 bits in a slot of eight bytes: all would be compared
        op("<", args("offset"), 0),
        op("==", args("where"), 0),  # char *: compared as a string
        op("==", args("cpu"), 1),  # would mean the CPU it runs on
        op("<", Cast(UINT64, PID), Const(UINT64, 5)),  # -1 isn't below 5 any more
        op("==", Cast(Int(16, True), PID), Const(Int(16, True), 5)),
        op("==", PID, args("prev_pid")),
        op("==", Binary(INT32, "+", PID, Const(INT32, 1)), 5),
        op("!=", anded(STATE, -1), 0),
        op("&&", op("==", PID, 1), op("==", Site(UINT32, "pid"), 1)),
        op("==", Site(UINT64, "nsecs"), 1),
    ],
)
def test_left_to_the_engine(expr: Expr) -> None:
    assert filter_text(expr, NAMING) is None


def test_signs_are_the_formats_own() -> None:
    assert signs(FORMAT)["flags"] == (8, False)
    assert signs(FORMAT)["prev_state"] == (8, True)
    assert signs(FORMAT)["prev_comm"] == (16, False)
    assert isinstance(TYPES["mac"], Array)


ENTRY = Probe("kprobe", "", "f", fields=(Field("dfd", INT32, 0), Field("path", Pointer(Int(8, True)), 1)))
RETURN, USER = Probe("kretprobe", "", "f"), Probe("uprobe", "/bin/x", "f")


def arg(number: int) -> Site:
    return Site(INT64, "arg", number)


@pytest.mark.parametrize(
    ("expr", "probe", "x86", "arm"),
    [
        (arg(0), ENTRY, "%di:s64", "%x0:s64"),
        (arg(6), ENTRY, "$stack1:s64", "%x6:s64"),
        (Site(INT32, "args", "dfd"), ENTRY, "%di:s32", "%x0:s32"),
        (Site(Pointer(Int(8, True)), "args", "path"), ENTRY, "%si:u64", "%x1:u64"),
        (Site(INT64, "retval"), RETURN, "$retval:s64", "$retval:s64"),
        (Site(UINT64, "register", "sp"), ENTRY, "%sp:u64", "%sp:u64"),
        (Text(Str(64), arg(1), "user"), ENTRY, "+0(%si):ustring", "+0(%x1):ustring"),
        (Text(Str(64), arg(1), "kernel"), ENTRY, "+0(%si):string", "+0(%x1):string"),
        (Text(Str(64), arg(1), "user"), USER, "+0(%si):string", "+0(%x1):string"),
        (Text(Str(64), Cast(Pointer(Int(8)), arg(1))), ENTRY, "+0(%si):string", "+0(%x1):string"),
        (
            Text(Str(64), Binary(INT64, "+", arg(1), Const(INT64, 8))),
            ENTRY,
            "+8(%si):string",
            "+8(%x1):string",
        ),
    ],
)
def test_fetch_arguments(expr: Expr, probe: Probe, x86: str, arm: str) -> None:
    assert fetch(expr, probe, X86_64) == x86
    assert fetch(expr, probe, AARCH64) == arm


@pytest.mark.parametrize(
    ("expr", "probe"),
    [
        (arg(0), RETURN),
        (Site(INT64, "retval"), ENTRY),
        (Site(UINT64, "nsecs"), ENTRY),
        (Site(INT32, "args", "none"), ENTRY),
        (Text(Str(64), Binary(INT64, "+", arg(0), arg(1))), ENTRY),
        (Text(Str(64), arg(0), "user", limit=arg(1)), ENTRY),
    ],
)
def test_unfetchable(expr: Expr, probe: Probe) -> None:
    with pytest.raises(Unfetchable):
        fetch(expr, probe, X86_64)


def test_arguments_that_lie_in_memory() -> None:
    """As a system call's entry function has them: in the caller's registers."""
    text = Text(Str(64), Site(UINT64, "args", "filename"), "user")
    assert fetch(text, ENTRY, X86_64, lambda site: f"+8(%{site.key})") == "+0(+8(%filename)):ustring"
    assert fetch(Site(INT32, "args", "fd"), ENTRY, X86_64, lambda site: "+0(%di)") == "+0(%di):s32"
