"""Attaching: events opened disabled, one ring a CPU, and all of it gone again when left."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from unitrace.contract.backend import describe
from unitrace.contract.errors import BackendError
from unitrace.contract.ir import Field
from unitrace.contract.machine import Machine
from unitrace.contract.model import Batch, Losses, Place, Snapshot
from unitrace.contract.offer import Offer, Options, Share
from unitrace.contract.wildcards import LeftOut
from unitrace.kernel import cpus
from unitrace.kernel.closing import close_behind, close_now
from unitrace.kernel.collector import Collector
from unitrace.kernel.fetched import Rule
from unitrace.kernel.perf_events import perf_event_open, threads

from . import records, syscall
from .columns import FIXED, field_place
from .counted import Counter
from .plan import Plan
from .reader import Decoder, Follower, Stream
from .ring import PAGE, Ring, open_ring
from .survey import explained

if TYPE_CHECKING:
    from unitrace.kernel.dynamic import DynamicEvents

__all__ = ["PerfAttachment"]

SAMPLE = (
    syscall.SAMPLE_IDENTIFIER
    | syscall.SAMPLE_TID
    | syscall.SAMPLE_TIME
    | syscall.SAMPLE_CPU
    | syscall.SAMPLE_RAW
)
FLAGS = syscall.DISABLED | syscall.SAMPLE_ID_ALL | syscall.USE_CLOCKID | syscall.WATERMARK

FAULTS_COUNT_UNTIL = (5, 14)
"""Before, kprobe_fault_handler() (arch/x86/kernel/kprobes/core.c) counts a fault in a probe's fetch as a
miss, though the event is recorded."""

NUMPY_KIB = 1024
"""Who asks for smaller rings than this gets numpy imported before the first event: nothing else runs for some
20 ms of that, in which a million events a second fill 640 KiB."""

TASK_KIB = 256
"""KiB a CPU for fork, exec and exit records: some thousand, and they are read each few ms."""


class PerfAttachment:
    """perf events in place. ``notes``: what the user should know (rings smaller than asked for, BPF
    programs that may hide events), complete after stop()."""

    def __init__(self, machine: Machine, offer: Offer) -> None:
        self.machine = machine
        self.notes: list[str] = []
        self._fds: list[int] = []  # of probes: their close waits
        self._plain: list[int] = []  # of software events: theirs doesn't
        self._armed: list[int] = []  # what start() enables
        self._rings: list[Ring] = []
        self._task_rings: list[Ring] = []
        self._collector: Collector | None = None
        self._dynamic: DynamicEvents | None = None
        self._files: tuple[int, int] | None = None  # the limit on open files that was before
        self._profiled: dict[str, int] = {}
        self._reads_memory = False
        self._left_out = LeftOut()
        self._streams: dict[int, Stream] = {}
        self._counts_lost = bool(machine.answer("perf.format_lost"))
        self._stopped = False
        self._counters: dict[str, Counter] = {}
        self._shared: dict[str, int] = {}  # tracepoints, which others may have put BPF programs on
        plans = [(share, share.plan) for share in offer.shares if isinstance(share.plan, Plan)]
        names = any(plan.comm for _, plan in plans)
        followed = names or any(plan.tgid for _, plan in plans)
        self._decoder = Decoder(self._streams, Follower(names) if followed else None)
        try:
            self._open(plans, offer.request.options, names, followed)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> PerfAttachment:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- opening -----------------------------------------------------------------------------

    def _open(self, plans: list[tuple[Share, Plan]], options: Options, names: bool, followed: bool) -> None:
        online, kib, progress = cpus.online(), options.buffer_kib, options.progress
        self._files = _allow_files((len(plans) + 2) * len(online) + 64)
        made: list[tuple[int, Mapping[str, Field]]] = []
        for share, plan in plans:
            made.append((plan.config, {}))
            if plan.way == "dynamic":
                with self._left_out.unless_named(share.clause):
                    made[-1] = self._made(share, plan)
        for id in dict.fromkeys(id for _, plan in plans for id in plan.held):
            held = syscall.attr(syscall.TYPE_TRACEPOINT, id, flags=syscall.DISABLED)
            self._fds.append(self._opened(held, online[0], "a tracepoint"))
        wanted, task_kib = kib, min(kib, TASK_KIB)
        if kib < NUMPY_KIB:
            import numpy  # noqa: F401
        limit = self.machine.fact("perf.ring_kib")
        if isinstance(limit, int) and limit:  # so that all CPUs get the same, not the first most
            part = limit // len(online) - 2 * PAGE // 1024  # each ring has a control page
            task_kib = min(task_kib, max(part // 4, 4)) if followed else 0
            kib = min(kib, max(part - task_kib, 4))
        for cpu in online:
            base = self._software(cpu, 0, kib)
            ring = self._ring(base, cpu, kib)
            self._rings.append(ring)
            # The event that is added last at a place is asked first (perf_trace_add() in
            # kernel/trace/trace_event_perf.c, consumer_add() in kernel/events/uprobes.c).
            for done, ((share, plan), event) in enumerate(reversed([*zip(plans, made)]), 1):
                if share.clause not in self._left_out:
                    with self._left_out.unless_named(share.clause):
                        self._stream(share, plan, event, ring)
                if progress is not None and cpu == online[0]:  # the first puts the probe in place
                    progress(done, len(plans))
            if followed:
                flags = syscall.TASK | ((syscall.COMM | syscall.COMM_EXEC) if names else 0)
                self._task_rings.append(self._ring(self._software(cpu, flags, task_kib), cpu, task_kib))
        smallest = min(ring.size for ring in self._rings)
        if smallest * 2 <= wanted * 1024:
            self.notes.append(
                f"perf rings are {smallest // 1024} KiB a CPU, not {wanted}: the limit on locked memory "
                "(ulimit -l, kernel.perf_event_mlock_kb)"
            )
        self.notes += self._left_out.notes(len(plans))
        self._note_programs()
        for ring in self._task_rings:
            syscall.enable(ring.fd)
        follower = self._decoder.follower
        if follower and follower.tasks:
            follower.tasks.snapshot()

    def _note_programs(self) -> None:
        """Tell of BPF programs that may keep events from us: perf can neither see nor count that."""
        for what, fd in self._shared.items():
            note = f"{what} has BPF programs of others: where one returns 0, perf sees no event there"
            if note not in self.notes and syscall.bpf_programs(fd):
                self.notes.append(note)

    def _software(self, cpu: int, flags: int, kib: int) -> int:
        """A dummy event: it owns a ring of ``kib`` KiB, and the records of tasks where ``flags`` ask for
        them. Its watermark is the ring's: a wake-up each quarter of it, not one an event, which
        would cost the traced task ten times the event."""
        attr = syscall.attr(
            syscall.TYPE_SOFTWARE,
            syscall.SW_DUMMY,
            flags=FLAGS | flags,
            sample_type=SAMPLE & ~syscall.SAMPLE_RAW,
            watermark=max(PAGE, kib * 1024 // 4),
        )
        fd = self._opened(attr, cpu, "perf events")
        self._plain.append(fd)
        return fd

    def _opened(self, attr: bytes, cpu: int, what: str, task: int = -1) -> int:
        try:
            return perf_event_open(attr, cpu=cpu, pid=task)
        except ProcessLookupError:
            raise
        except OSError as error:
            answer = explained(self.machine, error.errno or errno.EIO)
            raise BackendError(f"{what} can't be opened: {answer.reason}", remedy=answer.remedy) from None

    def _ring(self, fd: int, cpu: int, kib: int) -> Ring:
        try:
            return open_ring(fd, cpu, kib)
        except OSError as error:
            raise BackendError(
                f"no memory can be locked for a perf ring ({error.strerror})",
                remedy="ulimit -l, or sysctl kernel.perf_event_mlock_kb",
            ) from None

    def _made(self, share: Share, plan: Plan) -> tuple[int, Mapping[str, Field]]:
        """Make the tracefs event: perf_event_attr.config, and its fields."""
        from unitrace.kernel import formats, tracefs
        from unitrace.kernel.dynamic import DynamicEvents

        if self._dynamic is None:
            self._dynamic = DynamicEvents(tracefs.root(self.machine))
        name = f"e{share.clause.ordinal}_{os.getpid()}"
        self._reads_memory |= any("(" in how for one in plan.fetch for _, how in one)
        fetches = [[f"{field}={how}" for field, how in one] for one in plan.fetch]
        made = self._dynamic.add(plan.kind, name, plan.places[0], fetches[0])
        for place, fetch in zip(plan.places[1:], fetches[1:]):
            self._dynamic.extend(made, plan.kind, place, fetch)
        if plan.kind in ("p", "r"):
            self._profiled[made.name] = share.clause.ordinal
        with open(f"{made.dir}/format", "rb", buffering=0) as file:
            format = formats.parse_format(file.readall().decode())
        return made.id, {field.name: field for field in format.fields}

    def _stream(self, share: Share, plan: Plan, event: tuple[int, Mapping[str, Field]], ring: Ring) -> None:
        """The clause's event on one CPU; with a process, one for each of its threads there."""
        what = describe(share.clause.probe)
        layout, rules = _layout(plan, event[1], ring.cpu)
        target = ctypes.create_string_buffer(os.fsencode(plan.target)) if plan.target else None
        tasks = threads(plan.pid) if plan.pid else [-1]
        if not tasks:
            raise BackendError(f"{what}: process {plan.pid} has ended")
        for task in tasks:
            attr = _attr(plan, event[0], target, ring, self._counts_lost)
            try:
                fd = self._opened(attr, ring.cpu, what, task)
            except ProcessLookupError:  # the thread has ended meanwhile
                continue
            (self._plain if plan.way == "sampled" else self._fds).append(fd)
            self._armed.append(fd)
            if plan.counted:
                self._filter(fd, plan.filter)
                self._counters.setdefault(plan.counted, Counter()).fds.append(fd)
                continue
            syscall.set_output(fd, ring.fd)
            self._filter(fd, self._clocked(plan, ring) if plan.clock else plan.filter)
            id = syscall.event_id(fd)
            if plan.way == "tracepoint" and ring is self._rings[0]:
                self._shared[what] = fd
            self._streams[id] = Stream(
                share.clause.ordinal,
                ring.cpu,
                layout,
                rules=rules,
                constants=dict(plan.constants),
                stacks=dict(plan.stacks),
                raw_size=plan.raw_size,
                comm=plan.comm,
                tgid=plan.tgid,
                usermode=plan.usermode,
                sampled=plan.way == "sampled",
                fd=fd,
                id=id,
            )

    def _clocked(self, plan: Plan, ring: Ring) -> str:
        """Open the timer that a clause's probe looks at; the filter that leaves its samples alone."""
        from unitrace.kernel.timers import Timer

        assert plan.clock is not None
        timer = Timer(plan.clock, ring.cpu)
        self._plain.append(timer.fd)
        self._armed.append(timer.fd)
        ours = f"{plan.clock_id} == {timer.id}"
        return f"{ours} && {plan.filter}" if plan.filter else ours

    def _filter(self, fd: int, text: str) -> None:
        if text:
            try:
                syscall.set_filter(fd, text)
            except OSError as error:
                raise BackendError(f"perf refuses the filter {text!r} ({error.strerror})") from None

    # --- running -----------------------------------------------------------------------------

    def start(self) -> None:
        for fd in self._armed:
            syscall.enable(fd)

    def read(self) -> Iterator[Batch]:
        # Samples first: whatever named a task before its sample is then in the other rings.
        if self._collector is None:
            self._collector = Collector([ring.take for ring in self._rings], self._rings[0].size)
        taken = self._collector.take()
        follower = self._decoder.follower
        if follower:
            upto = time.monotonic_ns()
            told: list[records.Task] = []
            for ring in self._task_rings:
                told += self._decoder.tasks(ring.take(), ring.cpu)
            follower.feed(told, upto)
        made = self._decoder.batches
        return iter([one for ring, data in zip(self._rings, taken) if data for one in made(data, ring.cpu)])

    def poll_fds(self) -> list[int]:
        """fds that become readable (poll(2)) when a ring is a quarter full."""
        return [ring.fd for ring in self._rings]

    def snapshot(self, map: str) -> Snapshot:
        return self._counter(map).snapshot()

    def clear(self, map: str) -> None:
        self._counter(map).clear()

    def zero(self, map: str) -> None:
        self._counter(map).zero()

    def _counter(self, map: str) -> Counter:
        if map not in self._counters:
            raise BackendError(f"perf keeps no map {map}")
        return self._counters[map]

    def losses(self) -> Losses:
        """Ring overruns by CPU, and what else was missed.

        Since 6.0 each event counts its own (PERF_FORMAT_LOST). Before, LOST records tell, but only
        once there is room again; after stop() and the last read(), what an event counted and
        no sample showed was lost: the count includes it.
        """
        lost: dict[int, int] = {}
        if self._counts_lost or self._stopped:
            for stream in self._streams.values():
                if stream.sampled and not self._counts_lost:
                    continue  # it counts what it samples one of; LOST records tell
                held = os.read(stream.fd, 16)
                if self._counts_lost:
                    (count,) = struct.unpack_from("<8xQ", held)
                else:
                    count = struct.unpack_from("<Q", held)[0] - stream.received
                lost[stream.cpu] = lost.get(stream.cpu, 0) + count
            if not self._counts_lost and any(one.sampled for one in self._streams.values()):
                for cpu, count in self._decoder.lost.items():
                    lost[cpu] = max(lost.get(cpu, 0), count)
        else:
            lost = dict(self._decoder.lost)
        found = {f"perf ring full on CPU {cpu}": count for cpu, count in lost.items() if count > 0}
        found.update(self._decoder.other_lost)
        if self._profiled and self._dynamic:
            version = tuple(self.machine.fact("kernel.version"))
            both = self._reads_memory and version < FAULTS_COUNT_UNTIL
            found.update(_missed(f"{self._dynamic.root}/kprobe_profile", self._profiled, both))
        return found

    def stop(self) -> None:
        for fd in self._armed:
            syscall.disable(fd)
        if not self._stopped:
            self._note_programs()
        self._stopped = True

    def close(self) -> None:
        """Undo all; the wait for RCU is left to another process, unless tracefs events must go too."""
        if not self._stopped:
            self.stop()
        if self._collector is not None:
            self._collector.stop()
        for ring in (*self._rings, *self._task_rings):
            ring.close()
        close_now(self._plain)
        held, self._fds = self._fds, []
        self._rings, self._task_rings, self._plain, self._armed = [], [], [], []
        self._streams.clear()
        self._shared.clear()
        files, self._files = self._files, None
        dynamic, self._dynamic = self._dynamic, None
        try:
            if dynamic is None and held:
                close_behind(held)
            else:
                close_now(held)
        finally:
            if dynamic is not None:
                dynamic.close()
            if files:
                _limit_files(files)


