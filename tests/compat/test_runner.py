"""The runner for bpftrace's suite: reading cases, tiers, matching, and running made-up executables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.compat.__main__ import main
from tests.compat.match import after_attaching, decode, unmet
from tests.compat.page import gathered, page
from tests.compat.page import main as page_of
from tests.compat.processes import named
from tests.compat.reasons import reason
from tests.compat.run import Outcome, Runner, command
from tests.compat.stage import stage
from tests.compat.suite import Case, Expect, SuiteError, for_this_machine, parse
from tests.compat.tiers import probe_types, program, tier, vacuous

SUITE = """\
# a comment
NAME two lines
PROG begin { print(1); }
     end { print(2); }
EXPECT 1
       2
TIMEOUT 7

NAME flags and more
RUN {{BPFTRACE}} -l 'interval:*'
# another comment
ENV A=1 B=x=y
REQUIRES true
REQUIRES_FEATURE btf !dwarf
ARCH x86_64|aarch64
BEFORE ./one
BEFORE ./wrap two
AFTER kill $(pidof bpftrace)
WILL_FAIL
EXPECT_REGEX ^interval
EXPECT_NONE oops
"""


def made(text: str, suite: str = "made") -> Case:
    return parse(text, suite)[0]


class TestReading:
    def test_directives(self) -> None:
        first, second = parse(SUITE, "made")
        assert first.id == "made.two lines"
        assert first.prog == "begin { print(1); }\nend { print(2); }"
        assert first.expects == [Expect("1\n2", "text")]
        assert (first.timeout, first.return_code, first.will_fail) == (7, None, False)
        assert second.run == "{{BPFTRACE}} -l 'interval:*'"
        assert second.env == {"A": "1", "B": "x=y"}
        assert second.features == ["btf", "!dwarf"]
        assert second.befores == ["./one", "./wrap two"]
        assert second.will_fail and second.timeout == 5
        assert [expect.mode for expect in second.expects] == ["regex", "text_none"]

    @pytest.mark.parametrize(
        "text", ["NAME a\nEXPECT b\n", "PROG begin {}\n", "NAME a\nPROG x\nRUN y\n", "NAME a\nODD b\n"]
    )
    def test_what_is_no_case(self, text: str) -> None:
        with pytest.raises(SuiteError):
            parse(text, "made")

    def test_architectures(self) -> None:
        here = os.uname().machine
        assert for_this_machine(Case("s", arch=[here, "other"]))
        assert not for_this_machine(Case("s", arch=["other"]))
        assert not for_this_machine(Case("s", arch=["!" + here]))
        assert for_this_machine(Case("s", arch=["!other"]))
        assert for_this_machine(Case("s", arch=[sys.byteorder[0] + "e"]))


class TestTiers:
    @pytest.mark.parametrize(
        "line, expected",
        [
            ("PROG begin { @ = 1; }", "T1"),
            ('PROG config = { a=1 } i:ms:1 { exit(); } END { printf("kprobe:x {"); }', "T1"),
            ("RUN {{BPFTRACE}} -f json -e 'self:signal:SIGUSR1 { exit(); }'", "T1"),
            ("RUN {{BPFTRACE}} -e '$1 { exit(); }' i:ms:1", "T1"),
            ("RUN {{BPFTRACE}} --version", "T2"),
            ("RUN {{BPFTRACE}} -lv 'kprobe:vfs_read'", "T2"),
            ("PROG struct A { int x; }; u:./prog:main { exit(); }", "T3"),
            ("PROG begin { exit(); } tracepoint:a:b /pid == 1/ { }", "T3"),
            ("RUN {{BPFTRACE}} -ve 'fexit:vfs_read { exit(); }'", "T4"),
            ("PROG t:a:b { } // one\n     k:f, k:g { }", "T4"),
            ("RUN echo nothing", None),
        ],
    )
    def test_rules(self, line: str, expected: str | None, tmp_path: Path) -> None:
        assert tier(made(f"NAME a\n{line}\n"), tmp_path) == expected

    def test_script(self, tmp_path: Path) -> None:
        scripts = tmp_path / "tests" / "runtime" / "scripts"
        scripts.mkdir(parents=True)
        (scripts / "one.bt").write_text("usdt:./a:b { }\n")
        case = made("NAME a\nRUN {{BPFTRACE}} runtime/scripts/one.bt\n")
        assert program(case, tmp_path) == "usdt:./a:b { }\n"
        assert tier(case, tmp_path) == "T3"

    def test_only_what_stands_outside_of_clauses(self) -> None:
        assert probe_types("begin { $k = 1; if ($k) { print(k); } } /* k:f */ i:s:1 { }") == {"begin", "i"}

    def test_silence(self) -> None:
        quiet = made("NAME a\nPROG begin { }\nEXPECT_NONE x\n")
        assert vacuous(quiet, not unmet(quiet, "", Path()))
        quiet.will_fail = True
        assert not vacuous(quiet, not unmet(quiet, "", Path()))


class TestMatching:
    @pytest.mark.parametrize(
        "mode, value, output, met",
        [
            ("text", "a.b", "x\n  a.b \ny\n", True),
            ("text", "a.b", "aab\n", False),
            ("text", "a", "ab\n", False),
            ("text", "1\n2", "0\n1\n2\n", True),
            ("text_none", "a", "ab\n", True),
            ("text_none", "a", "a\n", False),
            ("regex", "^b+$", "a\nbbb\n", True),
            ("regex_none", "^b", "a\nb\n", False),
        ],
    )
    def test_text(self, mode: str, value: str, output: str, met: bool) -> None:
        assert bool(unmet(Case("s", expects=[Expect(value, mode)]), output, Path())) != met

    def test_files(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("\nx\ny\n\n")
        (tmp_path / "a.json").write_text('{"b": 1,\n "a": [1]}\n')
        (tmp_path / "a.ndjson").write_text('{"a": 1}\n{"b": 2}\n')
        text, one, more = (
            Case("s", expects=[Expect(f"a.{end}", mode)])
            for end, mode in (("txt", "file"), ("json", "json"), ("ndjson", "json"))
        )
        assert not unmet(text, "before\n__BPFTRACE_NOTIFY_PROBES_ATTACHED\n\n\nx\ny\n", tmp_path)
        assert unmet(text, "x\ny\nz\n", tmp_path)
        assert not unmet(one, '{"a": [1], "b": 1}\n', tmp_path)
        assert unmet(one, '{"a": [1], "b": 1}\n{}\n', tmp_path)
        assert unmet(one, "no JSON\n", tmp_path)
        assert not unmet(more, '{"a":1}\n{"b":2}\n', tmp_path)
        assert unmet(more, '{"b":2}\n{"a":1}\n', tmp_path)

    def test_bytes(self) -> None:
        assert decode(b"a\xff\r\nb\xc3\xa9") == "a\\xff\nbé"

    def test_the_line_that_tells_of_probes(self) -> None:
        line = "__BPFTRACE_NOTIFY_PROBES_ATTACHED\n"
        assert after_attaching("a\n" + line + "b\n") == "b\n"
        assert after_attaching("a" + line + "b\n") == "a" + line + "b\n"


EXECUTABLE = """\
#!{python} -IS
import os, signal, sys, time
if "--info" in sys.argv:
    print("btf: yes")
    sys.exit()
