"""What can be listed, and what a survey says."""

from __future__ import annotations

import pytest
from ftrace_runs import BACKEND, MACHINE, needs_tracefs

from unitrace.contract.machine import Answer, Machine

pytestmark = [pytest.mark.privileged, needs_tracefs()]


def test_tracepoints() -> None:
    found = {one.label: one.args for one in BACKEND.probes(MACHINE, "tracepoint:sched:sched_switc*")}
    assert list(found) == ["tracepoint:sched:sched_switch"]
    assert any(arg.endswith(" prev_pid") for arg in found["tracepoint:sched:sched_switch"])
    assert len(list(BACKEND.probes(MACHINE, "tracepoint:*:*"))) > 100
    assert list(BACKEND.probes(MACHINE, "t:sched:unitrace_none")) == []


def test_user_functions() -> None:
    found = [one.label for one in BACKEND.probes(MACHINE, "uprobe:libc:labs")]
    assert len(found) == 1 and found[0].endswith("libc.so.6:labs")


def test_kernel_functions() -> None:
    found = [one.label for one in BACKEND.probes(MACHINE, "kprobe:vfs_rea*")]
    assert ("kprobe:vfs_read" in found) == bool(MACHINE.answer("ftrace.kprobe_events"))


def test_survey_says_why() -> None:
    for line in BACKEND.survey(MACHINE):
        assert line.answer or line.answer.reason
    lacking = Machine({**MACHINE.known, "tracefs": Answer(2, "not mounted", "mount it")}, {}, live=False)
    lines = BACKEND.survey(lacking)
    assert {line.answer for line in lines} == {Answer(2, "not mounted", "mount it")}
    assert list(BACKEND.probes(lacking, "tracepoint:*:*")) == []
