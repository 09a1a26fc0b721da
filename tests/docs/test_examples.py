"""What the documentation says is run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import unitrace.contract.hookspecs as hookspecs

ROOT = Path(__file__).resolve().parent.parent.parent
API = re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.S)
COMMANDS = [
    line.strip().split("  #")[0].strip()
    for line in (ROOT / "README.md").read_text().splitlines()
    if line.startswith("    unitrace ")
]


@pytest.mark.privileged
@pytest.mark.skipif(os.geteuid() != 0, reason="tracing needs root")
@pytest.mark.parametrize("code", API, ids=range(len(API)))
def test_the_apis_examples_run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.privileged
@pytest.mark.skipif(os.geteuid() != 0, reason="tracing needs root")
@pytest.mark.parametrize("command", COMMANDS)
def test_the_readmes_commands(command: str) -> None:
    """Each compiles and plans; where this kernel lacks the probe, that is what is said."""
    words = shlex.split(command)[1:]
    if words[0] not in ("list", "backends", "explain", "plugins", "stat"):
        words.insert(0, "--dry-run")
    done = subprocess.run(
        [sys.executable, "-m", "unitrace", *words], capture_output=True, text=True, timeout=300
    )
    assert "Traceback" not in done.stderr
    assert "usage:" not in done.stderr.lower(), "the command line itself is wrong"
    if done.returncode:
        assert "kprobe" in command or "readline" in command, done.stderr
        assert "ERROR" in done.stderr


def test_every_hook_stands_in_the_docs() -> None:
    text = (ROOT / "docs/backends.md").read_text()
    hooks = [name for name in vars(hookspecs) if name.startswith("unitrace_")]
    assert hooks and all(name in text for name in hooks)


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
