"""The cache of indexes: kept, trusted only where it is safe, never needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unitrace.kernel import cache


def counted(made: list[int]) -> bytes:
    made.append(1)
    return b"content"


def test_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made: list[int] = []
    for _ in range(3):
        assert bytes(cache.kept("kind", "key", lambda: counted(made))) == b"content"
    assert len(made) == 1
    assert [os.stat(f"{cache.folder()}/{name}").st_mode & 0o77 for name in os.listdir(cache.folder())] == [0]


def test_a_file_that_others_can_write_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made: list[int] = []
    cache.kept("kind", "key", lambda: counted(made))
    (name,) = os.listdir(cache.folder())
    path = f"{cache.folder()}/{name}"
    with open(path, "w", encoding="utf-8") as file:
        file.write("forged")
    os.chmod(path, 0o666)
    assert bytes(cache.kept("kind", "key", lambda: counted(made))) == b"content"
    assert len(made) == 2


def test_no_place_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no/such")
    assert cache.kept("kind", "key", lambda: b"content") == b"content"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/")
    assert cache.folder() == ""


def test_few_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number in range(cache.KEEP + 3):
        cache.kept("kind", f"key{number}", lambda: b"content")
    cache.kept("other", "key", lambda: b"content")
    assert len(os.listdir(cache.folder())) == cache.KEEP + 1
