"""Encodings of instructions, labels and links; layouts of records and keys. No kernel needed."""

from __future__ import annotations

import struct

import pytest
from ebpf_runs import I8, I64, PID, U16, U32, decl, num, op
from unitrace_ebpf.asm import FP, R0, R1, R6, Code
from unitrace_ebpf.compile.base import Abilities, CannotCompile, Context
from unitrace_ebpf.compile.frame import Frame
from unitrace_ebpf.compile.records import check, layout
from unitrace_ebpf.maps import Part, kept
from unitrace_ebpf.ring import RING_HEAD, decode

from unitrace.contract import ir
from unitrace.contract.model import Column, Place
from unitrace.contract.types import BOOL, COMM, INT64, UINT64, Str, Tuple


def test_encodings() -> None:
    """Against the bytes that the kernel's own documentation and clang give."""
    code = Code()
    code.mov(R6, R1)
    code.const(R0, 0)
    code.const(R0, -1)
    code.const(R0, 0xFFFFFFFF)
    code.const(R0, 1 << 40)
    code.load(R1, R6, 16, 8)
    code.store(FP, -8, R1, 4)
    code.storei(FP, -16, -2, 8)
    code.alui("<<", R1, 3)
    code.alu("s>>", R1, R0)
    code.call("get_current_pid_tgid")
    code.exit()
    assert code.link({}).hex(" ", 8).split() == [
        "bf16000000000000",
        "b700000000000000",
        "b7000000ffffffff",
        "b4000000ffffffff",
        "1800000000000000",
        "0000000000010000",
        "7961100000000000",
        "631af8ff00000000",
        "7a0af0fffeffffff",
        "6701000003000000",
        "cf01000000000000",
        "850000000e000000",
        "9500000000000000",
    ]


def test_labels_and_names() -> None:
    code = Code()
    back, ahead = code.label(), code.label()
    code.place(back)
    code.jump_ifi("==", R0, 5, ahead)
    code.map(R1, "map:x")
    code.map_value(R1, "map:x")
    code.jump_if("s<", R0, R1, back)
    code.place(ahead)
    code.exit()
    rows = [struct.unpack_from("<BBhi", code.link({"map:x": 77}), at) for at in range(0, 56, 8)]
    assert rows[0] == (0x15, 0, 5, 5)
    assert rows[1] == (0x18, 0x11, 0, 77)
    assert rows[3] == (0x18, 0x21, 0, 77)
    assert rows[5] == (0xCD, 0x10, -6, 0)
    assert len(code.spans) == len(code.rows)
    with pytest.raises(KeyError):
        code.link({})


def test_a_jump_too_far() -> None:
    code = Code()
    end = code.label()
    code.jump(end)
    for _ in range(40000):
        code.const(R0, 0)
    code.place(end)
    with pytest.raises(ValueError, match="jump over 40000"):
        code.link({})


def test_frame_gives_back() -> None:
    frame = Frame()
    assert frame.take() == -8
    used = frame.used
    assert frame.take(17) == -32
    frame.back(used)
    assert frame.take(16) == -24
    assert frame.most == 32


def column(name: str, of: object) -> Column:
    return Column(name, ir.Site(of, name), of)  # type: ignore[arg-type]


def test_records_are_aligned() -> None:
    shown = layout(
        (column("nsecs", UINT64), column("a", I8), column("b", U32), column("s", COMM), column("c", I64))
    )
    assert {one.name: place for one, place in shown.places} == {
        "nsecs": Place(8, 8),
        "s": Place(16, 16, "text"),
        "c": Place(32, 8, "int", True),
        "b": Place(40, 4),
        "a": Place(44, 1, "int", True),
    }
    assert shown.size == 48


def test_keys_are_laid_out() -> None:
    pair = Tuple((U16, I64))
    plan = kept(decl("@", "count", U16, U32, COMM, pair))
    assert plan.parts == (
        Part(U16, 0, 2), Part(U32, 4, 4), Part(COMM, 8, 16),
        Part(pair, 24, 16, (Part(U16, 24, 2), Part(I64, 32, 8))),
    )  # fmt: skip
    assert (plan.key_size, plan.value_size) == (40, 8)
    assert kept(decl("@", "hist", parameters=(0,))).value_size == 8 * 65
    with pytest.raises(CannotCompile, match="a key of 5000 bytes"):
        kept(decl("@", "count", Str(5000)))


def test_what_has_no_translation_says_so() -> None:
    where = Context("tracepoint")
    assert check(where, Abilities(), op(PID, "==", num(1, U32))) == ""
    by_zero = op(op(num(7, U32), "/", PID), "==", num(1, U32))
    assert "divisor may be 0" in check(where, Abilities(), by_zero)
    assert check(where, Abilities(), op(ir.Site(INT64, "retval"), "==", num(0))) == "retval of this probe"
    call = ir.Call(BOOL, "unknown", ())
    assert check(where, Abilities(), call) == "unknown()"
    text = ir.Text(Str(600), ir.Site(INT64, "arg", 0))
    assert "600" not in check(Context("raw"), Abilities(), op(text, "==", num(b"x", Str(600))))
    assert "stack" in check(Context("raw"), Abilities(), op(text, "!=", text))
    longer = ir.Text(Str(2000), ir.Site(INT64, "arg", 0))
    assert "long strings" in check(Context("raw"), Abilities(), op(longer, "!=", longer))


@pytest.mark.parametrize("count", [3, 5000])
def test_decoding_by_clause(count: int) -> None:
    """Few records without numpy, many with it: the same."""
    stride = RING_HEAD + 32
    piece = b"".join(struct.pack("<QIIQq8x", 32, 1 + at % 3, 0, 1000 + at, -at) for at in range(count))
    shapes = {clause: {"nsecs": Place(8, 8), "arg0": Place(16, 8, "int", True)} for clause in (1, 2, 3)}
    found = {batch.clause: batch for batch in decode(piece, stride, RING_HEAD, shapes)}
    for clause in (1, 2, 3):
        numbers = [at for at in range(count) if 1 + at % 3 == clause]
        assert list(found[clause].values("nsecs")) == [1000 + at for at in numbers]
        assert list(found[clause].values("arg0")) == [-at for at in numbers]
