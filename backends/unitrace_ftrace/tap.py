"""What one clause needs of the kernel: the backend's notes in a Share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrace.contract.ir import Probe, Site
from unitrace.contract.machine import Answer, Machine
from unitrace.contract.model import Column
from unitrace.contract.record import Record
from unitrace.contract.types import Stack, Symbol
from unitrace.kernel.arguments import Value
from unitrace.kernel.fetchargs import USER_PROBES
from unitrace.kernel.formats import Format

from .hists import Hist

if TYPE_CHECKING:
    from unitrace.kernel.perf_events import Sampled

__all__ = ["FOLLOWED", "Impossible", "Source", "Tap", "common", "follow", "frame", "func", "lacks"]


class Source(Record):
    """Where a column comes from. ``how``: "time", "cpu", "comm", "pid" (followed, by tid), "kstack" (the
    ring's stack record, at most ``value`` frames), "constant" ``value``, "field" ``field`` of the record,
    "pair" (that and the process), "frame" (the process and that), or "fetched" as ``fetched`` says."""

    column: str
    how: str
    field: str = ""
    value: int = 0
    fetched: Value | None = None


class Tap(Record):
    """``kind``: "t" an existing event ``category:name``, or a kind of kernel.dynamic at ``places`` with
    ``fetch`` (for each, (name, text) arguments); ``filter``: an event filter or "". ``pid``, ``cpu``: only
    this process's or CPU's events are wanted (0, -1: all). ``described``: of an existing event. ``hist``: the
    map that a trigger keeps instead of a stream of events; ``filter`` is that one's then. ``clock``: a timer
    whose firings alone count, its id in field ``clock_id`` (kernel.timers)."""

    kind: str
    category: str
    name: str
    places: tuple[str, ...]
    fetch: tuple[tuple[tuple[str, str], ...], ...]
    filter: str
    sources: tuple[Source, ...]
    pid: int = 0
    described: Format | None = None
    hist: Hist | None = None
    cpu: int = -1
    clock: Sampled | None = None
    clock_id: str = ""

    @property
    def reads_memory(self) -> bool:
        """Whether an argument dereferences a pointer."""
        return any("(" in text for one in self.fetch for _, text in one)

    def has(self, *hows: str) -> bool:
        """Whether a column comes in one of these ways."""
        return any(one.how in hows for one in self.sources)


class Impossible(Exception):
    """A clause that ftrace can't do; ``answer`` has the reason and the remedy."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.answer = Answer(1, reason, remedy)


def common(column: Column) -> Source | None:
    """What is known of every event, whatever it is."""
    site = column.value
    if not isinstance(site, Site):
        return None
    if site.name == "nsecs":
        return Source(column.name, "time")
    if site.name == "tid":
        return Source(column.name, "field", "common_pid")
    if site.name == "kstack" and isinstance(site.type, Stack):
        return Source(column.name, "kstack", value=site.type.depth)
    if site.name in ("cpu", "comm", "pid"):
        return Source(column.name, site.name)
    return None


def func(machine: Machine, column: Column, probe: Probe) -> Source | None:
    """The address of the probed function, where ``column`` asks for it."""
    site = column.value
    if not isinstance(site, Site) or site.name != "func":
        return None
    if isinstance(column.type, Symbol) and column.type.space == "user":
        return Source(column.name, "pair", "__probe_func" if probe.kind == "uretprobe" else "__probe_ip")
    from unitrace.kernel.functions import address

    # not the record's own address: with IBT the probe stands behind the function's first instruction
    found = 0 if probe.offset else address(machine, probe.name, probe.scope)
    if not found:
        raise Impossible(f"the address of {probe.name} isn't known", "the ebpf backend has it")
    return Source(column.name, "constant", value=found)


def frame(column: Column, kind: str) -> Source | None:
    """A user stack of one frame: where a user probe stands, or returns to. The rest of a stack isn't the
    same: arch_stack_walk_user() ends where a frame pointer lies below the stack's, perf_callchain_user(),
    which eBPF asks, goes on."""
    site = column.value
    if not isinstance(site, Site) or site.name != "ustack" or not isinstance(site.type, Stack):
        return None
    if site.type.depth != 1 or kind not in USER_PROBES:
        return None
    return Source(column.name, "frame", "__probe_ret_ip" if kind == "uretprobe" else "__probe_ip")


def lacks(column: Column) -> str:
    """Why there is no such column."""
    value = column.value
    if isinstance(value, Site):
        if value.name == "ustack":
            return "ftrace's walk of a user stack ends after eight frames, or earlier than eBPF's"
        return f"ftrace's events don't carry {column.name}"
    return f"ftrace can't read {column.name}"


FOLLOWED = {"pair": "pid", "frame": "pid", "comm": "comm", "pid": "pid"}
"""What tasks are followed for, by Source.how."""


def follow(machine: Machine, sources: tuple[Source, ...], pid: int = 0) -> None:
    """Whether tasks can be followed, where a column needs it. Raises Impossible."""
    names = [FOLLOWED[one.how] for one in sources if one.how in FOLLOWED] + (["pid"] if pid else [])
    if names:
        missing = machine.answer("ftrace.task_events")
        if not missing:
            raise Impossible(f"{names[0]} can't be had: {missing.reason}", missing.remedy)
