"""Sampled events: profile, software, hardware and watchpoint probes.

One event a CPU; with a process (-p), one for each of its threads and CPUs, inherited by the threads and
processes that they make. Names and numbers: include/uapi/linux/perf_event.h, hw_breakpoint.h.
"""

from __future__ import annotations

import os

from unitrace.contract.ir import Clause, Probe, Site
from unitrace.contract.machine import Machine
from unitrace.contract.model import Place
from unitrace.contract.offer import Share, share
from unitrace.kernel import arch

from . import columns as places
from . import records, registers, syscall
from .columns import Unserved
from .plan import Plan, need, stacks_of, tracked

__all__ = ["SAMPLED", "sampled_share", "threads"]

SAMPLED = ("profile", "software", "hardware", "watchpoint")

CPU_CLOCK = 0
UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}

SOFTWARE = {
    "alignment-faults": (7, 1), "bpf-output": (10, 1), "context-switches": (3, 1000),
    "cpu": (CPU_CLOCK, 1_000_000), "cpu-clock": (CPU_CLOCK, 1_000_000), "cpu-migrations": (4, 1),
    "cs": (3, 1000), "dummy": (9, 1), "emulation-faults": (8, 1), "faults": (2, 100),
    "major-faults": (6, 1), "minor-faults": (5, 100), "page-faults": (2, 100), "task-clock": (1, 1),
}  # fmt: skip
HARDWARE = {
    "backend-stalls": (8, 1_000_000), "branch-instructions": (4, 100_000), "branch-misses": (5, 100_000),
    "branches": (4, 100_000), "bus-cycles": (6, 100_000), "cache-misses": (3, 1_000_000),
    "cache-references": (2, 1_000_000), "cpu-cycles": (0, 1_000_000), "cycles": (0, 1_000_000),
    "frontend-stalls": (7, 1_000_000), "instructions": (1, 1_000_000), "ref-cycles": (9, 1_000_000),
}  # fmt: skip
"""Name: (config, after how many there is a sample where the probe doesn't say), as bpftrace has it."""

BREAKPOINT = {"r": 1, "w": 2, "x": 4}  # HW_BREAKPOINT_*

TID = Place(records.TGID + 4, 4)
"""Of the sample itself: there is no raw data."""


def sampled_share(machine: Machine, clause: Clause, pid: int) -> Share:
    """The share of a clause on a sampled event. Raises Unserved, NotStreamable."""
    probe = clause.probe
    need(machine.answer("perf.hardware" if probe.kind == "hardware" else "perf.software"))
    mine = share(clause, accepts=lambda _: False, whole=False, how=f"perf {probe.kind} event")
    stacks = stacks_of(mine.columns)
    columns = tuple(
        one
        for one in mine.columns
        if one.name not in dict(stacks) and not (isinstance(one.value, Site) and one.value.name == "usermode")
    )
    architecture = arch.architecture(str(machine.fact("kernel.arch")))
    wanted = places.regs_wanted(columns, probe, architecture)
    if wanted:
        need(machine.answer("perf.regs"))
    mask = registers.mask_of(wanted.values())
    layout = places.register_layout(columns, wanted, mask, records.NO_RAW)
    layout["tid"] = TID
    comm, tgid = tracked(machine, mine.columns)
    if not (comm or tgid):
        need(machine.answer("perf.initial_pid_namespace"))
    plan = Plan(
        "sampled",
        regs=mask,
        layout=tuple(layout.items()),
        stacks=stacks,
        usermode=len(columns) + len(stacks) < len(mine.columns),
        comm=comm,
        tgid=True,
        pid=pid,
    )
    return mine.replace(plan=_opened(plan, probe))


def _opened(plan: Plan, probe: Probe) -> Plan:
    """The plan, with what perf_event_attr needs."""
    if probe.kind == "profile":
        hertz = probe.scope == "hz"
        period = probe.offset if hertz else probe.offset * UNIT_NS[probe.scope]
        return plan.replace(type=syscall.TYPE_SOFTWARE, config=CPU_CLOCK, period=period, hertz=hertz)
    if probe.kind == "watchpoint":
        mode = sum(BREAKPOINT[letter] for letter in probe.scope)
        # an instruction's length is that of a long, whatever was asked for (hw_breakpoint_arch_parse())
        length = 8 if mode & BREAKPOINT["x"] else probe.offset
        return plan.replace(
            type=syscall.TYPE_BREAKPOINT, breakpoint=mode, config=probe.address, offset=length
        )
    table = SOFTWARE if probe.kind == "software" else HARDWARE
    if probe.name not in table:
        raise Unserved(f"perf has no event {probe.name}")
    config, usual = table[probe.name]
    type = syscall.TYPE_SOFTWARE if probe.kind == "software" else syscall.TYPE_HARDWARE
    return plan.replace(type=type, config=config, period=probe.offset or usual)


def threads(pid: int) -> list[int]:
    """The threads of a process, ascending; [] where it has ended."""
    try:
        return sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except FileNotFoundError:
        return []
