"""Attaching: an offer's events in an instance of their own; their reading, and their removal."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from unitrace.contract.errors import BackendError
from unitrace.contract.ir import Field
from unitrace.contract.machine import Machine
from unitrace.contract.model import Batch, Losses, Place, Snapshot
from unitrace.contract.offer import Offer
from unitrace.contract.wildcards import LeftOut
from unitrace.kernel import tracefs
from unitrace.kernel.dynamic import DynamicEvents
from unitrace.kernel.fetched import Rule
from unitrace.kernel.formats import parse_format, read_format

from .follow import EVENTS, Follower
from .hists import Kept
from .instance import Instance
from .narrow import OneProcess, keep_cpus
from .pages import parse_header_page
from .places import place_of
from .reader import PROCESS, TID, Reader, Ring, Scratch, Stream
from .stacks import Stacks, raw_functions
from .tap import FOLLOWED, Tap

if TYPE_CHECKING:
    from unitrace.kernel.perf_events import Sampled
    from unitrace.kernel.timers import Timer

__all__ = ["Attached"]

STRINGS_KIB = 16
"""Room for an event with strings: each has up to 4 KiB (MAX_STRING_SIZE, kernel/trace/trace_probe.h)."""

OWN_FRAMES = "trace_event_raw_event_"
"""What a tracepoint calls to record an event, and an event probe on it is called by."""

NEVER = 1 << 63
"""A time that no event reaches, ns: it isn't started yet."""