text = sys.argv[-1]
def end(*_):
    print("ended", flush=True)
    os._exit(3)
signal.signal(signal.SIGTERM, end)
if "nothing" in text:
    sys.exit(print("1:1: ERROR: no variable '$x' of 12") or 1)
print("begin", sorted(n.strip("_") for n in os.environ if "AOT" not in n), open("/proc/self/comm").read().strip())
print("__BPFTRACE_NOTIFY_PROBES_ATTACHED", flush=True)
print("began", flush=True)
if "wait" in text:
    time.sleep(20)
"""


@pytest.fixture
def executable(tmp_path: Path) -> Path:
    path = tmp_path / "made-up"
    path.write_text(EXECUTABLE.format(python=sys.executable))
    path.chmod(0o755)
    (tmp_path / "tests" / "runtime").mkdir(parents=True)
    return path


def run(executable: Path, text: str) -> Outcome:
    with stage(executable) as staged:
        return Runner(executable.parent, staged).run(made(text))


class TestRunning:
    def test_environment_and_name(self, executable: Path) -> None:
        outcome = run(executable, "NAME a\nPROG begin {}\nENV MORE=1\nEXPECT began\n")
        assert (outcome.state, outcome.code) == ("passed", 0)
        names = outcome.output.splitlines()[0]
        assert "bpftrace" in names.split("]")[1]
        for name in ("MORE", "PATH", "test", "BPFTRACE_NOTIFY_PROBES_ATTACHED"):
            assert name in names
        assert "HOME" not in names

    def test_exit_code_and_reason(self, executable: Path) -> None:
        outcome = run(executable, "NAME a\nPROG nothing\nEXPECT x\n")
        assert (outcome.state, outcome.how, outcome.code) == ("failed", "exit", 1)
        assert reason(outcome) == ("refused", "no variable … of …")
        assert run(executable, "NAME a\nPROG nothing\nWILL_FAIL\nEXPECT_REGEX ERROR\n").state == "passed"
        assert run(executable, "NAME a\nPROG nothing\nRETURN_CODE 1\n").state == "passed"
        assert run(executable, "NAME a\nPROG begin\nWILL_FAIL\nEXPECT began\n").how == "exit"

    def test_output(self, executable: Path) -> None:
        outcome = run(executable, "NAME a\nPROG it's begin\nEXPECT other\n")
        assert (outcome.state, outcome.how) == ("failed", "output")
        assert reason(outcome) == ("output differs", "")

    def test_time_limit_ends_it_gracefully_and_forgives_the_exit_code(self, executable: Path) -> None:
        outcome = run(executable, "NAME a\nPROG wait\nTIMEOUT 1\nEXPECT ended\n")
        assert (outcome.state, outcome.code) == ("passed", None)
        assert run(executable, "NAME a\nPROG wait\nTIMEOUT 1\nEXPECT x\n").how == "timeout"

    def test_patience_lengthens_the_time_limit(self, executable: Path) -> None:
        case = made("NAME a\nRUN sleep 1.5; {{BPFTRACE}} -e begin\nTIMEOUT 1\nEXPECT began\n")
        with stage(executable) as staged:
            assert Runner(executable.parent, staged, patience=4).run(case).state == "passed"

    def test_nothing_that_left_the_process_group_is_left(self, executable: Path) -> None:
        number = f"{os.getpid()}.25"
        assert run(
            executable, f"NAME a\nRUN timeout 99 sleep {number}; {{{{BPFTRACE}}}}\nTIMEOUT 1\nEXPECT x\n"
        )
        assert subprocess.run(["pgrep", "-f", f"sleep {number}"], check=False).returncode == 1

    def test_after_sees_its_own_process(self, executable: Path, tmp_path: Path) -> None:
        text = "NAME a\nPROG wait\nAFTER pidof bpftrace > {0}/pids; pkill -SIGTERM bpftrace\nRETURN_CODE 3\nEXPECT ended\n"
        assert run(executable, text.format(tmp_path)).state == "passed"
        assert len((tmp_path / "pids").read_text().split()) == 1

    def test_before_and_around(self, executable: Path, tmp_path: Path) -> None:
        text = (
            "NAME a\nRUN {{{{BPFTRACE}}}} -p {{{{BEFORE_PID}}}} | grep beg; echo {{{{BEFORE_PID}}}}\nBEFORE true\n"
            "SETUP touch {0}/made\nCLEANUP rm {0}/made\nREQUIRES test ! -e {0}/made\nEXPECT began\n"
        )
        case = made(text.format(tmp_path))
        with stage(executable) as staged:
            outcome = Runner(executable.parent, staged).run(case)
        # It ends at once, so that it has no process id to give.
        assert (outcome.state, outcome.how) == ("failed", "setup")
        assert not (tmp_path / "made").exists()

    @pytest.mark.parametrize(
        "line",
        [
            "REQUIRES false",
            "MIN_KERNEL 99.1",
            "MAX_KERNEL 2.6",
            "REQUIRES_FEATURE dwarf",
            "REQUIRES_FEATURE !btf",
        ],
    )
    def test_conditions(self, executable: Path, line: str) -> None:
        assert run(executable, f"NAME a\nPROG begin\n{line}\nEXPECT began\n").state == "skipped"

    def test_condition_met(self, executable: Path) -> None:
        assert (
            run(executable, "NAME a\nPROG begin\nREQUIRES_FEATURE btf !dwarf\nEXPECT began\n").state
            == "passed"
        )


def test_a_gist_has_no_names_but_what_the_first_backend_said() -> None:
    said = "stdin:1:1-4: ERROR: no file /a/b.c of 3\n  ebpf: can't, in ./x/y\n  perf: can't either\n"
    outcome = Outcome(Case("s"), "failed", "exit", said, 1)
    assert reason(outcome) == ("refused", "no file … of …; ebpf: can't, in …")
    crash = "Traceback (most recent call last):\n  File \"x\", line 1, in f\nValueError: odd 'thing'\n"
    assert reason(Outcome(Case("s"), "failed", "exit", crash, 1)) == ("crashed", "ValueError: odd …")


def test_command() -> None:
    case = Case("s", prog="a 'b'", expects=[Expect("f", "json")])
    words = subprocess.run(
        ["sh", "-c", "printf '%s\\n' " + command(case, "x")], capture_output=True, text=True, check=True
    )
    assert words.stdout.splitlines() == ["x", "-q", "-f", "json", "--verify-llvm-ir", "-e", "a 'b'"]
    assert command(Case("s", run="{{BPFTRACE}} -l | wc"), "x") == "x --verify-llvm-ir -l | wc"


def test_only_descendants_are_named() -> None:
    child = subprocess.Popen(["sleep", "20"])
    try:
        assert child.pid in named("sleep", [os.getpid()])
        assert child.pid not in named("sleep", [2**22 + 1])
    finally:
        child.kill()
        child.wait()


def test_reports(executable: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tests" / "runtime" / "made").write_text(
        "NAME good\nPROG begin {}\nEXPECT began\n\nNAME bad\nPROG nothing {} begin {}\nEXPECT x\n\n"
        "NAME skipped\nPROG begin {}\nREQUIRES false\nEXPECT x\n"
    )
    page, data = tmp_path / "page.md", tmp_path / "data.json"
    assert main([str(tmp_path), str(executable), "--tier", "T1", "--json", str(data)]) == 1
    assert "3 cases: 1 passed" in capsys.readouterr().out
    assert page_of([str(data), "--write", str(page)]) == 0
    assert "**refused**: no variable … of … (1): made.bad (T1)" in page.read_text()
    cases = json.loads(data.read_text())[0]["cases"]
    assert [case["state"] for case in cases] == ["failed", "passed", "skipped"]
    assert main([str(tmp_path / "nowhere"), str(executable)]) == 2


def results(version: str, *states: str, kernel: str = "9.9, x") -> dict[str, Any]:
    """A run as --json leaves it, with a case a state."""
    facts = dict.fromkeys(("suite", "python", "user", "day", "options"), "-") | {"kernel": kernel}
    cases = [
        {"tier": "T1", "suite": "s", "name": str(at), "state": state, "how": "feature x", "silent": False,
         "reason": ["crashed", "oh"]}
        for at, state in enumerate(states)
    ]  # fmt: skip
    return {"version": version, "seconds": 60.0, "facts": facts, "cases": cases}


def test_page_beside_the_peer(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    ours = results("ours v1", "failed", "passed", "passed", "skipped", "failed")
    peer = results("bpftrace v9", "passed", "passed", "failed", "passed", "failed")
    for run in (ours, peer):  # two cases of one name
        run["cases"][4]["name"] = "1"
    first.write_text(json.dumps([ours]))
    again = results("ours v1", "passed")  # the first case, mended
    second.write_text(json.dumps([peer, again, results("ours v1", "passed", kernel="1.0, x")]))
    text = page(gathered([first, second]))
    assert "| T1 | 5 | 3 | 2 | 66.7 % |" in text
    assert "- **skipped**: feature x (1): s.3 (T1)" in text and "crashed" not in text
    assert "1 cases pass with ours v1 alone: s.2." in text
    assert "## Kernel 1.0, x" in text and "| T1 | 1 | 1 | 0 | 0 |" in text
    assert "| ours v1 | 2 min;" in text
    lone = results("ours v1", "passed", "failed")
    for case in lone["cases"]:
        case["tier"], case["suite"] = "T2", "t"
    second.write_text(json.dumps([peer, lone]))
    text = page(gathered([first, second]))
    assert "| T2 | 2 | not run | 1 of all | |" in text and "| **all of these** | 5 | 3 | 1 | 33.3 % |" in text
