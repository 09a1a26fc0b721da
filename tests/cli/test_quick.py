"""The quick reading of the command line agrees with click's."""

from __future__ import annotations

from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrace.cli import run
from unitrace.cli.options import OPTIONS
from unitrace.cli.quick import read
from unitrace.contract.errors import UsageError

WORDS = st.sampled_from(
    [flag for option in OPTIONS for flag in option.flags]
    + [
        "--",
        "-",
        "x",
        "7",
        "--backend=perf",
        "--pid=3",
        "-e",
        "BEGIN",
        "json",
        "--quiet=1",
        "-qv",
        "--nope",
        "a.bt",
        "",
    ]
)


def by_click(args: list[str]) -> Any:
    try:
        with run.command.make_context("unitrace", list(args)) as context:
            params = dict(context.params)
    except (click.exceptions.Exit, click.ClickException):
        return None
    return params.pop("spec"), params


@given(st.lists(WORDS, max_size=6))
def test_what_it_reads_is_what_click_reads(args: list[str]) -> None:
    try:
        quick = read(args)
    except UsageError:
        try:
            assert by_click(args) is None, "click takes what the quick reading says is wrong"
        except UsageError:
            pass
        return
    if quick is not None:
        try:
            assert by_click(args) == quick
        except UsageError:
            pytest.fail("click finds a wrong value where the quick reading found none")


def test_the_usual_is_read_quickly() -> None:
    words, options = read(
        ["-q", "-e", "BEGIN { }", "--backend", "ftrace", "-f", "jsonl", "a", "--", "-b"]
    ) or ((), {})
    assert words == ("a", "-b")
    assert options["quiet"] and options["programs"] == ("BEGIN { }",) and options["backend"] == "ftrace"
    assert options["form"] == "jsonl" and options["buffer_kib"] == 8192


def test_the_rest_is_left_to_click() -> None:
    for args in (["--help"], ["-h"], ["--nope"], ["-e"], ["-qv"], ["--quiet=1"]):
        assert read(args) is None
