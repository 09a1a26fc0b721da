"""One tool, run by several tracers at the same time, beside one workload."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .catalogue import Case
from .disks import Missing
from .files import COMM

__all__ = ["Ran", "Result", "run"]

ARMED = b"Attached"  # both say "Attached N probes" on stderr once nothing is missed any more
PATIENCE = 120.0
"""Seconds for a tracer to start or to end, in a guest."""


@dataclass
class Ran:
    """One tracer's run: its output, what it said on stderr, and how it ended (None: it didn't)."""

    name: str
    output: str = ""
    said: str = ""
    status: int | None = None


@dataclass
class Result:
    """``missing``: why the workload couldn't run; ``ran`` in the tracers' order; ``views``: what of the
    outputs is compared."""

    tool: str
    missing: str = ""
    ran: list[Ran] = field(default_factory=list)
    views: list[list[str]] = field(default_factory=list)

    def verdict(self, at: int, reference: int = 0) -> str:
        """What tracer ``at`` did, against the reference: "equal", "different", "nothing" (neither saw
        anything), "alone" (the reference failed), "refused", "failed" or "hangs"."""
        ran = self.ran[at]
        if ran.status is None:
            return "hangs"
        if ran.status != 0:
            return "refused" if "can't run this" in ran.said or "no backend" in ran.said else "failed"
        if self.ran[reference].status != 0:
            return "alone"
        if self.views[at] != self.views[reference]:
            return "different"
        return "equal" if self.views[at] else "nothing"


def run(case: Case, tracers: Sequence[tuple[str, Sequence[str]]], directory: str) -> Result:
    """``tracers``: (name, command without the tool). The tools are in ``directory``."""
    result = Result(case.tool)
    try:
        case.ready()
    except (Missing, OSError) as error:
        result.missing = str(error)
    path = str(Path(directory) / f"{case.tool}.bt")
    with tempfile.TemporaryDirectory() as place:
        started = [_start([*command, path], Path(place) / name) for name, command in tracers]
        ready = [_armed(process, said) for process, _, said in started]
        time.sleep(0.5)
        if all(ready) and not result.missing:
            result.missing = _work(case)
        time.sleep(1.0)
        for process, _, _ in started:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for (name, _), (process, output, said) in zip(tracers, started):
            status = _ended(process)
            result.ran.append(Ran(name, _text(output), _text(said), status))
    result.views = [case.view(one.output) for one in result.ran]
    return result


def _start(command: list[str], output: Path) -> tuple[subprocess.Popen[bytes], Path, Path]:
    said = output.with_suffix(".err")
    with output.open("wb") as out, said.open("wb") as err:
        return subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL), output, said


def _armed(process: subprocess.Popen[bytes], said: Path) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if ARMED in said.read_bytes():
            return True
        time.sleep(0.1)
    return process.poll() is not None  # one that has gone isn't waited for


def _work(case: Case) -> str:
    """Run the workload in a process named COMM; "" or why it couldn't."""
    result, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(result)
            Path("/proc/self/comm").write_text(COMM)
            case.workload()
        except (Missing, OSError) as error:
            os.write(writing, str(error).encode())
        except BaseException:
            os.write(writing, traceback.format_exc(limit=1).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(result, "rb") as file:
        said = file.read().decode(errors="replace")
    os.waitpid(pid, 0)
    return said


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="backslashreplace")
