"""Small programs in IR, and batches for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unitrace.contract import ir
from unitrace.contract.model import Column, RowBatch
from unitrace.contract.offer import columns_of
from unitrace.contract.types import BOOL, COMM, INT64, UINT32, UINT64, Aggregate, Int, Type
from unitrace.engine.engine import Engine
from unitrace.output.records import Message, Out

PROBE = ir.Probe("tracepoint", "sched", "sched_switch", label="tracepoint:sched:sched_switch")
NSECS = ir.Site(UINT64, "nsecs")
COMM_SITE = ir.Site(COMM, "comm")
PID = ir.Site(UINT32, "pid")


def arg(name: str, of: Type = INT64) -> ir.Site:
    return ir.Site(of, "args", name)


def num(value: int, of: Type = INT64) -> ir.Const:
    return ir.Const(of, value)


def op(left: ir.Expr, sign: str, right: ir.Expr) -> ir.Binary:
    truth = sign in ("==", "!=", "<", "<=", ">", ">=", "&&", "||")
    return ir.Binary(BOOL if truth else left.type, sign, left, right)


def decl(name: str, function: str, *key: Type, signed: bool = True, parameters: tuple[int, ...] = (),
         entries: int = 4096) -> ir.MapDecl:  # fmt: skip
    return ir.MapDecl(name, key, Aggregate(function, signed, parameters), entries)


def clause(*body: ir.Stmt, at: int = 0, when: ir.Expr | None = None, kind: str = "tracepoint",
           name: str = "sched_switch", scope: str = "sched") -> ir.Clause:  # fmt: skip
    probe = (
        PROBE
        if kind == "tracepoint"
        else ir.Probe(kind, scope if kind == "interval" else "", name, label=kind)
    )
    return ir.Clause(at, probe, when, body, ir.Span(1, 0, 5))


def begin(*body: ir.Stmt, at: int = 0) -> ir.Clause:
    return clause(*body, at=at, kind="begin", name="")


def program(*clauses: ir.Clause, maps: Sequence[ir.MapDecl] = (), config: Any = ()) -> ir.Program:
    return ir.Program(clauses, tuple(maps), config=config)


class Numpy:
    """A batch that has arrays, as a packed one: columns by name."""

    def __init__(self, clause: int, columns: Mapping[str, Any]) -> None:
        self.clause = clause
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns["nsecs"])

    def values(self, name: str) -> Sequence[Any]:
        return self.columns[name].tolist()  # type: ignore[no-any-return]

    def array(self, name: str) -> Any:
        return self.columns[name]


def engine_of(of: ir.Program, **more: Any) -> tuple[Engine, list[Out]]:
    """An engine for which every kernel clause is streamed, and the list of what it emits."""
    emitted: list[Out] = []
    residuals: dict[int, tuple[ir.Clause, tuple[Column, ...]]] = {
        one.ordinal: (one, columns_of(one)) for one in of.clauses if one.probe.kind == "tracepoint"
    }
    return Engine(of, residuals, more.pop("kept", {}), emitted.append, **more), emitted


def rows(ordinal: int, nsecs: Sequence[int], **columns: Sequence[Any]) -> RowBatch:
    """A batch; a column's name has "args." in front unless it is a builtin's."""
    named = {
        name if name in ("comm", "pid", "tid", "cpu") else f"args.{name}": v for name, v in columns.items()
    }
    return RowBatch(ordinal, {"nsecs": list(nsecs), **named})


def value_of(expr: ir.Expr, **columns: Any) -> Any:
    """The value of an expression at one event; and no message may come."""
    value, messages = value_and_messages(expr, **columns)
    assert not messages
    return value


def value_and_messages(expr: ir.Expr, **columns: Any) -> tuple[Any, list[Message]]:
    engine, emitted = engine_of(program(clause(ir.Act("print", (expr,)))))
    engine.feed([rows(0, [1], **{name: [value] for name, value in columns.items()})], None)
    messages = [one for one in emitted if isinstance(one, Message)]
    (shown,) = (one for one in emitted if not isinstance(one, Message))
    return shown.value, messages  # type: ignore[attr-defined]


U8, I8, U16, I16, U32, I32, U64, I64 = (
    Int(bits, signed) for bits in (8, 16, 32, 64) for signed in (False, True)
)
