"""One clause in the kernel and in the engine.

The compiled program runs by BPF_PROG_TEST_RUN (raw tracepoints, 5.10), its context eight words; no probe is
needed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unitrace_ebpf import maps, snapshot, survey, syscall, verifier
from unitrace_ebpf.asm import Code
from unitrace_ebpf.compile.base import Abilities, CannotCompile, Context
from unitrace_ebpf.compile.program import compile_whole
from unitrace_ebpf.compile.records import scratch_map
from unitrace_ebpf.ring import Ring, decode

from unitrace.contract import ir
from unitrace.contract.errors import BackendError
from unitrace.contract.machine import Machine
from unitrace.contract.model import RowBatch
from unitrace.contract.offer import columns_of
from unitrace.engine.engine import Engine
from unitrace.kernel import survey as _facts  # noqa: F401 (registers the general facts)
from unitrace.kernel.cpus import possible
from unitrace.output.records import Message, Out, Printed
from unitrace.output.rows import single

__all__ = ["RAW_PROBE", "CannotCompile", "Rejected", "in_engine", "in_kernel", "same"]

MACHINE = Machine()
RAW_PROBE = ir.Probe("rawtracepoint", "", "none", label="rawtracepoint:none")


class Rejected(AssertionError):
    """The verifier's no."""


class Lost(Exception):
    """A large map, whose elements the kernel makes as they come, had none at hand (bpf_mem_alloc). It is counted,
    and the user told."""


ROOMY = 100


def same(clause: ir.Clause, decls: list[ir.MapDecl], events: list[list[int]]) -> None:
    """Equal maps, equal records in equal order; a warning is one wherever it comes, and however often. (A
    full map is a loss, where it is in the kernel.)"""
    wanted, shown = in_engine(clause, decls, events)
    for _ in range(20):
        try:
            found, emitted = in_kernel(clause, decls, events)
        except Lost:
            continue
        break
    for decl in decls:
        name = decl.name
        if dict(found[name]) != wanted.get(name, {}):
            raise AssertionError(f"{name} is {found[name]}\nin the engine {wanted.get(name, {})}")
    if _told(emitted) != _told(shown):
        raise AssertionError(f"emitted {_told(emitted)}\nby the engine {_told(shown)}")


def _told(records: list[Out]) -> tuple[list[Any], set[str]]:
    told = [(one.format, tuple(one.values)) for one in records if isinstance(one, Printed)]
    said = {one.text for one in records if isinstance(one, Message)}
    return told, {one for one in said if not one.startswith("Map full")}


def in_engine(
    clause: ir.Clause, decls: list[ir.MapDecl], events: list[list[int]]
) -> tuple[dict[str, Any], list[Out]]:
    """The maps, and what was emitted."""
    program = ir.Program((clause,), tuple(decls))
    columns = columns_of(clause)
    out: list[Out] = []
    engine = Engine(program, {0: (clause, columns)}, {}, out.append)
    held: dict[str, list[Any]] = {"nsecs": list(range(len(events)))}
    for column in columns:
        site = column.value
        if isinstance(site, ir.Site) and site.name == "arg":
            held[column.name] = [event[int(site.key or 0)] for event in events]
    engine.feed([RowBatch(0, held)], None)
    return {name: dict(content) for name, content in engine.maps().items()}, [
        one for record in out for one in single(record)
    ]


def in_kernel(
    clause: ir.Clause, decls: Sequence[ir.MapDecl], contexts: Sequence[Sequence[int]]
) -> tuple[dict[str, Mapping[Any, Any]], list[Out]]:
    """Compile a clause to run whole, run it on each context (its arg0, arg1, ...): the maps, and what user
    space emits of what it sends."""
    abilities: Abilities = survey.abilities(MACHINE, set())
    plans = {one.name: (maps.kept(one), at + 2) for at, one in enumerate(decls)}
    context = Context("raw", scratch="cpu")  # nothing nests in a test run
    compiled = compile_whole(context, abilities, clause.predicate, clause, plans, ordinal=100, lax=True)
    names: dict[str, int] = {}
    program = -1
    ring = None
    try:
        names["map:switch"] = syscall.map_create(syscall.ARRAY, 4, 16, 1)
        syscall.map_update(names["map:switch"], b"\0" * 4, struct.pack("<QQ", 1, 0))
        names["map:drops"] = syscall.map_create(syscall.PERCPU_ARRAY, 4, 8, 2 + len(decls))
        for name, (plan, _) in plans.items():
            names[f"map:{name}"] = maps.make(plan, possible(), survey.version(MACHINE))
            zeros = f"map:zeros {plan.value_size}"
            if zeros not in names:
                names[zeros] = syscall.map_create(syscall.ARRAY, 4, plan.value_size, 1)
        if compiled.scratch:
            place = scratch_map(compiled.scratch, compiled.by_task)
            names[place] = syscall.map_create(syscall.PERCPU_ARRAY, 4, compiled.scratch, 1)
        numbers = dict(names)
        if compiled.sent:
            most = max(shown.size for _, shown in compiled.sent)
            ring = Ring(1 << 18, most)
            for _, shown in compiled.sent:
                numbers |= {f"map:ring {shown.size}": ring.fd, f"size {shown.size}": ring.stride - ring.head}
        program = load(compiled.code, compiled.code.link(numbers))
        for words in contexts:
            packed = [value & (1 << 64) - 1 for value in words]
            syscall.prog_test_run(program, struct.pack(f"<{len(packed)}Q", *packed))
        for decl in decls:
            cells = syscall.map_lookup(
                names["map:drops"], struct.pack("<I", plans[decl.name][1]), 8 * possible()
            )
            if decl.entries > ROOMY and cells and any(cells):
                raise Lost(decl.name)
        found = {
            name: snapshot.read(names[f"map:{name}"], plan, possible(), batch=False, shown=False)
            for name, (plan, _) in plans.items()
        }
        return found, _emitted(compiled.sent, ring)
    finally:
        if ring is not None:
            ring.close()
        for fd in (*names.values(), program):
            if fd >= 0:
                os.close(fd)


def _emitted(sent: Iterable[tuple[Any, Any]], ring: Ring | None) -> list[Out]:
    """The records in the ring, as the engine handles them."""
    out: list[Out] = []
    residuals = {one.clause.ordinal: (one.clause, one.columns) for one, _ in sent}
    engine = Engine(ir.Program((), ()), residuals, {}, out.append)
    if ring is not None:
        shapes = {
            one.clause.ordinal: {column.name: place for column, place in shown.places} for one, shown in sent
        }
        engine.feed(decode(ring.take(), ring.stride, ring.head, shapes), None)
    return [one for record in out for one in single(record)]


def load(code: Code, linked: bytes) -> int:
    """Load a raw tracepoint program; the verifier's log where it won't."""
    try:
        return verifier.load(syscall.RAW_TRACEPOINT, code, linked, "unitrace_test", "a clause")
    except BackendError as error:
        raise Rejected("\n".join((error.message, *error.notes))) from None
