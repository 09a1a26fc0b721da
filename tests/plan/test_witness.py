"""Memory behind a map's value, read where a call returns by the argument that the call still has."""

from __future__ import annotations

import pytest

from tests.engine.programs import engine_of
from unitrace.contract import ir
from unitrace.contract.model import RowBatch
from unitrace.contract.offer import NotStreamable, Request, columns_of, walk
from unitrace.contract.types import UINT32, UINT64, Int, Pointer, Str
from unitrace.output.records import Out, ValueShown
from unitrace.plan.witness import witnessed

TEXT = Pointer(Int(8, True), "user")
TID = ir.Site(UINT32, "tid")
FIELDS = tuple(ir.Field(name, TEXT, 16 + 8 * at, 8) for at, name in enumerate(("dfd", "name")))
ENTER = ir.Probe(
    "tracepoint", "syscalls", "sys_enter_x", fields=(ir.Field("__syscall_nr", UINT32, 8, 4), *FIELDS)
)
EXIT = ir.Probe("tracepoint", "syscalls", "sys_exit_x")
HELD = ir.MapGet(TEXT, "@p", (TID,))
ENTRY = ir.Site(UINT64, "entry", 1)
DECLS = (ir.MapDecl("@p", (UINT32,), TEXT),)


def kept(probe: ir.Probe, value: ir.Expr, ordinal: int = 0) -> ir.Clause:
    return ir.Clause(ordinal, probe, None, (ir.MapSet("@p", (TID,), value),))


def shown(probe: ir.Probe, *values: ir.Expr, before: tuple[ir.Stmt, ...] = ()) -> ir.Clause:
    body = tuple(ir.Act("print", (value,)) for value in values)
    return ir.Clause(9, probe, None, (*before, *body))


def asked(*clauses: ir.Clause) -> ir.Clause | None:
    """The last clause as it is rewritten; None where it isn't."""
    made = witnessed(Request(clauses, DECLS))
    return None if made is None else made.clauses[-1]


def arg(name: str) -> ir.Site:
    return ir.Site(TEXT, "args", name)


def test_what_was_an_argument_is_read_by_it() -> None:
    text = ir.Text(Str(64), HELD, "user")
    made = asked(kept(ENTER, arg("name")), shown(EXIT, text))
    assert made is not None
    values = [column.value for column in columns_of(made)]
    assert ENTRY in values
    (read,) = [one for one in values if isinstance(one, ir.Text)]
    assert read.space == "user" and ir.Cast(TEXT, ir.Cast(TEXT, ENTRY)) == read.pointer
    with pytest.raises(NotStreamable):
        columns_of(shown(EXIT, text))


def test_through_a_variable_and_through_memory() -> None:
    behind = ir.Load(UINT64, ir.Var(TEXT, "x"), 8)
    made = asked(kept(ENTER, arg("name")), shown(EXIT, behind, before=(ir.Assign("x", HELD),)))
    assert made is not None and any(isinstance(one.value, ir.Load) for one in columns_of(made))
    member = ir.Load(TEXT, ir.Site(UINT64, "arg", 1), 8, "kernel")
    kprobe, kretprobe = ir.Probe("kprobe", "", "f"), ir.Probe("kretprobe", "", "f")
    made = asked(kept(kprobe, member), shown(kretprobe, ir.Text(Str(64), HELD)))
    assert made is not None and ENTRY in [load.pointer.operand for load in loads(made)]


def loads(clause: ir.Clause) -> list[ir.Load]:
    return [one.value for one in columns_of(clause) if isinstance(one.value, ir.Load)]


@pytest.mark.parametrize(
    "first",
    [
        kept(ir.Probe("tracepoint", "syscalls", "sys_enter_y", fields=FIELDS), arg("name")),  # another call
        kept(ENTER, ir.Binary(UINT64, "+", arg("name"), ir.Var(UINT64, "y"))),
        kept(ENTER, ir.Const(TEXT, 4096)),
        kept(ENTER, ir.Site(UINT64, "curtask")),
    ],
)
def test_what_was_none_stays_refused(first: ir.Clause) -> None:
    assert asked(first, shown(EXIT, ir.Text(Str(64), HELD))) is None


def test_of_two_that_it_may_be_the_right_one_is_taken() -> None:
    emitted = run(("name", "dfd"), entry0=[64, 64, 64], entry1=[128, 128, 128], held=[64, 128, 0])
    assert [one.value for one in emitted if isinstance(one, ValueShown)] == [b"at 64", b"at 128", b""]


def test_what_nobody_read_is_a_loss() -> None:
    emitted = run(("name",), entry1=[128, 128, 128], held=[129, 128, 0], lost=1)
    assert [one.value for one in emitted if isinstance(one, ValueShown)] == [b"", b"at 128", b""]


def run(
    names: tuple[str, ...], lost: int = 0, shows: tuple[ir.Expr, ...] = (), **given: list[int]
) -> list[Out]:
    """The clause at the exit, for events with these values of the call's arguments and of the map."""
    held = ir.MapSet("@p", (TID,), ir.Cast(TEXT, ir.Site(UINT64, "args", "held")))
    clauses = [kept(ENTER, arg(name), number) for number, name in enumerate(names)]
    made = asked(*clauses, shown(EXIT, *(shows or (ir.Text(Str(64), HELD),)), before=(held,)))
    assert made is not None
    rows: dict[str, list[object]] = {"nsecs": [1, 2, 3], "args.held": [*given["held"]], "tid": [7] * 3}
    for column in columns_of(made):
        for site in walk(column.value):
            if isinstance(site, ir.Site) and site.name == "entry":
                values = given[f"entry{site.key}"]
                text = isinstance(column.value, ir.Text)
                rows[column.name] = [f"at {one}".encode() if text else one for one in values]
    engine, emitted = engine_of(ir.Program((made,), DECLS))
    engine.feed([RowBatch(9, rows)], None)
    assert sum(engine.losses.values()) == lost
    return emitted


def test_a_loss_counts_once_however_often_it_is_used() -> None:
    text = ir.Text(Str(64), HELD)
    emitted = run(("name",), entry1=[1, 2, 3], held=[1, 7, 7], lost=2, shows=(text, text))
    assert [one.value for one in emitted if isinstance(one, ValueShown)] == [b"at 1"] * 2 + [b""] * 4
