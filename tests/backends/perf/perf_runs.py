"""What the tests of the perf backend share: clauses made by hand, and a run of one."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from unitrace_perf.backend import PerfBackend

from unitrace.contract.ir import Act, Binary, Clause, Const, Expr, Field, Probe, Site
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Offer, Options, Refusal, Request, spelled
from unitrace.contract.types import BOOL, COMM, INT64, UINT32, Type
from unitrace.kernel import elf
from unitrace.kernel.formats import read_format

TID, PID, CPU = Site(UINT32, "tid"), Site(UINT32, "pid"), Site(UINT32, "cpu")
COMM_SITE = Site(COMM, "comm")
MACHINE = Machine()
BACKEND = PerfBackend()
BACKEND.survey(Machine())  # its facts are registered when it is first asked

libc = ctypes.CDLL(None, use_errno=True)
libc.labs.argtypes, libc.labs.restype = [ctypes.c_long], ctypes.c_long


def arg(number: int) -> Site:
    return Site(INT64, "arg", number)


RETVAL = Site(INT64, "retval")


def equal(left: Expr, value: int | bytes) -> Expr:
    return Binary(BOOL, "==", left, Const(left.type, value))


def both(left: Expr, right: Expr) -> Expr:
    return Binary(BOOL, "&&", left, right)


def mine() -> Expr:
    """Only this thread's events: decided by the kernel's filter, so that other load doesn't matter."""
    return equal(TID, os.getpid())


def clause(probe: Probe, values: Iterable[Expr], predicate: Expr | None = None, ordinal: int = 0) -> Clause:
    return Clause(ordinal, probe, predicate, (Act("printf", tuple(values), b""),))


def tracepoint(category: str, event: str) -> Probe:
    fields = read_format(MACHINE, category, event).fields
    return Probe("tracepoint", category, event, fields=fields, label=f"tracepoint:{category}:{event}")


def field(probe: Probe, name: str) -> Site:
    found = next(one for one in probe.fields if one.name == name)
    return Site(found.type, "args", name)


def function(kind: str, symbol: str, fields: tuple[Field, ...] = (), path: str = "") -> Probe:
    """A probe on a function: of the kernel, or of ``path``."""
    if not path:
        return Probe(kind, "", symbol, fields=fields, label=f"{kind}:{symbol}")
    found = elf.find(path, symbol)
    assert found is not None
    label = f"{kind}:{path}:{symbol}"
    return Probe(kind, path, symbol, address=found.offset_in_file, fields=fields, label=label)


def libc_path() -> str:
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return next(line.split()[-1] for line in maps if "/libc.so.6" in line or "/libc-" in line)


def need(fact: str) -> None:
    answer = MACHINE.answer(fact)
    if not answer:
        pytest.skip(answer.reason)


def offered(*clauses: Clause, machine: Machine = MACHINE, buffer_kib: int = 512) -> Offer:
    answer = BACKEND.offer(machine, Request(clauses, options=Options(buffer_kib=buffer_kib)))
    if isinstance(answer, Refusal):
        raise AssertionError(answer)
    return answer


def seen(
    work: Callable[[], object], *clauses: Clause, machine: Machine = MACHINE, buffer_kib: int = 512
) -> tuple[dict[int, list[tuple[Any, ...]]], dict[str, int]]:
    """What ``work`` made the clauses see: by ordinal, a tuple of each event's columns (after nsecs), in
    the order of time; and the losses."""
    offer = offered(*clauses, machine=machine, buffer_kib=buffer_kib)
    rows: list[tuple[int, int, tuple[Any, ...]]] = []
    with BACKEND.attach(machine, offer) as attachment:
        attachment.start()
        work()
        attachment.stop()
        for batch in attachment.read():
            share = next(one for one in offer.shares if one.clause.ordinal == batch.clause)
            columns = [batch.values(column.name) for column in share.columns]
            rows += [(row[0], batch.clause, row[1:]) for row in zip(*columns)]
        lost = dict(attachment.losses())
    rows.sort(key=lambda row: row[0])
    found: dict[int, list[tuple[Any, ...]]] = {one.ordinal: [] for one in clauses}
    for _, ordinal, row in rows:
        found[ordinal].append(row)
    return found, lost


def order(offer: Offer, ordinal: int = 0) -> list[str]:
    return [column.name for column in offer.shares[ordinal].columns]


def machine_type(of: Type) -> str:
    return spelled(Site(of, "x"))


def ours(name: str) -> list[str]:
    """Dynamic events of this process that still stand in tracefs' ``name``."""
    try:
        with open(f"/sys/kernel/tracing/{name}", encoding="utf-8") as file:
            return [line for line in file if f"unitrace_{os.getpid()}_" in line]
    except OSError:
        return []
