"""The law of lines: text made of columns of arrays is the text that Python's own values have, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unitrace.contract.types import COMM, Int, Pointer, Str, Type, Void
from unitrace.output.events import EventLines
from unitrace.output.lines import AT_ONCE, FROM, Cell, lines
from unitrace.output.printf import Format
from unitrace.output.records import Event
from unitrace.output.rows import EventRows

BITS = st.sampled_from([8, 16, 32, 64])
TEXTS = st.sampled_from(
    [b"", b"a", b"sh", b"fifteen-letters", b"\xff\x80", b"tab\there", b'a"b', b"a\\b", b"a\nb"]
)


@st.composite
def integers(draw: Any) -> tuple[Int, list[int]]:
    """A type, and values of it: few digits as likely as many, the edges among them."""
    bits, signed = draw(BITS), draw(st.booleans())
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    near = st.builds(
        lambda at, off: min(high, max(low, 10**at + off)), st.integers(0, 19), st.integers(-1, 1)
    )
    values = st.one_of(st.integers(low, high), near, st.sampled_from([0, low, high]))
    if draw(st.booleans()):
        values = values.map(abs).filter(lambda value: value <= high)
    return Int(bits, signed), draw(st.lists(values, min_size=1, max_size=5))


def many(values: list[Any], dtype: str | None, count: int = FROM) -> Any:
    return np.array((values * count)[:count], dtype=dtype)


def dtype_of(of: Int) -> str:
    return f"{'i' if of.signed else 'u'}{of.bits // 8}"


@settings(max_examples=400, deadline=None)
@given(
    integers(),
    st.sampled_from(["", "-", "0", "-0", "+", " "]),
    st.sampled_from(["", "1", "4", "7", "12", "21"]),
    st.sampled_from(["d", "u", "x", "X", "ld", "llu", "hhd", "hx", "lx"]),
)
def test_numbers(given_: tuple[Int, list[int]], flags: str, width: str, verb: str) -> None:
    of, values = given_
    column = many(values, dtype_of(of))
    made = Format(f"<%{flags}{width}{verb}>\n".encode(), (of,))
    assert b"".join(made.rows((column,), FROM)) == b"".join(made.row((value,)) for value in column.tolist())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(TEXTS, min_size=1, max_size=4),
    st.sampled_from([None, "S16", "S23"]),
    st.sampled_from(["", "-"]),
    st.sampled_from(["", "2", "9", "20"]),
)
def test_strings(values: list[bytes], kind: str | None, flags: str, width: str) -> None:
    column = many(values, kind)
    made = Format(f"%{flags}{width}s|".encode(), (Str(23),))
    assert b"".join(made.rows((column,), FROM)) == b"".join(made.row((value,)) for value in column.tolist())


def text_of(form: bytes, of: Type, column: Any) -> bytes:
    return b"".join(Format(form, (of,)).rows((column,), len(column)))


def test_a_nul_within_a_string_or_the_format_is_kept() -> None:
    column = np.array([b"a\0b", b"longer than eight", b"12345678\0x"] * FROM)
    assert text_of(b"%s;", COMM, column) == b"a\0b;longer than eight;12345678\0x;" * FROM
    assert text_of(b"%s;", COMM, np.array([b"a\0b"] * FROM)) == b"a\0b;" * FROM
    assert text_of(b"%d\0%%", Int(64), np.arange(FROM)).startswith(b"0\0%1\0%")


@settings(max_examples=200, deadline=None)
@given(
    integers(), st.lists(TEXTS, min_size=1, max_size=4), st.integers(0, 2**62), st.sampled_from(["u8", "i8"])
)
def test_event_lines(given_: tuple[Int, list[int]], texts: list[bytes], time: int, kind: str) -> None:
    of, values = given_
    types: tuple[Type, ...] = (of, Pointer(Void()), Str(23))
    times = np.arange(time, time + FROM * 999_999_999, 999_999_999)[:FROM].astype(kind)
    pointers = np.array([value & 0xFFFFFFFFFFFFFFFF for value in many(values, dtype_of(of)).tolist()], "u8")
    rows = EventRows(
        times, many([0, 11, 1234], "u4"), many(texts, "S16"), many([1, 4194304], "i4"), "tracepoint:a:b",
        ("n", "p", "s"), types, (many(values, dtype_of(of)), pointers, many(texts[::-1], None)), FROM,
    )  # fmt: skip
    writer = EventLines()
    columns: Sequence[Any] = (rows.times, rows.cpus, rows.comms, rows.tids, *rows.columns)
    one_by_one = [
        Event(*row[:4], rows.probe, rows.names, types, row[4:])
        for row in zip(*(column.tolist() for column in columns))
    ]
    assert b"".join(writer.lines(rows)) == b"".join(map(writer.line, one_by_one))


@pytest.mark.parametrize("count", [1, AT_ONCE - 1, AT_ONCE, 2 * AT_ONCE + 5])
def test_lines_are_made_some_at_a_time(count: int) -> None:
    numbers = np.arange(count)

    def never(_: object, __: int) -> bytes:
        raise AssertionError("these are made by columns")

    made = lines([b"<", Cell("d"), b">"], (numbers,), count, never)
    assert b"".join(made) == b"".join(b"<%d>" % number for number in range(count))
