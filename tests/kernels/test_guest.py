"""What every guest promises to the tests that run in it."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(
        "UNITRACE_GUEST" not in os.environ, reason="for guests: python -m tests.kernels test all"
    ),
]


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/sys/kernel/tracing", "tracefs"),
        ("/sys/kernel/debug", "debugfs"),
        ("/sys/kernel/security", "securityfs"),
        ("/sys/fs/bpf", "bpf"),
        ("/sys/fs/cgroup", "cgroup2"),
        ("/dev/shm", "tmpfs"),
    ],
)
def test_file_systems_are_mounted(directory: str, kind: str) -> None:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    assert [directory, kind] in mounts


def test_kernel_is_the_one_asked_for() -> None:
    name, release = os.environ["UNITRACE_GUEST"], os.uname().release
    assert name == "newest" or release.startswith(f"{name}.")
    assert Path("/lib/modules", release, "kernel").is_dir()


def test_probes_can_be_made() -> None:
    assert os.access("/sys/kernel/tracing/kprobe_events", os.W_OK)
    assert os.access("/sys/kernel/tracing/uprobe_events", os.W_OK)


def test_clock_is_right() -> None:
    written = Path(__file__).stat().st_mtime
    assert written < time.time() < written + 20 * 365 * 86400


def test_loopback_works() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        client.sendall(b"here")
        assert server.accept()[0].recv(4) == b"here"


def test_root_can_be_written_and_temporary_files_stay_in_memory() -> None:
    Path("/etc/written-by-a-guest").touch()
    assert tempfile.gettempdir() == "/run/tmp"


def test_interpreter_is_first_in_path() -> None:
    assert os.environ["PATH"].split(":")[0] == str(Path(sys.executable).parent)
