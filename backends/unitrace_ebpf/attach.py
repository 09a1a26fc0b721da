"""Programs in place: loaded and hung on their probes, switched on and off together, read, removed.

Everything lives by file descriptors: when this process dies, all of it goes.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from typing import Any

from unitrace.contract.backend import describe
from unitrace.contract.errors import BackendError, ProbeError
from unitrace.contract.ir import Clause
from unitrace.contract.machine import Machine
from unitrace.contract.model import Batch, Losses, Place, Snapshot
from unitrace.contract.offer import Offer, Share
from unitrace.contract.wildcards import LeftOut
from unitrace.kernel import cpus
from unitrace.kernel.collector import Collector

from . import maps, snapshot, syscall
from .asm import Code
from .compile.base import NAMES, SWITCH
from .compile.records import DROPS, NO_SCRATCH, SCRATCH, Compiled, Layout, scratch_map, zeros_of
from .compile.strings import NAMED
from .hang import Hanger
from .maps import Kept, kept
from .memlock import unlock_memory
from .offer import Plan
from .ring import PAGE, PerfBuffer, Ring, decode
from .survey import explained, version
from .verifier import load
from .ways import names_of, rooms_of

__all__ = ["Attached"]

RINGS = 4
"""Rings at most: clauses with records of about one size share one."""

LIFO = frozenset({"kprobe", "uprobe", "uretprobe", "usdt", "fentry", "fexit"})
"""Probes of which the one that was hung last at a place fires first: they are hung in reverse, so that
clauses run in the program's order."""

TASKS = 8192
"""Threads that may be in programs with a scratch at the same time."""


