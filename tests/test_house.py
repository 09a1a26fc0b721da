"""The rules of the house: imports only go down, nothing heavy at start, small rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*ROOT.glob("unitrace/**/*.py"), *ROOT.glob("backends/**/*.py")])

ALLOWED = {
    "contract": {"contract"},
    "kernel": {"contract", "kernel"},
    "lang": {"contract", "kernel", "lang"},
    "plan": {"contract", "plan"},
    "output": {"contract", "output", "session"},
    "engine": {"contract", "kernel", "output", "engine"},
    "plugins": {"contract", "entrypoints"},
    "entrypoints": {"contract"},
    "child": {"contract"},
    "stat": {"contract", "kernel", "child", "stat"},
    "session": {"contract", "kernel", "lang", "plan", "engine", "output", "plugins", "child", "session"},
    "cli": {"contract", "kernel", "plan", "output", "plugins", "session", "stat", "child", "cli"},
    "testing": {"contract", "kernel", "lang", "plan", "engine", "output", "plugins", "session", "testing"},
    "__init__": {"contract", "session", "plan"},
    "__main__": {"cli"},
}
"""Room to the rooms it may import. ``output`` names session.Trace for type checkers alone."""

AT_START = ("dataclasses", "inspect", "json", "numpy", "subprocess", "asyncio", "importlib.metadata")


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    if parts[0] == "backends":
        return parts[1]
    return parts[1] if len(parts) > 2 else parts[1].removesuffix(".py")


def module_name(path: Path) -> str:
    base = ROOT / "backends" if "backends" in path.parts else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                above = module_name(path).split(".")[: -node.level]
                module = ".".join([*above, module] if module else above)
            found.add(module)
            if module in ("unitrace", *ALLOWED):
                found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top.startswith("unitrace_"):
            assert top == here, f"{here} imports {name}: backends don't know each other"
        elif top == "unitrace" and rest and not rest.startswith("__version__"):
            target = rest.split(".")[0]
            allowed = {"contract", "kernel"} if here.startswith("unitrace_") else ALLOWED[here]
            assert target in allowed, f"{here} imports {name}"


def test_output_needs_session_for_types_alone() -> None:
    for path in ROOT.glob("unitrace/output/*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom):
                assert node.module != "unitrace.session", f"{path} imports the session at run time"


def test_no_circular_imports() -> None:
    paths = [path for path in SOURCES if path.name not in ("__main__.py", "__init__.py")]
    modules = [module_name(path) for path in paths]
    graph = {name: set[str]() for name in modules}
    for path, name in zip(paths, modules):
        for node in ast.parse(path.read_text()).body:  # at run time, at the top: what a cycle is made of
            if isinstance(node, ast.ImportFrom):
                above = name.split(".")[: -node.level] if node.level else []
                target = ".".join([*above, node.module or ""])
                graph[name].update({target, *(f"{target}.{one.name}" for one in node.names)} & set(graph))
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in modules:
        visit(name, ())


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 560, "a file has one subject and is read at a sitting"


def test_every_module_says_what_it_is_about() -> None:
    bare = [p for p in SOURCES if p.read_text().strip() and not ast.get_docstring(ast.parse(p.read_text()))]
    assert not bare


def test_nothing_heavy_at_start() -> None:
    """The modules of a run import none of the slow ones (those that click itself has are exempt)."""
    code = (
        "import sys, click, pluggy; before = set(sys.modules)\n"
        "import unitrace.cli.run, unitrace.lang, unitrace.engine.engine, unitrace.output.open\n"
        "from unitrace.plugins import Plugins; list(Plugins().backends())\n"
        f"print(sorted((set(sys.modules) - before) & set({AT_START!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_stands_once() -> None:
    import unitrace

    assert f'version = "{unitrace.__version__}"' in (ROOT / "pyproject.toml").read_text()
