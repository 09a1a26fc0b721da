"""Programs that send records, and what all programs have around them: the switch, the process, the predicate.

What runs in the kernel to its last statement is added by layers above (aggregates.py to program.py), which
a run that only streams doesn't import.
"""

from __future__ import annotations

from unitrace.contract.ir import Binary, Clause, Const, Expr, Load
from unitrace.contract.model import Column, Place
from unitrace.contract.offer import Sent, walk
from unitrace.contract.record import Record
from unitrace.contract.types import Array, Buffer, Formatted, Struct, Type

from ..asm import FP, R0, R1, R2, R3, R4, R5, R6, R7, R8, Code, Label
from .base import SWITCH, Abilities, CannotCompile, Context, shape
from .calls import Calls
from .layouts import Part, in_register
from .stacks import is_words, room
from .strings import is_text

__all__ = [
    "DROPS", "NO_SCRATCH", "SCRATCH", "Compiled", "Layout", "Records", "check", "compile_record",
    "layout", "scratch_map", "zeros_of",
]  # fmt: skip

DROPS = "map:drops"
"""Per-CPU counters of what got lost: 0 records, then one a kept map."""

NO_SCRATCH = 1
"""The number, among the counters of drops, of runs for which there was no scratch."""

SCRATCH = "map:scratch"

HEAD = 16
"""A record: u32 clause, u32 CPU (where there is none in the ring), u64 nsecs; then the columns."""

NO_WAKEUP = 1  # BPF_RB_NO_WAKEUP


class Layout(Record):
    """A record's columns in memory, from the record's start (after the ring's own header)."""

    places: tuple[tuple[Column, Place], ...]
    size: int


class Compiled(Record):
    """A program to be linked and loaded. ``stack``: bytes of it in use. ``layout``: of the records of a
    clause that is streamed; ``sent``: of one that runs whole, each with what user space does with it.
    ``scratch``: bytes of it, of each CPU or of each task."""

    code: Code
    stack: int
    layout: Layout | None = None
    sent: tuple[tuple[Sent, Layout], ...] = ()
    scratch: int = 0
    by_task: bool = False


def scratch_map(size: int, by_task: bool) -> str:
    """The name of the map that a program's scratch lies in, for ``link``."""
    return f"map:{'task' if by_task else 'scratch'} {size}"


def zeros_of(size: int) -> str:
    """The name of an array of ``size`` zeros."""
    return f"map:zeros {size}"


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
    if is_text(of) or is_words(of) or isinstance(of, (Array, Buffer, Struct, Formatted)):
        return 8
    return of.size or 1


