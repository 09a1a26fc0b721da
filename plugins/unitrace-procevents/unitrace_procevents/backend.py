"""The backend: survey, probes, offer, attach, read, detach."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence

from unitrace.contract.backend import API_VERSION, Listed, Support
from unitrace.contract.errors import BackendError
from unitrace.contract.ir import Probe
from unitrace.contract.machine import Answer, Machine, fact
from unitrace.contract.model import Batch, Losses, RowBatch, Snapshot
from unitrace.contract.offer import Offer, Refusal, Request, share
from unitrace_procevents.connector import EXEC, EXIT, Connector

__all__ = ["ProcEvents"]

PROBES = {"sched_process_exec": EXEC, "sched_process_exit": EXIT}
COLUMNS = ("nsecs", "cpu", "tid", "pid")


@fact("procevents.socket", "whether the process connector answers")
def _socket(machine: Machine) -> Answer:
    try:
        Connector(4096).close()
    except OSError as error:
        return Answer(error.errno or 1, f"the process connector says {error.strerror}", "CAP_NET_ADMIN")
    return Answer()


def _what(probe: Probe) -> int | None:
    return PROBES.get(probe.name) if (probe.kind, probe.scope) == ("tracepoint", "sched") else None


class ProcEvents:
    """Streams exec and exit; accepts no predicate and keeps no map."""

    name, title, api = "procevents", "the kernel's process connector", API_VERSION
    cost = 2010

    def survey(self, machine: Machine) -> Sequence[Support]:
        """One line: the socket works, or why it doesn't."""
        return [Support("exec and exit", machine.answer("procevents.socket"), "netlink connector")]

    def probes(self, machine: Machine, pattern: str) -> Iterable[Listed]:
        """The two tracepoints that it can stand in for."""
        labels = [f"tracepoint:sched:{name}" for name in PROBES]
        return [Listed(label) for label in labels if fnmatch.fnmatch(label, pattern)]

    def offer(self, machine: Machine, request: Request) -> Offer | Refusal:
        """Everything is left to the engine; only the columns must be those that it has."""
        answer = machine.answer("procevents.socket")
        if not answer:
            return Refusal(self.name, answer.reason, answer.remedy)
        shares = []
        for clause in request.clauses:
            if _what(clause.probe) is None:
                return Refusal(self.name, "it has exec and exit alone", clause=clause)
            one = share(clause, accepts=lambda part: False, whole=False, how="netlink connector")
            for column in one.columns:
                if column.name not in COLUMNS:
                    return Refusal(self.name, f"it has no {column.name}", clause=clause)
            shares.append(one)
        return Offer(self.name, request, tuple(shares), event_ns=2000, start_ms=1)

    def attach(self, machine: Machine, offer: Offer) -> Attached:
        """Open the socket, unsubscribed."""
        return Attached(offer)


class Attached:
    """A socket whose events go to the clauses that asked for them."""

    def __init__(self, offer: Offer) -> None:
        try:
            self._connector = Connector(offer.request.options.buffer_kib * 1024)
        except OSError as error:
            raise BackendError(f"the process connector says {error.strerror}") from None
        self._clauses: dict[int, list[int]] = {}
        for one in offer.shares:
            what = _what(one.clause.probe)
            assert what is not None
            self._clauses.setdefault(what, []).append(one.clause.ordinal)

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connector.close()

    def start(self) -> None:
        self._connector.listen(True)

    def stop(self) -> None:
        self._connector.listen(False)

    def read(self) -> Iterator[Batch]:
        rows: dict[int, list[tuple[int, int, int, int]]] = {}
        for what, cpu, nsecs, tid, pid in self._connector.events():
            if what in self._clauses:
                rows.setdefault(what, []).append((nsecs, cpu, tid, pid))
        for what, found in rows.items():
            columns = dict(zip(COLUMNS, zip(*found)))
            for ordinal in self._clauses[what]:
                yield RowBatch(ordinal, columns)

    def losses(self) -> Losses:
        lost = self._connector.lost
        return {"the connector's queue ran full": lost} if lost else {}

    def snapshot(self, map: str) -> Snapshot:
        raise BackendError(f"procevents keeps no map {map}")

    clear = zero = snapshot  # type: ignore[assignment]
