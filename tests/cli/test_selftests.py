"""--test and --bench: what they print, and the exit status."""

from __future__ import annotations

import json
import re

from .test_bad_input import unitrace

PROGRAM = """
begin { @seen = 1; }
test:good { assert(@seen == 1, "begin has run"); return 0; }
test:bad { printf("said\\n"); return 3; }
test:asserting { assert(1 == 2, "no"); printf("never\\n"); }
"""


def test_tests() -> None:
    status, out, _ = unitrace("-q", "--test", "-e", PROGRAM)
    lines = re.sub(r"\033\[\d+m|\(\d+ .*\)", "", out).split("\n")
    assert status == 1
    assert lines[0] == "[==========] Running 3 tests."
    assert lines[1:6] == [
        "[ RUN      ] good",
        "[       OK ] good ",
        "[ RUN      ] bad",
        "said",
        "[  FAILED  ] bad ",
    ]
    assert "stdin:5:18-38: ERROR: assert failed: no" in lines
    assert "never" not in lines
    assert lines[9:13] == [
        "[==========] 3 tests ran.",
        "[  PASSED  ] 1 test.",
        "[  FAILED  ] 2 tests, listed below:",
        "[  FAILED  ] bad",
    ]


def test_results_as_json() -> None:
    _, out, _ = unitrace("-q", "-f", "json", "--mode", "test", "-e", PROGRAM)
    results = [one["data"] for one in map(json.loads, out.splitlines()) if one["type"] == "test_result"]
    assert [(*one,) for one in results] == [("good",), ("bad",), ("asserting",)]
    assert [one["passed"] for result in results for one in result.values()] == [True, False, False]
    assert results[1]["bad"]["output"] == "said\n"


def test_begin_alone_as_json_lines() -> None:
    status, out, _ = unitrace("-f", "jsonl", "-e", "begin { @ = 1; }")
    header, *_, last = map(json.loads, out.splitlines())
    assert (status, header["type"], last["type"]) == (0, "header", "end") and header["kernel"]


def test_benchmarks() -> None:
    status, out, _ = unitrace("-q", "--bench", "-e", "bench:a { @++; } bench:b { @b++; }")
    lines = out.split("\n")
    assert status == 0
    assert lines[0].split() == ["Benchmark", "Time(ns)", "Iterations"]
    assert set(lines[1]) == {"-"} and len(lines[1]) == len(lines[0])
    assert re.fullmatch(r"a {40}\d+ +\d+", lines[2]) and re.fullmatch(r"b {40}\d+ +\d+", lines[3])


def test_another_mode() -> None:
    assert unitrace("--mode", "nonsense", "-e", "begin { }")[0] == 2
