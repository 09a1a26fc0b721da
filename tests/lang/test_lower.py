"""From text to IR: what each part of the language becomes."""

from __future__ import annotations

import pytest

from unitrace.contract import ir
from unitrace.contract.offer import columns_of, walk
from unitrace.contract.types import (
    BOOL,
    COMM,
    INT32,
    INT64,
    UINT32,
    UINT64,
    Aggregate,
    Array,
    Int,
    Member,
    Pointer,
    Stack,
    Str,
    Struct,
    Tuple,
)

from .recorded import body, compiled

CHAR = Int(8, True)


def value(text: str) -> ir.Expr:
    """The IR of an expression."""
    (act,) = body(f"print({text})")
    assert isinstance(act, ir.Act)
    return act.args[0]


@pytest.mark.parametrize(
    ("text", "type_", "result"),
    [("1", Int(8, True), 1), ("-1", Int(8, True), -1), ("300", Int(16, True), 300), ("1 + 2", Int(8, True), 3),
     ("18446744073709551615", UINT64, (1 << 64) - 1), ("-7 / 2", Int(8, True), -3), ("-7 % 3", Int(8, True), -1),
     ("(uint8)300", Int(8, False), 44), ("(int8)200", Int(8, True), -56), ("~0", UINT64, (1 << 64) - 1),
     ("1 << 40", INT64, 1 << 40), ("(uint64)1 - (uint64)2", INT64, -1), ("3 > 2", BOOL, True),
     ("!5", BOOL, False), ("\"a\" == \"a\"", BOOL, True), ("true && 0", BOOL, False), ("1 ? 2 : 3", Int(8, True), 2),
     ("5ms", Int(32, True), 5_000_000), ("sizeof(uint32)", UINT64, 4), ("sizeof(int32[4])", UINT64, 16),
     ("9223372036854775807 + 1", UINT64, 1 << 63), ("0x7fffffffffffffff * 2", UINT64, (1 << 64) - 2)],
)  # fmt: skip
def test_constants(text: str, type_: object, result: object) -> None:
    made = value(text)
    assert isinstance(made, ir.Const)
    assert (made.type, made.value) == (type_, result)


def test_division_by_a_constant_zero_is_left_to_run_time() -> None:
    assert isinstance(value("pid / 0"), ir.Binary)


def test_operands_have_one_type() -> None:
    text = "tracepoint:sched:sched_switch { $a = pid + args.prev_pid; $b = pid < args.prev_state; $c = nsecs >> 3; }"
    for expr in walk(compiled(text).program.clauses[0].body):
        if isinstance(expr, ir.Binary):
            assert expr.left.type == expr.right.type


def test_a_literal_takes_the_other_s_type() -> None:
    (clause,) = compiled(
        "tracepoint:sched:sched_switch /pid == 1234 && args.prev_state < 0/ { }"
    ).program.clauses
    pid = ir.Binary(BOOL, "==", ir.Site(UINT32, "pid"), ir.Const(UINT32, 1234))
    state = ir.Binary(BOOL, "<", ir.Site(INT64, "args", "prev_state"), ir.Const(INT64, 0))
    assert clause.predicate == ir.Binary(BOOL, "&&", pid, state)


def test_a_number_as_a_condition_is_compared_with_zero() -> None:
    (clause,) = compiled("tracepoint:sched:sched_switch /pid/ { }").program.clauses
    assert clause.predicate == ir.Binary(BOOL, "!=", ir.Site(UINT32, "pid"), ir.Const(UINT32, 0))


@pytest.mark.parametrize(
    ("text", "aggregate"),
    [("count()", Aggregate("count")), ("sum(nsecs)", Aggregate("sum")), ("sum(-1)", Aggregate("sum", True)),
     ("hist(pid)", Aggregate("hist", True, (0,))), ("hist(pid, 3)", Aggregate("hist", True, (3,))),
     ("lhist(pid, 0, 100, 10)", Aggregate("lhist", True, (0, 100, 10))), ("avg(pid)", Aggregate("avg")),
     ("min(pid)", Aggregate("min")), ("max(pid)", Aggregate("max")), ("stats(pid)", Aggregate("stats"))],
)  # fmt: skip
def test_aggregates(text: str, aggregate: Aggregate) -> None:
    program = compiled(f"begin {{ @[comm, pid] = {text}; }}").program
    assert program.maps == (ir.MapDecl("@", (COMM, UINT32), aggregate, 4096),)
    (update,) = program.clauses[0].body
    assert isinstance(update, ir.MapUpdate)
    assert update.key == (ir.Site(COMM, "comm"), ir.Site(UINT32, "pid"))


