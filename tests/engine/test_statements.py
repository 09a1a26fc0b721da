"""Statements, maps, and what user space is asked to do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.engine.programs import (
    COMM_SITE,
    I8,
    I64,
    U32,
    U64,
    arg,
    begin,
    clause,
    decl,
    engine_of,
    num,
    op,
    program,
    rows,
)
from unitrace.contract import ir
from unitrace.contract.errors import BackendError, SpecError, UnitraceError
from unitrace.contract.types import (
    BOOL,
    COMM,
    INT64,
    UINT64,
    Aggregate,
    Array,
    Formatted,
    Member,
    Stack,
    Str,
    Struct,
    Symbol,
    Tuple,
)
from unitrace.engine.compile import MOST_TURNS
from unitrace.output.records import (
    Event,
    Joined,
    MapShown,
    Message,
    Out,
    Printed,
    Text,
    TimeShown,
    ValueShown,
)

X = ir.Var(I64, "x")
N = ir.Var(I64, "i")


def show(expr: ir.Expr) -> ir.Act:
    return ir.Act("print", (expr,))


def shown(*body: ir.Stmt, maps: Any = (), **more: Any) -> list[Any]:
    """The values that a begin clause prints."""
    engine, emitted = engine_of(program(begin(*body), maps=maps), **more)
    engine.begin()
    return [one.value if isinstance(one, ValueShown) else one for one in emitted]


def get(name: str, *key: ir.Expr, of: Any = I64) -> ir.MapGet:
    return ir.MapGet(of, name, key)


# --- control flow --------------------------------------------------------------------------------


def test_if_else_and_variables() -> None:
    body = (
        ir.Assign("x", num(3)),
        ir.If(op(X, ">", num(2)), (ir.Assign("x", op(X, "*", num(10))),), (ir.Assign("x", num(-1)),)),
        ir.If(op(X, "==", num(-1)), (show(num(0)),)),
        show(X),
    )
    assert shown(*body) == [30]


def test_variables_start_at_zero_for_each_event() -> None:
    of = program(clause(ir.If(op(arg("a"), ">", num(5)), (ir.Assign("x", arg("a")),)), show(X)))
    engine, emitted = engine_of(of)
    engine.feed([rows(0, [1, 2, 3], a=[9, 1, 7])], None)
    assert [one.value for one in emitted if isinstance(one, ValueShown)] == [9, 0, 7]


def test_loops_break_and_continue() -> None:
    turn = (
        ir.Assign("i", op(N, "+", num(1))),
        ir.If(op(N, "==", num(2)), (ir.Continue(),)),
        ir.If(op(N, ">", num(4)), (ir.Break(),)),
        show(N),
    )
    assert shown(ir.Loop(ir.Const(BOOL, True), turn)) == [1, 3, 4]
    assert shown(ir.ForRange("i", num(2), num(5), (show(N),))) == [2, 3, 4]
    assert shown(ir.ForRange("i", num(5), num(2), (show(N),))) == []
    assert shown(ir.Unroll(num(3), (ir.Assign("i", op(N, "+", num(1))), show(N)))) == [1, 2, 3]


def test_return_leaves_the_clause_from_within_a_loop() -> None:
    inner = ir.ForRange("i", num(0), num(9), (ir.If(op(N, "==", arg("a")), (ir.Return(),)), show(N)))
    engine, emitted = engine_of(program(clause(inner, show(num(-1)))))
    engine.feed([rows(0, [1, 2], a=[2, 0])], None)
    assert [one.value for one in emitted if isinstance(one, ValueShown)] == [0, 1]
    engine, emitted = engine_of(
        program(clause(ir.If(op(arg("a"), "==", num(2)), (ir.Return(),)), show(arg("a"))))
    )
    engine.feed([rows(0, [1, 2, 3], a=[1, 2, 3])], None)
    assert [one.value for one in emitted if isinstance(one, ValueShown)] == [1, 3]


def test_an_endless_loop_ends() -> None:
    assert MOST_TURNS == 1 << 23  # BPF_MAX_LOOPS; too long to run here
    unrolled = ir.Unroll(num(1000), (ir.Assign("i", op(N, "+", num(1))),))
    assert shown(unrolled, show(N)) == [100]


def test_for_over_a_map_sees_its_content_at_the_start() -> None:
    maps = [ir.MapDecl("@", (I64, Str(8)), I64), decl("@n", "count", I64, signed=False)]
    pair = Tuple((Tuple((I64, Str(8))), I64))
    kv = ir.Var(pair, "kv")
    key = ir.MemberOf(pair.items[0], kv, 0)
    text = ir.Const(Str(8), b"a")
    body = (
        ir.MapSet("@", (num(1), text), num(10)),
        ir.MapSet("@", (num(2), text), num(20)),
        ir.ForEach("kv", "@", pair, (
            show(key), show(ir.MemberOf(I64, kv, 1)),
            ir.MapDelete("@", (ir.MemberOf(I64, key, 0), ir.MemberOf(Str(8), key, 1))),
        )),
        show(ir.Call(INT64, "len", (get("@"),))),
        ir.MapUpdate("@n", (num(7),), ()),
        ir.ForEach("kv", "@n", Tuple((I64, U64)), (show(ir.Var(Tuple((I64, U64)), "kv")),)),
    )  # fmt: skip
    assert shown(*body, maps=maps) == [(1, b"a"), 10, (2, b"a"), 20, 0, (7, 1)]


# --- maps ----------------------------------------------------------------------------------------


def test_plain_maps() -> None:
    maps = [ir.MapDecl("@", (), I64), ir.MapDecl("@k", (Str(8), I64), I64)]
    key = (ir.Const(Str(8), b"a"), num(1))
    has = ir.Call(BOOL, "has_key", (get("@k", *key),))
    body = (
        show(get("@")), show(get("@k", *key)), show(has),
        ir.MapSet("@", (), op(get("@"), "+", num(5))),
        ir.MapSet("@k", key, num(8)),
        show(get("@")), show(get("@k", *key)), show(has),
        ir.MapDelete("@k", key), show(has),
    )  # fmt: skip
    assert shown(*body, maps=maps) == [0, 0, False, 5, 8, True, False]


def aggregated(function: str, values: list[int], *, of: Any = I64, number: bool = True, **more: Any) -> Any:
    """(what a program reads, the snapshot) of an aggregate over values."""
    kind = decl("@", function, **more)
    read = ir.Act("print", (get("@", of=I64 if number else kind.value),))
    args = () if function == "count" else (arg("a", of),)
    engine, emitted = engine_of(program(clause(ir.MapUpdate("@", (), args)), clause(read, at=1), maps=[kind]))
    engine.feed([rows(0, range(len(values)), a=values), rows(1, [len(values)])], None)
    return emitted[-1].value, engine.maps()["@"][()]  # type: ignore[attr-defined]


def test_aggregates() -> None:
    assert aggregated("count", [1, 1, 1]) == (3, 3)
    assert aggregated("sum", [5, -7]) == (-2, -2)
    assert aggregated("min", [5, -7, 3]) == (-7, -7)
    assert aggregated("max", [5, -7, 3]) == (5, 5)
    assert aggregated("avg", [-5, -5, 0]) == (-3, (3, -10))
    assert aggregated("stats", [1, 2, 3], number=False) == ((3, 6), (3, 6))
    buckets = {0: 1, 1: 1, 2: 1, 4: 2}
    assert aggregated("hist", [-1, 0, 1, 4, 7], number=False, parameters=(0,)) == (buckets, buckets)
    linear = {0: 1, 1: 2, 2: 1, 6: 1}
    assert aggregated("lhist", [-1, 0, 1, 2, 99], number=False, parameters=(0, 10, 2)) == (linear, linear)


def test_aggregates_wrap_and_reinterpret() -> None:
    high = (1 << 63) - 1
    assert aggregated("sum", [high, 1])[1] == -(1 << 63)
    assert aggregated("sum", [(1 << 64) - 1, 2], of=U64, signed=False)[1] == 1
    assert aggregated("min", [(1 << 64) - 1, 2], of=U64, signed=False)[1] == 2
    assert aggregated("min", [(1 << 64) - 1, 2], of=U64, signed=True)[1] == -1
    assert aggregated("sum", [-1], of=I8, signed=True)[1] == -1


def test_zero_keeps_keys_and_clear_removes_them() -> None:
    for function, nothing in [("count", 0), ("min", 0), ("max", 0), ("avg", (0, 0)), ("hist", {})]:
        update = ir.MapUpdate("@", (num(1),), () if function == "count" else (num(-5),))
        engine, emitted = engine_of(
            program(
                begin(update, ir.Act("zero", map="@"), ir.Act("print", map="@")),
                maps=[decl("@", function, I64)],
            )
        )
        engine.begin()
        assert emitted[0].content == {(1,): nothing}  # type: ignore[attr-defined]
        engine, emitted = engine_of(
            program(begin(update, ir.Act("zero", map="@"), update), maps=[decl("@", function, I64)])
        )
        engine.begin()
        again = {"count": 1, "min": -5, "max": -5, "avg": (1, -5), "hist": {0: 1}}[function]
        assert engine.maps()["@"] == {(1,): again}
        engine, _ = engine_of(
            program(begin(update, ir.Act("clear", map="@")), maps=[decl("@", function, I64)])
        )
        engine.begin()
        assert engine.maps()["@"] == {}


def test_print_of_a_map_reads_it_then() -> None:
    body = (ir.MapSet("@", (), num(1)), ir.Act("print", map="@"), ir.MapSet("@", (), num(2)),
            ir.Act("print", (num(3), num(2)), map="@"))  # fmt: skip
    (one, two) = shown(*body, maps=[ir.MapDecl("@", (), I64)])
    assert isinstance(one, MapShown) and one.content == {(): 1}
    assert isinstance(two, MapShown) and (two.content, two.top, two.divisor) == ({(): 2}, 3, 2)


def test_print_of_a_scalar_that_was_never_written_shows_its_zero() -> None:
    scalar = ir.MapDecl("@", (), I64)
    (one,) = shown(ir.Act("print", map="@"), maps=[scalar])
    assert one.content == {(): 0}
    body = (ir.MapSet("@", (), num(1)), ir.MapDelete("@", ()), ir.Act("print", map="@"))
    assert shown(*body, maps=[scalar])[0].content == {(): 0}
    engine, _ = engine_of(program(begin(ir.MapSet("@", (), num(1)), ir.MapDelete("@", ())), maps=[scalar]))
    engine.begin()
    assert engine.maps()["@"] == {}


def test_a_map_that_evicts_keeps_the_newest() -> None:
    maps = [ir.MapDecl("@", (I64,), I64, 2, True), decl("@c", "count", I64, entries=1).replace(evicts=True)]
    body = (ir.MapSet("@", (arg("a"),), arg("a")), ir.MapUpdate("@c", (arg("a"),), ()))
    engine, emitted = engine_of(program(clause(*body), maps=maps))
    engine.feed([rows(0, [1, 2, 3, 4], a=[1, 2, 1, 3])], None)
    assert engine.maps() == {"@": {(1,): 1, (3,): 3}, "@c": {(3,): 1}}
    assert emitted == []


def test_a_full_plain_map_drops_new_keys_and_takes_old_ones() -> None:
    maps = [ir.MapDecl("@", (I64,), I64, entries=2)]
    of = program(clause(ir.MapSet("@", (arg("a"),), arg("b"))), maps=maps)
    engine, emitted = engine_of(of)
    engine.feed([rows(0, [1, 2, 3, 4], a=[1, 2, 3, 1], b=[10, 20, 30, 40])], None)
    assert engine.maps()["@"] == {(1,): 40, (2,): 20}
    (message,) = emitted
    assert isinstance(message, Message) and "helper: map_update_elem, retcode: -7" in message.text


def test_time_series_keep_the_newest_intervals() -> None:
    maps = [decl("@", "tseries", parameters=(10, 3))]
    engine, _ = engine_of(program(clause(ir.MapUpdate("@", (), (arg("a"),))), maps=maps))
    engine.feed([rows(0, [5, 12, 15, 31, 52], a=[1, 2, 3, 4, -5])], None)
    assert engine.maps()["@"][()] == {3: 4, 5: -5}
    engine.feed([rows(0, [9, 58], a=[7, 9])], None)
    assert engine.maps()["@"][()] == {3: 4, 5: 9}
    for which, expected in enumerate([2, 9, -5, 4], 1):
        maps = [decl("@", "tseries", parameters=(10, 3, which))]
        engine, _ = engine_of(program(clause(ir.MapUpdate("@", (), (arg("a"),))), maps=maps))
        engine.feed([rows(0, [52, 58], a=[-5, 9])], None)
        assert engine.maps()["@"][()] == {5: expected}


# --- values --------------------------------------------------------------------------------------


def test_tuples_arrays_and_structs() -> None:
    pair = ir.TupleOf(Tuple((I64, Str(4))), (num(1), ir.Const(Str(4), b"x")))
    assert shown(show(pair), show(ir.MemberOf(Str(4), pair, 1))) == [(1, b"x"), b"x"]
    engine, emitted = engine_of(program(
        clause(show(ir.Index(U32, arg("raw", Array(U32, 2)), num(1))),
               show(ir.Index(I64, arg("listed", Array(I64, 2)), num(0))),
               show(ir.Index(U32, arg("raw", Array(U32, 2)), num(2))))))  # fmt: skip
    engine.feed([rows(0, [1], raw=[b"\1\0\0\0\2\0\0\0"], listed=[(8, 9)])], None)
    assert [one.value for one in emitted if isinstance(one, ValueShown)] == [2, 8, 0]
    assert any(isinstance(one, Message) and "out of bounds" in one.text for one in emitted)
    of = Struct("struct p", 8, (Member("a", U32, 0), Member("b", U32, 4, 3, 5)))
    engine, emitted = engine_of(program(
        clause(show(ir.MemberOf(U32, arg("s", of), 0)), show(ir.MemberOf(U32, arg("s", of), 1)))))  # fmt: skip
    engine.feed([rows(0, [1], s=[b"\7\0\0\0\xf8\0\0\0"])], None)
    assert [one.value for one in emitted if isinstance(one, ValueShown)] == [7, 31]


def test_a_column_of_truth_is_a_truth() -> None:
    engine, emitted = engine_of(
        program(clause(show(arg("t", BOOL)), show(ir.Unary(BOOL, "!", arg("t", BOOL)))))
    )
    engine.feed([rows(0, [1], t=[1])], None)
    assert [one.value for one in emitted if isinstance(one, ValueShown)] == [True, False]
    assert isinstance(emitted[0], ValueShown) and emitted[0].value is True


def test_functions() -> None:
    def call(name: str, *args: ir.Expr, of: Any = I64) -> Any:
        (value,) = shown(show(ir.Call(of, name, args)))
        return value

    def text(value: bytes) -> ir.Const:
        return ir.Const(Str(64), value)

    assert call("strncmp", text(b"hello"), text(b"help"), num(3)) == 0
    assert call("strncmp", text(b"hello"), text(b"help"), num(4)) != 0
    assert call("strcontains", text(b"hello"), text(b"ell"), of=BOOL) is True
    assert call("strlen", text(b"hello")) == 5
    assert call("bswap", num(0x1234, U32), of=U32) == 0x34120000
    assert call("ntop", num(0x0100007F, U32)) == b"\x7f\0\0\1"
    assert call("memcmp", text(b"ab"), text(b"ac"), num(2)) == -1
    assert call("str", text(b"hello"), num(3), of=Str(64)) == b"he"
    assert call("strerror", num(2), of=Str(64)) == b"No such file or directory"
    with pytest.raises(SpecError):
        call("no_such_function")


def test_own_memory_is_read_as_the_kernel_would() -> None:
    import ctypes

    held = ctypes.create_string_buffer(b"in memory\0more")
    address = num(ctypes.addressof(held), U64)
    assert shown(show(ir.Text(Str(64), address))) == [b"in memory"]
    assert shown(show(ir.Text(Str(4), address))) == [b"in "]
    assert shown(show(ir.Load(U32, address, 3))) == [int.from_bytes(b"memo", "little")]
    assert shown(show(ir.Load(U32, num(0, U64))), show(ir.Text(Str(9), num(8, U64)))) == [0, b""]
    with pytest.raises(BackendError):
        shown(show(ir.Load(U32, address, 0, "kernel")))


# --- acts ----------------------------------------------------------------------------------------


def test_begin_reads_our_own_process() -> None:
    own = program(begin(*(show(ir.Site(U32, name)) for name in ("pid", "tid", "uid", "usermode")),
                        show(COMM_SITE), show(ir.Site(Str(64), "probe")), show(ir.Site(U32, "cpu"))))  # fmt: skip
    engine, emitted = engine_of(own)
    before = time.monotonic_ns()
    engine.begin()
    values = [one.value for one in emitted if isinstance(one, ValueShown)]
    assert values[0] == os.getpid() and values[2] == os.getuid() and values[3] == 1
    assert values[4] == Path("/proc/thread-self/comm").read_bytes().rstrip(b"\n")
    assert values[5] == b"begin" and values[6] < 4096
    (now,) = shown(show(ir.Site(U64, "nsecs")))
    assert now >= before


def test_printf_errorf_and_exit() -> None:
    span = ir.Span(1, 2, 3)
    body = (
        ir.Act("printf", (num(1), COMM_SITE), b"%d %s\n"),
        ir.Act("errorf", (), b"bad\n", span=span),
        ir.Act("exit", (num(3),)),
        show(num(9)),
    )
    engine, emitted = engine_of(program(begin(*body), begin(show(num(1)), at=1)))
    engine.begin()
    one, two = emitted
    assert isinstance(one, Printed) and one.format == b"%d %s\n" and one.types == (I64, COMM)
    assert one == Printed(one.format, one.types, one.values) and hash(one) == hash(one.replace())
    assert isinstance(two, Printed) and (two.level, two.span) == ("errorf", span)
    assert engine.exit_code == 3


def test_exit_stops_at_that_very_event_and_end_still_runs() -> None:
    of = program(
        clause(ir.If(op(arg("a"), "==", num(2)), (ir.Act("exit"),)), show(arg("a"))),
        clause(show(num(-1)), at=1),
        clause(show(num(-9)), at=2, kind="end", name=""),
    )
    engine, emitted = engine_of(of)
    engine.feed([rows(0, [1, 3, 5], a=[1, 2, 3]), rows(1, [2, 4])], None)
    engine.feed([rows(1, [6])], None)
    engine.end()
    assert [one.value for one in emitted if isinstance(one, ValueShown)] == [1, -1, -9]
    assert engine.exit_code == 0 and engine.next_due() is None


def test_commands_that_wait_when_it_ends() -> None:
    """They are left out, and counted."""
    system = clause(ir.Act("system", (), b"sleep 0.2; echo ran"))
    engine, emitted = engine_of(program(system), unsafe=True)
    engine.hurry()
    engine.feed([rows(0, range(50))])
    ran = sum(one == Text("system", b"ran\n") for one in emitted)
    assert 1 <= ran < 10
    assert engine.losses == {"system() left out at the end": 50 - ran}


def test_cat_system_time_and_join(tmp_path: Path) -> None:
    file = tmp_path / "some file"
    file.write_bytes(b"content\n")
    name = ir.Const(Str(200), str(file).encode())
    emitted: list[Out] = shown(
        ir.Act("cat", (name,), b"%s"),
        ir.Act("cat", (), b"/no/such/file"),
        ir.Act("system", (num(5),), b"echo out %d; echo err >&2"),
        ir.Act("time", (), b"%Y"),
        ir.Act("join", tuple(ir.Const(Str(8), word) for word in (b"a", b"b", b"", b"c")), b" "),
        unsafe=True,
    )
    assert emitted[0] == Text("cat", b"content\n")
    assert emitted[1] == Message("error", "failed to open file '/no/such/file' (No such file or directory)")
    assert emitted[2] == Text("system", b"out 5\nerr\n")
    assert emitted[3] == TimeShown(time.strftime("%Y").encode())
    assert emitted[4] == Joined(b"a b")


def test_show_and_many_rows() -> None:
    from unitrace.output.rows import single

    of = program(
        clause(ir.Show(("a", "b"), (arg("a"), op(arg("a"), "+", num(1)))), when=op(arg("a"), "!=", num(3)))
    )
    engine, emitted = engine_of(of)
    for count in (2, 500):
        columns = {"a": list(range(count)), "comm": [b"sh"] * count, "cpu": [1] * count, "tid": [7] * count}
        emitted.clear()
        engine.feed([rows(0, range(count), **columns)], None)
        plain = [one for record in emitted for one in single(record)]
        label = "tracepoint:sched:sched_switch"
        assert plain == [
            Event(at, 1, b"sh", 7, label, ("a", "b"), (I64, I64), (at, at + 1))
            for at in range(count)
            if at != 3
        ]


def test_a_map_kept_in_the_kernel_is_read_cleared_and_zeroed_there() -> None:
    class Kept:
        asked: list[str] = []  # noqa: RUF012

        def snapshot(self, name: str) -> Any:
            return {(1,): 5}

        def clear(self, name: str) -> None:
            self.asked.append("clear " + name)

        def zero(self, name: str) -> None:
            self.asked.append("zero " + name)

    body = (ir.Act("print", map="@"), ir.Act("clear", map="@"), ir.Act("zero", map="@"))
    engine, emitted = engine_of(program(begin(*body), maps=[decl("@", "count", I64)]), kept={"@": Kept()})
    engine.begin()
    assert emitted[0].content == {(1,): 5}  # type: ignore[attr-defined]
    assert Kept.asked == ["clear @", "zero @"]
    engine.finish()
    assert emitted[-1] == MapShown(decl("@", "count", I64), {(1,): 5})


def test_maps_are_shown_in_the_order_of_their_names() -> None:
    maps = [ir.MapDecl("@b", (), I64), ir.MapDecl("@a", (), I64)]
    engine, emitted = engine_of(program(maps=maps))
    engine.finish()
    assert [one.decl.name for one in emitted if isinstance(one, MapShown)] == ["@a", "@b"]
    engine, emitted = engine_of(program(maps=maps, config=(("print_maps_on_exit", False),)))
    engine.finish()
    assert emitted == []


# --- misuse --------------------------------------------------------------------------------------

count_of = ir.MapUpdate("@c", (), ())


@pytest.mark.parametrize(
    "body",
    [
        (ir.Break(),),
        (ir.Act("no_such_act"),),
        (ir.Act("system", (), b"true"),),
        (ir.Act("signal", (num(9),)),),
        (ir.MapSet("@c", (), num(1)),),
        (ir.MapUpdate("@p", (), ()),),
        (show(get("@none")),),
        (show(ir.Binary(I64, "**", num(1), num(2))),),
        (ir.Act("print"),),
        (show(ir.Load(U32, ir.Var(U64, "x"))),),
    ],
)
def test_misuse_is_an_error_of_our_own(body: tuple[ir.Stmt, ...]) -> None:
    maps = [ir.MapDecl("@c", (), Aggregate("count")), ir.MapDecl("@p", (), INT64)]
    of = program(clause(*body), maps=maps)
    with pytest.raises(UnitraceError):
        from unitrace.engine.engine import Engine

        Engine(of, {0: (of.clauses[0], ())}, {}, print)


def test_nesting_too_deep_is_an_error_of_our_own() -> None:
    stmt: ir.Stmt = ir.Return()
    for _ in range(300):
        stmt = ir.If(ir.Const(BOOL, True), (stmt,))
    with pytest.raises(SpecError):
        engine_of(program(begin(stmt)))
    loop: ir.Stmt = ir.Break()
    for _ in range(30):
        loop = ir.Loop(ir.Const(BOOL, True), (loop,))
    with pytest.raises(SpecError):
        engine_of(program(begin(loop)))
    deep: ir.Expr = num(1)
    for _ in range(5000):
        deep = ir.Unary(I64, "-", deep)
    with pytest.raises(SpecError):
        engine_of(program(begin(show(deep))))


def test_an_interval_of_nonsense_is_an_error() -> None:
    engine, _ = engine_of(program(clause(kind="interval", scope="s", name="0")))
    with pytest.raises(SpecError):
        engine.begin()


def test_unsigned_map_values_stay_unsigned() -> None:
    maps = [ir.MapDecl("@", (UINT64,), UINT64)]
    body = (ir.MapSet("@", (num((1 << 64) - 1, U64),), op(num(0, U64), "-", num(1, U64))),)
    engine, _ = engine_of(program(begin(*body), maps=maps))
    engine.begin()
    assert engine.maps()["@"] == {((1 << 64) - 1,): (1 << 64) - 1}


def test_values_are_rendered_as_people_read_them() -> None:
    engine, _ = engine_of(program())
    render = engine.resolve
    assert render(Formatted("inet", 24), b"\x7f\0\0\1") == b"127.0.0.1"
    assert render(Formatted("inet", 24), bytes(15) + b"\1") == b"::1"
    assert render(Formatted("mac", 6), bytes((5, 4, 3, 2, 1, 0xAB))) == b"05:04:03:02:01:AB"
    assert render(Formatted("strerror"), 2) == b"No such file or directory"
    assert render(Formatted("timestamp", 16, "%Y"), time.monotonic_ns()) == time.strftime("%Y").encode()
    assert render(Symbol("user"), (1, 0)) == b"0x1"
    assert render(Stack("kernel"), (1,)).startswith(b"\n    ")


def test_our_own_functions_have_names() -> None:
    import ctypes

    libc = ctypes.CDLL(None)
    address = ctypes.cast(libc.getpid, ctypes.c_void_p).value
    engine, _ = engine_of(program())
    assert b"getpid" in engine.resolve(Symbol("user"), (address, os.getpid()))
