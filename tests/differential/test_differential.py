"""Every backend gives the one right answer, or refuses and says why."""

from __future__ import annotations

import os

import pytest

from tests.differential.run import run_case
from tests.differential.table import CASES, Case
from unitrace.contract.machine import Machine
from unitrace.plugins import Plugins

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="tracing needs root"),
]
BACKENDS = ("ebpf", "ftrace", "perf")


@pytest.fixture(scope="module")
def machine() -> Machine:
    machine = Machine()
    for backend in Plugins().backends():
        backend.survey(machine)
    return machine


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_equal_or_refused(case: Case, backend: str) -> None:
    outcome = run_case(case, backend)
    if outcome.state == "refused":
        assert len(outcome.detail) > 20, "a refusal names its reason"
        pytest.skip(f"refused: {outcome.detail}")
    assert outcome.state == "equal", outcome.detail
