"""PackedBatch: both ways out of the buffer give the same, for every kind of place and of starts."""

from __future__ import annotations

import array
import random
import struct
from typing import Any

import pytest

from unitrace.contract.model import VECTOR_FROM, Place
from unitrace.kernel.packed import PackedBatch

LAYOUT = {
    "nsecs": Place(0, 8),
    "u4": Place(8, 4),
    "s4": Place(12, 4, signed=True),
    "text": Place(16, 16, "text"),
    "raw": Place(16, 16, "bytes"),
    "loc": Place(32, 4, "data_loc"),
    "rel": Place(36, 4, "rel_loc"),
    "u1": Place(16, 1),
    "s2": Place(12, 2, signed=True),
    "part": Place(0, 8, shift=3, mask=0xFF),
}


def record(row: int) -> tuple[bytes, dict[str, Any]]:
    comm = [b"", b"x", b"swapper/0", b"exactly15bytes!", b"sixteen-bytes-ok"][row % 5]
    field = (comm + b"\0garbage-after-it")[:16].ljust(16, b"\0") if len(comm) < 16 else comm
    dynamic = [b"", b"/etc/hostname", b"a"][row % 3]
    length = len(dynamic) + 1
    head = struct.pack("<QIi16sII", 10 * row, row, -row, field, length << 16 | 40, length << 16)
    data = (head + dynamic + b"\0").ljust(56, b"\xff")
    expected = {
        "nsecs": 10 * row,
        "u4": row,
        "s4": -row,
        "text": comm,
        "raw": field,
        "loc": dynamic,
        "rel": dynamic,
        "u1": field[0],
        "s2": struct.unpack("<h", struct.pack("<i", -row)[:2])[0],
        "part": (10 * row >> 3) & 0xFF,
    }
    return data, expected


def packed(count: int, how: str) -> tuple[PackedBatch, list[dict[str, Any]]]:
    made = [record(row) for row in range(count)]
    buffer, starts = bytearray(), []
    gaps = random.Random(1)
    for data, _ in made:
        if how == "ragged":
            buffer += bytes(gaps.randrange(9))
        if how == "by four":
            buffer += bytes(4 * gaps.randrange(3))
        starts.append(len(buffer))
        buffer += data
    shapes = {
        "range": range(0, len(buffer), 56),
        "list": starts,
        "array": array.array("Q", starts),
        "ragged": array.array("q", starts),
        "by four": array.array("q", starts),
    }
    return PackedBatch(3, bytes(buffer), shapes[how], LAYOUT), [expected for _, expected in made]


@pytest.mark.parametrize("how", ["range", "list", "array", "ragged", "by four"])
@pytest.mark.parametrize("count", [0, 1, 7, VECTOR_FROM + 5])
def test_values_and_arrays_agree(how: str, count: int) -> None:
    batch, rows = packed(count, how)
    assert len(batch) == count
    for name in LAYOUT:
        expected = [row[name] for row in rows]
        assert list(batch.values(name)) == expected, name
        assert batch.array(name).tolist() == expected, name


def test_views_into_the_middle_of_a_buffer() -> None:
    whole, rows = packed(50, "range")
    batch = PackedBatch(0, whole.buffer, range(56 * 10, 56 * 20, 56), LAYOUT)
    assert list(batch.values("u4")) == list(range(10, 20))
    assert batch.array("u4").tolist() == list(range(10, 20))
    assert list(batch.values("loc")) == [row["loc"] for row in rows[10:20]]


def test_a_place_past_the_stride_and_a_short_last_record() -> None:
    buffer = struct.pack("<12I", *range(12))
    batch = PackedBatch(0, buffer, range(0, 40, 4), {"nsecs": Place(0, 4), "later": Place(8, 4)})
    assert list(batch.values("later")) == list(range(2, 12))
    assert batch.array("later").tolist() == list(range(2, 12))


def test_columns_from_outside_the_record() -> None:
    numpy = pytest.importorskip("numpy")
    batch, _ = packed(3, "list")
    batch = PackedBatch(
        0,
        batch.buffer,
        batch.starts,
        {"u4": LAYOUT["u4"]},
        times=numpy.array([5, 6, 7], numpy.uint64),
        extra={"cpu": 1, "comm": [b"a", b"bb", b"c"], "name": b"x", "stack": [(1, 2), (3,), ()], "delta": -1},
    )
    assert list(batch.values("nsecs")) == [5, 6, 7]
    assert list(batch.values("cpu")) == [1, 1, 1]
    assert list(batch.values("comm")) == [b"a", b"bb", b"c"]
    assert batch.array("nsecs").dtype == numpy.uint64
    assert batch.array("cpu").tolist() == [1, 1, 1]
    assert batch.array("comm").tolist() == [b"a", b"bb", b"c"]
    assert batch.array("name").tolist() == [b"x"] * 3
    assert batch.array("stack").tolist() == [(1, 2), (3,), ()]
    assert batch.array("delta").tolist() == [-1] * 3


def test_a_location_past_the_buffer_reads_as_empty() -> None:
    buffer = struct.pack("<QI", 1, 500 << 16 | 4000)
    batch = PackedBatch(0, buffer, [0], {"nsecs": Place(0, 8), "loc": Place(8, 4, "data_loc")})
    assert list(batch.values("loc")) == [b""]
    assert batch.array("loc").tolist() == [b""]


def test_few_events_do_without_numpy() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from unitrace.kernel.packed import PackedBatch; from unitrace.contract.model import Place;"
        "b = PackedBatch(0, bytes(80), range(0, 80, 8), {'nsecs': Place(0, 8)});"
        "b.values('nsecs'); assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
