"""A bare probe's line, when a backend can't follow its string pointers.

Nothing is dropped in silence: the pointer is shown instead, and the user is told.
"""

from __future__ import annotations

import re

from unitrace.contract.ir import Binary, Clause, Const, Program, Show, Site, Stmt, Text
from unitrace.contract.types import BOOL, UINT32

__all__ = ["named", "only", "plain", "raw", "texts"]


def plain(program: Program) -> Program:
    """The program with every string that a Show reads by pointer replaced by the pointer."""
    return program.replace(clauses=tuple(_plain_clause(clause) for clause in program.clauses))


def raw(program: Program) -> Program:
    """The program with every tracepoint's Show made of the record's fields as they are, all of them."""

    def as_recorded(clause: Clause) -> Clause:
        fields = clause.probe.fields
        names = tuple(field.name for field in fields)
        values = tuple(Site(field.type, "args", field.name) for field in fields)
        body = tuple(Show(names, values) if isinstance(stmt, Show) else stmt for stmt in clause.body)
        return clause.replace(body=body)

    recorded = ("tracepoint", "syscall")
    return program.replace(
        clauses=tuple(as_recorded(one) if one.probe.kind in recorded else one for one in program.clauses)
    )


def texts(program: Program) -> tuple[str, ...]:
    """The names of those strings, for the message."""
    return tuple(
        dict.fromkeys(
            name
            for clause in program.clauses
            for stmt in clause.body
            if isinstance(stmt, Show)
            for name, value in zip(stmt.names, stmt.values)
            if isinstance(value, Text)
        )
    )


_IN_KERNEL = frozenset(("kprobe", "kretprobe", "fentry", "fexit", "tracepoint", "rawtracepoint", "syscall"))
"""Kinds of probes that fire for all processes; the others are attached to the one that is traced."""


def only(program: Program, pid: int, *, written: bool) -> Program:
    """The program with its bare probes limited to process ``pid``: with -c or -p, that is whose events
    somebody who writes no predicate wants to see; and with ``written`` (-p, as in bpftrace) its clauses at
    the kernel's probes, too."""
    ours = Binary(BOOL, "==", Site(UINT32, "pid"), Const(UINT32, pid))

    def limited(clause: Clause) -> Clause:
        bare = any(isinstance(stmt, Show) for stmt in clause.body)
        if not bare and not (written and clause.probe.kind in _IN_KERNEL):
            return clause
        if clause.predicate is None:
            return clause.replace(predicate=ours)
        return clause.replace(predicate=Binary(BOOL, "&&", ours, clause.predicate))

    return program.replace(clauses=tuple(map(limited, program.clauses)))


def named(program: Program, probes: re.Pattern[str]) -> Program:
    """The program without the clauses at probes whose name ``probes`` doesn't find; begin and end stay."""
    return program.replace(
        clauses=tuple(
            clause
            for clause in program.clauses
            if clause.probe.kind in ("begin", "end") or probes.search(clause.probe.label)
        )
    )


def _plain_clause(clause: Clause) -> Clause:
    return clause.replace(body=tuple(map(_plain_stmt, clause.body)))


def _plain_stmt(stmt: Stmt) -> Stmt:
    if not isinstance(stmt, Show):
        return stmt
    return stmt.replace(values=tuple(v.pointer if isinstance(v, Text) else v for v in stmt.values))