def test_types_of_a_map_are_those_of_the_whole_program() -> None:
    program = compiled("begin { @x[1] = 1; print(@x[1]); } end { @x[70000] = nsecs; }").program
    assert program.map("@x") == ir.MapDecl("@x", (Int(32, True),), UINT64, 4096)
    first = program.clauses[0].body[0]
    assert first == ir.MapSet("@x", (ir.Const(Int(32, True), 1),), ir.Const(UINT64, 1))


def test_a_map_may_be_read_before_it_is_set() -> None:
    program = compiled("begin { print(@c); @a = @b; @b = @c; } end { @c = 1; }").program
    assert {decl.name for decl in program.maps} == {"@a", "@b", "@c"}


def test_increment_of_a_map() -> None:
    program = compiled("begin { @x++; }").program
    before = ir.MapGet(INT64, "@x", ())
    assert program.clauses[0].body == (
        ir.MapSet("@x", (), ir.Binary(INT64, "+", before, ir.Const(INT64, 1))),
    )


def test_an_increment_inside_an_expression_happens_in_order() -> None:
    first, second, third = body("@y = @x++ + @x;")[:3]
    assert isinstance(first, ir.Assign) and first.value == ir.MapGet(INT64, "@x", ())
    assert isinstance(second, ir.MapSet) and isinstance(third, ir.MapSet)
    assert third.value == ir.Binary(INT64, "+", ir.Var(INT64, first.name), ir.MapGet(INT64, "@x", ()))


def test_what_the_right_side_does_is_done_only_where_it_is_evaluated() -> None:
    made = body("if (pid && @x++) { print(1) }")
    assert isinstance(made[0], ir.Assign)
    assert isinstance(made[1], ir.If)
    assert any(isinstance(stmt, ir.MapSet) for stmt in made[1].then)


def test_scopes() -> None:
    made = body('if (pid) { $x = 1; print($x); } else { $x = "s"; print($x); } $x = nsecs; print($x);')
    assert isinstance(made[0], ir.If)
    firsts = (made[0].then[0], made[0].otherwise[0], made[1])
    names = [stmt.name for stmt in firsts if isinstance(stmt, ir.Assign)]
    assert len(set(names)) == 3


def test_loops() -> None:
    made = body('@m[1, "a"] = 2; for ($kv : @m) { print($kv.0.1); continue; } for ($i : 0..3) { break; }')
    each, counted = made[1:3]
    assert isinstance(each, ir.ForEach)
    assert each.type == Tuple((Tuple((CHAR, Str(2))), CHAR))
    assert each.body[1] == ir.Continue()
    assert isinstance(counted, ir.ForRange)
    assert (counted.low, counted.high) == (ir.Const(INT64, 0), ir.Const(INT64, 3))


def test_tracepoint_strings() -> None:
    text = "tracepoint:sched:sched_switch { @[args.prev_comm, args.note] = count(); }"
    (update,) = compiled(text).program.clauses[0].body
    assert isinstance(update, ir.MapUpdate)
    assert update.key[0] == ir.Site(Str(16), "args", "prev_comm")
    assert isinstance(update.key[1].type, Str)


def test_str_reads_user_memory_in_system_calls() -> None:
    (act,) = (
        compiled("tracepoint:syscalls:sys_enter_openat { print(str(args.filename)); }")
        .program.clauses[0]
        .body
    )
    pointer = ir.Site(Pointer(CHAR, "user"), "args", "filename")
    assert isinstance(act, ir.Act)
    assert act.args == (ir.Text(Str(1024), pointer, "user"),)


@pytest.mark.parametrize(
    ("text", "length"), [("str(arg1)", 1024), ("str(arg1, 10)", 10), ("str(arg1, 5000)", 1024)]
)
def test_length_of_strings(text: str, length: int) -> None:
    (act,) = compiled(f"kprobe:vfs_read {{ print({text}); }}").program.clauses[0].body
    assert isinstance(act, ir.Act)
    assert act.args == (ir.Text(Str(length), ir.Site(INT64, "arg", 1)),)


