"""Runs one case as the suite's own engine would: environment, waiting for probes, time limits, signals."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.compat import processes
from tests.compat.match import ATTACHED, decode, unmet
from tests.compat.stage import Stage
from tests.compat.suite import Case, Expect

__all__ = ["FEATURES", "Outcome", "Runner", "command"]

ATTACH_TIMEOUT = 10.0
GRACE = 1.0
AOT_DISABLED = "__BPFTRACE_NOTIFY_AOT_PORTABILITY_DISABLED"

FEATURES = {
    "loop": "Loop support: yes",
    "probe_read_kernel": "probe_read_kernel: yes",
    "btf": "btf: yes",
    "fentry": "fentry: yes",
    "dpath": "dpath: yes",
    "signal": "send_signal: yes",
    "iter": "iter: yes",
    "libpath_resolv": "bcc library path resolution: yes",
    "dwarf": "libdw (DWARF support): yes",
    "kprobe_multi": "kprobe_multi: yes",
    "kprobe_session": "kprobe_session: yes",
    "uprobe_multi": "uprobe_multi: yes",
    "skboutput": "skboutput: yes",
    "get_tai_ns": "get_ktime_ns: yes",
    "get_func_ip": "get_func_ip: yes",
    "jiffies64": "jiffies64: yes",
    "lookup_percpu_elem": "lookup_percpu_elem: yes",
    "dwunwind": "dwunwind (DWARF stack unwinding): yes",
    "blazesym": "blazesym (advanced symbolization): yes",
}
"""What ``--info`` prints where a feature that cases ask for is there."""


@dataclass
class Outcome:
    """What became of a case.

    ``state`` is "passed", "failed" or "skipped"; ``how`` of a failure is "exit" (the exit code), "output",
    "timeout", "attach" (no sign of attached probes in time) or "setup", of a skip its condition. ``code`` is
    the exit code, None after a time limit.
    """

    case: Case
    state: str
    how: str = ""
    output: str = ""
    code: int | None = None
    unmet: list[Expect] = field(default_factory=list)
    command: str = ""
    seconds: float = 0.0


class _Failed(Exception):
    """A command around the case failed."""


def command(case: Case, executable: str) -> str:
    """The shell command of a case, ``{{BEFORE_PID}}`` still in it."""
    if case.run:
        return case.run.replace("{{BPFTRACE}}", f"{executable} --verify-llvm-ir")
    json = "-q -f json " if case.expects and case.expects[0].mode == "json" else ""
    return f"{executable} {json}--verify-llvm-ir -e {shlex.quote(case.prog)}"


class Runner:
    """Runs cases of the suite in ``checkout`` with what is on ``stage``; may be used by several threads."""

    def __init__(self, checkout: Path, stage: Stage, patience: float = 1.0) -> None:
        """``patience``: what every time limit is multiplied by, on a slow machine."""
        self.directory = checkout / "tests"
        self.stage = stage
        self.patience = patience
        self.around = {**os.environ, "PATH": stage.path}
        info = subprocess.run([stage.executable, "--info"], env=self.around, capture_output=True, check=False)
        text = decode(info.stdout + info.stderr)
        self.features = {name for name, line in FEATURES.items() if line in text}

    def run(self, case: Case) -> Outcome:
        """Run ``case`` and judge it. Nothing that it started is left running."""
        began = time.monotonic()
        outcome = Outcome(case, "skipped", self._unwanted(case))
        if not outcome.how:
            running = _Running(self, case)
            try:
                outcome = running.run()
            except (_Failed, OSError) as error:
                outcome = Outcome(case, "failed", "setup", str(error))
            finally:
                running.end()
        outcome.seconds = time.monotonic() - began
        return outcome

    def shell(self, text: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command of the suite's in a shell, to its end."""
        return subprocess.run(
            [self.stage.shell, "-c", text],
            cwd=self.directory,
            env=self.around,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    def _unwanted(self, case: Case) -> str:
        kernel = _version(os.uname().release)
        if case.min_kernel and kernel < _version(case.min_kernel):
            return f"kernel {case.min_kernel} or newer"
        if case.max_kernel and kernel > _version(case.max_kernel):
            return f"kernel {case.max_kernel} or older"
        if case.skip_if_env:
            name, _, value = case.skip_if_env.partition("=")
            if os.environ.get(name, "") == value:
                return f"an environment without {case.skip_if_env}"
        for requirement in case.requires:
            if self.shell(requirement).returncode:
                return f"what its own check looks for (`{requirement.split()[0]}`)"
        for feature in case.features:
            if feature.lstrip("!") not in FEATURES:
                return f"feature {feature}, unknown here"
            if (feature.lstrip("!") in self.features) == feature.startswith("!"):
                return f"feature {feature}"
        return ""


class _Running:
    """One case, from SETUP to CLEANUP."""

    def __init__(self, runner: Runner, case: Case) -> None:
        self.runner = runner
        self.case = case
        self.enter: list[str] = []
        self.befores: list[subprocess.Popen[bytes]] = []
        self.main: subprocess.Popen[bytes] | None = None
        self.after: subprocess.Popen[bytes] | None = None

    def run(self) -> Outcome:
        case = self.case
        if case.setup and (done := self.runner.shell(case.setup)).returncode:
            raise _Failed(f"SETUP: {decode(done.stdout)}")
        self._start_befores()
        text = command(case, str(self.runner.stage.executable))
        if "{{BEFORE_PID}}" in text:
            text = text.replace("{{BEFORE_PID}}", str(self._before_pid()))
        text = " ".join([*self.enter, text])
        env = {
            "test": case.name,
            ATTACHED: "1",
            AOT_DISABLED: "1",
            "PATH": self.runner.stage.path,
            **case.env,
        }
        self.main = self._start([str(self.runner.stage.shell), "-c", text], env)
        output, how = self._read(self.main)
        code = None if how else self.main.returncode
        missed = unmet(case, output, self.runner.directory)
        state = "failed"
        if AOT_DISABLED in output:
            state, how = "skipped", "ahead-of-time compilation"
        elif code is not None and (code == 0 if case.will_fail else code != (case.return_code or 0)):
            how = "exit"
        elif missed:
            how = how or "output"
        else:
            state, how = "passed", ""
        return Outcome(case, state, how, output, code, missed, text)

    def end(self) -> None:
        """Stop what is still running, then clean up."""
        if self.main is not None:
            _kill(self.main)
        others = [*self.befores, *([self.after] if self.after else [])]
        for process in others:
            try:
                process.communicate(timeout=GRACE * self.runner.patience)
            except subprocess.TimeoutExpired:
                pass
            _kill(process)
        for process in [*others, *([self.main] if self.main else [])]:
            if process.stdout is not None:
                process.stdout.close()
        if self.case.cleanup:
            self.runner.shell(self.case.cleanup)

    def _start(self, argv: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            cwd=self.runner.directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _start_befores(self) -> None:
        """Start the programs that are to be there already, and wait until each has become what it is named."""
        waiting = list(self.case.befores)
        if self.case.new_pidns and waiting:
            unshare = ["unshare", "--fork", "--pid", "--mount-proc", "-r", "--kill-child", "--"]
            outside = self._start([*unshare, *waiting.pop(0).split()], self.runner.around)
            self.befores.append(outside)
            self._wait(lambda: bool(_children(outside.pid)), "a new process namespace")
            self.enter = ["nsenter", "-p", "-m", "-t", str(_children(outside.pid)[0])]
        for text in waiting:
            words = [*self.enter, *text.split()]
            process = self._start(words, self.runner.around)
            self.befores.append(process)
            name = os.path.basename(text.split()[-1])[: processes.COMM_MAX]

            def named(process: subprocess.Popen[bytes] = process, name: str = name) -> bool:
                pids = _children(process.pid) if self.enter else [process.pid]
                return any(processes.comm(pid) == name for pid in pids)

            self._wait(named, text)

    def _wait(self, found: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self.case.timeout * self.runner.patience
        while not found():
            if time.monotonic() > deadline:
                raise _Failed(f"waited in vain for {what}")
            time.sleep(0.05)

    def _before_pid(self) -> int:
        name = os.path.basename(self.case.befores[0].split()[-1])
        pids = processes.named(name, [process.pid for process in self.befores])
        if not pids:
            raise _Failed(f"no process {name}")
        return pids[0]

    def _start_after(self) -> None:
        assert self.main is not None
        if self.case.new_pidns:
            argv = [*self.enter, *map(self._absolute, self.case.after.split())]
        else:
            argv = [str(self.runner.stage.shell), "-c", self.case.after]
        roots = " ".join(str(process.pid) for process in [self.main, *self.befores])
        self.after = self._start(argv, {**self.runner.around, processes.ROOTS: roots})

    def _absolute(self, word: str) -> str:
        return os.path.join(self.runner.directory, word)

    def _read(self, main: subprocess.Popen[bytes]) -> tuple[str, str]:
        """All output, and "" if the program ended by itself, else which time limit it ran into."""
        assert main.stdout is not None
        reader = _Reader(main.stdout.fileno())
        attached = False
        patience = self.runner.patience
        deadline = time.monotonic() + ATTACH_TIMEOUT * patience
        while time.monotonic() < deadline:
            over = reader.read(min(0.1, deadline - time.monotonic()))
            if not attached and reader.has_line(ATTACHED.encode()):
                attached = True
                deadline = time.monotonic() + self.case.timeout * patience
                if self.case.after:
                    self._start_after()
            if over:
                try:
                    main.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    break
                return decode(bytes(reader.data)), ""
        if main.poll() is not None:  # something it left behind still holds the pipe
            return decode(bytes(reader.data)), ""
        _signal(main, signal.SIGTERM)
        deadline = time.monotonic() + GRACE * patience
        while time.monotonic() < deadline and not reader.read(max(0.0, deadline - time.monotonic())):
            pass
        _kill(main)
        while not reader.read(0):
            if not reader.fresh:
                break
        return decode(bytes(reader.data)), "timeout" if attached else "attach"


class _Reader:
    """Gathers what comes out of a pipe."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.data = bytearray()
        self.fresh = False

    def read(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for more; True at the end of the stream."""
        self.fresh = bool(select.select([self.fd], [], [], max(0.0, timeout))[0])
        chunk = os.read(self.fd, 1 << 16) if self.fresh else b""
        self.data += chunk
        return self.fresh and not chunk

    def has_line(self, line: bytes) -> bool:
        return self.data.startswith(line + b"\n") or b"\n" + line + b"\n" in self.data


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and what is left of its session (timeout(1) makes a process group of its own)."""
    _signal(process, signal.SIGKILL)
    for pid in processes.of_session(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def _version(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)[:3]]
