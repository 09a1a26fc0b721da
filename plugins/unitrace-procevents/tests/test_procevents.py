"""The plugin, held to the conformance suite."""

from __future__ import annotations

import os
import threading
import time

import pytest
from unitrace_procevents.backend import ProcEvents

from unitrace.testing import BackendConformance

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="the connector needs CAP_NET_ADMIN"),
]


class TestProcEvents(BackendConformance):
    """Exits of threads of this process: they carry its pid, and a fork would not."""

    backend = ProcEvents()
    probe = "tracepoint:sched:sched_process_exit"
    on_this_thread = False

    def workload(self, times: int) -> None:
        before = len(os.listdir("/proc/self/task"))
        for _ in range(times):
            thread = threading.Thread(target=lambda: None)
            thread.start()
            thread.join()
            # join() returns before the kernel's thread is gone.
            while len(os.listdir("/proc/self/task")) > before:
                time.sleep(0.001)
