"""The law of shown columns: what is shown of many events at once is what the rows show one by one."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from unitrace.contract import ir
from unitrace.contract.model import VECTOR_FROM, Batch, Place, RowBatch
from unitrace.contract.offer import columns_of
from unitrace.contract.types import BOOL, COMM, INT32, INT64, UINT64, Str
from unitrace.engine.engine import Engine
from unitrace.kernel.packed import PackedBatch
from unitrace.output.records import Out
from unitrace.output.rows import single

NSECS = ir.Site(UINT64, "nsecs")
PID, COMM_SITE, RET = ir.Site(INT32, "pid"), ir.Site(COMM, "comm"), ir.Site(INT64, "args", "ret")
ROW = struct.Struct("<Qi4xq16s")
PLACES = {
    "nsecs": Place(0, 8),
    "pid": Place(8, 4, signed=True),
    "args.ret": Place(16, 8, signed=True),
    "comm": Place(24, 16, "text"),
}
ROWS = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.sampled_from([b"a", b"sh", b"\xff", b"fifteen-letters"]),
    ),
    min_size=1,
    max_size=6,
)
PREDICATES = st.sampled_from(
    [
        None,
        ir.Binary(BOOL, "<", RET, ir.Const(INT64, 0)),
        ir.Binary(BOOL, "==", COMM_SITE, ir.Const(Str(3), b"sh")),
        ir.Const(BOOL, False),
    ]
)
VALUES = (
    RET,
    COMM_SITE,
    ir.Binary(INT64, "+", RET, ir.Cast(INT64, PID)),
    NSECS,
    ir.Cast(INT32, RET),
    ir.Const(INT64, 7),
    ir.Choice(INT64, ir.Binary(BOOL, ">", PID, ir.Const(INT32, 0)), RET, ir.Const(INT64, -1)),
)


def packed(rows: list[tuple[int, int, int, bytes]], times: int) -> Batch:
    data = b"".join(ROW.pack(*row) for row in rows * times)
    return PackedBatch(0, data, range(0, len(data), ROW.size), PLACES)


def packed_wider(rows: list[tuple[int, int, int, bytes]], times: int) -> Batch:
    """The same in other widths, as a batch of few rows may have them."""
    wide = struct.Struct("<Qqq16s")
    data = b"".join(wide.pack(*row) for row in rows * times)
    places = {**PLACES, "pid": Place(8, 8, signed=True)}
    return PackedBatch(0, data, range(0, len(data), wide.size), places)


def listed(rows: list[tuple[int, int, int, bytes]], times: int) -> Batch:
    names = ("nsecs", "pid", "args.ret", "comm")
    return RowBatch(0, dict(zip(names, map(list, zip(*rows * times)))))


def shown(clause: ir.Clause, batches: list[Batch], upto: int | None) -> list[Out]:
    records: list[Out] = []
    engine = Engine(ir.Program((clause,), ()), {0: (clause, columns_of(clause))}, {}, records.append)
    if upto is not None:
        engine.feed(batches, upto)
        engine.feed([])
    else:
        engine.feed(batches)
    return [one for record in records for one in single(record)]


@settings(max_examples=40, deadline=None)
@given(
    ROWS,
    ROWS,
    PREDICATES,
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=3),
    st.sampled_from([None, 20]),
)
def test_columns_show_what_rows_show(first, second, predicate, values, upto) -> None:  # type: ignore[no-untyped-def]
    clause = ir.Clause(
        0,
        ir.Probe("tracepoint", "a", "b", label="tracepoint:a:b"),
        predicate,
        (ir.Act("printf", tuple(values), b"x"),),
    )
    many = VECTOR_FROM // len(first) + 1
    at_once = shown(clause, [packed(first, many), packed_wider(first, 1), listed(second, 2)], upto)
    one_by_one = shown(clause, [listed(first, many), listed(first, 1), listed(second, 2)], upto)
    assert at_once == one_by_one
