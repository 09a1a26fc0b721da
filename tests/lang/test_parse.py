"""Text to tree: literals, operators, statements, and back to text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unitrace.contract.errors import SpecError
from unitrace.lang import ast, parse
from unitrace.lang.lexer import decode_number, decode_string
from unitrace.lang.unparse import unparse

PROGRAMS = (
    "kprobe:vfs_read",
    "kprobe:a,tracepoint:b:c /pid == 1/",
    'tracepoint:b:c/pid == 1 && comm != "x"/ { @ = count() }',
    "uprobe:/bin/a-b:f+4 { @[comm, 1] = hist(arg0, 2); }",
    "BEGIN { $a = 1; $a += 2; $a++; --$a; @x[1]++; }",
    "begin { let $x: uint64 = 5ms; let $y; let $z: struct file *; }",
    "begin { for ($i : 0..10) { if ($i == 2) { continue; } break; } while ($x < 2) { $x++ } unroll(3) { print(1); } }",
    "begin { for $kv : @map { print($kv.0.1) } }",
    "begin { print((a=1, b=(2,), c=())); print({ let $c = 1; $c }); _ = has_key(@a, 1); }",
    "begin { $x = ((struct file *)arg0)->f_path.dentry->d_name.name[3]; $y = *(uint8 *)$x; $z = (uint8)$x; }",
    "begin { print(sizeof(struct file)); print(offsetof(struct file, a.b)); print(sizeof($x)); }",
    "begin { if (1) { print(1) } else if (2) { print(2) } else { print(3) } }",
    "begin { $x = if ($y) { 1 } else { 2 }; $z = $y ? 1 : $w ?: 3; }",
    "macro add(x, $y, @z) { x + $y } begin { print(add(1, $a, @b)); print(add!(1, $a, @b)); }",
    "config = { max_strlen=200; stack_mode=perf; print_maps_on_exit=false } begin { exit() }",
    "let @a = lruhash(100); #include <linux/fs.h>\nbegin { }".replace("let @a = lruhash(100); ", ""),
    "struct A { int x; char b[4]; } let @a = hash(1); begin { print(((struct A *)0).x) }",
    'import "a.bt"; begin { return 1; }',
    "begin { print(-1 - -2); print(!$x); print(~(1 + 2) * 3); print($1); print($#); print(&$x); print(- -1) }",
    'begin { printf("a\\"b\\n\\x41\\101%d", 1_000 + 0x1F + 1e3 + 017 + 5UL); }',
    "interval:s:1 { print(@); } // a comment\n/* another */ end { clear(@) }",
    "#!/usr/bin/env unitrace\nbegin { }",
    "fn f($a: uint64): uint64 { return $a; } begin { }",
    "begin { print((uint8)1 + 2); print((pid) * tid); print(((1, 2)).1); comptime (1 + 1) }",
)


@pytest.mark.parametrize("text", PROGRAMS)
def test_a_tree_as_text_is_the_same_tree(text: str) -> None:
    tree = parse(text)
    assert ast.same(parse(unparse(tree)), tree)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("017", 15), ("0x1f", 31), ("1_000", 1000), ("1e6", 10**6), ("5ms", 5 * 10**6), ("1m", 60 * 10**9),
     ("2d", 172800 * 10**9), ("18446744073709551615", (1 << 64) - 1), ("12ULL", 12), ("0xFFu", 255)],
)  # fmt: skip
def test_integers(text: str, value: int) -> None:
    assert decode_number(text) == value


@pytest.mark.parametrize("text", ["08", "0x", "1_", "12abc", "18446744073709551616", "1e99", "9" * 500])
def test_integers_that_are_none(text: str) -> None:
    with pytest.raises(ValueError):
        decode_number(text)


def test_strings() -> None:
    assert decode_string(r'"a\n\x41\101\"\\"') == b'a\nAA"\\'
    for wrong in (r'"\q"', r'"\777"', r'"\xg"'):
        with pytest.raises(ValueError):
            decode_string(wrong)


def _of(text: str) -> ast.Expr:
    action = parse(f"begin {{ _ = {text}; }}").items[0]
    assert isinstance(action, ast.Action) and action.body is not None
    discard = action.body.body[0]
    assert isinstance(discard, ast.Discard)
    return discard.value


@pytest.mark.parametrize(
    ("text", "same"),
    [("1 + 2 * 3", "1 + (2 * 3)"), ("1 - 2 - 3", "(1 - 2) - 3"), ("1 | 2 & 3 == 4", "1 | (2 & (3 == 4))"),
     ("1 << 2 + 3", "1 << (2 + 3)"), ("!1 == 2", "(!1) == 2"), ("1 < 2 == 3", "(1 < 2) == 3"),
     ("1 && 2 || 3", "(1 && 2) || 3"), ("1 ? 2 : 3 ? 4 : 5", "1 ? 2 : (3 ? 4 : 5)"),
     ("-$x.y[1]", "-(($x.y)[1])"), ("(uint8)1 + 2", "((uint8)1) + 2"), ("*$x++", "*($x++)")],
)  # fmt: skip
def test_precedence_is_c_s(text: str, same: str) -> None:
    assert ast.same(_of(text), _of(same))


_LEAVES = ("1", "0x10", "$x", "@m", '@m[1, "k"]', "pid", '"s"', "true", "$1", "f()", "args.a")
_SHAPES = (
    "({}) + {}", "({}) << {}", "{} && {}", "{} || {} && {}", "({}) == {}", "{} / ({}) - {}", "-({})", "!{}", "~{}",
    "(uint8)({})", "({}).a[0].1", "(({}) ? {} : {})", "({}) ?: {}", "g({}, {})", "({},)", "({}, {})", "(a={}, b={})",
    "{{ $y = {}; {} }}", "if ({}) {{ {} }} else {{ {} }}", "*({})", "sizeof({})", "(struct a *[2])({})",
)  # fmt: skip


@st.composite
def _tree(draw: st.DrawFn, depth: int) -> str:
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(_LEAVES))
    shape = draw(st.sampled_from(_SHAPES))
    count = shape.replace("{{", "").count("{}")
    return shape.format(*(draw(_tree(depth - 1)) for _ in range(count)))


@settings(max_examples=150, deadline=None)
@given(_tree(4))
def test_round_trip(text: str) -> None:
    tree = parse(f"begin {{ $r = {text}; }}")
    assert ast.same(parse(unparse(tree)), tree)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from(list('{}()[]/*+-=<>!&|?:;,.@$#"\\ \nabk10\x00é')), max_size=60))
def test_any_text_is_a_tree_or_a_clear_error(text: str) -> None:
    try:
        parse(text)
    except SpecError as error:
        assert error.message
        assert error.span is not None and error.span.start < error.span.end


@pytest.mark.parametrize(
    "text",
    ["begin { $x = " + "(" * 3000 + "1" + ")" * 3000 + " }", "begin { $x = " + "-" * 3000 + "1 }",
     "begin { $x = 1" + " + 1" * 3000 + " }", "begin " + "{ " * 3000, "begin { " + "if (1) { " * 3000,
     "begin { $x = $y" + ".a" * 3000 + " }", "begin { $x = " + "1 ? 2 : " * 3000 + "3 }"],
)  # fmt: skip
def test_deep_nesting_is_a_clear_error(text: str) -> None:
    with pytest.raises(SpecError, match="nested too deeply"):
        parse(text)


def test_long_chains_and_ladders_are_fine() -> None:
    parse("begin { $x = " + " || ".join(f"pid == {i}" for i in range(3000)) + " }")
    parse("begin { " + " else ".join(f"if (pid == {i}) {{ print({i}); }}" for i in range(3000)) + " }")


def test_several_errors_in_one_go() -> None:
    with pytest.raises(SpecError) as caught:
        parse("begin { $x = ; $y = 1 }\nend { print(; @a = 1 b; }\nkprobe:f { }")
    assert [error.span.line for error in (caught.value, *caught.value.others) if error.span] == [1, 2, 2]
