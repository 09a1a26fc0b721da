"""Memory as numbers in probe events: what witnesses them, whose task it is, and how a batch reads them."""

from __future__ import annotations

import struct

import pytest

from unitrace.contract.ir import Call, Cast, Const, Expr, Field, Load, Probe, Site, Text
from unitrace.contract.machine import Answer, Machine
from unitrace.contract.model import Place
from unitrace.contract.types import INT64, UINT32, UINT64, Array, Buffer, Int, Pointer, Str, Struct
from unitrace.kernel.arch import X86_64
from unitrace.kernel.arguments import Arguments
from unitrace.kernel.current import call_argument, pointer, reads
from unitrace.kernel.fetchargs import Unfetchable, fetched
from unitrace.kernel.fetched import FetchedBatch, Rule
from unitrace.kernel.formats import parse_format

KPROBE, UPROBE = Probe("kprobe", "", "f"), Probe("uprobe", "/bin/true", "f")
KRETPROBE = Probe("kretprobe", "", "f")
ARG = Site(INT64, "arg", 0)
TASK = Site(UINT64, "curtask")
U16 = Int(16)


@pytest.mark.parametrize(
    ("expr", "probe", "text", "how", "checks"),
    [
        # the kernel's own memory: a string at the last byte
        (Load(UINT32, ARG, 8, "kernel"), KPROBE, "+8(%di):u32", "int", ("+11(%di):string",)),
        # whose it is is decided by the address: an empty string of a process has length 0, so each byte
        (Load(U16, ARG, 8), KPROBE, "+8(%di):u16", "int", ("+8(%di):string", "+9(%di):string")),
        (Load(Int(8), ARG, 0, "user"), KPROBE, "+u0(%di):u8", "int", ("+0(%di):ustring",)),
        (Load(UINT32, ARG, 8), UPROBE, "+8(%di):u32", "int", ("+11(%di):string",)),
        (
            Load(Int(32, True), Load(Pointer(Struct("struct x", 0)), ARG, 16), 4, "kernel"),
            KPROBE,
            "+4(+16(%di)):s32",
            "int",
            ("+7(+16(%di)):string",),
        ),
        (Load(Str(16), ARG, 8, "kernel"), KPROBE, "+8(%di):u8[16]", "text", ("+23(%di):string",)),
        (
            Load(Array(UINT64, 32), ARG, 0, "kernel"),
            KPROBE,
            "+0(%di):u32[64]",
            "bytes",
            ("+255(%di):string",),
        ),
        (
            Call(Buffer(2), "buf", (Cast(UINT64, ARG), Const(UINT64, 2))),
            KPROBE,
            "+0(%di):u8[2]",
            "bytes",
            ("+0(%di):string", "+1(%di):string"),
        ),
    ],
)
def test_numbers_in_memory(expr: Expr, probe: Probe, text: str, how: str, checks: tuple[str, ...]) -> None:
    found = fetched(expr, probe, X86_64)
    assert (found.text, found.how, found.checks) == (text, how, checks)


def test_bit_fields() -> None:
    found = fetched(Load(Int(8, True), ARG, 3, "kernel", 2, 3), KPROBE, X86_64)
    assert (found.text, found.bit_offset, found.bit_size, found.signed) == ("+3(%di):u8", 2, 3, True)


def test_too_much() -> None:
    for expr in (Load(Array(UINT64, 8), ARG, 0), Load(Struct("struct x", 1000), ARG, 0, "kernel")):
        with pytest.raises(Unfetchable):
            fetched(expr, KPROBE, X86_64)


def known(offset: int = 0x1FB80, cpus: int = 2) -> Machine:
    facts = {"kernel.current_task": offset, "cpus.online": list(range(cpus)), "kernel.arch": "x86_64"}
    return Machine(facts, live=False)


def test_the_current_task_is_fetched_for_each_cpu() -> None:
    assert reads(Load(UINT32, TASK, 8)) and not reads(ARG)
    assert pointer(known(), 3) == "+129920(@__per_cpu_offset+24)"
    assert pointer(known(-(1 << 30)), 0) == f"-{1 << 30}(@__per_cpu_offset+0)"
    arguments = Arguments(known(), KPROBE, X86_64)
    parent = Load(Pointer(Struct("struct task_struct", 0)), TASK, 100, "kernel")
    value = arguments.value(Load(UINT32, parent, 20))
    assert value.cpus == (0, 1) and len(value.names) == 2
    fetches = dict(arguments.fetches([value]))
    current = "+129920(@__per_cpu_offset+{})"
    assert fetches[value.names[1]] == f"+20(+100({current.format(8)})):u32"
    assert [fetches[name] for name in value.checks[1]] == [f"+23(+100({current.format(8)})):string"]
    assert list(fetches.values())[-1].endswith(":u32"), "strings come first"
    assert not arguments.value(Load(UINT32, TASK, 8)).checks[0], "the task itself is always there"


def test_the_current_task_is_not_everywhere() -> None:
    for machine, probe in ((known(), UPROBE), (known(cpus=64), KPROBE), (known(1 << 40), KPROBE)):
        with pytest.raises(Unfetchable):
            Arguments(machine, probe, X86_64).value(TASK)


