"""Misuse: the message, and where the caret stands."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unitrace.contract.errors import ProbeError, SpecError, marked
from unitrace.contract.ir import Const
from unitrace.contract.machine import Answer
from unitrace.contract.offer import walk
from unitrace.lang import compile_text
from unitrace.lang.compiler import REMOVED
from unitrace.lang.kernel_probes import NOT_TRACEABLE

from .recorded import compiled, machine, refusal

MISUSE = (
    # the program; what is marked in it; the message; part of the remedy
    ("begin { print($b) }", "$b", "Undefined or undeclared variable: $b", ""),
    ("begin { $a = 1; $a = \"x\" }", "$a = \"x\"", "trying to assign value of type 'string[2]' when variable", ""),
    ("begin { @x = 1; @x = \"a\" }", "@x = \"a\"", "when map already has a type 'int8'", ""),
    ("begin { @x = count(); @x = 1 }", "@x = 1", "when map already has a type 'count_t'", ""),
    ("begin { @x[1] = 1; @x = 2 }", "@x", "used as a map without an explicit key (scalar map)", ""),
    ("begin { @g[1, \"ab\"] = 1; print(@g[1, 2]) }", "@g[1, 2]",
     "Argument mismatch for @g: trying to access with arguments: '(int8,int8)' when map expects arguments: "
     "'(int8,string[3])'", ""),
    ("begin { print(@nope[1]) }", "@nope[1]", "Undefined map: @nope", ""),
    ("begin { $a = 1; $b = &$a; $a = 2 }", "$a = 2", "$a can't be changed any more: its address was taken", ""),
    ("begin { @m = 1; $b = &@m }", "&@m", "the address of a map can't be taken", ""),
    ("kprobe:vfs_read { $a = 1; print(*((int8 *)&$a)) }", "&$a", "can't be taken in kprobe probes", "by its name"),
    ("begin { print(10 / 0) }", "10 / 0", "unable to fold literals due to overflow or underflow", ""),
    ("begin { print(5 << 64) }", "5 << 64", "unable to fold literals due to overflow or underflow", ""),
    ("begin { print(0xffffffffffffffff + 1) }", "0xffffffffffffffff + 1", "unable to fold literals", ""),
    ("begin { foo(1) }", "foo(1)", "Unknown function: 'foo'", ""),
    ("begin { prinf(\"x\") }", "prinf(\"x\")", "Unknown function: 'prinf'", "printf"),
    ("begin { print(comn) }", "comn", "Unknown identifier: 'comn'", "comm"),
    ("begin { @ = hist() }", "hist()", "hist() requires at least one argument (0 provided)", ""),
    ("begin { @ = count(1) }", "count(1)", "count() requires no arguments (1 provided)", ""),
    ("begin { @ = hist(1, 9) }", "hist(1, 9)", "hist: bits 9 must be 0..5", ""),
    ("begin { @ = lhist(1, 10, 1, 1) }", "lhist(1, 10, 1, 1)", "lhist() min must be less than max", ""),
    ("begin { @ = sum(\"a\") }", "sum(\"a\")", "sum() only supports integer arguments (string[2] provided)", ""),
    ("begin { $x = count() }", "count()", "count() must be assigned directly to a map", ""),
    ("begin { printf(\"%d %d\", 1) }", "printf(\"%d %d\", 1)",
     "not enough arguments for format string (1 supplied, 2 expected)", ""),
    ("begin { printf(\"%d\", \"a\") }", "printf(\"%d\", \"a\")", "unsupported format specifier for type", "%s"),
    ("begin { printf(1) }", "1", "printf() expects a string literal as the first argument (int8 provided)", ""),
    ("begin { if (comm == 1) { } }", "(comm == 1)", "Type mismatch for '==': comparing string[16] with int8", ""),
    ("begin { if (comm < \"a\") { } }", "(comm < \"a\")",
     "The < operator can not be used on expressions of types string[16], string[2]", ""),
    ("begin { if (comm) { } }", "(comm)", "Invalid condition: string[16]", ""),
    ("begin { $x = -comm }", "-comm", "The - operator can not be used on expressions of type 'string[16]'", ""),
    ("begin { unroll(101) { } }", "unroll(101) { }", "unroll maximum value is 100", ""),
    ("begin { unroll(0) { } }", "unroll(0) { }", "unroll minimum value is 1", ""),
    ("begin { break; }", "break", "'break' statement not in a loop", ""),
    ("begin { @x = 1; for ($k : @x) { } }", "@x", "has no explicit keys (scalar map)", ""),
    ("begin { @x = 1; has_key(@x, 1) }", "has_key(@x, 1)", "call to has_key() expects a map with explicit keys", ""),
    ("begin { @x = 1; $l = len(@x) }", "len(@x)",
     "call to len() expects a map with explicit keys (non-scalar map)", ""),
    ("begin { $t = (1, 2); print($t.2) }", "$t.2", "Invalid tuple index: 2. Found 2 elements in tuple.", ""),
    ("begin { $t = (a=1); print($t.b) }", "$t.b", "Record does not contain a field named 'b'", ""),
    ("begin { $t = (1, 2); $t.0 = 3; }", "$t.0 = 3", "Tuples and records are immutable once created", ""),
    ("begin { print(arg0) }", "arg0", "The arg0 builtin can not be used with 'begin' probes", ""),
    ("kprobe:vfs_read { print(retval) }", "retval", "The retval builtin can not be used with 'kprobe' probes",
     "kretprobe"),
    ("tracepoint:sched:sched_switch { print(args.prev_com) }", "args.prev_com",
     "does not contain a field named 'prev_com'", "prev_comm"),
    ("tracepoint:sched:sched_switch { print(arg0) }", "arg0", "can not be used with 'tracepoint' probes", "args."),
    ("struct A { int x[4]; } begin { print(((struct A *)0).x[5]) }", "((struct A *)0).x[5]",
     "the index 5 is out of bounds for array of size 4", ""),
    ("struct A { int x; } begin { print(((struct A *)0).y) }", "((struct A *)0).y",
     "Struct/union of type 'struct A' does not contain a field named 'y'", ""),
    ("config = { bad_config=1 } begin { }", "bad_config=1", "bad_config: not a known configuration option", ""),
    ("begin { let $a: uint8 = -1; }", "let $a: uint8 = -1", "Type mismatch for $a", "cast"),
    ("begin { let $a = 1; let $a = 2; }", "let $a = 2", "Variable $a was already declared", ""),
    ("macro m(x) { m(x) } begin { print(m(1)) }", "m(x)", "Recursive macro call detected: m > m", ""),
    ("macro m() { @x } begin { @x = 1; print(m()) }", "@x", "Unhygienic access to map: @x", ""),
    ("begin { print(pton(\"1.2.3\")) }", "pton(\"1.2.3\")", "pton() expects a valid IPv4/IPv6 address, got 1.2.3", ""),
    ("begin { $x = kstack(raw, 200) }", "kstack(raw, 200)", "limit shouldn't exceed 127, 200 given", ""),
    ("begin { print(nsecs(mono)) }", "mono", "Invalid timestamp mode: mono", "monotonic"),
    ("begin { exit(comm) }", "exit(comm)", "exit() only supports integer arguments", ""),
    ("begin { $x = ; }", ";", "syntax: expected expression", ""),
    ("begin { print(1) print(2) }", "print", "syntax: expected ';'", ""),
    ("begin { printf(\"a }", "\"a }", "syntax: unterminated string", ""),
    ("begin { /* }", "/*", "syntax: unterminated comment", ""),
    ("kprobe vfs_read { }", "vfs_read", "syntax: expected '{' or '/' after kprobe", ""),
    ("kprobe:vfs_read /pid == 1 { }", "{", "syntax: expected '/' to close the predicate", ""),
)  # fmt: skip


@pytest.mark.parametrize(("text", "marked", "message", "remedy"), MISUSE, ids=[case[0] for case in MISUSE])
def test_misuse(text: str, marked: str, message: str, remedy: str) -> None:
    error = refusal(text)
    assert message in error.message
    assert remedy in error.remedy
    assert error.span is not None
    assert text[error.span.start : error.span.end] == marked


PROBES = (
    ("krobe:vfs_read", "Invalid probe type: krobe", "kprobe"),
    ("tracepoint:sched:sched_swich", "No matches for tracepoint sched:sched_swich.", "sched_switch"),
    ("tracepoint:shed:sched_switch", "No matches for tracepoint shed:sched_switch.", "sched"),
    ("tracepoint:sched:nothing*", "No matches for tracepoint sched:nothing*.", ""),
    ("tracepoint:sched", "tracepoint probe type requires 2 arguments, found 1", "tracepoint:CATEGORY:EVENT"),
    ("kprobe:vfs_reed", "No matches for kprobe vfs_reed.", "vfs_read"),
    ("kprobe:nothing*", "No matches for kprobe nothing*.", ""),
    ("kretprobe:vfs_read+4", "Offset not allowed", ""),
    ("uprobe:/nonexistent/file:main", "no file /nonexistent/file", ""),
    ("uprobe:/bin/sh", "uprobe probe type requires 2 arguments, found 1", "uprobe:FILE:SYMBOL"),
    ("interval:x:1", "x is not an accepted unit of time", "hz"),
    ("interval:s:0", "interval frequency should be a positive integer", ""),
    ("interval:5", "Minimum is 1000 or 1us", ""),
    ("software:fault:1", "fault is not a software probe", "faults"),
    ("self:signal:SIGFOO", "SIGFOO is not a supported signal", "SIGUSR1"),
    ("begin:x", "begin/end probes should not have a target", ""),
    ("watchpoint:0x10:3:w", "watchpoint length must be one of (1,2,4,8)", ""),
    ("syscall:opnat", "No matches for syscall opnat.", "openat"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "message", "remedy"), PROBES, ids=[case[0] for case in PROBES])
def test_probes_that_are_none(text: str, message: str, remedy: str) -> None:
    error = refusal(text)
    assert isinstance(error, ProbeError)
    assert message in error.message
    assert remedy in error.remedy


def test_several_in_one_go() -> None:
    error = refusal('begin { print($a); foo(); }\nkprobe:nope { } end { @x = 1; @x = "s"; }')
    assert [one.span.line for one in (error, *error.others) if one.span] == [2, 1, 1, 2]


def test_unsafe_functions_need_leave() -> None:
    compiled('begin { system("ls") }')
    assert (
        "unsafe function being used in safe mode" in refusal('begin { system("ls") }', unsafe=False).message
    )


def test_warnings() -> None:
    def texts(text: str) -> list[str]:
        return [warning.message for warning in compiled(text).warnings]

    assert texts("let @a = hash(2); begin { }") == ["Unused map: @a"]
    assert texts("begin { @x[1] = 1; has_key(@x, 1); }") == ["Return value discarded."]
    assert texts("begin { @x[1] = 1; _ = has_key(@x, 1); }") == []
    assert texts("begin { return; print(1); }") == ["Unreachable statement"]
    assert texts("config = { missing_probes=warn } kprobe:nope { } begin { }") == [
        NOT_TRACEABLE.format("nope"),
        "No matches for kprobe nope. Skipping.",
        REMOVED,
    ]
    assert texts("config = { missing_probes=ignore } kprobe:nope { } begin { }") == []
    assert compiled("config = { missing_probes=ignore } kprobe:nope { }").program.clauses == ()


def test_warnings_of_a_program_that_does_not_compile() -> None:
    error = refusal("begin { return; print(1); } kprobe:nope { }")
    assert [one.message for one in error.warnings] == [NOT_TRACEABLE.format("nope"), "Unreachable statement"]


def test_functions_that_are_not_listed() -> None:
    made = compiled("kprobe:nope { @ = count(); }", unlisted=True)
    assert [clause.probe.name for clause in made.program.clauses] == ["nope"]
    assert [one.message for one in made.warnings] == [NOT_TRACEABLE.format("nope")]


_PIECES = st.sampled_from(
    ["$x", "@m", "@m[1]", "@n[\"a\", 2]", "pid", "comm", "\"s\"", "1", "-1", "(1, 2)", "(a=1)", "nsecs", "count()",
     "hist(1)", "kstack", "args.prev_comm", "args", "str(1)", "len(@m)", "has_key(@m, 1)", "@m++", "$x++", "{ 1 }",
     "if (1) { 1 } else { 2 }", "sizeof(int)", "(uint8)$x", "*$x", "!$x", "delete(@m, 1)", "probe", "true", "exit()",
     "buf(1, 2)", "ntop(1)", "$1", "@z", "retval", "printf(\"%s\", $x)"]
)  # fmt: skip
_SHAPES = st.sampled_from(
    ["$x = {};", "@m[{}] = {};", "@m = {};", "@n[{}, {}] = {};", "print({});", "if ({}) {{ $x = {}; }}", "@z += {};",
     "printf(\"%d %s\", {}, {});", "$x = {} + {};", "$y = {} == {};", "$z = {} ? {} : {};", "for ($k : @m) {{ {}; }}",
     "while ({}) {{ {}; }}", "let $w = {};", "@h = sum({});", "_ = {};", "for ($i : {}..{}) {{ print($i); }}", "{};"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(_SHAPES, st.lists(_PIECES, min_size=3, max_size=3)), min_size=1, max_size=6))
def test_any_program_is_checked_or_clearly_refused(parts: list[tuple[str, list[str]]]) -> None:
    text = (
        "tracepoint:sched:sched_switch { " + " ".join(shape.format(*pieces) for shape, pieces in parts) + " }"
    )
    try:
        compiled(text)
    except SpecError as error:
        assert error.message
        assert error.span is not None


@pytest.mark.parametrize(
    ("text", "marked", "name"),
    [
        ("tracepoint:sched:sched_switch { print(curtask.comm) }", "curtask.comm", "struct task_struct"),
        ("tracepoint:sched:sched_switch { print(ppid) }", "ppid", "struct task_struct"),
        (
            "kprobe:vfs_read { print(((struct file *)arg0).f_mode) }",
            "((struct file *)arg0).f_mode",
            "struct file",
        ),
        ("kprobe:vfs_read { print(TCP_CLOSE_NOT) }", "TCP_CLOSE_NOT", "it"),
    ],
)
def test_what_btf_would_have_said(text: str, marked: str, name: str) -> None:
    bare = machine(btf=Answer(2, "the kernel shows no BTF", "use another kernel"))
    with pytest.raises(SpecError) as raised:
        compile_text(text, bare)
    error = raised.value
    assert error.span is not None
    assert text[error.span.start : error.span.end] == marked
    assert error.remedy.startswith(f"the kernel shows no BTF; define {name} at the top of the program")
    assert error.remedy.endswith(", or use another kernel")


def test_a_definition_stands_in_for_btf() -> None:
    bare = machine(btf=Answer(2, "the kernel shows no BTF"))
    compile_text("struct task_struct { char comm[16]; }\nkprobe:vfs_read { print(curtask.comm) }", bare)


@pytest.mark.parametrize("mode", ["ignore", "warn"])
def test_nothing_is_suggested_where_nobody_reads_it(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes half a second for each symbol that a big library hasn't."""
    monkeypatch.setattr("unitrace.lang.source.nearest", lambda *args: pytest.fail("searched"))
    for probe in ("uprobe:/bin/sh:no_such_symbol", "tracepoint:sched:sched_swich"):
        compiled(f"config = {{ missing_probes={mode} }} {probe} {{ }} begin {{ }}")
    with pytest.raises(pytest.fail.Exception):
        compiled("uprobe:/bin/sh:no_such_symbol { }")


