"""Programs in place: loaded and hung on their probes, switched on and off together, read, removed.

Everything lives by file descriptors: when this process dies, all of it goes.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

from unitrace.contract.backend import describe
from unitrace.contract.errors import BackendError, ProbeError
from unitrace.contract.machine import Machine
from unitrace.contract.model import Batch, Losses, Place, Snapshot
from unitrace.contract.offer import Offer, Share
from unitrace.kernel import cpus

from . import maps, snapshot, syscall
from .compile.aggregates import bench, zeros
from .compile.program import SCRATCH, SWITCH
from .hang import Hanger
from .maps import Kept, kept
from .memlock import unlock_memory
from .offer import Plan
from .ring import PAGE, PerfBuffer, Ring, decode
from .survey import explained, version
from .verifier import load

__all__ = ["Attached"]

RINGS = 4
"""Rings at most: clauses with records of about one size share one."""

DROPS = "map:drops"


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
        self.programs: dict[tuple[int, int, bytes], int] = {}
        self.missed_before: dict[int, int] = {}
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
        self._map(SWITCH, syscall.ARRAY, 4, 1)
        shares = self.offer.shares
        self._kept_maps()
        self._map(DROPS, syscall.PERCPU_ARRAY, 8, 1 + max((n for _, n in self.kept.values()), default=0))
        self._rings([one for one in shares if not _plan(one).kept])
        for number, one in enumerate(shares):
            self._load(number, one)
        self.hanger.finish()

    def _map(self, name: str, kind: int, value: int, entries: int) -> None:
        self.names[name] = syscall.map_create(kind, 4, value, entries, name=f"ut_{name[4:]}")

    def _kept_maps(self) -> None:
        request = self.offer.request
        used = {name: number for one in self.offer.shares for name, number in _plan(one).maps}
        for name, number in sorted(used.items(), key=lambda item: item[1]):
            plan = kept(request.map(name))
            self.kept[name] = plan, number
            self.names[f"map:{name}"] = maps.make(plan, self.cpus, version(self.machine))
            if not plan.scalar and zeros(plan) not in self.names:
                self._map(zeros(plan), syscall.ARRAY, plan.value_size, 1)
            if plan.large and bench(plan) not in self.names:
                self._map(bench(plan), syscall.PERCPU_ARRAY, plan.key_size, 1)

    def _rings(self, shares: list[Share]) -> None:
        """A ring for each size of record; the nearest sizes share one where there are many."""
        if not shares:
            return
        sizes = {_size(one) for one in shares}
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
        for one in shares:
            fit = next(at for at, size in enumerate(sorted(sizes)) if size >= _size(one))
            shown = _plan(one).compiled.layout
            assert shown is not None
            self.rings[fit][1][one.clause.ordinal] = {column.name: place for column, place in shown.places}

    def _load(self, number: int, one: Share) -> None:
        plan, clause = _plan(one), one.clause
        names = dict(self.names)
        if not plan.kept:
            ring = next(ring for ring, shapes in self.rings if clause.ordinal in shapes)
            names["map:ring"] = ring.fd
            names["size"] = ring.stride - ring.head
            names["clause"] = clause.ordinal
        try:
            linked = plan.compiled.code.link(names)
        except ValueError as error:
            raise BackendError(f"the program of {describe(clause.probe)} is too long: {error}") from None
        expected = syscall.ATTACH_UPROBE_MULTI if plan.mechanism.name == "uprobe_multi" else 0

        def loaded(kind: int) -> int:
            found = self.programs.get((kind, expected, linked))
            if found is None:
                found = self.programs[kind, expected, linked] = load(
                    kind, plan.compiled.code, linked, f"unitrace_{number}", describe(clause.probe),
                    expected=expected, source=self.offer.request.source,
                )  # fmt: skip
            return found

        try:
            self.hanger.hang(clause.probe, plan.mechanism.name, loaded, clause.ordinal)
        except OSError as error:
            raise _refused(one, error) from None

    # --- contract.backend.Attachment ----------------------------------------------------------------

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> None:
        self.missed_before = {fd: _missed(fd) for fd in self.programs.values()}
        self._switch(1)

    def stop(self) -> None:
        self._switch(0)

    def _switch(self, on: int) -> None:
        syscall.map_update(self.names[SWITCH], b"\0\0\0\0", struct.pack("<I", on))

    def read(self) -> Iterator[Batch]:
        for ring, shapes in self.rings:
            for piece, stride in ring.pieces():
                yield from decode(piece, stride, ring.head, shapes)

    def snapshot(self, map: str) -> Snapshot:
        plan, _ = self.kept[map]
        batch = bool(self.machine.answer("bpf.batch"))
        fd = self.names[f"map:{map}"]
        return snapshot.read(fd, plan, self.cpus, batch=batch, shown=map in self.zeroed)

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


def _size(one: Share) -> int:
    shown = _plan(one).compiled.layout
    assert shown is not None
    return shown.size


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
        return ProbeError(f"{what} is not there", span=probe.span)
    if number in (errno.EINVAL, errno.EILSEQ, errno.EOPNOTSUPP):
        return ProbeError(
            f"{what} can't be probed: {os.strerror(number)}",
            span=probe.span,
            remedy="the kernel keeps some functions and instructions free of probes",
        )
    answer = explained(error)
    return BackendError(f"{what}: the kernel says: {answer.reason}", span=probe.span, remedy=answer.remedy)