class Attached:
    """Implements contract.backend.Attachment. BackendError where the kernel refuses; nothing stays then.

    Where tasks are followed, the instance records from the beginning (a rename between the snapshot
    and the start would be missed otherwise), and ``start`` says from when on events count.
    """

    __slots__ = (
        "_before",
        "_dynamic",
        "_follower",
        "_instance",
        "_kept",
        "_losses",
        "_machine",
        "_names",
        "_offer",
        "_process",
        "_reader",
        "_root",
        "_running",
        "_timers",
        "notes",
    )  # fmt: skip

    def __init__(self, machine: Machine, offer: Offer) -> None:
        self._machine = machine
        self._offer = offer
        self._root = tracefs.root(machine)
        self._dynamic = DynamicEvents(self._root)
        self._instance: Instance | None = None
        self._reader: Reader | None = None
        self._follower: Follower | None = None
        self._process: OneProcess | None = None
        self._names: dict[str, bool] = {}
        self._before: dict[str, int] = {}
        self._losses: dict[str, int] = {}
        self._running = False
        self.notes: list[str] = []
        self._timers: list[Timer] = []
        self._kept: dict[str, Kept] = {}
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- making --------------------------------------------------------------------------------

    def _make(self) -> None:
        taps = [share.plan for share in self._offer.shares if isinstance(share.plan, Tap)]
        buffer_kib = self._offer.request.options.buffer_kib
        instance = self._instance = Instance(self._root, buffer_kib)
        if any(tap.reads_memory for tap in taps):
            instance.enlarge_pages(STRINGS_KIB)
        stacked = any(tap.has("kstack") for tap in taps)
        if stacked:  # every event of an instance has one then, the tasks' too
            instance.write("options/stacktrace", "1")
        follow = any(tap.pid or tap.has(*FOLLOWED) for tap in taps)
        pids = {tap.pid for tap in taps}
        if len(pids) == 1 and pids != {0}:
            self._process = OneProcess(instance, *pids)
        if follow:
            self._follower = Follower(self._machine)
            for category, name in EVENTS:
                instance.write(f"events/{category}/{name}/enable", "1")
            instance.write("tracing_on", "1")
            self._follower.tasks.snapshot()
        streams: dict[int, list[Stream]] = {}
        cpus = instance.cpus()
        wanted = {tap.cpu for tap in taps}
        if not follow and wanted and wanted.issubset(cpus):
            keep_cpus(instance, wanted)
            cpus = sorted(wanted)
        filters: dict[str, str] = {}
        left_out, progress = LeftOut(), self._offer.request.options.progress
        for done, share in enumerate(self._offer.shares, 1):
            if progress is not None:
                progress(done, len(taps))
            tap = share.plan
            assert isinstance(tap, Tap)
            with left_out.unless_named(share.clause):
                event, number, fields = self._event(tap)
            if share.clause in left_out:
                continue
            if tap.hist is not None:
                self._kept[tap.hist.map] = Kept(instance, event, tap.hist, tap.filter)
                continue
            streams.setdefault(number, []).append(_stream(share.clause.ordinal, tap, fields, cpus))
            filters[event] = tap.filter if tap.clock is None else self._clocked(tap, tap.clock)
        self.notes = left_out.notes(len(taps))
        for event, text in filters.items():
            if text:
                instance.write(f"events/{event}/filter", text)
        self._enable(filters)
        layout = parse_header_page(instance.read("events/header_page"))
        self._reader = Reader([], streams, self._follower)
        if follow:
            self._reader.since = NEVER
        if stacked:
            self._reader.stacks = self._stacks(set(streams), taps, follow)
        scratch = Scratch(layout.size)
        for cpu in cpus:
            self._reader.rings.append(Ring(instance.path, cpu, layout, buffer_kib, scratch))

    def _clocked(self, tap: Tap, event: Sampled) -> str:
        """Open a timer on each CPU; the filter that leaves their firings alone."""
        from unitrace.kernel.cpus import online
        from unitrace.kernel.timers import Timer

        texts = []
        for cpu in online():
            timer = Timer(event, cpu)
            self._timers.append(timer)
            texts.append(f"CPU == {cpu} && {tap.clock_id} == {timer.id}")
        ours = " || ".join(f"({text})" for text in texts)
        return f"({ours}) && {tap.filter}" if tap.filter else ours

    def _stacks(self, events: set[int], taps: list[Tap], follow: bool) -> Stacks:
        """What joins events with the stacks that the instance records with each."""
        with open(f"{self._root}/events/ftrace/kernel_stack/format", encoding="utf-8") as file:
            described = parse_format(file.read())
        if follow:
            events |= {read_format(self._machine, category, name).id for category, name in EVENTS}
        made = any(tap.kind in ("e", "t") for tap in taps)
        fields = {field.name: field for field in described.fields}
        return Stacks(described.id, fields, events, raw_functions(OWN_FRAMES) if made else [])

    def _event(self, tap: Tap) -> tuple[str, int, dict[str, Field]]:
        """An event, made if need be: its folder under events/, its id, its fields by name."""
        if tap.described is not None:
            described = tap.described
            category, name = tap.category, tap.name
        else:
            fetches = [[f"{field}={text}" for field, text in one] for one in tap.fetch]
            # kprobe_profile tells events by name alone, all groups alike
            name = f"u{os.getpid()}_{len(self._names)}_{tap.name}"
            made = self._dynamic.add(tap.kind, name, tap.places[0], fetches[0])
            for place, fetch in zip(tap.places[1:], fetches[1:]):
                self._dynamic.extend(made, tap.kind, place, fetch)
            with open(f"{made.dir}/format", encoding="utf-8") as file:
                described = parse_format(file.read())
            category, name = made.category, made.name
            self._names[name] = tap.reads_memory
        fields = {field.name: field for field in (*described.common, *described.fields)}
        return f"{category}/{name}", described.id, fields

    def _enable(self, events: dict[str, str]) -> None:
        """Switch the events on; a whole group of ours by one write."""
        assert self._instance is not None
        group = self._dynamic.group
        ours = [event for event in events if event.startswith(f"{group}/")]
        if len(ours) > 1:
            self._instance.write(f"events/{group}/enable", "1")
        for event in events:
            if len(ours) <= 1 or event not in ours:
                self._instance.write(f"events/{event}/enable", "1")

    # --- running -------------------------------------------------------------------------------

    def start(self) -> None:
        """Let events flow."""
        assert self._instance is not None and self._reader is not None
        for kept in self._kept.values():
            kept.start()
        if self._follower is None:
            self._instance.write("tracing_on", "1")
        else:
            self._before = self._counted()
            self._reader.arm(time.monotonic_ns())
        for timer in self._timers:
            timer.start()
        self._running = True

    def read(self) -> Iterator[Batch]:
        """The events that are there now, each clause's in batches by CPU."""
        if self._reader is None:
            return iter(())
        if self._process is not None:
            self._process.check()
        return self._reader.read()

    def stop(self) -> None:
        """No event from here on. What is in the rings can still be read."""
        if self._running and self._instance is not None:
            self._instance.write("tracing_on", "0")
            for kept in self._kept.values():
                kept.stop()
            for timer in self._timers:
                timer.stop()
            self._running = False

    def losses(self) -> Losses:
        """Events lost since the start, by cause."""
        if self._instance is not None and self._instance.alive:
            counted = self._counted()
            found = {cause: count - self._before.get(cause, 0) for cause, count in counted.items()}
            self._losses = {cause: count for cause, count in found.items() if count > 0}
        return self._losses

    def _counted(self) -> dict[str, int]:
        from .losses import missed, overrun

        assert self._instance is not None
        found = overrun(self._instance)
        for name, kept in self._kept.items():
            dropped = kept.dropped()
            if dropped:
                found[f"map {name} full"] = dropped
        if self._names:
            version = tuple(self._machine.fact("kernel.version"))
            found.update(missed(self._root, self._names, version))
        stacks = self._reader.stacks if self._reader is not None else None
        if stacks is not None and stacks.missing:
            found["kernel stacks"] = stacks.missing
        if self._follower is not None and self._follower.tasks.unknown:
            found["names or processes of tasks unknown"] = self._follower.tasks.unknown
        return found

    # --- maps kept by triggers -----------------------------------------------------------------

    def snapshot(self, map: str) -> Snapshot:
        """The map's content now."""
        return self._map(map).snapshot()

    def clear(self, map: str) -> None:
        """Remove all keys."""
        self._map(map).clear()

    def zero(self, map: str) -> None:
        """Set all values to zero."""
        self._map(map).zero()

    def _map(self, name: str) -> Kept:
        if name not in self._kept:
            raise BackendError(f"ftrace keeps no map {name}")
        return self._kept[name]

    # --- leaving -------------------------------------------------------------------------------

    def close(self) -> None:
        """Remove all that was made: rings first, then the instance, then the events it held."""
        failed: Exception | None = None
        if self._instance is not None and self._instance.alive:
            for step in (self.stop, self.losses):
                try:
                    step()
                except (BackendError, OSError) as error:
                    failed = failed or error
        while self._timers:
            self._timers.pop().close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._instance is not None:
            try:
                self._instance.close()
            except BackendError as error:
                failed = failed or error
        self._dynamic.close()
        if isinstance(failed, BackendError):
            raise failed


