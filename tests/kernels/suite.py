"""Which tests `test` runs in a guest: those marked `privileged`, with as little Python there as possible.

Python is some twenty times slower in a guest. So the host collects first, and the guest is given
only the files that have privileged tests; that also leaves compiled modules behind, which the guest finds.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
_SELECT = ("-m", "privileged", "-p", "no:cacheprovider")


def pytest_command(args: list[str]) -> list[str]:
    """The command that runs the privileged tests of `args` (of the whole checkout by default) in a guest."""
    if names_paths(args):
        return [sys.executable, "-m", "pytest", *_SELECT, *args]
    collect = [sys.executable, "-m", "pytest", *_SELECT, "--collect-only", "-qq", *args]
    done = subprocess.run(collect, cwd=CHECKOUT, capture_output=True, text=True)
    files = collected_files(done.stdout.splitlines()) if done.returncode == 0 else []
    return [sys.executable, "-m", "pytest", *_SELECT, *args, *files]


def prepare_checkout() -> None:
    """Write the checkout's missing .pyc files; a guest would compile these modules in each of its runs."""
    argv = [sys.executable, "-m", "compileall", "-q", "-x", r"/\.", str(CHECKOUT)]
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def names_paths(args: Iterable[str]) -> bool:
    """Whether some argument is a path or a test of one (`tests/test_x.py::test_y`)."""
    return any((CHECKOUT / arg.partition("::")[0]).exists() for arg in args if not arg.startswith("-"))


def collected_files(lines: Iterable[str]) -> list[str]:
    """The files that `pytest --collect-only -qq` (FILE: COUNT) or `-q` (FILE::TEST) lists, in order."""
    files = (line.partition("::")[0] if "::" in line else line.rpartition(": ")[0] for line in lines)
    return list(dict.fromkeys(name for name in files if name.endswith(".py")))