def test_a_calls_argument_where_it_ends() -> None:
    entry = Site(UINT64, "entry", 1)
    top = Machine({"kernel.top_of_stack": 0x1FB50, "kernel.arch": "x86_64"}, live=False)
    assert (
        call_argument(top, X86_64, 1, 1) == "-64(+129872(@__per_cpu_offset+8))"
    )  # si, below the stack's end
    with pytest.raises(Unfetchable, match="hidden"):
        call_argument(Machine({"kernel.top_of_stack": Answer(1, "hidden")}, live=False), X86_64, 0, 1)
    for version, probe, text in (
        ([6, 9], KRETPROBE, "$arg2:u64"),
        ([6, 8], KRETPROBE, ""),
        ([7, 0], KPROBE, ""),
    ):
        arguments = Arguments(Machine({"kernel.version": version}, live=False), probe, X86_64)
        if text:
            assert dict(arguments.fetches([arguments.value(entry)])) == {"v0": text}
        else:
            with pytest.raises(Unfetchable):
                arguments.value(entry)


FORMAT = """ID: 5
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

\tfield:u32 v0;\toffset:8;\tsize:4;\tsigned:0;
\tfield:__data_loc char[] v1;\toffset:12;\tsize:4;\tsigned:1;
\tfield:__data_loc char[] v2;\toffset:16;\tsize:4;\tsigned:1;
"""


def test_where_a_value_lies() -> None:
    arguments = Arguments(known(), KPROBE, X86_64)
    fields = {field.name: field for field in parse_format(FORMAT).fields}
    place, rule = arguments.value(Load(UINT32, ARG, 8, "kernel")).place(fields, base=100)
    assert place == Place(108, 4) and rule == Rule(checks=((112, -1),))
    text = arguments.value(Text(Str(8), ARG))
    place, rule = text.place(fields)
    assert (place.how, rule) == ("data_loc", Rule(limit=8))


def test_a_string_behind_a_pointer_needs_the_next_one() -> None:
    """On newer kernels it would have the length of all others, where the pointer can't be read."""
    arguments = Arguments(known(), KPROBE, X86_64)
    text = arguments.value(Text(Str(8), Load(UINT64, ARG, 8)))
    fetches = arguments.fetches([text, arguments.value(ARG)])
    assert [how for _, how in fetches] == ["+0(+8(%di)):string", "$comm:string", "%di:s64"]
    fields = {f"v{n}": Field(f"v{n}", Str(8), at, 4, "data_loc") for n, at in ((0, 8), (2, 12))}
    assert text.place(fields)[1] == Rule(limit=8, checks=((8, 12),))


def test_lengths_by_the_next_string() -> None:
    rows = [(1, 3 << 16 | 40, 43), (1, 9 << 16 | 40, 40), (1, 40, 40)]
    data = b"".join(struct.pack("<QIIQ", value, this, after, 0) for value, this, after in rows)
    made = FetchedBatch(0, data, range(0, len(data), 24), {"nsecs": Place(16, 8), "x": Place(0, 8)})
    made.rules = {"x": Rule(checks=((8, 12),))}
    assert list(made.values("x")) == made.array("x").tolist() == [1, 0, 0]


def batch(rows: list[tuple[int, int, int]], rule: Rule, layout: Place) -> FetchedBatch:
    """Records of a value and the lengths of two strings."""
    data = b"".join(
        struct.pack("<QIIQ", value, first << 16, second << 16, n)
        for n, (value, first, second) in enumerate(rows)
    )
    made = FetchedBatch(
        0, data, range(0, len(data), 24), {"nsecs": Place(16, 8), "x": layout, "pid": Place(16, 8)}
    )
    made.rules = {"x": rule}
    return made


ROWS = [(5, 1, 0), (6, 0, 0), (0x41424344, 0, 3), (255, 9, 9)]
CHECKS = ((8, -1), (12, -1))


@pytest.mark.parametrize(
    ("rule", "layout", "values"),
    [
        (Rule(checks=CHECKS), Place(0, 8), [5, 0, 0x41424344, 255]),
        (Rule(checks=CHECKS[:1]), Place(0, 4), [5, 0, 0, 255]),
        (Rule(checks=CHECKS), Place(0, 4, "bytes"), [b"\5\0\0\0", bytes(4), b"DCBA", b"\xff\0\0\0"]),
        (Rule(checks=CHECKS[:1]), Place(0, 4, "text"), [b"\5", b"", b"", b"\xff"]),
        (Rule(limit=3), Place(0, 4, "text"), [b"\5", b"\6", b"DC", b"\xff"]),
        (Rule(sign=3), Place(0, 1, shift=0, mask=7), [-3, -2, -4, -1]),
        (Rule(process="pid"), Place(0, 8), [(5, 0), (6, 1), (0x41424344, 2), (255, 3)]),
    ],
)
def test_rules(rule: Rule, layout: Place, values: list[object]) -> None:
    assert list(batch(ROWS, rule, layout).values("x")) == values
    listed = batch(ROWS, rule, layout).array("x").tolist()
    assert listed == [bytes(v) if isinstance(v, bytes) and layout.how == "bytes" else v for v in values]
