"""One tool, run by several tracers at the same time, beside one workload."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .catalogue import Case
from .disks import Missing
from .files import COMM

__all__ = ["Ran", "Result", "Tracer", "run"]

ARMED = b"Attached"  # both say "Attached N probes" on stderr once nothing is missed any more
PATIENCE = 300.0
"""Seconds for a tracer to start or to end, in a guest."""

NOT_HERE = re.compile("No matches for|is not traceable|does not contain a field named|Failed to resolve")
REFUSED = re.compile("can't run this|no backend|shows no BTF")
ERROR = re.compile(r"ERROR: (?:\w+ can't run this: )?(.*)")
REASON_LENGTH = 100


@dataclass
class Tracer:
    """``command``: what runs it, without the tool."""

    name: str
    command: Sequence[str]


@dataclass
class Ran:
    """One tracer's run: its output, what it said on stderr, and how it ended (None: it didn't)."""

    name: str
    output: str = ""
    said: str = ""
    status: int | None = None

    def ending(self) -> str:
        """How a run that didn't end well did: "hangs", "refused", "not here" or "failed"; else ""."""
        if self.status is None:
            return "hangs"
        if self.status == 0:
            return ""
        if REFUSED.search(self.said):
            return "refused"
        return "not here" if NOT_HERE.search(self.reason()) else "failed"

    def reason(self) -> str:
        """The first error that it said."""
        found = ERROR.search(self.said)
        return found[1] if found else (self.said.splitlines() or [""])[0]


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
        anything), "no workload", "alone" (the reference failed), or how it ended."""
        ending = self.ran[at].ending()
        if ending:
            return ending
        if self.missing:
            return "no workload"
        if self.ran[reference].ending():
            return "alone"
        if self.views[at] != self.views[reference]:
            return "different"
        return "equal" if self.views[at] else "nothing"

    def note(self) -> str:
        """Why tracers didn't run the tool, each reason once; and why there was no workload."""
        reasons: dict[str, list[str]] = defaultdict(list)
        for ran in self.ran:
            if ran.ending():
                text = ran.reason()
                short = text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH]}..."
                reasons[short].append(ran.name)
        notes = [self.missing.strip()] if self.missing else []
        for reason, names in reasons.items():
            notes.append(reason if len(names) == len(self.ran) else f"{', '.join(names)}: {reason}")
        return "; ".join(notes)


def run(case: Case, tracers: Sequence[Tracer], directory: str) -> Result:
    """The case's tool, of those in ``directory``, by all tracers at the same time."""
    result = Result(case.tool)
    try:
        case.ready()
    except (Missing, OSError) as error:
        result.missing = str(error)
    path = str(Path(directory) / f"{case.tool}.bt")
    with tempfile.TemporaryDirectory() as place:
        started = [_start([*one.command, path], Path(place) / str(at)) for at, one in enumerate(tracers)]
        ready = [_armed(process, said) for process, _, said in started]
        time.sleep(0.5)
        late = [one.name for one, done in zip(tracers, ready) if not done]
        if late:
            result.missing = f"{', '.join(late)} not ready within {PATIENCE:.0f} s"
        running = [process for process, _, _ in started if process.poll() is None]
        if running and not result.missing:
            result.missing = _work(case)
        for process in running:
            process.send_signal(signal.SIGINT)
        for one, (process, output, said) in zip(tracers, started):
            status = _ended(process)
            result.ran.append(Ran(one.name, _text(output), _text(said), status))
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
            time.sleep(1.0)  # who prints this process's symbols looks them up while it is there
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