STRUCTS = (
    "struct B { char name[8]; int n[4]; } struct A { int x; unsigned a:4, b:8; struct B b1; struct B *b2; } "
)


@pytest.mark.parametrize(
    ("text", "made"),
    [("$a->x", "load 0 4"), ("$a.b1.n[2]", "load 24 4"), ("$a.b2.n[1]", "load 12 4"), ("$a.b", "bits 4 8")],
)
def test_members(text: str, made: str) -> None:
    program = compiled(STRUCTS + f"kprobe:vfs_read {{ $a = (struct A *)arg0; print({text}); }}").program
    act = program.clauses[0].body[-1]
    assert isinstance(act, ir.Act)
    load = act.args[0]
    assert isinstance(load, ir.Load)
    kind, *numbers = made.split()
    found = (load.offset, load.type.size) if kind == "load" else (load.bit_offset, load.bit_size)
    assert found == tuple(map(int, numbers))


def test_a_string_that_is_cut_is_printed_with_the_trailer() -> None:
    (clause,) = compiled("config = { max_strlen = 5 } kprobe:vfs_read { print(str(arg1)); }").program.clauses
    (act,) = clause.body
    assert isinstance(act, ir.Act)
    (choice,) = act.args
    assert isinstance(choice, ir.Choice)
    assert choice.otherwise == ir.Text(Str(6), ir.Site(INT64, "arg", 1))
    assert ir.Const(Str(3), b"..") in [*walk(choice.then)]


def test_an_array_of_char_may_be_text_to_its_last_byte() -> None:
    text = (
        STRUCTS + "kprobe:vfs_read { print((((struct B *)arg0)->name, buf(((struct B *)arg0)->name, 8))); }"
    )
    (act,) = compiled(text).program.clauses[0].body
    assert isinstance(act, ir.Act)
    (pair,) = act.args
    assert isinstance(pair, ir.TupleOf)
    name, bytes_of = pair.items
    assert isinstance(name, ir.Text) and name.type == Str(9)
    assert isinstance(bytes_of, ir.Call) and bytes_of.args[0] == name.pointer


def test_signed_bit_fields_have_zeros_in_front() -> None:
    text = "struct S { int a:4; } kprobe:vfs_read { print(((struct S *)arg0)->a); }"
    (act,) = compiled(text).program.clauses[0].body
    assert isinstance(act, ir.Act)
    (value,) = act.args
    assert isinstance(value, ir.Cast) and value.type == INT32
    assert isinstance(value.operand, ir.Load) and value.operand.type == UINT32


def test_tuples_are_laid_out_as_c_does() -> None:
    pair = Struct("struct P", 8, (Member("a", INT32, 0), Member("b", INT32, 4)))
    assert [Tuple((INT32, of)).size for of in (Array(INT32, 4), pair, INT64)] == [20, 12, 16]


def test_a_variable_that_stands_for_an_argument_can_be_streamed() -> None:
    program = compiled(
        STRUCTS + "kprobe:vfs_read { $a = (struct A *)arg0; @[$a.b2.name] = count(); }"
    ).program
    (clause,) = program.clauses
    assert [type(stmt) for stmt in clause.body] == [ir.MapUpdate]
    text, *_ = columns_of(clause)[1:]
    assert isinstance(text.value, ir.Text)


@pytest.mark.parametrize(
    "text", ["$a = arg0; $a = arg1; print(str($a));", "if (pid) { $a = arg0; print(1); } let $b; $b = arg1; $b++; print(str($b));"]
)  # fmt: skip
def test_other_variables_are_left_alone(text: str) -> None:
    stmts = compiled(f"kprobe:vfs_read {{ {text} }}").program.clauses[0].body
    assert any(isinstance(expr, ir.Var) for expr in walk(stmts))


def test_probes() -> None:
    program = compiled("BEGIN,END { } i:ms:10 { } kr:vfs_read { } t:sched:sched_* { } sc:openat { }").program
    probes = [clause.probe for clause in program.clauses]
    assert [probe.label for probe in probes] == [
        "begin", "end", "interval:ms:10", "kretprobe:vfs_read", "tracepoint:sched:sched_switch",
        "tracepoint:sched:sched_wakeup", "syscall:openat",
    ]  # fmt: skip
    assert (probes[2].scope, probes[2].name) == ("ms", "10")
    assert (probes[6].kind, probes[6].scope, probes[6].name) == ("tracepoint", "syscalls", "sys_enter_openat")
    assert [clause.ordinal for clause in program.clauses] == list(range(7))


