"""Hist triggers: what is kept in the kernel, what isn't; the trigger's text read; stacks joined."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from unitrace_ftrace.hists import Hist, entries, hist
from unitrace_ftrace.pages import Found, Walked
from unitrace_ftrace.stacks import Stacks

from unitrace.contract.ir import (
    Act,
    Binary,
    Cast,
    Clause,
    Const,
    Expr,
    Field,
    If,
    MapDecl,
    MapUpdate,
    Probe,
    Site,
)
from unitrace.contract.machine import Answer, Machine
from unitrace.contract.offer import Request
from unitrace.contract.types import BOOL, COMM, INT64, UINT32, UINT64, Aggregate, Int, Type
from unitrace.kernel.filters import named_fields

FIELDS = (Field("a", UINT32, 8, 4), Field("b", INT64, 16, 8), Field("c", Int(32, True), 24, 4))
TEXT = "".join(
    f"\tfield:int {field.name};\toffset:{field.offset};\tsize:{field.length};\tsigned:{int(getattr(field.type, 'signed', False))};\n"
    for field in FIELDS
)
A, B, C = (Site(field.type, "args", field.name) for field in FIELDS)
MACHINE = Machine(
    {"ftrace.hist": Answer(), "ftrace.hist_buckets": Answer(), "kernel.version": [6, 1, 0]}, live=False
)
COUNT, SUM = Aggregate("count"), Aggregate("sum", True)


def kept(
    of: Aggregate,
    key: tuple[Expr, ...],
    args: tuple[Expr, ...] = (),
    *,
    keepable: bool = True,
    entries: int = 4096,
) -> Hist | None:
    types: tuple[Type, ...] = tuple(part.type for part in key)
    body = (MapUpdate("@", key, args),)
    clause = Clause(0, Probe("tracepoint", "x", "y"), None, body)
    request = Request((clause,), (MapDecl("@", types, of, entries),), frozenset({"@"} if keepable else ()))
    return hist(MACHINE, request, clause, named_fields(FIELDS, TEXT))


def trigger(found: Hist | None) -> str:
    assert found is not None
    return found.trigger()


def test_what_is_kept() -> None:
    assert trigger(kept(COUNT, ())) == "hist:keys=common_type:size=4096"
    assert trigger(kept(COUNT, (A, Site(UINT32, "tid")))) == "hist:keys=a,common_pid:size=4096"
    assert trigger(kept(COUNT, (Cast(INT64, A),))) == "hist:keys=a:size=4096"
    assert trigger(kept(SUM, (A,), (B,))) == "hist:keys=a:vals=b:size=4096"
    assert trigger(kept(COUNT, (Site(UINT32, "cpu"),))) == "hist:keys=common_cpu:size=4096"
    linear = Aggregate("lhist", False, (0, 100, 10))
    assert trigger(kept(linear, (C,), (Cast(INT64, A),))) == "hist:keys=c,a.buckets=10:size=4096"


@pytest.mark.parametrize(
    ("of", "key", "args"),
    [
        (Aggregate("hist", False, (0,)), (), (A,)),  # .log2 has other edges
        (Aggregate("max"), (), (A,)),
        (COUNT, (Site(COMM, "comm"),), ()),  # strings are printed padded
        (COUNT, (Site(UINT32, "pid"),), ()),  # no field
        (COUNT, (A, A), ()),
        (COUNT, (Cast(Int(8), A),), ()),  # it narrows
        (COUNT, (Binary(UINT32, "+", A, Const(UINT32, 1)),), ()),
        (SUM, (), (Cast(Int(8), A),)),
        (Aggregate("lhist", False, (0, 100, 10)), (), (B,)),  # may be negative
        (Aggregate("lhist", False, (5, 100, 10)), (), (A,)),  # edges that are no multiples
    ],
)
def test_what_is_streamed(of: Aggregate, key: tuple[Expr, ...], args: tuple[Expr, ...]) -> None:
    assert kept(of, key, args) is None


def test_only_where_the_map_is_the_triggers_alone() -> None:
    assert kept(COUNT, (), keepable=False) is None
    assert kept(COUNT, (), entries=1000) is None, "the kernel's sizes are powers of two"
    update = MapUpdate("@", (), ())
    clause = Clause(0, Probe("tracepoint", "x", "y"), None, (update,))
    other = Clause(1, Probe("tracepoint", "x", "z"), None, (If(Const(BOOL, True), (update,)), Act("time")))
    request = Request((clause, other), (MapDecl("@", (), COUNT),), frozenset({"@"}))
    assert hist(MACHINE, request, clause, named_fields(FIELDS, TEXT)) is None
    bare = Machine({"ftrace.hist": Answer(2, "no")}, live=False)
    alone = Request((clause,), (MapDecl("@", (), COUNT),), frozenset({"@"}))
    assert hist(bare, alone, clause, named_fields(FIELDS, TEXT)) is None


def test_a_hist_file() -> None:
    text = (Path(__file__).parent / "recorded" / "hist.txt").read_text()
    sums = Hist("@", ("whence", "common_pid"), (), (UINT64, UINT64), SUM, "offset", 0, 4096)
    assert entries(text, sums) == [((2, 141), 1, (1 << 64) - 1), ((1, 141), 2, 12)]
    buckets = Hist("@", ("fd",), (), (), Aggregate("lhist", False, (0, 80, 4)), "", 4, 4096)
    assert entries(text, buckets) == [((252,), 1, 0), ((4,), 2, 0), ((0,), 19, 0)]


def test_stacks_of_nested_events() -> None:
    """An interrupt's event and stack come between a task's."""
    fields = {"size": Field("size", Int(32, True), 8, 4), "caller": Field("caller", UINT64, 16, 0)}
    raw = bytearray(400)

    def stack(at: int, *frames: int) -> int:
        struct.pack_into("<i", raw, at + 8, len(frames))
        struct.pack_into(f"<{len(frames)}Q", raw, at + 16, *frames)
        return at

    events, found = [0, 20], [stack(40, 0x10, 0x11), stack(90, 0x20, 0x250, 0x21)]
    stacks = Stacks(4, fields, {700}, [(0x200, 0x300)])
    first = Walked({700: Found([*events, 150], [1, 2, 5]), 4: Found(found, [3, 4])})
    stacks.take(0, bytes(raw), first)
    assert stacks.of(first, 20) == (0x10, 0x11)
    assert stacks.of(first, 0) == (0x21,), "what the tracer called is dropped"
    assert stacks.waiting() and stacks.of(first, 150) == ()
    later = Walked({4: Found([stack(200, 0x30)], [6])})
    stacks.take(0, bytes(raw), later)
    assert stacks.of(first, 150) == (0x30,) and not stacks.waiting() and not stacks.missing
    stacks.forget(first)
    assert stacks.of(first, 150) == ()