def _stream(ordinal: int, tap: Tap, fields: dict[str, Field], cpus: list[int]) -> Stream:
    """The clause's view of its event. A value of the current task lies elsewhere in each CPU's records."""
    layout: dict[str, Place] = {}
    rules: dict[str, Rule] = {}
    how = {source.how: source.column for source in tap.sources}
    pid = how.get("pid", PROCESS if "pair" in how or "frame" in how else "")
    for source in tap.sources:
        if source.how in ("field", "pair", "frame"):
            layout[source.column] = place_of(fields[source.field])
        if source.how in ("pair", "frame"):
            rules[source.column] = Rule(process=pid, first=source.how == "frame")
    if "comm" in how or pid or tap.pid:
        layout[TID] = place_of(fields["common_pid"])
    constants = {one.column: one.value for one in tap.sources if one.how == "constant"}
    stacks = [(one.column, one.value) for one in tap.sources if one.how == "kstack"]
    stream = Stream(ordinal, layout, how.get("comm", ""), pid, rules, tap.pid, stacks, constants)
    fetched = [one for one in tap.sources if one.fetched is not None]
    apart = any(one.fetched is not None and one.fetched.cpus for one in fetched)
    for cpu in cpus:
        places, added = ({**layout}, {**rules}) if apart else (layout, rules)
        try:
            for source in fetched:
                assert source.fetched is not None
                places[source.column], rule = source.fetched.place(fields, cpu)
                if rule is not None:
                    added[source.column] = rule
        except KeyError:  # it isn't online
            continue
        if not apart:
            break
        stream.layouts[cpu] = places, added
    return stream
