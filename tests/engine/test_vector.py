"""The law of the engine: whole columns at once give what row after row gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.programs import (
    COMM_SITE,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Numpy,
    arg,
    clause,
    decl,
    engine_of,
    num,
    op,
    program,
)  # fmt: skip
from unitrace.contract import ir
from unitrace.contract.model import hist_bucket, lhist_bucket
from unitrace.contract.offer import columns_of
from unitrace.contract.types import BOOL, COMM, Int, Str, name_of
from unitrace.engine.arrays import Columns, compute
from unitrace.engine.engine import Engine
from unitrace.engine.groups import buckets_of_hist, buckets_of_lhist, extremes, grouped, tallies, totals
from unitrace.engine.merge import rows_of
from unitrace.engine.values import divide, range_of, remainder, wrap
from unitrace.engine.vector import vectorised
from unitrace.output.records import Message

TYPES: dict[str, Int] = {"a": I64, "b": I64, "c": U64, "d": U32, "e": I8, "f": I32}
NAMES: dict[Int, list[str]] = {}
for _name, _of in TYPES.items():
    NAMES.setdefault(_of, []).append(_name)
EVERY = [I8, U8, I16, U16, I32, U32, I64, U64]


def edges(of: Int) -> list[int]:
    low, high = range_of(of)
    powers = [1 << n for n in range(of.bits)]
    near = [0, -1, low, high, *powers, *(one - 1 for one in powers), *(one + 1 for one in powers)]
    return sorted({one for one in near if low <= one <= high})


def ints(of: Int) -> st.SearchStrategy[int]:
    low, high = range_of(of)
    return st.one_of(
        st.sampled_from(edges(of)), st.integers(max(low, -9), min(high, 9)), st.integers(low, high)
    )


def numbers(of: Int, depth: int) -> st.SearchStrategy[ir.Expr]:
    leaves: list[st.SearchStrategy[ir.Expr]] = [ints(of).map(lambda value: num(value, of))]
    if of in NAMES:
        leaves += [st.sampled_from(NAMES[of]).map(lambda name: arg(name, of))] * 3
    if depth == 0:
        return st.one_of(leaves)
    inner = numbers(of, depth - 1)
    deeper: list[st.SearchStrategy[ir.Expr]] = [
        st.builds(lambda a, s, b: op(a, s, b), inner, st.sampled_from("+-*&|^"), inner),
        st.builds(lambda a, s, b: op(a, s, b), inner, st.sampled_from(["<<", ">>"]), inner),
        st.builds(
            lambda a, s, b: op(a, s, num(b, of)),
            inner,
            st.sampled_from("/%"),
            ints(of).filter(lambda b: b != 0),
        ),
        st.builds(lambda s, a: ir.Unary(of, s, a), st.sampled_from("-~"), inner),
        st.sampled_from(EVERY).flatmap(lambda other: numbers(other, depth - 1)).map(lambda a: ir.Cast(of, a)),
        st.builds(lambda c, a, b: ir.Choice(of, c, a, b), truths(depth - 1), inner, inner),
    ]
    return st.one_of(*leaves, *deeper)


def truths(depth: int) -> st.SearchStrategy[ir.Expr]:
    compared = st.sampled_from(list(TYPES.values())).flatmap(
        lambda of: st.builds(
            lambda a, s, b: op(a, s, b),
            numbers(of, max(0, depth - 1)), st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
            numbers(of, max(0, depth - 1)),
        )
    )  # fmt: skip
    named = st.sampled_from([b"sh", b"", b"nginx", b"a very long name"]).flatmap(
        lambda text: st.sampled_from(["==", "!="]).map(lambda s: op(COMM_SITE, s, ir.Const(Str(64), text)))
    )
    if depth == 0:
        return st.one_of(compared, named)
    inner = truths(depth - 1)
    return st.one_of(
        compared,
        named,
        st.builds(lambda a, s, b: op(a, s, b), inner, st.sampled_from(["&&", "||"]), inner),
        inner.map(lambda a: ir.Unary(BOOL, "!", a)),
    )


@st.composite
def updates(draw: Any, serial: int, entries: int) -> tuple[ir.MapUpdate, ir.MapDecl]:
    function = draw(st.sampled_from(["count", "sum", "min", "max", "avg", "stats", "hist", "lhist"]))
    of = draw(st.sampled_from(EVERY))
    keys: tuple[ir.Expr, ...] = tuple(
        draw(
            st.one_of(st.just(COMM_SITE), st.sampled_from(EVERY).flatmap(lambda k: numbers(k, 1)), truths(0))
        )
        for _ in range(draw(st.integers(0, 2)))
    )
    parameters: tuple[int, ...] = ()
    if function == "hist":
        parameters = (draw(st.integers(0, 5)),)
    elif function == "lhist":
        low = draw(st.integers(-100, 100))
        parameters = (low, low + draw(st.integers(1, 500)), draw(st.integers(1, 20)))
    args = () if function == "count" else (draw(numbers(of, 2)),)
    name = f"@{serial}"
    signed = draw(st.booleans()) if function != "count" else False
    declared = decl(
        name, function, *(key.type for key in keys), signed=signed, parameters=parameters, entries=entries
    )
    return ir.MapUpdate(name, keys, args), declared


@st.composite
def clauses(draw: Any) -> tuple[ir.Clause, list[ir.MapDecl]]:
    entries = draw(st.sampled_from([3, 4096]))
    made = [draw(updates(serial, entries)) for serial in range(draw(st.integers(1, 3)))]
    stmts: list[ir.Stmt] = [one for one, _ in made]
    if len(stmts) > 1 and draw(st.booleans()):
        stmts = [ir.If(draw(truths(1)), tuple(stmts[:1]), tuple(stmts[1:]))]
    when = draw(st.none() | truths(2))
    return clause(*stmts, when=when), [declared for _, declared in made]


@st.composite
def batches(draw: Any) -> Numpy:
    count = draw(st.integers(1, 30))
    columns: dict[str, Any] = {"nsecs": np.arange(count, dtype=np.uint64)}
    names = st.sampled_from([b"sh", b"", b"nginx", b"a very long nam", b"a very long n"])
    columns["comm"] = np.array(draw(st.lists(names, min_size=count, max_size=count)), dtype="S16")
    for name, of in TYPES.items():
        values = draw(st.lists(ints(of), min_size=count, max_size=count))
        columns[f"args.{name}"] = np.array(values, dtype=f"{'i' if of.signed else 'u'}{of.bits // 8}")
    return Numpy(0, columns)


def both(of: ir.Program, batch: Numpy) -> tuple[Engine, Engine]:
    one, two = engine_of(of)[0], engine_of(of)[0]
    row = one._streamed[0]
    row.run(rows_of(batch, row.columns))
    vector = vectorised(of.clauses[0], columns_of(of.clauses[0]), two._runtime.stores)
    assert vector is not None, "the strategy makes clauses that can be vectorised"
    assert vector.run(batch)
    return one, two


@pytest.mark.parametrize("of", EVERY, ids=name_of)
def test_every_operator_at_every_edge(of: Int) -> None:
    """Each operator over arrays of all pairs of edges, held against unbounded integers."""
    values = edges(of)[:: 1 if of.bits < 32 else 5]
    pairs = [(a, b) for a in values for b in values]
    kind = f"{'i' if of.signed else 'u'}{of.bits // 8}"
    arrays = {
        "args.a": np.array([a for a, _ in pairs], kind),
        "args.b": np.array([b for _, b in pairs], kind),
    }
    columns = Columns(len(pairs), arrays)
    names: dict[ir.Expr, str] = {arg("a", of): "args.a", arg("b", of): "args.b"}
    exact: dict[str, Callable[[int, int], int]] = {
        "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
        "&": lambda a, b: a & b, "|": lambda a, b: a | b, "^": lambda a, b: a ^ b,
        "<<": lambda a, b: a << (b & of.bits - 1), ">>": lambda a, b: a >> (b & of.bits - 1),
    }  # fmt: skip
    with np.errstate(all="ignore"):
        for sign, work in exact.items():
            found = compute(op(arg("a", of), sign, arg("b", of)), names, {})(columns)
            assert found.dtype == kind
            assert found.tolist() == [wrap(work(a, b), of.bits, of.signed) for a, b in pairs]
        for by in [one for one in values if one]:
            for sign, work in (("/", divide), ("%", remainder)):
                found = compute(op(arg("a", of), sign, num(by, of)), names, {})(columns)
                assert found.tolist() == [wrap(work(a, by), of.bits, of.signed) for a, _ in pairs]
        for to in EVERY:
            found = compute(ir.Cast(to, arg("a", of)), names, {})(columns)
            assert found.tolist() == [wrap(a, to.bits, to.signed) for a, _ in pairs]


@settings(max_examples=40)
@given(clauses(), batches())
def test_columns_equal_rows(case: tuple[ir.Clause, list[ir.MapDecl]], batch: Numpy) -> None:
    of = program(case[0], maps=case[1])
    one, two = both(of, batch)
    assert one.maps() == two.maps()
    for name, store in one._runtime.stores.items():
        other = two._runtime.stores[name]
        assert list(store.data) == list(other.data), "the same keys in the same order"
        assert store.dropped == other.dropped


def test_many_keys_of_every_kind() -> None:
    """More keys than the hash table has slots; collisions go through all rounds and the sort."""
    count = 100_000
    rng = np.random.default_rng(7)
    numbers = rng.integers(0, 80_000, count).astype(np.int64) * 0x10001
    names = np.char.mod("k%d", rng.integers(0, 3000, count)).astype("S16")
    for parts in ([numbers], [names], [names, numbers], [numbers.astype(np.int8), names]):
        groups = grouped(parts, count)
        rows = list(zip(*[part.tolist() for part in parts]))
        expected: dict[Any, int] = {}
        for at, key in enumerate(rows):
            expected.setdefault(key, at)
        assert groups.first.tolist() == list(expected.values())
        order = {key: number for number, key in enumerate(expected)}
        assert groups.numbers.tolist() == [order[key] for key in rows]


@pytest.mark.parametrize("bits", range(6))
def test_hist_buckets_at_their_edges(bits: int) -> None:
    values = edges(I64)
    found = buckets_of_hist(np.array(values), None, 1, bits)[0]
    expected: dict[int, int] = {}
    for value in values:
        bucket = hist_bucket(value, bits)
        expected[bucket] = expected.get(bucket, 0) + 1
    assert found == expected
    assert hist_bucket(0) == 1 and hist_bucket(1) == 2 and hist_bucket((1 << 63) - 1) == 64


@given(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(1, 1 << 63),
    st.integers(1, 1 << 62),
    st.lists(ints(I64), min_size=1),
)
def test_lhist_buckets(low: int, width: int, step: int, values: list[int]) -> None:
    high = min(low + width, (1 << 63) - 1)
    if high <= low:
        return
    found = buckets_of_lhist(np.array(values), None, 1, (low, high, step))[0]
    expected: dict[int, int] = {}
    for value in values:
        bucket = lhist_bucket(value, low, high, step)
        expected[bucket] = expected.get(bucket, 0) + 1
    assert found == expected


@pytest.mark.parametrize("kind", ["i8", "u8", "i4", "u1"])
def test_sums_and_extremes_are_exact(kind: str) -> None:
    rng = np.random.default_rng(3)
    limits = np.iinfo(kind)
    values = rng.integers(limits.min, limits.max, 5000, dtype=kind, endpoint=True)
    numbers = rng.integers(0, 7, 5000)
    expected = [[int(v) for v, n in zip(values, numbers) if n == group] for group in range(7)]
    assert totals(values, numbers, 7) == [sum(one) for one in expected]
    assert totals(values, None, 1) == [sum(map(int, values))]
    assert tallies(numbers, 7) == [len(one) for one in expected]
    signed = kind.startswith("i")
    assert extremes(values, numbers, 7, "min", signed) == [min(one) for one in expected]
    assert extremes(values, numbers, 7, "max", signed) == [max(one) for one in expected]


def test_the_engine_takes_the_quick_way_for_big_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    of = program(clause(ir.MapUpdate("@", (COMM_SITE,), ())), maps=[decl("@", "count", COMM)])
    engine, _ = engine_of(of)
    count = 4000
    columns = {
        "nsecs": np.arange(count, dtype=np.uint64),
        "comm": np.array([b"a", b"bc"] * (count // 2), dtype="S16"),
    }
    monkeypatch.setattr(engine._streamed[0], "run", None)
    engine.feed([Numpy(0, columns)], 10)
    assert engine.maps() == {"@": {(b"a",): 2000, (b"bc",): 2000}}


def test_a_full_map_warns_once_and_counts() -> None:
    maps = [decl("@", "count", I64, entries=2)]
    of = program(clause(ir.MapUpdate("@", (arg("a"),), ())), maps=maps)
    columns = {"nsecs": np.arange(5000, dtype=np.uint64), "args.a": np.arange(5000) % 5}
    engine, emitted = engine_of(of)
    engine.feed([Numpy(0, columns)], None)
    assert engine.maps() == {"@": {(0,): 1000, (1,): 1000}}
    (message,) = emitted
    assert isinstance(message, Message) and message.text.startswith("Map full; can't update element.")
    engine.finish()
    assert isinstance(emitted[1], Message) and "(2999 more times)" in emitted[1].text


def test_what_cannot_be_vectorised_says_so() -> None:
    maps = [decl("@", "count", I64), ir.MapDecl("@x", (), I64)]
    unfit: list[tuple[ir.Stmt, ...]] = [
        (ir.MapUpdate("@", (op(num(1), "/", arg("a")),), ()),),
        (ir.MapUpdate("@", (ir.MapGet(I64, "@x", ()),), ()),),
        (ir.MapUpdate("@", (arg("a"),), ()), ir.MapUpdate("@", (arg("b"),), ())),
        (ir.Act("exit"),),
    ]
    for body in unfit:
        engine, _ = engine_of(program(clause(*body), maps=maps))
        assert vectorised(clause(*body), columns_of(clause(*body)), engine._runtime.stores) is None
