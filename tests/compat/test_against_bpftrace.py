"""The engine against bpftrace itself: the same program, the same text on standard output, to the byte.

What is known to differ, and why, stands in docs/language.md ("Where bpftrace differs"); nothing of that is in
here. bpftrace takes 0.6 s to start, so many statements share one program; one that differs is named by its number.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.compat.snippets import SNIPPETS, program

BATCH = 20
_PEERS = Path(os.environ.get("UNITRACE_PEERS") or Path.home() / ".cache/unitrace-peers")
_OURS = [sys.executable, "-m", "unitrace"]


def _peer() -> str | None:
    found = _PEERS / "bin/bpftrace"
    return str(found) if found.exists() else shutil.which("bpftrace")


@pytest.fixture(scope="module")
def peer() -> str:
    """bpftrace's path, where there is one of the right release that works here."""
    found = _peer()
    if found is None:
        pytest.skip("bpftrace isn't installed")
    if os.geteuid() != 0:
        pytest.skip("bpftrace needs root")
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout.strip()
    if not version.startswith("bpftrace v0.27"):
        pytest.skip(f"it is {version}; release 0.27 is what the language is held against")
    if output([found], 'begin { printf("works\\n"); }') != "works\n\n\n":
        pytest.skip("bpftrace can't load programs here")
    return found


def output(command: list[str], text: str) -> str:
    """What a program prints; how it failed, where it did."""
    done = subprocess.run([*command, "-q", "--no-warnings", "-e", text], capture_output=True, timeout=120)
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="backslashreplace")
        return f"exit code {done.returncode}: {said[-2000:]}"
    return done.stdout.decode(errors="backslashreplace")


def parts(text: str) -> dict[str, str]:
    """The output by the number of the snippet."""
    pieces = re.split(r"^<(\d+)>\n", text, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2]), failure=pieces[0])


def agree(peer: str, text: str) -> None:
    """Fails with the snippets whose output differs, ours first."""
    ours, theirs = parts(output(_OURS, text)), parts(output([peer], text))
    differ = {
        one: (ours.get(one), theirs.get(one)) for one in ours | theirs if ours.get(one) != theirs.get(one)
    }
    lines = text.split("\n")
    shown = [
        (lines[lines.index(f'printf("<{one}>\\n");') + 1], *both)
        for one, both in differ.items()
        if one != "failure"
    ]
    assert not differ, "\n".join(map(str, shown or [text, differ]))


@pytest.mark.parametrize("first", range(0, len(SNIPPETS), BATCH))
def test_statements(peer: str, first: int) -> None:
    text = program(list(enumerate(SNIPPETS))[first : first + BATCH])
    agree(peer, text)


# --- expressions by hypothesis -----------------------------------------------------------------

VARIABLES = {
    f"{sign}{bits}": f"{sign}int{bits}".removeprefix("s") for sign in ("s", "u") for bits in (8, 16, 32, 64)
}
"""A variable of each integer type, by its name."""

_variables = st.sampled_from([f"$v_{name}" for name in VARIABLES])
_literals = st.sampled_from(["0", "1", "2", "7", "100", "255", "256", "65535", "70000", "4294967295", "1e12"])
_types = st.sampled_from([*VARIABLES.values()])
_values = st.sampled_from([0, 1, 5, 77, 127, 128, 200, 255, 32768, 65535, 2**31, 2**32 - 1, 2**40, 2**63 - 1])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    right = inner | _literals
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "&", "|", "^"]), right),
        st.builds("({} << {})".format, inner, st.integers(0, 31)),
        # signed division and shift to the right are among what differs, - and ~ of less than 64 bits too
        st.builds("((uint64)({}) {} ((uint64)({}) | 1))".format, inner, st.sampled_from(["/", "%"]), inner),
        st.builds("((uint64)({}) >> {})".format, inner, st.integers(0, 31)),
        st.builds("(({}){})".format, _types, inner),
        st.builds("(~(uint64)({}))".format, inner),
        st.builds("(-(int64)({}))".format, inner),
        st.builds("({} ? {} : {})".format, _conditions(inner), inner, inner),
    )


def _conditions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    one = st.builds(
        "{} {} {}".format, inner, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), inner | _literals
    )
    both = st.builds("({}) {} ({})".format, one, st.sampled_from(["&&", "||"]), one)
    return one | both | st.builds("!({})".format, one)


_numbers = st.recursive(_variables, _grown, max_leaves=5)
_texts = st.text("ab z0%", max_size=9).map('"{}"'.format)
_operators = st.sampled_from(["+", "-", "*", "&", "|", "^"])
_statements = st.one_of(
    st.builds('printf("%d %u %x %ld %lu %lx\\n", {0}, {0}, {0}, {0}, {0}, {0});'.format, _numbers),
    st.builds("print({});".format, _numbers),
    st.builds("print(({}));".format, _conditions(_numbers)),
    st.builds("print(({}, {}));".format, _numbers, _numbers),
    st.builds("print(sizeof({}));".format, _numbers),
    st.builds("@m = hist({}); print(@m); clear(@m);".format, _numbers),
    st.builds("@m = sum({}); print(@m); clear(@m);".format, _numbers),
    st.builds("@m = stats({0}); @m = stats({0}); print(@m); clear(@m);".format, _numbers),
    st.builds("@m[{}] = {}; print(@m); clear(@m);".format, _numbers, _numbers),
    st.builds("@m[{}, {}, ({}, 1)] = 5; print(@m); clear(@m);".format, _numbers, _texts, _numbers),
    st.builds("@m = {}({}); print(@m); clear(@m);".format, st.sampled_from(["min", "max", "avg"]), _numbers),
    st.builds("@m = hist({}, {}); print(@m); clear(@m);".format, _numbers, st.integers(0, 5)),
    st.builds(
        "@m = lhist({}, {}, 1000, 50); print(@m); clear(@m);".format, _numbers, st.sampled_from([0, 50, 200])
    ),
    st.builds(
        "$w = ({}, {}, ({}, {})); print($w); print($w.2.0);".format, _numbers, _texts, _numbers, _texts
    ),
    st.builds(
        "$w = {0}; print($w == {1}); print(strlen($w)); print(($w, $w != {1}));".format, _texts, _texts
    ),
    st.builds("$w = ({}){}; $w {}= {}; print($w);".format, _types, _literals, _operators, _numbers),
    st.builds(
        "if ({}) {{ print({}); }} else {{ print({}); }}".format, _conditions(_numbers), _numbers, _numbers
    ),
    st.builds("$w = 0; while ($w < {}) {{ $w += 3; print($w + {}); }}".format, st.integers(0, 9), _numbers),
    st.builds('printf("%hhd|%hu|%8d|%-8x|%#lx|%s\\n", {0}, {0}, {0}, {0}, {0}, ({0}, 1));'.format, _numbers),
)


@settings(max_examples=5, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(st.lists(_statements, min_size=15, max_size=15), st.lists(_values, min_size=8, max_size=8))
def test_expressions(peer: str, statements: list[str], values: list[int]) -> None:
    head = "".join(f"$v_{n} = ({t}){v}; " for (n, t), v in zip(VARIABLES.items(), values))
    text = program([(number, head + one) for number, one in enumerate(statements)])
    agree(peer, text)
