"""The runner's verdicts, and the page that its runs write."""

from __future__ import annotations

from pathlib import Path

from .__main__ import lineup
from .catalogue import CASES, once, shape
from .page import Table, write
from .run import Ran, Result


def table(title: str, verdict: str) -> Table:
    made = Table(title, "Linux 6.1.0.", ["ebpf", "ftrace"])
    made.rows = [["loads", "equal", verdict, "1", "a|b"], ["mdflush", "equal", "equal", "2", ""]]
    return made


def test_each_run_replaces_its_own_section(tmp_path: Path) -> None:
    page = tmp_path / "tools.md"
    for title, verdict in (("6.1", "different"), ("6.12", "equal"), ("6.1", "refused"), ("5.10", "equal")):
        write(str(page), table(title, verdict))
    text = page.read_text()
    assert text.startswith("# ")
    assert [one for one in text.splitlines() if one.startswith("## ")] == ["## 5.10", "## 6.1", "## 6.12"]
    assert "different |" not in text
    assert "| loads | equal | refused | 1 | a\\|b |" in text
    assert "- ftrace: 1 refused, 1 equal\n" in text and "- ftrace: 2 equal\n" in text
    write(str(page), table("6.12", "equal"))
    assert page.read_text() == text
    one = table("6.1", "equal")
    del one.rows[1]
    write(str(page), one)
    assert page.read_text() == text.replace("| refused | 1", "| equal | 1").replace(
        "- ftrace: 1 refused, 1 equal", "- ftrace: 2 equal"
    ), "a tool that ran again"
    one = table("6.1", "equal")
    del one.rows[1]
    one.facts = "Linux 6.1.1."
    write(str(page), one)
    assert page.read_text().count("| mdflush |") == 2, "of another day's section nothing is kept"


def test_rows_stand_in_the_catalogues_order(tmp_path: Path) -> None:
    page = tmp_path / "tools.md"
    for tool in ("xfsdist", "loads", "mdflush"):
        one = table("6.1", "equal")
        one.rows = [[tool, "equal", "equal", "1", ""]]
        write(str(page), one)
    rows = [row.split()[1] for row in page.read_text().splitlines() if "| equal | equal |" in row]
    assert rows == ["loads", "mdflush", "xfsdist"]


def test_verdicts() -> None:
    refusal = "x.bt:1:1-5: ERROR: ftrace can't run this: ftrace has no profile probes\nprofile:hz:99\n"
    warned = "WARNING: No matches for kprobe nope*. Skipping.\nx.bt:1:1-5: ERROR: out of memory\n"
    missing = "x.bt:1:1-5: ERROR: No matches for tracepoint block:nope.\n"
    untyped = "x.bt:1:1-5: ERROR: Unknown struct/union: 'struct bio'\nHINT: the kernel shows no BTF (...)\n"
    ran = [
        Ran("ebpf", "a\n", "", 0), Ran("perf", "a\n", "", 0), Ran("other", "b\n", "", 0),
        Ran("ftrace", "", refusal, 1), Ran("old", "", missing, 1), Ran("bare", "", untyped, 1),
        Ran("broken", "", "Traceback\n", 1), Ran("late", "", "", None),
        Ran("warned", "", warned, 1),
    ]  # fmt: skip
    result = Result("x", "", ran, [one.output.split() for one in ran])
    assert [result.verdict(at) for at in range(len(ran))] == [
        "equal", "equal", "different", "refused", "not here", "refused", "failed", "hangs",
        "failed",
    ]  # fmt: skip
    assert "ftrace: ftrace has no profile probes; old: No matches for tracepoint block:nope." in result.note()
    result = Result("x", "no disk", ran[:2], [["a"], ["a"]])
    assert (result.verdict(1), result.note()) == ("no workload", "no disk")
    result = Result("x", "", [Ran("bpftrace", "", missing, 1), Ran("ebpf", "a\n", "", 0)], [[], ["a"]])
    assert [result.verdict(at) for at in (0, 1)] == ["not here", "alone"]


def test_the_reference_stands_outside() -> None:
    first, *others = lineup("", ["ftrace", "perf"], "bpf,btf")
    assert first.name == "ebpf" and "tests.without" not in first.command
    assert [one.name for one in others] == ["ftrace without bpf and btf", "perf without bpf and btf"]
    assert all("tests.without" in one.command for one in others)


def test_views() -> None:
    bars = "@usecs:\n[2, 4)    5 |@@@@     |\n[4, 8)    9 |@@@@@@@@@|\n"
    assert shape()(bars) == ["@usecs:", "a histogram's row"]
    assert once(CASES["swapin"].view)("12:00:01\n@[toolload, 7]: 3\n@[toolload, 7]: 4\n@[sh, 8]: 1\n") == [
        "@[toolload, 7]: N"
    ]
