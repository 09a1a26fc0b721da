"""Rendering: the bytes that bpftrace's users know."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrace.contract.ir import MapDecl
from unitrace.contract.model import hist_bucket, lhist_bucket
from unitrace.contract.types import (
    BOOL,
    COMM,
    INT32,
    INT64,
    UINT32,
    UINT64,
    Aggregate,
    Array,
    Buffer,
    Enum,
    Int,
    Pointer,
    Str,
    Tuple,
    Void,
)  # fmt: skip
from unitrace.output.events import safe
from unitrace.output.histogram import bars, bounds
from unitrace.output.json import JsonSink
from unitrace.output.maps import map_text
from unitrace.output.printf import Format
from unitrace.output.records import Event, MapShown, Printed
from unitrace.output.rows import PrintedRows, single
from unitrace.output.sink import Writer
from unitrace.output.text import TextSink
from unitrace.output.values import value_text

HIST, COUNT = Aggregate("hist", True, (0,)), Aggregate("count")


class Held(Writer):
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 5))
def test_a_hist_value_lies_in_its_bucket(value: int, bits: int) -> None:
    low, high = bounds(Aggregate("hist", True, (bits,)), hist_bucket(value, bits))
    assert (low is None or low <= value) and (high is None or value < high)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-50, 50), st.integers(1, 90), st.integers(1, 9))
def test_an_lhist_value_lies_in_its_bucket(value: int, low: int, span: int, step: int) -> None:
    of = Aggregate("lhist", True, (low, low + span, step))
    least, most = bounds(of, lhist_bucket(value, low, low + span, step))
    assert (least is None or least <= value) and (most is None or value < most)


def test_hist_text() -> None:
    counts = {hist_bucket(v): n for v, n in ((0, 1), (2, 4), (600, 2), (2000, 1))}
    lines = [line.decode() for line in bars(HIST, counts)]
    assert lines[0] == "[0]                    1 |@@@@@@@@@@@@@                                       |"
    assert lines[1] == "[1]                    0 |                                                    |"
    assert lines[2].startswith("[2, 4)                 4 |" + "@" * 52 + "|")
    assert [line.split("  ")[0] for line in lines[-2:]] == ["[512, 1K)", "[1K, 2K)"]
    assert bars(HIST, {}) == [] and bars(HIST, {3: 0}) == []


def test_lhist_text() -> None:
    of = Aggregate("lhist", True, (0, 10, 5))
    names = [line.split(b"  ")[0] for line in bars(of, {0: 1, 1: 1, 2: 1, 3: 1})]
    assert names == [b"(..., 0)", b"[0, 5)", b"[5, 10)", b"[10, ...)"]
    kilo = Aggregate("lhist", True, (0, 4096, 1024))
    assert bars(kilo, {1: 1, 4: 1})[-1].startswith(b"[3K, 4K)")


def test_sub_buckets() -> None:
    of = Aggregate("hist", True, (4,))
    assert bars(of, {hist_bucket(100, 4): 1})[0].startswith(b"[100, 104)")


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (INT64, -3, b"-3"),
        (BOOL, True, b"true"),
        (COMM, b"cat", b"cat"),
        (Pointer(Void()), 50, b"0x32"),
        (Tuple((INT64, Str(2), Tuple((INT64,)))), (1, b"a", (2,)), b"(1, a, (2))"),
        (Tuple((INT64, INT64), ("a", "b")), (1, 2), b"{ .a = 1, .b = 2 }"),
        (Array(INT32, 3), (1, 2, 3), b"[1,2,3]"),
        (Enum("e", 32, False, (("RED", 1),)), 1, b"RED"),
        (Enum("e", 32, False, (("RED", 1),)), 2, b"2"),
        (Buffer(3), b"a\x00\xff", b"a\\x00\\xff"),
        (Aggregate("avg"), (3, -10), b"-3"),
        (Aggregate("stats"), (3, 6), b"{ .count = 3, .average = 2, .total = 6 }"),
    ],
)
def test_values(kind: Any, value: Any, text: bytes) -> None:
    assert value_text(kind, value) == text


@pytest.mark.parametrize(
    ("text", "types", "values", "shown"),
    [
        (b"%d %s\n", (INT64, COMM), (-1, b"sh"), b"-1 sh\n"),
        (b"%5d|%-5d|%05d", (INT64, INT64, INT64), (7, 7, 7), b"    7|7    |00007"),
        (b"%x %#x %X %o", (UINT64,) * 4, (255, 255, 255, 8), b"ff 0xff FF 10"),
        (b"%x", (Int(8, True),), (-1,), b"ffffffff"),
        (b"%hhx %lx", (INT64, INT64), (-1, -1), b"ff ffffffffffffffff"),
        (b"%d", (UINT64,), (2**64 - 1,), b"-1"),
        (b"%u %llu", (UINT64, INT64), (2**64 - 1, -1), b"4294967295 18446744073709551615"),
        (b"%d %ld %u", (UINT64, UINT64, UINT64), (5 << 30, 5 << 30, 1 << 32), b"1073741824 5368709120 0"),
        (b"%d %+u %+d", (UINT32, UINT32, UINT32), (2**32 - 100, 4, 4), b"-100 4 +4"),
        (b"%p %p", (UINT64, Pointer(Void())), (0, 0), b"0 0"),
        (b"%-6s|%6s|%.2s", (COMM, COMM, COMM), (b"ab", b"ab", b"abc"), b"ab    |    ab|abc"),
        (b"%c%c 100%%", (INT64, INT64), (65, 66), b"AB 100%"),
        (b"%p %#x", (Pointer(Void()), UINT64), (16, 0), b"0x10 0"),
        (b"%s %d", (INT64, BOOL), (3, True), b"3 1"),
        (b"%r %rx %rh", (Buffer(2),) * 3, (b"a\x01",) * 3, b"a\\x01 \\x61\\x01 61 01"),
        (b"\xff%s", (COMM,), (b"\xfe",), b"\xff\xfe"),
    ],
)
def test_printf(text: bytes, types: Any, values: Any, shown: bytes) -> None:
    assert Format(text, types).row(values) == shown


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=9)), max_size=20))
def test_rows_are_the_row_many_times(rows: list[tuple[int, bytes]]) -> None:
    for text in (b"%d=%s;", b"%08d %x %-9s|", b"no values "):
        shape = Format(text, (INT64, INT64, COMM) if b"%x" in text else (INT64, COMM))
        values = [(a, a, b) if b"%x" in text else (a, b) for a, b in rows]
        if b"%" not in text:
            assert b"".join(shape.rows((), len(rows))) == text * len(rows)
        elif rows:
            assert b"".join(shape.rows(tuple(zip(*values)), len(values))) == b"".join(map(shape.row, values))


def test_map_text_orders_by_value_and_takes_the_last() -> None:
    decl = MapDecl("@", (COMM, INT64), COUNT)
    content = {(b"b", 2): 5, (b"a", 1): 9, (b"c", -1): 5}
    assert map_text(MapShown(decl, content)) == b"@[b, 2]: 5\n@[c, -1]: 5\n@[a, 1]: 9\n"
    assert map_text(MapShown(decl, content, top=1)) == b"@[a, 1]: 9\n"
    assert map_text(MapShown(decl, content, top=1, divisor=2)) == b"@[a, 1]: 4\n"
    assert map_text(MapShown(MapDecl("@x", (), COUNT), {(): 3})) == b"@x: 3\n"
    strings = MapDecl("@s", (INT64,), COMM)
    assert map_text(MapShown(strings, {(2,): b"x", (-1,): b"y"})) == b"@s[-1]: y\n@s[2]: x\n"


def test_keyed_hist_text() -> None:
    shown = map_text(MapShown(MapDecl("@h", (COMM,), HIST), {(b"sh",): {2: 1}})).split(b"\n")
    assert shown[0] == b"@h[sh]:" and shown[1].startswith(b"[1] ") and shown[2:] == [b"", b""]


def test_event_line_is_safe_for_a_terminal() -> None:
    held = Held()
    event = Event(
        1_000_000_002, 3, b"a\x1b[31m", 7, "tracepoint:a:b", ("dfd", "name", "p"),
        (INT64, COMM, Pointer(Void())), (-100, b'x"\n\xff', 16),
    )  # fmt: skip
    TextSink(held).emit([event])
    assert held.data == (
        b'     1.000000002 [003] a\\x1b[31m-7 tracepoint:a:b dfd=-100 name="x\\"\\n\xff" p=0x10\n'
    )
    assert event["dfd"] == -100
    with pytest.raises(KeyError):
        event["nope"]


@given(st.binary(max_size=40))
def test_safe_has_no_control_characters(text: bytes) -> None:
    assert all(byte >= 32 and byte != 127 for byte in safe(text))


def test_rows_stand_for_single_records() -> None:
    rows = PrintedRows(b"%d\n", (INT64,), ([1, 2],), 2)
    assert list(single(rows)) == [Printed(b"%d\n", (INT64,), (1,)), Printed(b"%d\n", (INT64,), (2,))]
    held = Held()
    TextSink(held).emit([rows])
    assert held.data == b"1\n2\n"


def test_json_is_bpftraces() -> None:
    held = Held()
    sink = JsonSink(held)
    sink.emit(
        [
            Printed(b"%d %s", (INT64, COMM), (1, b'"\xff')),
            MapShown(MapDecl("@a", (), INT64), {(): 1}),
            MapShown(MapDecl("@t", (Tuple((INT64, COMM)),), COUNT), {((-1, b"ab"),): 2**64 - 1}),
            MapShown(MapDecl("@h", (), HIST), {(): {0: 1, 1: 2, 3: 1}}),
            MapShown(MapDecl("@e", (INT64,), COUNT), {}),
        ]
    )
    lines = [json.loads(line) for line in held.data.splitlines()]
    assert lines == [
        {"type": "printf", "data": '1 "\\xff'},
        {"type": "map", "data": {"@a": 1}},
        {"type": "map", "data": {"@t": {"-1,ab": "18446744073709551615"}}},
        {
            "type": "hist",
            "data": {
                "@h": [
                    {"max": -1, "count": 1},
                    {"min": 0, "max": 0, "count": 2},
                    {"min": 1, "max": 1, "count": 0},
                    {"min": 2, "max": 3, "count": 1},
                ]
            },
        },
    ]


def test_the_writer_says_what_is_wrong(tmp_path: Any) -> None:
    from unitrace.contract.errors import UsageError

    with pytest.raises(UsageError, match="No such file"):
        Writer(str(tmp_path / "no" / "file"))
    if os.path.exists("/dev/full"):
        with pytest.raises(UsageError, match="No space left"):
            Writer("/dev/full").write(b"x")
