"""What a case finds first in its PATH, in a temporary directory.

- ``bpftrace``: the executable under that name, as some cases look at the name of the process. The kernel names
  a process after the file that was executed, be it a binary or a script with an interpreter's line, so a link
  does; an executable that runs another one in turn shows that one's name.
- ``sh``: bash where there is one; the cases' commands are written for it.
- ``pidof`` and ``pkill``: they see this case's processes alone, so that no case disturbs another, nor anything
  else on the machine.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Stage", "stage"]

_SCRIPT = """\
#!{python} -IS
import sys
sys.path.insert(0, {checkout!r})
from tests.compat.processes import main
sys.exit(main(sys.argv, {runner}))
"""


@dataclass
class Stage:
    """The staged executable and shell, and the PATH that has both."""

    executable: Path
    shell: Path
    path: str


@contextmanager
def stage(executable: Path) -> Iterator[Stage]:
    """The directory for one run with ``executable``; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="compat-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "bpftrace").symlink_to(executable.absolute())
        (directory / "sh").symlink_to(shutil.which("bash") or "/bin/sh")
        checkout = str(Path(__file__).resolve().parents[2])
        script = _SCRIPT.format(python=sys.executable, checkout=checkout, runner=os.getpid())
        for tool in ("pidof", "pkill"):
            (directory / tool).write_text(script)
            (directory / tool).chmod(0o755)
        path = f"{directory}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        yield Stage(directory / "bpftrace", directory / "sh", path)
