"""USDT probes: uprobe events at the places that the file's notes name, as one event."""

from __future__ import annotations

from unitrace.contract.ir import Clause
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Share
from unitrace.kernel import arch, statics

from .events import by_event
from .plan import need

__all__ = ["usdt_share"]


def usdt_share(machine: Machine, clause: Clause) -> Share:
    """The share of a clause on a static probe. Raises Unserved, NotStreamable, ProbeError."""
    need(machine.answer("perf.uprobe_events"))
    probe = clause.probe
    architecture = arch.architecture(str(machine.fact("kernel.arch")))
    places = [
        (statics.place(probe, one), statics.StaticArguments(machine, probe, architecture, one))
        for one in statics.places(probe)
    ]
    return by_event(machine, clause, places, "up", "uprobe event at a static probe")
