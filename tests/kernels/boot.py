"""Start a guest, stream what its command prints, bring back its exit code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import qemu
from .errors import EXIT_DEAD, EXIT_TIMEOUT, Stopped, Unavailable
from .fileserver import Tree, Virtiofsd
from .guest import command_script, environment, initramfs
from .ports import Ports, copy_to, lines_to
from .store import Kernel


@dataclass(frozen=True)
class Job:
    """A command to run in a guest, and the guest to run it in."""

    command: Sequence[str]
    machine: qemu.Machine = field(default_factory=qemu.Machine)
    shares: Sequence[str] = ()  # directories where the guest's writes reach the host
    layers: Sequence[str] = ()  # directories laid over the root, the last on top
    env: Sequence[str] = ()  # NAME=VALUE, or NAME for the host's value
    timeout: float | None = None  # seconds, boot included


@dataclass
class Outcome:
    """How it went. Times are in seconds since the start."""

    exit_code: int = EXIT_DEAD
    booted: float | None = None  # when the command started, None if it never did
    total: float = 0.0


def check_host() -> tuple[str, Virtiofsd]:
    """The programs a guest takes. Raises Unavailable when this machine can't run guests."""
    if os.geteuid() != 0:
        raise Unavailable("the lab needs root: it hands this machine's files to its guests as they are")
    return qemu.find_qemu(), Virtiofsd.find()


def run(kernel: Kernel, job: Job) -> Outcome:
    """Run a job under a kernel, with this process's stdout, stderr and directory, and an empty stdin."""
    emulator, virtiofsd = check_host()
    start, outcome = time.monotonic(), Outcome()
    layers = [Tree("host", "/"), *(Tree(f"layer{i}", path) for i, path in enumerate(job.layers))]
    shares = [Tree(f"share{i}", path, writable=True) for i, path in enumerate(job.shares)]
    trees = [*layers, *shares]
    script = command_script(job.command, os.getcwd(), environment(kernel.name, job.env, os.environ))

    def control(line: str) -> None:
        word, _, value = line.partition(" ")
        if word == "start":
            outcome.booted = time.monotonic() - start
        elif word == "exit":
            outcome.exit_code = int(value)

    # On the way out, in this order: the guest is killed, its ports run empty, the servers are killed, the
    # files go.
    with tempfile.TemporaryDirectory(prefix="unitrace-lab-") as name, ExitStack() as stack:
        directory = Path(name)
        initrd = initramfs(kernel, script, [t.tag for t in layers], {t.tag: t.directory for t in shares})
        (directory / "initrd").write_bytes(initrd)
        log = stack.enter_context((directory / "host.log").open("wb"))
        for tree in trees:
            stack.callback(_kill, virtiofsd.serve(tree, directory / f"{tree.tag}.sock", log))
        readers = {"control": lines_to(control), "stdout": copy_to(1), "stderr": copy_to(2)}
        ports = stack.enter_context(Ports(readers))
        argv = qemu.argv(emulator, job.machine, kernel.image, [tree.tag for tree in trees], ports.fds)
        guest = subprocess.Popen(
            [*_die_with_parent(), *argv],
            cwd=directory,
            pass_fds=list(ports.fds.values()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the lab, which ends everything in order
        )
        stack.callback(_kill, guest)
        ports.hand_over()
        timed_out = not _ends_within(guest, job.timeout)
        stack.close()
        if timed_out:
            outcome.exit_code = EXIT_TIMEOUT
        if timed_out or outcome.exit_code == EXIT_DEAD:
            _explain(kernel, outcome, directory)
    outcome.total = time.monotonic() - start
    return outcome


@contextmanager
def stoppable() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise Stopped, so that guests and daemons are killed as on Ctrl-C."""

    def stop(signum: int, _frame: object) -> None:
        raise Stopped(signum)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _die_with_parent() -> list[str]:
    """What makes a guest die with a lab that is killed outright; servers end with their guest."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _ends_within(process: subprocess.Popen[bytes], timeout: float | None) -> bool:
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


def _explain(kernel: Kernel, outcome: Outcome, directory: Path) -> None:
    """Tell on stderr how a guest ended that didn't end by itself."""
    what = "timed out" if outcome.exit_code == EXIT_TIMEOUT else "died"
    when = "before its command started" if outcome.booted is None else "while its command ran"
    print(f"lab: guest {kernel.name} {what} {when}", file=sys.stderr)
    for log in ("host.log", "console.log"):
        path = directory / log
        if path.exists():
            lines = path.read_text(errors="replace").splitlines()
            # "poll revents" is how a file server puts it that its guest has gone.
            told = [line for line in lines if "poll revents" not in line][-160:]
            sys.stderr.writelines(f"{log}: {line}\n" for line in told)