def _attr(
    plan: Plan, config: int, target: ctypes.Array[ctypes.c_char] | None, ring: Ring, lost: bool
) -> bytes:
    """The perf_event_attr of a clause's event."""
    flags, sample = FLAGS, SAMPLE
    if plan.way == "sampled":
        sample &= ~syscall.SAMPLE_RAW
    if plan.hertz:
        flags |= syscall.FREQ
    if plan.pid:
        flags |= syscall.INHERIT
    if plan.counted:
        sample, flags = 0, flags & ~syscall.WATERMARK
    if plan.regs:
        sample |= syscall.SAMPLE_REGS_INTR
    spaces = {space for _, (space, _) in plan.stacks}
    if spaces:
        sample |= syscall.SAMPLE_CALLCHAIN
        flags |= 0 if "kernel" in spaces else syscall.EXCLUDE_CALLCHAIN_KERNEL
        flags |= 0 if "user" in spaces else syscall.EXCLUDE_CALLCHAIN_USER
    config1 = ctypes.addressof(target) if target is not None else 0
    if plan.breakpoint:
        config, config1 = 0, plan.config
    return syscall.attr(
        plan.type,
        config,
        flags=flags,
        sample_type=sample,
        read_format=syscall.FORMAT_LOST if lost and not plan.counted else 0,
        watermark=0
        if plan.counted
        else ring.size // 4,  # without one, "wakeup every 0 events" is every event
        config1=config1,
        config2=plan.offset,
        regs=plan.regs,
        period=0 if plan.counted else plan.period,
        bp_type=plan.breakpoint,
    )


