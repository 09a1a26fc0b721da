"""The eBPF backend: survey, probes, offer, attach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from unitrace.contract.backend import API_VERSION, Attachment, KernelReader, Listed, Support
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Answered, Offer, Request

from . import survey

__all__ = ["Ebpf"]


class Ebpf:
    """Programs compiled here, loaded by bpf(2)."""

    name = "ebpf"
    title = "BPF programs, compiled without a compiler"
    api = API_VERSION
    cost = 250

    def survey(self, machine: Machine) -> Sequence[Support]:
        return [Support(thing, machine.answer(name), how) for thing, name, how in survey.THINGS]

    def probes(self, machine: Machine, pattern: str) -> Iterable[Listed]:
        from .probes import listed

        return listed(machine, pattern)

    def offer(self, machine: Machine, request: Request) -> Answered:
        from .offer import offer

        return offer(machine, request)

    def attach(self, machine: Machine, offer: Offer) -> Attachment:
        from .attach import Attached

        return Attached(machine, offer)

    def reader(self, machine: Machine) -> KernelReader:
        from .reader import Reader

        return Reader(machine)

    def listing(self, offer: Offer) -> Iterator[str]:
        """The offer's programs as text (``-d bpf``)."""
        from .listing import listing

        return listing(offer)
