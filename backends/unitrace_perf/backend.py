"""The perf_event backend: survey, probes, offer, attach; reading is in reader.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from unitrace.contract.backend import API_VERSION, Listed, Support
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Answered, Offer, Request

if TYPE_CHECKING:
    from .attach import PerfAttachment

__all__ = ["PerfBackend"]


class PerfBackend:
    """Events by perf_event_open(2), one mmap ring a CPU, decoded by their format."""

    name = "perf"
    title = "perf_event"
    api = API_VERSION
    cost = 700

    def survey(self, machine: Machine) -> Sequence[Support]:
        from . import survey

        return survey.supports(machine)

    def probes(self, machine: Machine, pattern: str) -> Iterable[Listed]:
        from .listing import listed

        return listed(machine, pattern)

    def offer(self, machine: Machine, request: Request) -> Answered:
        from . import survey  # noqa: F401 (registers the facts that offers ask for)
        from .offer import answer

        return answer(self.name, machine, request)

    def attach(self, machine: Machine, offer: Offer) -> PerfAttachment:
        from .attach import PerfAttachment

        return PerfAttachment(machine, offer)