def _layout(
    plan: Plan, fields: Mapping[str, Field], cpu: int
) -> tuple[Mapping[str, Place], Mapping[str, Rule]]:
    """Where the columns lie in one CPU's samples, and what is to do with some."""
    if plan.way != "dynamic":
        return dict(plan.layout), {}
    layout, rules = dict(FIXED), {}
    for column, value in plan.values:
        layout[column], rule = value.place(fields, cpu, records.RAW)
        if rule is not None:
            rules[column] = rule
    for column, name in plan.pairs:
        layout[column], rules[column] = field_place(fields[name]), Rule(process="pid")
    return layout, rules


def _missed(path: str, events: Mapping[str, int], both: bool) -> dict[str, int]:
    """Probes that hit and could not be handled: third column of kprobe_profile. ``both``: so does memory that
    couldn't be read."""
    found: dict[str, int] = {}
    cause = "kprobes missed by the kernel"
    if both:
        cause += ", or memory that couldn't be read (this kernel counts both)"
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            rows = [line.split() for line in file]
    except OSError:
        return found
    for row in rows:
        if len(row) == 3 and row[0] in events and row[2] != "0":
            found[cause] = found.get(cause, 0) + int(row[2])
    return found


def _allow_files(wanted: int) -> tuple[int, int] | None:
    """Raise our own limit on open files as far as we may, where it's too low; returns what it was."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    _limit_files((hard, hard))  # if that is too low too, perf_event_open will say EMFILE
    return soft, hard


def _limit_files(limits: tuple[int, int]) -> None:
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    except (ValueError, OSError):
        pass