def test_numbers_of_system_calls() -> None:
    program = compiled("begin { @ = (__NR_nanosleep, SYS_stat, __NR_openat2); }").program
    assert [one.value for one in walk(program.clauses[0].body) if isinstance(one, Const)] == [35, 4, 437]
    assert "Unknown identifier: '__NR_nosuch'" in refusal("begin { print(__NR_nosuch); }").message


def test_where_a_macro_was_expanded() -> None:
    text = (
        "macro two() { foo(1); }\nmacro one($x) { $x = 1; two(); }\nbegin { $y = 2;\n  one($y); print($z); }"
    )
    error = refusal(text)
    assert marked("ERROR: no", error.span, text) == [  # type: ignore[arg-type]
        "stdin:1:15-21: ERROR: no",
        "macro two() { foo(1); }",
        "              ~~~~~~",
        "stdin:2:25-30: ERROR: expanded from",
        "macro one($x) { $x = 1; two(); }",
        "                        ~~~~~",
        "stdin:4:3-10: ERROR: expanded from",
        "  one($y); print($z); }",
        "  ~~~~~~~",
    ]
    assert [one.span.outer for one in error.others if one.span] == [None]  # $z is in no macro
    argument = refusal("macro pass(x) { x }\nbegin { pass(foo(2)); }")
    assert argument.span is not None and (argument.span.line, argument.span.outer) == (2, None)
