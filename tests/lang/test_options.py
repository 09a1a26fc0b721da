"""Options of a program (getopt), its settings, and the names of enumerators."""

from __future__ import annotations

import pytest

from unitrace.contract.errors import SpecError, UsageError
from unitrace.contract.machine import Machine
from unitrace.contract.types import Enum
from unitrace.lang import compile_text

from .recorded import compiled

PROGRAM = 'begin { print((getopt("aa", 10, "how many"), getopt("bb", true))); }'


def refused(text: str, *words: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        compile_text(text, Machine(), positional=words)
    return caught.value


def test_wrong_values_have_no_place_in_the_text() -> None:
    error = refused(PROGRAM, "--aa=False")
    assert error.message == "program command line option --aa invalid integer (value: False)"
    assert error.span is None
    assert refused(PROGRAM, "--bb=7").message.endswith("--bb invalid boolean (value: 7)")


@pytest.mark.parametrize("word", ["false", "False", "0"])
def test_booleans_in_any_letters(word: str) -> None:
    compile_text(PROGRAM, Machine(), positional=(f"--bb={word}",))


def test_unexpected_options() -> None:
    error = refused(PROGRAM, "--cc")
    assert error.message == "unexpected program command line options: --cc"
    assert error.remedy == "expected program options: --aa, --bb"


def test_help() -> None:
    error = refused(PROGRAM, "--help")
    assert error.remedy == "expected program options:"
    assert error.notes == ("--aa: how many", "--bb")


def test_license() -> None:
    error = refused('config = { license="Potato" } begin { }')
    assert error.message.startswith("Invalid value for license. Found: Potato. Valid values: Dual MIT/GPL")


def test_enumerators_of_a_nameless_enum_keep_their_names() -> None:
    made = compile_text("enum { ONE = 1 } begin { @ = ONE; @sum = ONE + 1; }", Machine())
    assert isinstance(made.program.map("@").value, Enum)
    assert not isinstance(made.program.map("@sum").value, Enum)


def test_what_stands_behind_exit_is_unreachable() -> None:
    made = compile_text("begin { exit(); @ = 1 }", Machine())
    assert [one.message for one in made.warnings] == ["Unreachable statement"]


def test_a_whole_probe_from_the_command_line() -> None:
    made = compile_text("$1 { exit() }", Machine(), positional=("i:ms:1",))
    assert [one.probe.kind for one in made.program.clauses] == ["interval"]


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFTRACE_MAX_STRLEN", "77")
    monkeypatch.setenv("BPFTRACE_STACK_MODE", "PERF")
    monkeypatch.setenv("BPFTRACE_UNKNOWN", "not ours")
    program = compiled("config = { max_strlen=5; max_map_keys=9 } begin { @[1] = 1; }").program
    assert dict(program.config) == {"max_strlen": 77, "stack_mode": "perf", "max_map_keys": 9}


@pytest.mark.parametrize(
    ("name", "value"), [("MAX_STRLEN", "0"), ("MAX_STRLEN", "x"), ("STACK_MODE", "no"), ("CPP_DEMANGLE", "2")]
)
def test_wrong_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"BPFTRACE_{name}", value)
    with pytest.raises(UsageError, match=f"Invalid value for BPFTRACE_{name}: '{value}'"):
        compiled("begin { }")
