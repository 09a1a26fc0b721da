"""The built-in backends, held to the suite that a third party's inherits."""

from __future__ import annotations

import os

import pytest

from unitrace.plugins import Plugins
from unitrace.testing import BackendConformance

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="tracing needs root"),
]


class Getppid(BackendConformance):
    """Any backend, on a system call that nothing here makes by itself."""

    probe = "tracepoint:syscalls:sys_enter_getppid"

    def workload(self, times: int) -> None:
        for _ in range(times):
            os.getppid()


class TestEbpf(Getppid):
    backend = Plugins().backend("ebpf")


class TestFtrace(Getppid):
    backend = Plugins().backend("ftrace")


class TestPerf(Getppid):
    backend = Plugins().backend("perf")


class TestUprobesByPerf(Getppid):
    """A probe that needs a dynamic event or a PMU."""

    backend = Plugins().backend("perf")
    probe = "uprobe:libc:getppid"

    def test_it_lists_what_it_offers(self) -> None:
        labels = [one.label for one in self.backend.probes(self.machine, "uprobe:libc:getppid")]
        assert all(label.endswith(":getppid") for label in labels)


class TestUprobesByFtrace(TestUprobesByPerf):
    backend = Plugins().backend("ftrace")


class TestUprobesByEbpf(TestUprobesByPerf):
    backend = Plugins().backend("ebpf")
