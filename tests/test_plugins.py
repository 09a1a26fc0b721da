"""Plugins: found in metadata, loaded one by one, a broken one is only a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from unitrace import entrypoints
from unitrace.contract.errors import UsageError
from unitrace.plugins import Plugins

GOOD = """
from unitrace.contract.hookspecs import hookimpl
class Mine:
    name, title, api = "mine", "a backend of mine", {api}
@hookimpl
def unitrace_register_backend():
    return Mine()
"""


def install(folder: Path, name: str, code: str, target: str = "") -> None:
    (folder / f"{name}.py").write_text(code)
    meta = folder / f"{name}-1.2.dist-info"
    meta.mkdir()
    (meta / "entry_points.txt").write_text(
        f"[console_scripts]\nx = y:z\n\n[unitrace]\n{name} = {target or name}\n\n[other]\n{name}2 = nothing\n"
    )


def test_found_with_dist_and_version(tmp_path: Path) -> None:
    install(tmp_path, "mine_a", GOOD.format(api=1))
    (entry,) = entrypoints.find("unitrace", [str(tmp_path), "/nonexistent"])
    assert (entry.name, entry.module, entry.dist, entry.version) == ("mine_a", "mine_a", "mine_a", "1.2")
    assert entrypoints.find("nobody", [str(tmp_path)]) == []


def test_first_on_the_path_wins(tmp_path: Path) -> None:
    for part in ("one", "two"):
        (tmp_path / part).mkdir()
        install(tmp_path / part, "mine_b", GOOD.format(api=1))
    (entry,) = entrypoints.find("unitrace", [str(tmp_path / "one"), str(tmp_path / "two")])
    assert entry.path == str(tmp_path / "one")


def test_a_broken_one_costs_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, "mine_good", GOOD.format(api=1))
    install(tmp_path, "mine_old", GOOD.format(api=0))
    install(tmp_path, "mine_bad", "raise ZeroDivisionError('ouch')")
    install(tmp_path, "mine_gone", "", target="mine_gone_module")
    install(tmp_path, "mine_empty", "")
    plugins = Plugins([str(tmp_path)])
    assert [backend.title for backend in plugins.backends()] == ["a backend of mine"]
    said = {one.entry.name: one.failure for one in plugins.failures()}
    assert said == {
        "mine_old": "written for API version 0, this is 1",
        "mine_bad": "ZeroDivisionError: ouch",
        "mine_gone": "ModuleNotFoundError: No module named 'mine_gone_module'",
        "mine_empty": "it registers no backend",
    }
    with pytest.raises(UsageError, match="ouch"):
        plugins.backend("mine_bad")
    with pytest.raises(UsageError, match="no backend 'nope'"):
        plugins.backend("nope")


def test_pluggy_checks_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    other = GOOD.format(api=1) + "@hookimpl\ndef unitrace_no_such_hook():\n    pass\n"
    install(tmp_path, "mine_other", other)
    install(
        tmp_path, "mine_args", GOOD.format(api=1).replace("backend():", "backend(nonsense=1, *, other=2):")
    )
    marked = GOOD.format(api=1).replace(
        "from unitrace.contract.hookspecs import hookimpl",
        "import pluggy; hookimpl = pluggy.HookimplMarker('unitrace')",
    )
    install(tmp_path, "mine_marked", marked)
    plugins = Plugins([str(tmp_path)])
    plugins.check()
    said = {one.entry.name: one.failure for one in plugins.failures()}
    assert set(said) == {"mine_other"} and "unitrace_no_such_hook" in said["mine_other"]
    assert plugins.backend("mine_marked").name == "mine"


def test_only_the_one_asked_for_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, "mine_c", GOOD.format(api=1))
    install(tmp_path, "mine_d", "raise SystemExit")
    plugins = Plugins([str(tmp_path)])
    assert plugins.backend("mine_c").name == "mine"
    assert list(plugins.loaded) == ["mine_c"]


def test_the_built_in_backends_come_the_same_way() -> None:
    plugins = Plugins()
    assert {"ebpf", "ftrace", "perf"} <= set(plugins.names())
    assert {one.name for one in plugins.backends()} >= {"ebpf", "ftrace", "perf"}
    assert not plugins.failures()
