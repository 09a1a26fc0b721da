"""Running clauses by the eBPF backend, in tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
from unitrace_ebpf.backend import Ebpf

from unitrace.contract import ir
from unitrace.contract.machine import Machine
from unitrace.contract.model import Column
from unitrace.contract.offer import Offer, Options, Refusal, Request
from unitrace.contract.types import BOOL, COMM, INT64, UINT32, UINT64, Aggregate, Int, Type
from unitrace.kernel import survey as _facts  # noqa: F401 (registers the general facts)

PID, TID = ir.Site(UINT32, "pid"), ir.Site(UINT32, "tid")
COMM_SITE = ir.Site(COMM, "comm")
NSECS = ir.Site(UINT64, "nsecs")
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


U8, I8, U16, I16, U32, I32, U64, I64 = (
    Int(bits, signed) for bits in (8, 16, 32, 64) for signed in (False, True)
)
