"""Where user static probes are looked for: files, patterns of files, what a process has mapped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unitrace.contract.errors import UnitraceError
from unitrace.contract.machine import Machine
from unitrace.kernel import usdt
from unitrace.lang import compile_text


def labels(probe: str, pid: int = 0) -> list[str]:
    program = compile_text(f"{probe} {{ @ = count(); }}", Machine(), pid=pid).program
    return [clause.probe.label for clause in program.clauses]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files; the one has probes a:one, a:two and b:two, the other a:one."""
    for name in ("x1", "x2"):
        (tmp_path / name).touch()

    def probes(path: str) -> list[usdt.Usdt]:
        pairs = (
            [("a", "one"), ("a", "one"), ("a", "two"), ("b", "two")] if path.endswith("1") else [("a", "one")]
        )
        return [usdt.Usdt(provider, name, 16, 0, ()) for provider, name in pairs]

    monkeypatch.setattr(usdt, "probes", probes)
    return tmp_path


def test_each_probe_once(files: Path) -> None:
    assert labels(f"usdt:{files}/x1:a:one") == [f"usdt:{files}/x1:a:one"]
    assert labels(f"usdt:{files}/x1:one") == [f"usdt:{files}/x1:a:one"]
    assert labels(f"usdt:{files}/x1:*") == [f"usdt:{files}/x1:{one}" for one in ("a:one", "a:two", "b:two")]
    assert labels(f"usdt:{files}/x1::t*") == [f"usdt:{files}/x1:{one}" for one in ("a:two", "b:two")]
    assert labels(f"usdt:{files}/x*:a:one") == [f"usdt:{files}/x{n}:a:one" for n in (1, 2)]


def test_what_a_process_has_mapped(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usdt, "mapped", lambda pid: [("/lib/x2", f"{files}/x2")] if pid == 5 else [])
    for probe in ("usdt:*:a:one", "usdt::a:one", "usdt:::one", "usdt:one"):
        assert labels(probe, 5) == ["usdt:/lib/x2:a:one"]
    assert [path for path, _ in usdt.mapped(os.getpid())] == []


def test_none(files: Path) -> None:
    with pytest.raises(UnitraceError, match="No matches for usdt"):
        labels(f"usdt:{files}/x1:a:three")
    with pytest.raises(UnitraceError, match="must have a target"):
        labels("usdt::a:one")


def test_quotes_inside_quotes(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usdt, "probes", lambda path: [usdt.Usdt("a", '"one"', 16, 0, ())])
    assert labels(f'usdt:{files}/x1:a:"\\"one\\""') == [f'usdt:{files}/x1:a:"one"']


def test_mapped() -> None:
    found = dict(usdt.mapped(os.getpid()))
    assert any("python" in path or "libc" in path for path in found)
    assert all(os.path.isfile(place) for place in found.values())
