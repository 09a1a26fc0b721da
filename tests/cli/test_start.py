"""What a run imports: what it has no use for costs it a fifth of a millisecond a module, and more."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.privileged

ALWAYS_LATE = {
    "click", "fnmatch", "inspect", "numpy", "subprocess", "unitrace.cli.run", "unitrace.kernel.btf",
    "unitrace.kernel.elf", "unitrace.kernel.perf_events", "unitrace.kernel.usdt", "unitrace.plan.explain",
    "unitrace_ebpf.listing", "unitrace_ebpf.races", "unitrace_ebpf.sampling", "unitrace_ebpf.usdt",
    "unitrace_ftrace.offer", "unitrace_perf.offer",
}  # fmt: skip
"""What neither of these runs needs."""

WHOLE = {f"unitrace_ebpf.compile.{name}" for name in ("aggregates", "loops", "program", "sends", "tables")}
"""What compiles clauses that run in the kernel to their last statement."""


def imported(*words: str) -> set[str]:
    """The modules that a run on eBPF imports."""
    command = [sys.executable, "-X", "importtime", "-m", "unitrace", "-c", "true", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unitrace_ebpf.attach" not in done.stderr:
        pytest.skip("this machine runs it on another backend than eBPF")
    assert done.returncode == 0, done.stderr[-500:]
    return set(re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.M))


def test_a_plain_run() -> None:
    found = imported("tracepoint:sched:sched_process_exit")
    assert sorted(found & (ALWAYS_LATE | WHOLE)) == []


def test_an_aggregate() -> None:
    found = imported("-e", "tracepoint:sched:sched_process_exit { @[comm] = count(); }")
    assert found >= WHOLE
    assert sorted(found & ALWAYS_LATE) == []
