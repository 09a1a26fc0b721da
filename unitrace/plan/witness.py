"""Memory through a map's value, read where a call returns: by the argument that the call still has.

``@name[tid] = args.filename`` where a call begins, ``str(@name[tid])`` where it ends: no event can carry
memory at an address that only user space knows. But mostly that address is the call's own argument, and that
the kernel may know still where it ends (``Site("entry", n)``). So the memory there is fetched, and the
argument with it as a witness: user space, which has the map, takes what was read only where both are the
same address:

    str(@name[tid])  ->  @name[tid] == entry1 ? str(entry1) : unread(@name[tid])

Where they aren't, memory is lost that eBPF would have read: ``unread()`` is the type's zero, and a loss that
is counted and said; but at address 0, where nothing can be read (vm.mmap_min_addr).
"""

from __future__ import annotations

from collections.abc import Iterator

from unitrace.contract.ir import (
    Assign,
    Binary,
    Call,
    Cast,
    Choice,
    Clause,
    Expr,
    Load,
    MapGet,
    MapSet,
    Probe,
    Site,
    Text,
    Var,
)
from unitrace.contract.offer import AT_SITE, NotStreamable, Request, columns_of, rewritten, statements
from unitrace.contract.types import BOOL, UINT64, shape

__all__ = ["witnessed"]

_ENTRIES = {"kretprobe": ("kprobe", "fentry"), "fexit": ("fentry", "kprobe")}
"""Probes at a kernel function's return, and those at its entry."""


def witnessed(request: Request) -> Request | None:
    """``request`` with such memory read by the call's arguments; None where that doesn't help."""
    clauses = tuple(_clause(request, one) for one in request.clauses)
    if all(one is other for one, other in zip(clauses, request.clauses)):
        return None
    try:
        for clause in clauses:
            columns_of(clause)
    except NotStreamable:
        return None
    return request.replace(clauses=clauses)


def _clause(request: Request, clause: Clause) -> Clause:
    entries = [one for one in request.clauses if _begins(one.probe, clause.probe)]

    def change(expr: Expr) -> Expr | None:
        if isinstance(expr, (Load, Text)) or (isinstance(expr, Call) and expr.function in AT_SITE):
            return _by_witness(expr, clause, entries)
        return None

    if not entries:
        return clause
    predicate, body = rewritten(clause.predicate, change), rewritten(clause.body, change)
    if predicate is clause.predicate and body is clause.body:
        return clause
    return clause.replace(predicate=predicate, body=body)


def _begins(entry: Probe, leave: Probe) -> bool:
    """Whether ``entry`` fires where the calls begin that ``leave`` sees the ends of."""
    if leave.kind == "tracepoint" and leave.scope == "syscalls" and leave.name.startswith("sys_exit_"):
        call = leave.name.removeprefix("sys_exit_")
        if entry.kind == "syscall":
            return entry.name.removeprefix("sys_enter_") == call
        return (entry.kind, entry.scope, entry.name) == ("tracepoint", "syscalls", f"sys_enter_{call}")
    if entry.kind not in _ENTRIES.get(leave.kind, ()):
        return False
    return (entry.name, entry.scope, entry.offset) == (leave.name, leave.scope, 0)


def _by_witness(expr: Expr, clause: Clause, entries: list[Clause]) -> Expr:
    """``expr``, which reads memory through one variable or map's value, as read by witness; itself where it
    reads through none, through several, or through one of which nothing is known."""
    through: list[Expr] = []

    def note(inner: Expr) -> Expr | None:
        if isinstance(inner, (Var, MapGet)):
            through.append(inner)
            return inner
        return None

    rewritten(expr, note)
    if len(set(through)) != 1 or shape(through[0].type) is None or through[0].type.size != 8:
        return expr
    base = through[0]
    address = Cast(UINT64, base)
    witnesses = list(dict.fromkeys(_witnesses(base, clause, entries)))
    made: Expr = Call(expr.type, "unread", (address, Site(UINT64, "nsecs")))
    for witness in reversed(witnesses):
        same = Binary(BOOL, "==", address, Cast(UINT64, witness))
        made = Choice(expr.type, same, _put(expr, base, Cast(base.type, witness)), made)
    return made if witnesses else expr


def _put(expr: Expr, base: Expr, instead: Expr) -> Expr:
    made: Expr = rewritten(expr, lambda inner: instead if inner == base else None)
    return made


def _witnesses(base: Expr, clause: Clause, entries: list[Clause]) -> Iterator[Expr]:
    """What ``base`` may be equal to, in terms of the call's arguments."""
    if isinstance(base, MapGet):
        for entry in entries:
            for stmt in statements(entry.body):
                if isinstance(stmt, MapSet) and stmt.map == base.map:
                    value = _at_return(stmt.value, entry.probe)
                    if value is not None:
                        yield value
    elif isinstance(base, Var):
        for stmt in statements(clause.body):
            if isinstance(stmt, Assign) and stmt.name == base.name:
                value = stmt.value
                while isinstance(value, Cast) and value.type.size == value.operand.type.size == 8:
                    value = value.operand
                if isinstance(value, MapGet):
                    yield from _witnesses(value, clause, entries)


def _at_return(value: Expr, entry: Probe) -> Expr | None:
    """A value of a call's entry, as its return may still know it; None where it depends on anything else."""
    known = True

    def change(expr: Expr) -> Expr | None:
        nonlocal known
        if isinstance(expr, Site):
            number = _argument(expr, entry)
            if number is not None:
                return Cast(expr.type, Site(UINT64, "entry", number))
        if isinstance(expr, (Site, Var, MapGet, Call)):
            known = False
            return expr
        return None

    made: Expr = rewritten(value, change)
    return made if known and made != value else None


def _argument(site: Site, probe: Probe) -> int | None:
    """Which argument of the call a value of its entry is, from 0."""
    if site.name == "arg" and isinstance(site.key, int):
        return site.key
    if site.name != "args":
        return None
    if probe.kind in ("tracepoint", "syscall"):
        names = [field.name for field in probe.fields if field.name != "__syscall_nr"]
        return names.index(str(site.key)) if site.key in names else None
    return next((field.offset for field in probe.fields if field.name == site.key), None)
