"""What every backend must keep to, as a test class to inherit from.

    from unitrace.testing import BackendConformance
    from my_plugin import MyBackend

    class TestMyBackend(BackendConformance):
        backend = MyBackend()
        probe = "tracepoint:syscalls:sys_enter_getppid"

        def workload(self, times):
            for _ in range(times):
                os.getppid()

``probe`` fires in this process exactly ``times`` times when ``workload`` is called. Programs that the
backend refuses are skipped with its reason: a backend may always take less. What it takes must be right.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest

from unitrace.contract.backend import API_VERSION, Backend
from unitrace.contract.ir import Program
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Offer, Options, columns_of, conjuncts, maps_used
from unitrace.output.records import Out, Printed
from unitrace.output.rows import single
from unitrace.plan.choose import NoBackend
from unitrace.plan.groups import keepable, resident
from unitrace.session import Compiled, Trace

__all__ = ["BackendConformance"]

BODIES = (
    "{ @ = count(); }",
    "{ @[pid, cpu] = count(); @t[tid] = sum(1); }",
    '{ printf("%d %s\\n", tid, comm); }',
    "/pid == PID/ { @ = count(); }",
    "/pid == PID && tid > 0 && cpu < 4096/ { @[comm] = max(nsecs); }",
    "/pid == 0 || pid == PID/ { @last = nsecs; }",
    "/pid == PID/",
    "/pid == PID/ { @n++; if (@n == 3) { exit(); } }",
)
"""Bodies that need nothing but what every task has."""


class BackendConformance:
    """Subclass it; set ``backend`` and ``probe``, and override ``workload``."""

    backend: ClassVar[Backend]
    probe: ClassVar[str]
    machine: ClassVar[Machine] = Machine()
    on_this_thread: ClassVar[bool] = True
    """Whether ``workload`` makes the probe fire on the thread that calls it."""

    def workload(self, times: int) -> None:
        """Make ``probe`` fire ``times`` times in this process."""
        raise NotImplementedError

    # --- what can be checked without attaching ------------------------------------------------

    def test_it_names_itself(self) -> None:
        assert self.backend.name.isidentifier() and self.backend.title
        assert self.backend.api == API_VERSION

    def test_what_is_missing_is_explained(self) -> None:
        lines = self.backend.survey(self.machine)
        assert lines, "a survey says what there is"
        for line in lines:
            assert line.thing
            assert line.answer or line.answer.reason, f"{line.thing}: missing, and no reason"

    def test_it_lists_what_it_offers(self) -> None:
        found = [listed.label for listed in self.backend.probes(self.machine, self.probe)]
        assert self.probe in found or not found

    @pytest.mark.parametrize("body", BODIES)
    def test_accepted_and_residual_make_the_request(self, body: str) -> None:
        compiled = self._compiled(body)
        for part in compiled.plan.parts:
            self._check_law(part.offer, compiled.program)

    def test_an_offer_can_be_asked_for_twice(self) -> None:
        first, second = self._compiled(BODIES[0]), self._compiled(BODIES[0])
        assert [p.offer.shares[0].how for p in first.plan.parts] == [
            p.offer.shares[0].how for p in second.plan.parts
        ]

    # --- what needs the kernel ----------------------------------------------------------------

    def test_every_event_is_counted_once(self) -> None:
        with self._run("/pid == PID/ { @ = count(); }") as run:
            self.workload(37)
            run.finish()
        assert run.stats.lost == 0
        assert run.maps["@"] == {(): 37}

    def test_events_come_in_order_with_their_columns(self) -> None:
        with self._run('/pid == PID/ { printf("%d %d", nsecs, tid); }') as run:
            self.workload(9)
            rows = _printed(run.finish())
        times = [row.values[0] for row in rows]
        assert len(rows) == 9 and times == sorted(times)
        if self.on_this_thread:
            assert {row.values[1] for row in rows} == {_own_tid()}

    def test_a_predicate_that_never_holds(self) -> None:
        with self._run("/pid == PID && pid != PID/ { @ = count(); }") as run:
            self.workload(5)
            run.finish()
        assert not run.maps["@"]

    def test_a_predicate_in_parts(self) -> None:
        with self._run("/(pid == PID || pid == 1) && !(tid == 1)/ { @ = count(); }") as run:
            self.workload(6)
            run.finish()
        assert run.maps["@"] == {(): 6}

    def test_nothing_before_start_nothing_after_stop(self) -> None:
        with self._run("/pid == PID/ { @ = count(); }") as run:
            self.workload(3)
            run.finish()
            self.workload(4)
        assert run.maps["@"] == {(): 3}
        self.workload(5)

    def test_exit_stops_at_that_event(self) -> None:
        with self._run('/pid == PID/ { @n++; printf("%d", @n); if (@n == 2) { exit(); } }') as run:
            self.workload(6)
            rows = _printed(run.finish())
        assert [row.values[0] for row in rows] == [1, 2]

    def test_two_runs_at_once(self) -> None:
        with self._run("/pid == PID/ { @ = count(); }") as first:
            self.workload(2)
            with self._run("/pid == PID/ { @ = count(); }") as second:
                self.workload(3)
                second.finish()
            self.workload(4)
            first.finish()
        assert (first.maps["@"], second.maps["@"]) == ({(): 9}, {(): 3})

    def test_an_exception_inside_leaves_it_usable(self) -> None:
        with pytest.raises(ZeroDivisionError), self._run("/pid == PID/ { @ = count(); }"):
            self.workload(1)
            raise ZeroDivisionError
        self.test_every_event_is_counted_once()

    # --- the way there ------------------------------------------------------------------------

    def _compiled(self, body: str) -> Compiled:
        text = f"{self.probe} {body}".replace("PID", str(os.getpid()))
        backends = {self.backend.name: self.backend}
        try:
            return Compiled(text, backends, machine=self.machine, options=Options(buffer_kib=256))
        except NoBackend as refused:
            assert refused.message, "a refusal names its reason"
            pytest.skip(refused.message)

    @contextmanager
    def _run(self, body: str) -> Iterator[Trace]:
        with Trace(self._compiled(body)) as run:
            yield run

    def _check_law(self, offer: Offer, program: Program) -> None:
        assert offer.event_ns >= 0 and (offer.exact or offer.caveats)
        for share, clause in zip(offer.shares, offer.request.clauses, strict=True):
            assert share.clause == clause and share.how
            left = share.residual.predicate if share.residual is not None else None
            accepted, rest = conjuncts(share.accepted), conjuncts(left)
            assert sorted(map(repr, accepted + rest)) == sorted(map(repr, conjuncts(clause.predicate)))
            if share.residual is None:
                assert maps_used(clause) <= keepable(program) | resident(program), (
                    "a clause run whole keeps its maps in the kernel"
                )
                continue
            assert share.residual.body == clause.body
            assert share.columns and share.columns[0].name == "nsecs"
            assert set(columns_of(share.residual)) <= set(share.columns)


def _printed(records: list[Out]) -> list[Printed]:
    return [one for record in records for one in single(record) if isinstance(one, Printed)]


def _own_tid() -> int:
    import threading

    return threading.get_native_id()
