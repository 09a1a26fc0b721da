"""The report on a directory of tools, on scripts that any machine can judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat.tools import main


def test_each_script_gets_its_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fine.bt").write_text("BEGIN { @a = count(); }\n")
    (tmp_path / "wrong.bt").write_text("BEGIN {\n  @a = nonsense;\n}\n")
    assert main([str(tmp_path)]) == 1
    page = capsys.readouterr().out
    assert "| fine.bt | 1 | yes | none needed | yes | yes | yes |" in page
    assert "| wrong.bt | 3 | no | nothing | - | - | - |" in page
    assert "- wrong.bt: Unknown identifier: 'nonsense' (line 2)" in page


def test_only_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.bt").write_text("BEGIN { }\n")
    assert main([str(tmp_path), "--only", "two"]) == 0
    assert "one.bt" not in capsys.readouterr().out


def test_no_scripts(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 2
