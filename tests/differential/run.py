"""Running one case on one backend."""

from __future__ import annotations

import re
from typing import NamedTuple

import unitrace
from tests.differential.table import Case
from tests.differential.workloads import Workload
from unitrace.output.sink import Writer
from unitrace.output.text import TextSink

__all__ = ["Outcome", "run_case"]


AMBIGUOUS = "(this kernel counts both)"
"""How a loss ends that may be none: before 5.14 memory that can't be read counts as a missed probe."""


class Outcome(NamedTuple):
    """``state``: "equal", "unequal" or "refused"; ``detail``: the text, or the reason."""

    state: str
    detail: str


class _Kept(Writer):
    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes | bytearray) -> None:
        self.data += data

    @staticmethod
    def err(data: bytes) -> None:
        pass


def run_case(case: Case, backend: str) -> Outcome:
    """Trace the case's workload, in a process of its own, on ``backend``."""
    work = Workload(case.workload)
    try:
        return _traced(case, backend, work)
    finally:
        work.close()


def _traced(case: Case, backend: str, work: Workload) -> Outcome:
    program = case.program.replace("PID", str(work.pid))
    try:
        run = unitrace.trace(program, backend)
    except (unitrace.BackendError, unitrace.ProbeError) as error:
        return Outcome("refused", error.message)
    except unitrace.SpecError as error:
        if "the kernel shows no BTF" not in error.remedy:
            raise
        return Outcome("refused", f"{error.message}: {error.remedy}")
    kept = _Kept()
    with run:
        sink = TextSink(kept, quiet=True, resolve=run.resolve, bare="{" not in case.program)
        work.run()
        sink.emit(run.finish())
    losses = {cause: n for cause, n in run.stats.losses.items() if not cause.endswith(AMBIGUOUS)}
    if losses:
        return Outcome("unequal", f"lost {losses}")
    text = kept.data.decode(errors="backslashreplace")
    expected = case.expected() if callable(case.expected) else case.expected
    same = bool(expected.search(text)) if isinstance(expected, re.Pattern) else text == expected
    return Outcome("equal" if same else "unequal", text)
