"""What is said while attaching takes long."""

from __future__ import annotations

import pytest

from unitrace.cli.progress import Progress


def shown(capsys: pytest.CaptureFixture[str], *, terminal: bool, late: bool) -> str:
    progress = Progress()
    progress.terminal = terminal
    for done in range(1, 4):
        progress.next = 0.0 if late else float("inf")
        progress(done, 3)
    return capsys.readouterr().err


def test_nothing_where_it_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, terminal=True, late=False) == ""
    assert shown(capsys, terminal=False, late=False) == ""


def test_a_terminal_counts_and_the_line_is_gone_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, terminal=True, late=True) == "\rAttaching 1/3\rAttaching 2/3\r\x1b[K"


def test_a_file_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, terminal=False, late=True) == "Attaching 3 probes...\n"
