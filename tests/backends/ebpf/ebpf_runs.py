"""Running clauses by the eBPF backend, in tests."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
from unitrace_ebpf import maps, snapshot, survey, syscall
from unitrace_ebpf.backend import Ebpf
from unitrace_ebpf.compile.base import Abilities, Context
from unitrace_ebpf.compile.program import compile_whole, scratch_map
from unitrace_ebpf.ring import Ring, decode

from unitrace.contract import ir
from unitrace.contract.machine import Machine
from unitrace.contract.model import Column
from unitrace.contract.offer import Offer, Options, Refusal, Request
from unitrace.contract.types import BOOL, COMM, INT64, UINT32, UINT64, Aggregate, Int, Type
from unitrace.engine.engine import Engine
from unitrace.kernel import survey as _facts  # noqa: F401 (registers the general facts)
from unitrace.kernel.cpus import possible
from unitrace.output.records import Out
from unitrace.output.rows import single

PID, TID = ir.Site(UINT32, "pid"), ir.Site(UINT32, "tid")
COMM_SITE = ir.Site(COMM, "comm")
NSECS = ir.Site(UINT64, "nsecs")
CONTEXT_WORDS = 8
MACHINE = Machine()


def needs(*facts: str) -> None:
    """Skip where this machine lacks something."""
    if os.geteuid():
        pytest.skip("needs root")
    for name in facts:
        answer = MACHINE.answer(name)
        if not answer:
            pytest.skip(f"{name}: {answer.reason}")


def op(left: ir.Expr, sign: str, right: ir.Expr) -> ir.Binary:
    truth = sign in ("==", "!=", "<", "<=", ">", ">=", "&&", "||")
    return ir.Binary(BOOL if truth else left.type, sign, left, right)


def num(value: int | bytes, of: Type = INT64) -> ir.Const:
    return ir.Const(of, value)


def ours() -> ir.Expr:
    return op(PID, "==", num(os.getpid(), UINT32))


def decl(name: str, function: str, *key: Type, signed: bool = True, parameters: tuple[int, ...] = (),
         entries: int = 4096) -> ir.MapDecl:  # fmt: skip
    return ir.MapDecl(name, key, Aggregate(function, signed, parameters), entries)


def tracepoint(category: str, event: str) -> ir.Probe:
    from unitrace.kernel.formats import read_format

    fields = read_format(MACHINE, category, event).fields
    return ir.Probe("tracepoint", category, event, fields=fields, label=f"tracepoint:{category}:{event}")


def field(probe: ir.Probe, name: str) -> ir.Site:
    found = next(one for one in probe.fields if one.name == name)
    return ir.Site(found.type, "args", name)


def offered(clauses: Sequence[ir.Clause], decls: Iterable[ir.MapDecl] = (), *, machine: Machine = MACHINE,
            options: Options | None = None, source: str = "") -> Offer:  # fmt: skip
    decls = tuple(decls)
    keepable = frozenset(one.name for one in decls)
    request = Request(tuple(clauses), decls, keepable, options or Options(buffer_kib=256), source)
    answer = Ebpf().offer(machine, request)
    assert not isinstance(answer, Refusal), answer
    return answer


class Seen:
    """What a run gave: rows by clause (column name to values), maps, losses."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, list[Any]]] = {}
        self.maps: dict[str, Mapping[Any, Any]] = {}
        self.losses: Mapping[str, int] = {}


def run(clauses: Sequence[ir.Clause], work: Callable[[], object], decls: Iterable[ir.MapDecl] = (), *,
        machine: Machine = MACHINE, options: Options | None = None) -> Seen:  # fmt: skip
    """Trace ``work``."""
    decls = tuple(decls)
    offer = offered(clauses, decls, machine=machine, options=options)
    columns: dict[int, tuple[Column, ...]] = {one.clause.ordinal: one.columns for one in offer.shares}
    seen = Seen()
    with Ebpf().attach(machine, offer) as attached:
        attached.start()
        work()
        attached.stop()
        for batch in attached.read():
            held = seen.rows.setdefault(batch.clause, {one.name: [] for one in columns[batch.clause]})
            for name, values in held.items():
                values.extend(batch.values(name))
        kept = {stmt.map for one in offer.shares if one.residual is None for stmt in _updates(one.clause)}
        seen.maps = {name: attached.snapshot(name) for name in kept}
        seen.losses = attached.losses()
    return seen


def _updates(clause: ir.Clause) -> list[ir.MapUpdate]:
    return [stmt for stmt in clause.body if isinstance(stmt, ir.MapUpdate)]


def show(*values: ir.Expr) -> ir.Act:
    return ir.Act("printf", values, b"")


# --- programs run without a probe: BPF_PROG_TEST_RUN of a raw tracepoint's, whose context is words ----

RAW_PROBE = ir.Probe("rawtracepoint", "", "none", label="rawtracepoint:none")


def run_on_contexts(
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
        names["map:switch"] = syscall.map_create(syscall.ARRAY, 4, 4, 1)
        syscall.map_update(names["map:switch"], b"\0" * 4, b"\1\0\0\0")
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
        program = load(compiled.code.link(numbers))
        for words in contexts:
            packed = [value & (1 << 64) - 1 for value in words]
            syscall.prog_test_run(program, struct.pack(f"<{len(packed)}Q", *packed))
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
        batches = [
            batch for piece, stride in ring.pieces() for batch in decode(piece, stride, ring.head, shapes)
        ]
        engine.feed(batches, None)
    return [one for record in out for one in single(record)]


def load(code: bytes) -> int:
    """Load a raw tracepoint program; the verifier's log where it won't."""
    import ctypes

    try:
        return syscall.prog_load(syscall.RAW_TRACEPOINT, code, "unitrace_test")
    except OSError:
        log = ctypes.create_string_buffer(syscall.LOG_SIZE)
        try:
            return syscall.prog_load(syscall.RAW_TRACEPOINT, code, "unitrace_test", log=log)
        except OSError as error:
            raise AssertionError(f"{error}\n{log.value.decode(errors='replace')[-3000:]}") from None


U8, I8, U16, I16, U32, I32, U64, I64 = (
    Int(bits, signed) for bits in (8, 16, 32, 64) for signed in (False, True)
)
