"""Whole programs: the switch, the predicate, then a record into the ring or the body in the kernel."""

from __future__ import annotations

from collections.abc import Iterator

from unitrace.contract.ir import Assign, Clause, Expr, Load, Stmt
from unitrace.contract.model import Column, Place
from unitrace.contract.record import Record
from unitrace.contract.types import Array, Buffer, Struct, Type

from ..asm import FP, R0, R1, R2, R3, R4, R5, R6, R7, Code
from ..maps import Kept
from .base import Abilities, CannotCompile, Context, shape
from .stacks import is_words, put, room
from .statements import Statements
from .strings import is_text

__all__ = ["Compiled", "Layout", "check", "compile_kept", "compile_record", "layout", "statements"]

SWITCH = "map:switch"
HEAD = 16
"""A record: u32 clause, u32 CPU (where there is none in the ring), u64 nsecs; then the columns."""

NO_WAKEUP = 1  # BPF_RB_NO_WAKEUP
SCRATCH = "map:scratch"


class Layout(Record):
    """A record's columns in memory, from the record's start (after the ring's own header)."""

    places: tuple[tuple[Column, Place], ...]
    size: int


class Compiled(Record):
    """A program to be linked and loaded. ``stack``: bytes of it in use."""

    code: Code
    stack: int
    layout: Layout | None = None


