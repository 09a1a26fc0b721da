"""What the tests of the ftrace backend share: clauses made by hand, and a run of them."""

from __future__ import annotations

import ctypes
import os
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from unitrace_ftrace.backend import Ftrace

from unitrace.contract.ir import Act, Binary, Clause, Const, Expr, Probe, Site, Text
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Offer, Options, Refusal, Request, spelled
from unitrace.contract.types import BOOL, COMM, INT64, UINT32, UINT64, Str
from unitrace.kernel import elf
from unitrace.kernel.formats import read_format
from unitrace.kernel.guard import mark

NSECS, CPU = Site(UINT64, "nsecs"), Site(UINT32, "cpu")
TID, PID, NAME = Site(UINT32, "tid"), Site(UINT32, "pid"), Site(COMM, "comm")
RETVAL = Site(INT64, "retval")
MACHINE = Machine()
BACKEND = Ftrace()
ROOT = "/sys/kernel/tracing"

libc = ctypes.CDLL(None, use_errno=True)
libc.labs.argtypes, libc.labs.restype = [ctypes.c_long], ctypes.c_long
libc.openat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]

Rows = dict[str, list[Any]]


def arg(number: int) -> Site:
    return Site(INT64, "arg", number)


def string(pointer: Expr, length: int = 64, space: str = "user") -> Text:
    return Text(Str(length), pointer, space)


def compare(op: str, left: Expr, value: int | bytes) -> Binary:
    return Binary(BOOL, op, left, Const(left.type, value))


def both(left: Expr, right: Expr) -> Binary:
    return Binary(BOOL, "&&", left, right)


class Worker:
    """The thread whose doings are traced: another than the tracer's, which opens and writes files too."""

    def __init__(self) -> None:
        self.todo: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self.tid = 0
        threading.Thread(target=self._loop, daemon=True).start()
        self.do(self._begin)

    def _begin(self) -> None:
        self.tid = threading.get_native_id()

    def _loop(self) -> None:
        while True:
            try:
                self.todo.get()()
                self.done.put(None)
            except BaseException as error:
                self.done.put(error)

    def do(self, work: Callable[[], object]) -> None:
        """Run ``work`` there, and wait."""
        self.todo.put(work)
        failed = self.done.get()
        if failed is not None:
            raise failed


WORKER = Worker()


def comm() -> bytes:
    """The worker's name."""
    with open(f"/proc/self/task/{WORKER.tid}/comm", "rb") as file:
        return file.read().rstrip(b"\n")


def mine() -> Binary:
    """Only the worker: the kernel's filter decides it, so that other load doesn't matter."""
    return compare("==", TID, WORKER.tid)


def tracepoint(category: str, event: str) -> Probe:
    fields = read_format(MACHINE, category, event).fields
    return Probe("tracepoint", category, event, fields=fields, label=f"tracepoint:{category}:{event}")


def field(probe: Probe, name: str) -> Site:
    found = next(one for one in probe.fields if one.name == name)
    return Site(found.type, "args", name)


def user_function(kind: str, file: str, symbol: str) -> Probe:
    path = elf.resolve_file(file)
    found = elf.find(path, symbol)
    assert found is not None
    return Probe(kind, path, symbol, address=found.offset_in_file)


def clause(probe: Probe, values: Iterable[Expr], predicate: Expr | None = None, ordinal: int = 0) -> Clause:
    return Clause(ordinal, probe, predicate, (Act("printf", tuple(values), b""),))


def offered(*clauses: Clause, **options: Any) -> Offer:
    """The backend's offer. Skips the test where the machine can't, with the reason."""
    answer = BACKEND.offer(MACHINE, Request(clauses, options=Options(**options)))
    if isinstance(answer, Refusal):
        pytest.skip(f"{answer.reason} ({answer.remedy})")
    return answer


def run(work: Callable[[], object], *clauses: Clause, **options: Any) -> list[Rows]:
    """The columns of each clause's events while ``work`` ran, in order of time."""
    offer = offered(*clauses, **options)
    found: list[Rows] = [{column.name: [] for column in share.columns} for share in offer.shares]
    by_ordinal = {share.clause.ordinal: rows for share, rows in zip(offer.shares, found)}
    with BACKEND.attach(MACHINE, offer) as attachment:
        attachment.start()
        WORKER.do(work)
        batches = list(attachment.read())
        attachment.stop()
        batches += list(attachment.read())
        for batch in batches:
            for name, held in by_ordinal[batch.clause].items():
                values = list(batch.values(name))
                assert len(values) == len(batch)
                held.extend(values)
        lost = {cause: count for cause, count in attachment.losses().items() if "couldn't read" not in cause}
        assert lost == {}, lost
    assert leftovers() == []
    for rows in found:
        order = sorted(range(len(rows["nsecs"])), key=rows["nsecs"].__getitem__)
        for name, values in rows.items():
            rows[name] = [values[row] for row in order]
    return found


def leftovers() -> list[str]:
    """What of this process is in tracefs: instances and dynamic events."""
    left = [name for name in os.listdir(f"{ROOT}/instances") if name.startswith(mark())]
    for file in ("kprobe_events", "uprobe_events", "dynamic_events"):
        try:
            with open(f"{ROOT}/{file}", encoding="utf-8") as lines:
                left += [line for line in lines if f":{mark()}" in line]
        except OSError:
            continue
    return left


def name_of(expr: Expr) -> str:
    return spelled(expr)


def needs_tracefs() -> pytest.MarkDecorator:
    """Skips where tracefs can't be used."""
    answer = MACHINE.answer("tracefs")
    return pytest.mark.skipif(not answer or os.geteuid() != 0, reason=answer.reason or "needs root")
