"""Events come in the order of time, each once, and none before its time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.programs import I64, Numpy, arg, clause, decl, engine_of, num, program, rows
from unitrace.contract import ir
from unitrace.contract.model import VECTOR_FROM, Batch
from unitrace.engine.engine import Engine
from unitrace.engine.merge import in_order, split
from unitrace.engine.order import unordered
from unitrace.engine.timers import MOST_AT_ONCE, Timer, period
from unitrace.output.records import Out
from unitrace.output.rows import single

SHOW = ir.Act("printf", (ir.Site(I64, "nsecs"), arg("id")), b"%d %d\n")

lanes = st.lists(st.lists(st.integers(0, 20), max_size=30).map(sorted), min_size=1, max_size=5)


def tagged(times: list[list[int]], clauses: int) -> list[Any]:
    serial, made = 0, []
    for at, lane in enumerate(times):
        made.append(rows(at % clauses, lane, id=list(range(serial, serial + len(lane)))))
        serial += len(lane)
    return made


def printed(emitted: list[Out]) -> list[tuple[int, int]]:
    return [one.values for record in emitted for one in single(record)]  # type: ignore[attr-defined]


def streamed(clauses: int) -> tuple[Engine, list[Out]]:
    return engine_of(program(*(clause(SHOW, at=at) for at in range(clauses))))


@given(lanes, st.integers(1, 3))
def test_the_merge_is_complete_ordered_and_stable(times: list[list[int]], clauses: int) -> None:
    engine, emitted = streamed(clauses)
    batches = tagged(times, clauses)
    engine.feed(batches, None)
    seen = printed(emitted)
    everything = [pair for one in sorted(batches, key=lambda b: b.clause)
                  for pair in zip(one.values("nsecs"), one.values("args.id"))]  # fmt: skip
    assert seen == sorted(everything, key=lambda pair: pair[0])


@given(lanes, st.integers(1, 3), st.lists(st.integers(0, 20), max_size=4).map(sorted))
def test_holding_back_loses_nothing_and_keeps_the_order(
    times: list[list[int]], clauses: int, steps: list[int]
) -> None:
    engine, emitted = streamed(clauses)
    batches: list[Batch] = tagged(times, clauses)
    total = sum(map(len, batches))
    for upto in steps:
        engine.feed(batches, upto)
        assert all(at <= upto for at, _ in printed(emitted))
        batches = []
    engine.feed(batches, None)
    seen = printed(emitted)
    assert len(seen) == total and len({one for _, one in seen}) == total
    assert [at for at, _ in seen] == sorted(at for at, _ in seen)


def test_many_rows_of_clauses_that_interleave() -> None:
    count = 3 * VECTOR_FROM
    rng = np.random.default_rng(1)
    batches: list[Batch] = []
    for at in range(3):
        times = np.sort(rng.integers(0, count, count)).astype(np.uint64)
        batches.append(Numpy(at, {"nsecs": times, "args.id": np.arange(count) + at * count}))
    engine, emitted = streamed(3)
    engine.feed(batches, count // 2)
    first = len(printed(emitted))
    engine.feed([], None)
    seen = printed(emitted)
    assert 0 < first < len(seen) == 3 * count
    assert [at for at, _ in seen] == sorted(at for at, _ in seen)
    assert sorted(one for _, one in seen) == list(range(3 * count))


def test_split_copies_what_it_holds_back() -> None:
    times = np.arange(VECTOR_FROM, dtype=np.uint64)
    numbers = np.arange(VECTOR_FROM)
    early, late = split(Numpy(0, {"nsecs": times, "args.id": numbers}), 9, ["args.id"])
    numbers[:] = 0
    assert early is not None and early.values("args.id") == list(range(10))
    assert late is not None and late.values("args.id")[0] == 10
    assert split(Numpy(0, {"nsecs": times}), VECTOR_FROM, [])[1] is None
    assert split(Numpy(0, {"nsecs": times + 5}), 1, [])[0] is None


def test_runs_are_as_long_as_they_can_be() -> None:
    batches = [rows(0, [1, 2, 7], id=[0, 1, 2]), rows(1, [3, 4], id=[3, 4])]
    names = [["args.id"], ["nsecs", "args.id"]]
    assert list(in_order(batches, names)) == [(0, [0, 1], 2), (1, [(3, 3), (4, 4)], 2), (0, [2], 1)]
    (run,) = in_order(batches[:1], names[:1])
    assert (run[0], list(run[1]), run[2]) == (0, [0, 1, 2], 3)


def test_order_matters_only_where_somebody_could_see_it() -> None:
    count = clause(ir.MapUpdate("@", (arg("a"),), ()))
    maps = [decl("@", "count", I64), ir.MapDecl("@x", (I64,), I64)]
    assert unordered([count], maps) == {0}
    assert unordered([count, clause(SHOW, at=1)], maps) == {0}
    for body in [
        ir.Act("exit"),
        ir.Act("print", map="@"),
        ir.Act("clear", map="@"),
        ir.MapDelete("@", (num(1),)),
        ir.Assign("x", ir.MapGet(I64, "@", (num(1),))),
    ]:
        assert unordered([count, clause(body, at=1)], maps) == set()
    assert unordered([clause(ir.MapSet("@x", (num(1),), num(1)))], maps) == set()
    assert unordered([clause(ir.MapUpdate("@", (ir.MapGet(I64, "@x", (num(1),)),), ()))], maps) == set()
    series = decl("@", "tseries", I64, parameters=(10, 3))
    assert unordered([clause(ir.MapUpdate("@", (num(1),), (num(1),)))], [series]) == set()


def test_intervals_fire_in_the_order_of_their_times() -> None:
    of = program(
        clause(ir.Act("printf", (num(3),), b"%d"), kind="interval", scope="ms", name="3"),
        clause(ir.Act("printf", (num(2),), b"%d"), at=1, kind="interval", scope="ms", name="2"),
    )
    engine, emitted = engine_of(of)
    assert engine.next_due() is None
    engine.begin()
    due = engine.next_due()
    assert due is not None and due > time.monotonic_ns() - 10_000_000_000
    start = due - 2_000_000
    engine.tick(due - 1)
    assert emitted == []
    engine.tick(start + 6_600_000)
    assert [one for (one,) in printed(emitted)] == [2, 3, 2, 3, 2] or [
        one for (one,) in printed(emitted)
    ] == [2, 3, 2, 2, 3]


def test_a_timer_that_is_far_too_late_skips() -> None:
    timer = Timer(0, 10, 0)
    fired = 0
    while timer.due <= 100_000:
        timer.advance(100_000)
        fired += 1
    assert fired <= MOST_AT_ONCE + 2
    assert timer.due % 10 == 0


def test_periods() -> None:
    def of(unit: str, number: str) -> int:
        return period(ir.Probe("interval", unit, number))

    assert of("s", "2") == 2_000_000_000
    assert of("ms", "5") == 5_000_000
    assert of("us", "7") == 7_000
    assert of("hz", "100") == 10_000_000
