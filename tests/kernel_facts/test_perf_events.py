"""The names of perf events: the language's are all known, and mean what perf's mean."""

from __future__ import annotations

import os

import pytest

from unitrace.contract.ir import Probe
from unitrace.contract.probes import EVENTS
from unitrace.kernel.perf_events import BPFTRACE, PERF, Sampled, sampled, threads
from unitrace.stat.names import parse


@pytest.mark.parametrize("kind", ["software", "hardware"])
def test_the_names_of_the_language(kind: str) -> None:
    assert set(BPFTRACE[kind]) == set(EVENTS[kind])
    for name in EVENTS[kind]:
        assert sampled(Probe(kind, "", name)).period > 0


@pytest.mark.parametrize("kind", ["software", "hardware"])
def test_one_number_a_name(kind: str) -> None:
    for name in set(PERF[kind]) & set(BPFTRACE[kind]):
        [[event]] = parse(name)
        found = sampled(Probe(kind, "", name))
        assert (event.type, event.config) == (found.type, found.config)


def test_what_is_opened() -> None:
    assert sampled(Probe("profile", "ms", "10", 10)) == Sampled(1, 0, 10_000_000)
    assert sampled(Probe("profile", "hz", "99")) == Sampled(1, 0, 99, hertz=True)
    assert sampled(Probe("hardware", "", "branches", 7)) == Sampled(0, 4, 7)
    assert sampled(Probe("software", "", "cs")) == Sampled(1, 3, 1000)
    watched = sampled(Probe("watchpoint", "x", "0x1000", 1, 0x1000))
    assert watched == Sampled(5, 0, breakpoint=4, address=0x1000, length=8)


def test_threads() -> None:
    assert os.getpid() in threads(os.getpid())
    assert threads(2**30) == []