def _place(of: Type, at: int) -> Place:
    if is_words(of):
        return Place(at, room(of), "words")
    if is_text(of):
        return Place(at, of.size, "text")
    if isinstance(of, (Array, Buffer, Struct)) or (isinstance(of, Formatted) and not in_register(of)):
        return Place(at, of.size, "bytes")
    bits, signed = shape(of)
    return Place(at, bits // 8, "int", signed)


class Records(Calls):
    """One clause's program: the same frame around either end. ``end``: where the clause returns to; ``out``:
    past all that remains to be done. ``time``: the slot of the time that this run's records bear.
    ``looped``: variables that change in loops; ``opaque``: the slot of a zero unknown to the verifier."""

    end: Label
    time = 0
    opaque = 0
    looped: frozenset[str] = frozenset()

    def __init__(self, *args: object, **named: object) -> None:
        super().__init__(*args, **named)
        self.values: dict[Expr, Expr] = {}  # sites of a record, and what they stand for
        self.out = self.code.label()

    def open(self, accepted: Expr | None, later: object, *, switch: bool = True) -> None:
        """Save the context, look at the switch and the process, decide the predicate."""
        code = self.code
        self.end = code.label()
        code.mov(R6, R1)
        if switch:
            self._switch()
            divides = any(_may_divide(one) for one in walk((accepted, later)))
            if divides or self.looped:
                # 0, but the verifier shall not know it: it would follow each number that this can become
                code.alui("-", R0, 1)
                code.const(R1, 0x9E3779B97F4A7C15)
                code.alu("*", R0, R1)
                self.opaque = self.spill()
            if divides:
                self.divided = self.spill()
        if self.context.kind == "iter":  # the last call, after all objects, has none: task_seq_stop() etc.
            code.load(R0, R6, 8, 8)
            code.jump_ifi("==", R0, 0, self.out)
        if self.context.tgid:
            code.call("get_current_pid_tgid")
            code.alui(">>", R0, 32)
            code.jump_ifi("!=", R0, self.context.tgid, self.out)
        if self.frame.scratch:
            self._scratch()
        self.hoist(accepted, later)
        if self.divided:  # the predicate may end with a record
            self.stamp()
        if accepted is not None:
            mark = self.frame.mark()
            self.truth(accepted, self.end, False)
            self.frame.release(mark)

    def stamp(self) -> None:
        """Take the time that this run's records bear."""
        if "ktime_get_ns" in self.helpers:
            self.code.load(R0, FP, self.helpers["ktime_get_ns"], 8)
        else:
            self.code.call("ktime_get_ns")
        self.time = self.spill()

    def _scratch(self) -> None:
        """R8: memory that this run has to itself. Programs on perf events exclude each other on a CPU; one
        in user code can be preempted, and has a place by its thread, for as long as it runs."""
        code = self.code
        if self.context.scratch == "task":
            code.call("get_current_pid_tgid")
            self.task = self.spill()
            there = code.label()
            self.array_element("zeros of the scratch")
            code.jump_ifi("==", R0, 0, self.out)
            code.mov(R3, R0)
            code.map(R1, "scratch")
            self.address(R2, FP, self.task)
            code.alui("mov", R4, 0)
            code.call("map_update_elem")
            code.map(R1, "scratch")
            self.address(R2, FP, self.task)
            code.call("map_lookup_elem")
            code.jump_ifi("!=", R0, 0, there)
            self.drop(NO_SCRATCH)
            code.jump(self.out)
            code.place(there)
        elif self.context.scratch == "cpu":
            self.array_element("scratch")
            code.jump_ifi("==", R0, 0, self.out)
        else:
            raise CannotCompile("a program that needs memory of its own, where programs interrupt each other")
        code.mov(R8, R0)

    def array_element(self, name: str, number: int = 0) -> None:
        """R0: the address of an array's element, or 0 for the verifier, which wants to see that looked at."""
        slot = self.frame.take()
        self.code.storei(FP, slot, number, 4)
        self.code.map(R1, name)
        self.address(R2, FP, slot)
        self.code.call("map_lookup_elem")

    def _switch(self) -> None:
        code = self.code
        if self.abilities.direct_values:
            code.map_value(R1, SWITCH)
            code.load(R0, R1, 0, 4)
        else:
            self.array_element(SWITCH)
            code.jump_ifi("==", R0, 0, self.out)
            code.load(R0, R0, 0, 4)
        code.jump_ifi("==", R0, 0, self.out)

    def report(self) -> None:
        """At the end of a program that runs whole (sends.py)."""

    def close(self) -> None:
        self.code.place(self.end)
        self.report()
        if self.frame.scratch and self.context.scratch == "task":
            self.code.map(R1, "scratch")
            self.address(R2, FP, self.task)
            self.code.call("map_delete_elem")
        self.code.place(self.out)
        # A tracepoint's program that returns 0 takes the event away from all perf users of it, uncounted
        # (trace_call_bpf() in perf_trace_run_bpf_submit() and perf_syscall_enter()).
        self.code.alui("mov", R0, int(self.context.kind == "tracepoint"))
        self.code.exit()
        self.check_stack()

    def column(self, column: Column, place: Place, base: int, off: int) -> None:
        """Put a column's value where its place says, from ``base + off``."""
        expr, at = self.values.get(column.value, column.value), off + place.offset
        if place.how == "int":
            self.scalar(expr)
            self.code.store(base, at, R0, place.size)
        elif place.how == "text" and (not isinstance(expr, Load) or not is_text(expr.type)):
            self.text(expr, base, at, place.size, clean=False)
        else:
            self.put(expr, Part(column.type, 0, place.size), base, at)

    def columns(self, shown: Layout, base: int, off: int, ordinal: int | None = None) -> None:
        """The record's head and columns. The time is taken first, which is after the ring gave the
        place: whoever sees a later record's place taken sees all of an earlier time."""
        code = self.code
        if self.time:
            code.load(R0, FP, self.time, 8)
        elif "ktime_get_ns" in self.helpers:
            code.load(R0, FP, self.helpers["ktime_get_ns"], 8)
        else:
            code.call("ktime_get_ns")
        code.store(base, off + 8, R0, 8)
        if self.time:  # the next record of this run comes after this one
            code.alui("+", R0, 1)
            code.store(FP, self.time, R0, 8)
        if ordinal is not None:
            code.storei(base, off, ordinal, 4)
        elif self.context.cookie:
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

    def record(self, shown: Layout, ordinal: int | None, ending: bool = False) -> None:
        """A record into the ring, or the count of one that is lost. ``ending``: nothing runs after it."""
        lost = self.code.label()
        if self.abilities.ringbuf:
            self._to_ring(shown, ordinal, lost)
        else:
            self._to_perf_buffer(shown, ordinal, lost)
        if ending:
            self.switch_off()
        self.code.place(lost)

    def _to_ring(self, shown: Layout, ordinal: int | None, lost: Label) -> None:
        code, taken = self.code, self.code.label()
        code.map(R1, f"map:ring {shown.size}")
        code.alui("mov", R2, f"size {shown.size}")
        code.alui("mov", R3, 0)
        code.call("ringbuf_reserve")
        code.jump_ifi("!=", R0, 0, taken)
        self.drop(0)
        code.jump(lost)
        code.place(taken)
        code.mov(R7, R0)
        self.columns(shown, R7, 0, ordinal)
        code.mov(R1, R7)
        code.alui("mov", R2, NO_WAKEUP)
        code.call("ringbuf_submit")

    def _to_perf_buffer(self, shown: Layout, ordinal: int | None, lost: Label) -> None:
        """Before 5.8: build the record in this CPU's scratch, copy it into this CPU's ring."""
        code = self.code
        there, sent = code.label(), code.label()
        self.array_element(SCRATCH)
        code.jump_ifi("!=", R0, 0, there)
        code.jump(lost)
        code.place(there)
        code.mov(R7, R0)
        self.columns(shown, R7, 0, ordinal)
        code.mov(R1, R6)
        code.map(R2, f"map:ring {shown.size}")
        code.const(R3, 0xFFFFFFFF)  # BPF_F_CURRENT_CPU
        code.mov(R4, R7)
        code.alui("mov", R5, f"size {shown.size}")
        code.call("perf_event_output")
        code.jump_ifi("==", R0, 0, sent)
        self.drop(0)
        code.jump(lost)
        code.place(sent)

    def drop(self, number: int) -> None:
        """Count one loss on this CPU."""
        code, used = self.code, self.frame.used
        missing = code.label()
        self.array_element(DROPS, number)
        code.jump_ifi("==", R0, 0, missing)
        code.alui("mov", R1, 1)
        code.add_memory(R0, 0, R1, atomic=True, scratch=R2)
        code.place(missing)
        self.frame.back(used)

    def switch_off(self) -> None:
        """exit(): nothing runs after it, on any CPU."""
        if not self.abilities.direct_values:
            raise CannotCompile("exit() (kernel 5.2)")
        self.code.map_value(R1, SWITCH)
        self.code.storei(R1, 0, 0, 4)


def compile_record(
    context: Context, abilities: Abilities, accepted: Expr | None, columns: tuple[Column, ...], clause: Clause
) -> Compiled:
    """A program that filters and sends a record. CannotCompile names what has no translation."""
    shown = layout(columns)
    made = Records(context, abilities)
    made.code.span = clause.span or clause.probe.span
    made.open(accepted, tuple(column.value for column in columns))
    made.record(shown, None)
    made.close()
    return Compiled(made.code, made.frame.most, shown)


def check(context: Context, abilities: Abilities, expr: Expr) -> str:
    """Why a conjunct can't be decided in the kernel; "" where it can."""
    made = Records(context, abilities)
    try:
        made.open(expr, ())
        made.close()
    except CannotCompile as error:
        return error.reason
    return ""


def _may_divide(expr: Expr) -> bool:
    """Whether it may divide by zero."""
    return (
        isinstance(expr, Binary)
        and expr.op in ("/", "%")
        and not (isinstance(expr.right, Const) and expr.right.value)
    )