def test_do_sys_open_is_followed() -> None:
    found = compiled("kprobe:do_sys_open")
    assert found.program.clauses[0].probe.name == "do_sys_openat2"
    assert len(found.notices) == 1 and "do_sys_openat2" in found.notices[0]
    exact = compiled("kprobe:do_sys_open", exact_probes=True)
    assert exact.program.clauses[0].probe.name == "do_sys_open" and not exact.notices


def test_a_renamed_function_is_followed_only_where_it_is_gone() -> None:
    assert compiled("kprobe:_do_fork").program.clauses[0].probe.name == "kernel_clone"
    assert compiled("kprobe:__kmalloc").program.clauses[0].probe.name == "__kmalloc"


def test_successors_are_no_chain() -> None:
    from unitrace.lang.successors import SUCCESSORS

    for one in SUCCESSORS.values():
        assert one.name not in one.now and one.why


def test_do_sys_open_stays_where_it_still_fires() -> None:
    from unitrace.lang import compile_text

    from .recorded import machine

    found = compile_text("kprobe:do_sys_open", machine(kernel_version=[4, 19]))
    assert found.program.clauses[0].probe.name == "do_sys_open"


def test_a_bare_probe_shows_its_arguments() -> None:
    (clause,) = compiled("tracepoint:syscalls:sys_enter_openat /pid == 1/").program.clauses
    (show,) = clause.body
    assert isinstance(show, ir.Show)
    assert show.names == ("dfd", "filename", "flags", "mode")
    assert show.values[0] == ir.Cast(INT32, ir.Site(INT64, "args", "dfd")), "an int, as C has it"
    assert isinstance(show.values[1], ir.Text)
    assert clause.predicate is not None


def test_stacks_symbols_and_times() -> None:
    assert value("kstack(raw, 3)") == ir.Site(Stack("kernel", 3, "raw"), "kstack")
    assert value("nsecs(boot)") == ir.Site(UINT64, "boot")
    made = value('strftime("%H", nsecs)')
    assert isinstance(made, ir.Call) and made.function == "strftime"


def test_macros() -> None:
    text = "macro twice(x) { x + x } macro set($a, @m) { $a = 2; @m[1] = $a; } "
    stmts = compiled(text + "begin { $v = 1; set($v, @k); print(twice(3)); }").program.clauses[0].body
    assert stmts[-1].args == (ir.Const(CHAR, 6),)  # type: ignore[attr-defined]
    assert stmts[1] == ir.Assign("v", ir.Const(CHAR, 2))


def test_the_command_line() -> None:
    text = 'begin { print(($1, str($2), $#, getopt("n", 5), getopt("b"), $3)); }'
    (act,) = compiled(text, positional=("42", "x y", "--n=7", "--b")).program.clauses[0].body
    assert isinstance(act, ir.Act)
    (made,) = act.args
    assert isinstance(made, ir.TupleOf)
    assert [item.value for item in made.items] == [42, b"x y", 2, 7, True, 0]  # type: ignore[attr-defined]


def test_delete_and_has_key() -> None:
    stmts = body("@x[1] = 1; delete(@x, 1); $d = delete(@x[1]); $h = has_key(@x, 2);")
    assert isinstance(stmts[1], ir.MapDelete)
    assert [type(stmt) for stmt in stmts[2:]] == [ir.Assign, ir.MapDelete, ir.Assign, ir.Assign]


def test_exit_ends_the_clause() -> None:
    assert body("exit(3);")[1] == ir.Return()


def test_enums_and_defines() -> None:
    text = (
        "#define SIZE (4 << 2)\nenum color { RED, GREEN = 7 }; begin { print((SIZE, GREEN, (enum color)0)); }"
    )
    (act,) = compiled(text).program.clauses[0].body
    assert isinstance(act, ir.Act) and isinstance(act.args[0], ir.TupleOf)
    assert [item.value for item in act.args[0].items] == [16, 7, 0]  # type: ignore[attr-defined]


def test_many_statements_take_one_pass_each() -> None:
    text = "begin { " + "".join(f"@m{i} = {i}; " for i in range(2000)) + "}"
    assert len(compiled(text).program.maps) == 2000
