"""perf beside our own eBPF programs on the same tracepoint: neither takes the other's events."""

from __future__ import annotations

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from perf_runs import BACKEND, MACHINE, clause, equal, field, mine, need, offered, tracepoint
from unitrace_ebpf.plugin import unitrace_register_backend

from unitrace.contract.offer import Offer, Request

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


@pytest.mark.parametrize("accepts", [True, False])
def test_both_see_all(accepts: bool) -> None:
    need("perf.tracepoint")
    ebpf = unitrace_register_backend()
    assert ebpf is not None
    probe = tracepoint("syscalls", "sys_enter_lseek")
    offset = field(probe, "offset")
    theirs = ebpf.offer(MACHINE, Request((clause(probe, (offset,), equal(offset, 4 if accepts else -4)),)))
    if not isinstance(theirs, Offer):
        pytest.skip(theirs.reason)
    ours = offered(clause(probe, (offset,), mine()))
    with ebpf.attach(MACHINE, theirs) as other, BACKEND.attach(MACHINE, ours) as attachment:
        other.start()
        attachment.start()
        for number in range(10):
            try:
                os.lseek(-1, number, 0)
            except OSError:
                pass
        attachment.stop()
        assert [v for batch in attachment.read() for v in batch.values("args.offset")] == list(range(10))