class Attached:
    """The offer's programs (contract.backend.Attachment)."""

    def __init__(self, machine: Machine, offer: Offer) -> None:
        self.machine = machine
        self.offer = offer
        self.cpus = cpus.possible()
        self.names: dict[str, int] = {}  # what programs are linked with: maps' descriptors
        self.kept: dict[str, tuple[Kept, int]] = {}
        self.zeroed: set[str] = set()
        self.rings: list[tuple[Ring | PerfBuffer, dict[int, dict[str, Place]]]] = []
        self.collector: Collector | None = None
        self.records: dict[str, int] = {}  # a record's ring and its size there, by its own size
        self.linked: dict[int, bytes] = {}
        self.hung: dict[str, int] = {}  # clauses at each probe
        self.programs: dict[tuple[int, int, tuple[int, int], bytes, int], int] = {}
        self.missed_before: dict[int, int] = {}
        self.left_out = LeftOut()
        self.notes: list[str] = []
        self.began = 0
        self.hanger = Hanger(machine, offer.request.options.pid)
        try:
            self._attach()
        except OSError as error:
            self.close()
            answer = explained(error)
            raise BackendError(f"bpf(2): {answer.reason}", remedy=answer.remedy) from None
        except BaseException:
            self.close()
            raise

    # --- making -----------------------------------------------------------------------------------

    def _attach(self) -> None:
        unlock_memory(version(self.machine))
        self._map(SWITCH, syscall.ARRAY, 16, 1)
        shares = self.offer.shares
        self._kept_maps()
        numbers = [NO_SCRATCH, *(number for _, number in self.kept.values())]
        self._map(DROPS, syscall.PERCPU_ARRAY, 8, 1 + max(numbers))
        for compiled in {id(one): one for one in (_plan(share).compiled for share in shares)}.values():
            self._scratch(compiled)
        if any(_plan(one).compiled.code.names(NAMES) for one in shares):
            self._names(shares)
        self._rings(shares)
        progress = self.offer.request.options.progress
        numbered = list(enumerate(shares))
        first = [(number, one) for number, one in numbered if one.clause.probe.kind not in LIFO]
        then = [(number, one) for number, one in reversed(numbered) if one.clause.probe.kind in LIFO]
        for done, (number, one) in enumerate((*first, *then), 1):
            with self.left_out.unless_named(one.clause):
                self._load(number, one)
            if progress is not None:
                progress(done, len(shares))
        self.hanger.finish()
        self.notes = self.left_out.notes(len(shares))

    def _scratch(self, compiled: Compiled) -> None:
        """Memory that a program needs beyond its stack: of each CPU, or of each thread that is in it."""
        size = compiled.scratch
        name = scratch_map(size, compiled.by_task)
        if not size or name in self.names:
            return
        if compiled.by_task:
            kind = syscall.map_create(syscall.HASH, 8, size, TASKS, syscall.NO_PREALLOC, name="ut_tasks")
            self.names[name] = kind
            if zeros_of(size) not in self.names:
                self._map(zeros_of(size), syscall.ARRAY, size, 1)
        else:
            self._map(name, syscall.PERCPU_ARRAY, size, 1)

    def _map(self, name: str, kind: int, value: int, entries: int) -> None:
        self.names[name] = syscall.map_create(kind, 4, value, entries, name=f"ut_{name[4:]}")

    def _kept_maps(self) -> None:
        request = self.offer.request
        used = {name: number for one in self.offer.shares for name, number in _plan(one).maps}
        for name, number in sorted(used.items(), key=lambda item: item[1]):
            plan = kept(request.map(name))
            self.kept[name] = plan, number
            self.names[f"map:{name}"] = maps.make(plan, self.cpus, version(self.machine))
            if not plan.scalar and zeros_of(plan.value_size) not in self.names:
                self._map(zeros_of(plan.value_size), syscall.ARRAY, plan.value_size, 1)

    def _names(self, shares: tuple[Share, ...]) -> None:
        """The probes' names, for programs that many share."""
        clauses = [one.clause for one in shares]
        rooms = rooms_of(clauses)
        self._map(NAMES, syscall.ARRAY, sum(rooms), 1 + max(one.ordinal for one in clauses))
        for clause in clauses:
            names = names_of(clause.probe)
            value = b"".join(names[site].ljust(room, b"\0") for site, room in zip(NAMED, rooms))
            syscall.map_update(self.names[NAMES], struct.pack("<I", clause.ordinal), value)

    def _rings(self, shares: tuple[Share, ...]) -> None:
        """A ring for each size of record; the nearest sizes share one where there are many."""
        records = dict(record for one in shares for record in _records(one))
        if not records:
            return
        sizes = {shown.size for shown in records.values()}
        own = sorted(sizes)
        by_cpu = not self.machine.answer("bpf.ringbuf")
        while len(sizes) > (1 if by_cpu else RINGS):
            ordered = sorted(sizes)
            sizes.discard(min(zip(ordered[1:], ordered), key=lambda two: two[0] - two[1])[1])
        per_cpu = self.offer.request.options.buffer_kib << 10
        online = cpus.online()
        for size in sorted(sizes):
            shapes: dict[int, dict[str, Place]] = {}
            ring: Ring | PerfBuffer
            if by_cpu:
                ring = PerfBuffer(_power(per_cpu), size + 4, online, self.cpus)
                self._map(SCRATCH, syscall.PERCPU_ARRAY, size + 8, 1)
            else:
                ring = Ring(_power(per_cpu * len(online) // len(sizes)), size)
            self.rings.append((ring, shapes))
        fits = {size: next(at for at, most in enumerate(sorted(sizes)) if most >= size) for size in own}
        for size, at in fits.items():
            ring, _ = self.rings[at]
            self.records[f"map:ring {size}"] = ring.fd
            self.records[f"size {size}"] = ring.stride - ring.head
        for ordinal, shown in records.items():
            places = {column.name: place for column, place in shown.places}
            self.rings[fits[shown.size]][1][ordinal] = places

    def _load(self, number: int, one: Share) -> None:
        plan, clause = _plan(one), one.clause
        linked = self._linked(plan.compiled.code, clause)
        expected = plan.mechanism.expected
        place = describe(clause.probe)
        nth = self.hung[place] = self.hung.get(place, 0) + 1  # a program hangs only once on a tracepoint

        def loaded(kind: int, target: tuple[int, int] = (0, 0)) -> int:
            found = self.programs.get((kind, expected, target, linked, nth))
            if found is None:
                found = self.programs[kind, expected, target, linked, nth] = load(
                    kind, plan.compiled.code, linked, f"unitrace_{number}", describe(clause.probe),
                    expected=expected, target=target, source=self.offer.request.source,
                )  # fmt: skip
            return found

        try:
            self.hanger.hang(clause.probe, plan.mechanism.name, loaded, clause.ordinal)
        except OSError as error:
            raise _refused(one, error) from None

    def _linked(self, code: Code, clause: Clause) -> bytes:
        """A program's bytes; the same for all clauses that share it, where they come by a cookie."""
        found = self.linked.get(id(code))
        if found is None:
            names = {**self.names, **self.records, "clause": clause.ordinal}
            try:
                found = code.link(names)
            except ValueError as error:
                raise BackendError(f"the program of {describe(clause.probe)} is too long: {error}") from None
            if not code.names("clause"):
                self.linked[id(code)] = found
        return found

    # --- contract.backend.Attachment ----------------------------------------------------------------

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> None:
        self.missed_before = {fd: _missed(fd) for fd in self.programs.values()}
        self._switch(1)
        self.hanger.start()

    def stop(self) -> None:
        self._switch(0)

    def _switch(self, on: int) -> None:
        syscall.map_update(self.names[SWITCH], b"\0\0\0\0", struct.pack("<IxxxxQ", on, self.began))

    def read(self) -> Iterator[Batch]:
        if self.collector is None:
            room = min((ring.length for ring, _ in self.rings), default=0)
            self.collector = Collector([ring.take for ring, _ in self.rings], room)
        for (ring, shapes), taken in zip(self.rings, self.collector.take()):
            if taken:
                yield from decode(taken, ring.stride, ring.head, shapes)

    def snapshot(self, map: str) -> Snapshot:
        plan, _ = self.kept[map]
        batch = bool(self.machine.answer("bpf.batch"))
        fd = self.names[f"map:{map}"]
        return snapshot.read(fd, plan, self.cpus, batch=batch, shown=map in self.zeroed)

    def lookup(self, map: str, key: tuple[Any, ...]) -> Any:
        shown = map in self.zeroed
        return snapshot.lookup(self.names[f"map:{map}"], self.kept[map][0], key, self.cpus, shown=shown)

    def store(self, map: str, key: tuple[Any, ...], value: Any) -> bool:
        return snapshot.store(self.names[f"map:{map}"], self.kept[map][0], key, value)

    def remove(self, map: str, key: tuple[Any, ...]) -> bool:
        return snapshot.remove(self.names[f"map:{map}"], self.kept[map][0], key)

    def clear(self, map: str) -> None:
        snapshot.remove_all(self.names[f"map:{map}"], self.kept[map][0], self.cpus)
        self.zeroed.discard(map)

    def zero(self, map: str) -> None:
        plan, _ = self.kept[map]
        if plan.scalar and self.snapshot(map):
            self.zeroed.add(map)
        snapshot.zero_all(self.names[f"map:{map}"], plan, self.cpus)

    def losses(self) -> Losses:
        found: dict[str, int] = {}
        for cpu, count in enumerate(self._drops(0)):
            if count:
                found[f"ring buffer full on CPU {cpu}"] = count
        for name, (_, number) in self.kept.items():
            count = sum(self._drops(number))
            if count:
                found[f"map {name} full"] = count
        count = sum(self._drops(NO_SCRATCH))
        if count:
            found["no memory for a program"] = count
        missed = sum(_missed(fd) - before for fd, before in self.missed_before.items())
        if missed > 0:
            found["another BPF program was running"] = missed
        found.update(self.hanger.missed())
        return found

    def _drops(self, number: int) -> tuple[int, ...]:
        size = 8 * self.cpus
        value = syscall.map_lookup(self.names[DROPS], struct.pack("<I", number), size)
        return struct.unpack(f"<{self.cpus}Q", value or bytes(size))

    def close(self) -> None:
        """Take all down; twice does no harm. What is hung is closed last, where it is slow."""
        if SWITCH in self.names:
            self._switch(0)
        for fd in self.programs.values():
            os.close(fd)
        self.programs.clear()
        if self.collector is not None:
            self.collector.stop()
        for ring, _ in self.rings:
            ring.close()
        self.rings.clear()
        for fd in self.names.values():
            os.close(fd)
        self.names.clear()
        self.hanger.close()


def _plan(one: Share) -> Plan:
    assert isinstance(one.plan, Plan)
    return one.plan


def _records(one: Share) -> Iterator[tuple[int, Layout]]:
    """The records that a share's program sends, by the clause they are for."""
    compiled = _plan(one).compiled
    if compiled.layout is not None:
        yield one.clause.ordinal, compiled.layout
    for sent, shown in compiled.sent:
        yield sent.clause.ordinal, shown


def _power(length: int) -> int:
    """The next power of two, whole pages."""
    return max(PAGE, 1 << (length - 1).bit_length())


def _missed(fd: int) -> int:
    """Runs that the kernel skipped because this CPU was in a BPF program already: recursion_misses of
    struct bpf_prog_info (5.12; for perf events counted since 6.7)."""
    try:
        return int(struct.unpack_from("<Q", syscall.object_info(fd, 216), 208)[0])
    except OSError:
        return 0


def _refused(one: Share, error: OSError) -> BackendError | ProbeError:
    """The kernel's no to a probe, by errno."""
    probe, number = one.clause.probe, error.errno or errno.EIO
    what = describe(probe)
    if number in (errno.ENOENT, errno.EADDRNOTAVAIL):
        return ProbeError(f"Unable to attach probe: {what} is not there", span=probe.span)
    if number in (errno.EINVAL, errno.EILSEQ, errno.EOPNOTSUPP):
        return ProbeError(
            f"Unable to attach probe: {what}: {os.strerror(number)}",
            span=probe.span,
            remedy="the kernel keeps some functions and instructions free of probes",
        )
    answer = explained(error)
    return BackendError(f"{what}: the kernel says: {answer.reason}", span=probe.span, remedy=answer.remedy)