def layout(columns: tuple[Column, ...]) -> Layout:
    """Lay out columns: the widest first, so that all are aligned; nsecs has its place in the head."""
    places: dict[Column, Place] = {}
    at = HEAD
    rest = []
    for column in columns:
        if column.name == "nsecs":
            places[column] = Place(8, 8)
        else:
            rest.append(column)
    rest.sort(key=lambda one: -_alignment(one.type))
    for column in rest:
        align = _alignment(column.type)
        at = -(-at // align) * align
        places[column] = _place(column.type, at)
        at += places[column].size
    return Layout(tuple((one, places[one]) for one in columns), -(-at // 8) * 8)


def _alignment(of: Type) -> int:
    if is_text(of) or is_words(of) or isinstance(of, (Array, Buffer, Struct)):
        return 8
    return of.size or 1


def _place(of: Type, at: int) -> Place:
    if is_words(of):
        return Place(at, room(of), "words")
    if is_text(of):
        return Place(at, of.size, "text")
    if isinstance(of, (Array, Buffer, Struct)):
        return Place(at, of.size, "bytes")
    bits, signed = shape(of)
    return Place(at, bits // 8, "int", signed)


class Program(Statements):
    """One clause's program: the same frame around either end."""

    def open(self, accepted: Expr | None, later: object, *, switch: bool = True) -> None:
        """Save the context, look at the switch and the process, decide the predicate."""
        code = self.code
        self.end = code.label()
        code.mov(R6, R1)
        if switch:
            self._switch()
        if self.context.tgid:
            code.call("get_current_pid_tgid")
            code.alui(">>", R0, 32)
            code.jump_ifi("!=", R0, self.context.tgid, self.end)
        self.hoist(accepted, later)
        if accepted is not None:
            self.truth(accepted, self.end, False)

    def _switch(self) -> None:
        code = self.code
        if self.abilities.direct_values:
            code.map_value(R1, SWITCH)
            code.load(R0, R1, 0, 4)
        else:
            slot = self.frame.take()
            code.storei(FP, slot, 0, 4)
            code.map(R1, SWITCH)
            self.address(R2, FP, slot)
            code.call("map_lookup_elem")
            code.jump_ifi("==", R0, 0, self.end)
            code.load(R0, R0, 0, 4)
        code.jump_ifi("==", R0, 0, self.end)

    def close(self) -> None:
        self.code.place(self.end)
        # A tracepoint's program that returns 0 takes the event away from all perf users of it, uncounted
        # (trace_call_bpf() in perf_trace_run_bpf_submit() and perf_syscall_enter()).
        self.code.alui("mov", R0, int(self.context.kind == "tracepoint"))
        self.code.exit()
        self.check_stack()

    def column(self, column: Column, place: Place, base: int, off: int) -> None:
        """Put a column's value where its place says, from ``base + off``."""
        expr, at = column.value, off + place.offset
        if place.how == "int":
            self.scalar(expr)
            self.code.store(base, at, R0, place.size)
        elif place.how == "words":
            put(self, expr, base, at)
        elif place.how == "text" and (not isinstance(expr, Load) or not is_text(expr.type)):
            self.text(expr, base, at, place.size, clean=False)
        elif isinstance(expr, Load):
            self.load_bytes(expr, base, at)
        elif not self.inline(expr, base, at):
            raise CannotCompile(f"a value of type {type(column.type).__name__}")

    def columns(self, shown: Layout, base: int, off: int) -> None:
        """The record's head and columns. The time is taken first, which is after the ring gave the
        place: whoever sees a later record's place taken sees all of an earlier time."""
        code = self.code
        if "ktime_get_ns" in self.helpers:
            code.load(R0, FP, self.helpers["ktime_get_ns"], 8)
        else:
            code.call("ktime_get_ns")
        code.store(base, off + 8, R0, 8)
        if self.context.cookie:
            code.mov(R1, R6)
            code.call("get_attach_cookie")
            code.store(base, off, R0, 4)
        else:
            code.storei(base, off, "clause", 4)
        for column, place in shown.places:
            used = self.frame.used
            if column.name != "nsecs":
                try:
                    self.column(column, place, base, off)
                except CannotCompile as error:
                    raise CannotCompile(f"{column.name}: {error.reason}") from None
            self.frame.back(used)

    def to_ring(self, shown: Layout) -> None:
        code = self.code
        taken = code.label()
        code.map(R1, "map:ring")
        code.alui("mov", R2, "size")
        code.alui("mov", R3, 0)
        code.call("ringbuf_reserve")
        code.jump_ifi("!=", R0, 0, taken)
        self.drop(0)
        code.jump(self.end)
        code.place(taken)
        code.mov(R7, R0)
        self.columns(shown, R7, 0)
        code.mov(R1, R7)
        code.alui("mov", R2, NO_WAKEUP)
        code.call("ringbuf_submit")

    def to_perf_buffer(self, shown: Layout) -> None:
        """Before 5.8: build the record in this CPU's scratch, copy it into this CPU's ring."""
        code = self.code
        there, sent = code.label(), code.label()
        slot = self.frame.take()
        code.storei(FP, slot, 0, 4)
        code.map(R1, SCRATCH)
        self.address(R2, FP, slot)
        code.call("map_lookup_elem")
        code.jump_ifi("!=", R0, 0, there)
        code.jump(self.end)
        code.place(there)
        code.mov(R7, R0)
        self.columns(shown, R7, 0)
        code.mov(R1, R6)
        code.map(R2, "map:ring")
        code.const(R3, 0xFFFFFFFF)  # BPF_F_CURRENT_CPU
        code.mov(R4, R7)
        code.alui("mov", R5, "size")
        code.call("perf_event_output")
        code.jump_ifi("==", R0, 0, sent)
        self.drop(0)
        code.place(sent)


def compile_record(
    context: Context, abilities: Abilities, accepted: Expr | None, columns: tuple[Column, ...], clause: Clause
) -> Compiled:
    """A program that filters and sends a record. CannotCompile names what has no translation."""
    shown = layout(columns)
    made = Program(context, abilities)
    made.code.span = clause.span or clause.probe.span
    made.open(accepted, tuple(column.value for column in columns))
    if abilities.ringbuf:
        made.to_ring(shown)
    else:
        made.to_perf_buffer(shown)
    made.close()
    return Compiled(made.code, made.frame.most, shown)


def compile_kept(
    context: Context,
    abilities: Abilities,
    accepted: Expr | None,
    clause: Clause,
    plans: dict[str, tuple[Kept, int]],
    *,
    warns: bool = False,
) -> Compiled:
    """A program that runs the whole clause on kept maps. ``warns``: a division by a computed zero may
    pass without a word."""
    made = Program(context, abilities, warns=warns)
    made.code.span = clause.span or clause.probe.span
    made.plans = plans
    made.open(accepted, clause.body)
    for name in _variables(clause.body):
        slot = made.frame.take()
        made.variables[name] = slot
        made.code.storei(FP, slot, 0, 8)
    made.hoist(clause.body)
    made.run(clause.body)
    made.close()
    return Compiled(made.code, made.frame.most)


def check(context: Context, abilities: Abilities, expr: Expr) -> str:
    """Why a conjunct can't be decided in the kernel; "" where it can."""
    made = Program(context, abilities)
    try:
        made.open(expr, ())
        made.close()
    except CannotCompile as error:
        return error.reason
    return ""


def statements(stmts: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """All statements in statements."""
    for stmt in stmts:
        yield stmt
        for name in ("then", "otherwise", "body"):
            yield from statements(getattr(stmt, name, ()))


def _variables(body: tuple[Stmt, ...]) -> list[str]:
    names = dict.fromkeys(stmt.name for stmt in statements(body) if isinstance(stmt, Assign))
    return list(names)
