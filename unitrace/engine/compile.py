"""A clause as one Python function, made once: rows in, effects out.

``compiled(...)`` gives a ``Compiled``. Its ``run(rows)`` takes the rows of the columns it names, in order
(tuples; bare values where there is one column), and does the whole clause for each. Where the body
is one printf or one bare probe's line, ``pick(rows)`` gives the values of the rows that pass the
predicate instead, and ``head`` what is shared by their records.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unitrace.contract import ir
from unitrace.contract.errors import SpecError
from unitrace.contract.model import Column, hist_bucket, lhist_bucket
from unitrace.contract.types import Int, Tuple

from .acts import act
from .expressions import Scope
from .maps import UNSET, Store
from .values import zero

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["Compiled", "MOST_TURNS", "compiled"]

MOST_TURNS = 1 << 23
"""Turns of a while loop, after which it ends: the kernel's own limit (BPF_MAX_LOOPS)."""

DEEPEST_BLOCK = 18
"""Statically nested loops that Python's compiler takes (20), the row loop counted."""


class Compiled:
    """A clause ready to run. ``columns``: names of the columns that a row consists of."""

    __slots__ = ("clause", "columns", "pick", "run", "show", "source")

    def __init__(
        self,
        clause: ir.Clause,
        columns: tuple[str, ...],
        run: Callable[[Iterable[Any]], None],
        pick: Callable[[Iterable[Any]], list[tuple[Any, ...]]] | None,
        show: ir.Stmt | None,
        source: str,
    ) -> None:
        self.clause = clause
        self.columns = columns
        self.run = run
        self.pick = pick
        self.show = show
        self.source = source


def compiled(
    clause: ir.Clause,
    columns: Sequence[Column],
    stores: Mapping[str, Store],
    runtime: Runtime,
    own: bool = False,
) -> Compiled:
    """The clause as functions. ``own``: user space fires it, so it reads this process.

    Raises BackendError for what can't be computed here, SpecError for a malformed clause.
    """
    scope = Scope(clause, {one.value: one.name for one in columns}, stores, runtime, own)
    try:
        source = _Body(scope).source()
        names = {**scope.names}
        exec(compile(source, f"<clause {clause.ordinal}>", "exec"), names)
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise SpecError("the clause is nested too deeply", span=clause.span) from error
    used = tuple(scope.used)
    return Compiled(clause, used, names["run"], names.get("pick"), _only_show(clause), source)


def _only_show(clause: ir.Clause) -> ir.Stmt | None:
    """The clause's one statement, if it is a printf or a bare probe's line."""
    if len(clause.body) != 1:
        return None
    stmt = clause.body[0]
    if isinstance(stmt, ir.Show) or (isinstance(stmt, ir.Act) and stmt.name == "printf"):
        return stmt
    return None


class _Body:
    """Writes the source of one clause."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.lines: list[str] = []
        self.depth = 1
        self.blocks = 1
        self.in_row = _returns_in_loop(scope.clause.body)

    def source(self) -> str:
        """The module text: ``run``, and ``pick`` where the clause is one shown record."""
        scope, clause = self.scope, self.scope.clause
        self.depth = 1 if self.in_row else 2
        leave = "return" if self.in_row else "continue"
        self.predicate(leave)
        self.body(clause.body, leave)
        lines = self.lines
        picked: list[str] = []
        show = _only_show(clause)
        if show is not None and not scope.own:
            picked = self._pick(show)
        if not scope.used and not scope.own:
            scope.column("nsecs")
        row = ", ".join(scope.used.values()) or "_"
        pad = "    " * (1 if self.in_row else 2)
        starts = [f"{pad}{scope.var(name)} = {value}" for name, value in self._unset()]
        if self.in_row:
            text = [f"def one({row}):", *starts, *lines]
            call = "one(*row)" if len(scope.used) != 1 and not scope.own else "one(row)"
            text += ["def run(rows):", f"    for row in rows: {call}"]
        else:
            text = ["def run(rows):", f"    for {row} in rows:", *starts, *lines]
        if picked:
            text += ["def pick(rows):", *(f"    {line}" for line in picked[:-1])]
            text += [f"    return [{picked[-1].replace('ROW', row)}]"]
        return "\n".join(text) + "\n"

    def _pick(self, show: ir.Stmt) -> list[str]:
        """The comprehension of ``pick``, after the lines that it needs; [] where it doesn't pay."""
        scope = self.scope
        scope.prelude.clear()
        test = "" if scope.clause.predicate is None else f" if {scope.truth(scope.clause.predicate).text}"
        values = [scope.text(value) for value in _values(show, scope)]
        if scope.prelude:  # closures over a comprehension's names: leave it to run()
            scope.prelude.clear()
            return []
        return [f"({''.join(value + ', ' for value in values)}) for ROW in rows{test}"]

    def _unset(self) -> Iterable[tuple[str, str]]:
        """Variables that may be read before they are written, each with its zero."""
        clause = self.scope.clause
        written: set[str] = set()
        early: dict[str, ir.Var] = {}
        for stmt in clause.body:
            for var in _vars_in(stmt):
                if var.name not in written:
                    early.setdefault(var.name, var)
            if isinstance(stmt, ir.Assign):
                written.add(stmt.name)
        for name, var in early.items():
            yield name, self.scope.bind(zero(var.type))

    # --- statements --------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """One line at the present depth, after what its expressions need first."""
        pad = "    " * self.depth
        self.lines.extend(pad + before for before in self.scope.prelude)
        self.scope.prelude.clear()
        self.lines.append(pad + text)

    def predicate(self, leave: str) -> None:
        """Skip the row unless the predicate holds."""
        predicate = self.scope.clause.predicate
        if predicate is not None:
            self.line(f"if not {self.scope.truth(predicate).text}: {leave}")

    def body(self, statements: tuple[ir.Stmt, ...], leave: str) -> None:
        """Statements, one after the other; ``leave`` ends the row."""
        if self.depth > 90:
            raise SpecError("the clause is nested too deeply", span=self.scope.clause.span)
        if not statements:
            self.line("pass")
        for stmt in statements:
            method = _STATEMENTS.get(type(stmt))
            if method is None:
                raise SpecError(f"{type(stmt).__name__} isn't a statement", span=self.scope.clause.span)
            method(self, stmt, leave)

    def block(self, head: str, statements: tuple[ir.Stmt, ...], leave: str, loop: bool = False) -> None:
        """``head:`` with indented statements."""
        self.line(head)
        self.depth += 1
        self.blocks += loop
        if self.blocks > DEEPEST_BLOCK:
            raise SpecError("loops are nested too deeply", span=self.scope.clause.span)
        self.body(statements, leave)
        self.blocks -= loop
        self.depth -= 1

    def assign(self, stmt: ir.Assign, leave: str) -> None:
        value = self.scope.text(stmt.value)
        self.line(f"{self.scope.var(stmt.name)} = {value}")

    def map_set(self, stmt: ir.MapSet, leave: str) -> None:
        store = self.scope.store(stmt.map)
        if store.aggregate is not None:
            raise SpecError(f"{stmt.map} holds {store.aggregate.function}()", span=self.scope.clause.span)
        key, value = self.scope.key(store, stmt.key).text, self.scope.text(stmt.value)
        data = self.scope.data(store)
        if not store.decl.key:
            self.line(f"{data}[()] = {value}")
            return
        name = self.scope.temporary()
        self.line(f"{name} = {key}")
        if store.decl.evicts:
            self.line(f"{self.scope.bind(store.touch)}({name})")
        self.line(f"if {name} in {data} or len({data}) < {store.entries}: {data}[{name}] = {value}")
        self.line(f"else: {self.scope.bind(store.add)}({name}, {value})")

    def map_update(self, stmt: ir.MapUpdate, leave: str) -> None:
        store = self.scope.store(stmt.map)
        kind = store.aggregate
        if kind is None:
            raise SpecError(f"{stmt.map} holds plain values", span=self.scope.clause.span)
        data = self.scope.data(store)
        key = self.scope.temporary()
        self.line(f"{key} = {self.scope.key(store, stmt.key).text}")
        if store.decl.evicts:
            self.line(f"{self.scope.bind(store.touch)}({key})")
        if kind.function == "count":
            self._add(store, data, key, "1")
            return
        wide = Int(64, True if kind.function in ("hist", "lhist") else kind.signed)
        value = self.scope.temporary()
        self.line(f"{value} = {self.scope.text(ir.Cast(wide, stmt.args[0]))}")
        if kind.function == "sum":
            self._add(store, data, key, value)
        elif kind.function in ("min", "max"):
            sign = "<" if kind.function == "min" else ">"
            unset = UNSET[kind.function]
            self.line(f"if {value} {sign} {data}.get({key}, {unset}):")
            self.line(f"    if {key} in {data}: {data}[{key}] = {value}")
            self.line(f"    else: {self.scope.bind(store.add)}({key}, {value})")
        elif kind.function in ("avg", "stats"):
            self.line(f"if {key} in {data}:")
            self.line(f"    state = {data}[{key}]; state[0] += 1; state[1] += {value}")
            self.line(f"else: {self.scope.bind(store.add)}({key}, [1, {value}])")
        elif kind.function == "tseries":
            nsecs = self._event_time()
            self.line(f"{self.scope.bind(_tseries(store))}({key}, {value}, {nsecs})")
        else:
            self._bucket(stmt, store, data, key, value)

    def _add(self, store: Store, data: str, key: str, amount: str) -> None:
        self.line(f"if {key} in {data}: {data}[{key}] += {amount}")
        self.line(f"else: {self.scope.bind(store.add)}({key}, {amount})")

    def _bucket(self, stmt: ir.MapUpdate, store: Store, data: str, key: str, value: str) -> None:
        kind = store.aggregate
        assert kind is not None
        parameters = kind.parameters
        if kind.function == "hist" and (not parameters or parameters[0] == 0):
            self.line(f"bucket = {value}.bit_length() + 1 if {value} >= 0 else 0")
        elif kind.function == "hist":
            self.line(f"bucket = {self.scope.bind(hist_bucket)}({value}, {parameters[0]})")
        elif kind.function == "lhist":
            low, high, step = parameters
            self.line(f"bucket = {self.scope.bind(lhist_bucket)}({value}, {low}, {high}, {step})")
        else:
            raise SpecError(f"unknown aggregate {kind.function}", span=self.scope.clause.span)
        amount = self.scope.text(stmt.args[1]) if len(stmt.args) > 1 else "1"
        self.line(f"if {key} in {data}:")
        self.line(f"    state = {data}[{key}]; state[bucket] = state.get(bucket, 0) + {amount}")
        self.line(f"else: {self.scope.bind(store.add)}({key}, {{bucket: {amount}}})")

    def _event_time(self) -> str:
        """The event's time, monotonic ns. bpftrace's tests of time series name a map that has it."""
        clock = self.scope.stores.get(os.environ.get("BPFTRACE_DUMMY_TS_MAP", ""))
        if clock is not None:
            return f"{self.scope.data(clock)}.get((), 0)"
        if self.scope.own:
            return f"{self.scope.bind(self.scope.runtime.own._nsecs)}()"
        return self.scope.column("nsecs")

    def map_delete(self, stmt: ir.MapDelete, leave: str) -> None:
        store = self.scope.store(stmt.map)
        key = self.scope.key(store, stmt.key).text
        self.line(f"{self.scope.bind(store.remove)}({key})")

    def if_(self, stmt: ir.If, leave: str) -> None:
        condition = self.scope.truth(stmt.condition).text
        self.block(f"if {condition}:", stmt.then, leave)
        if stmt.otherwise:
            self.block("else:", stmt.otherwise, leave)

    def loop(self, stmt: ir.Loop, leave: str) -> None:
        left = self.scope.temporary()
        condition = self.scope.truth(stmt.condition).text
        self.line(f"{left} = {MOST_TURNS}")
        self.block(f"while {condition} and ({left} := {left} - 1) >= 0:", stmt.body, leave, loop=True)

    def unroll(self, stmt: ir.Unroll, leave: str) -> None:
        count = self.scope.text(stmt.count)
        self.block(f"for {self.scope.temporary()} in range(min(100, {count})):", stmt.body, leave, loop=True)

    def for_range(self, stmt: ir.ForRange, leave: str) -> None:
        low, high = self.scope.text(stmt.low), self.scope.text(stmt.high)
        name = self.scope.var(stmt.name)
        turn = self.scope.temporary()
        self.line(f"for {turn} in range({low}, min({high}, {low} + {MOST_TURNS})):")
        self.lines.append("    " * (self.depth + 1) + f"{name} = {turn}")
        self._inside(stmt.body, leave)

    def for_each(self, stmt: ir.ForEach, leave: str) -> None:
        store = self.scope.store(stmt.map)
        of = stmt.type
        numbers = not (isinstance(of, Tuple) and len(of.items) == 2 and of.items[1] == store.decl.value)
        items = self.scope.bind(store.items)
        self.line(f"for {self.scope.var(stmt.name)} in {items}({numbers}):")
        self._inside(stmt.body, leave)

    def _inside(self, statements: tuple[ir.Stmt, ...], leave: str) -> None:
        self.depth += 1
        self.blocks += 1
        if self.blocks > DEEPEST_BLOCK:
            raise SpecError("loops are nested too deeply", span=self.scope.clause.span)
        self.body(statements, leave)
        self.blocks -= 1
        self.depth -= 1

    def break_(self, stmt: ir.Break, leave: str) -> None:
        self._in_loop("break")

    def continue_(self, stmt: ir.Continue, leave: str) -> None:
        self._in_loop("continue")

    def _in_loop(self, word: str) -> None:
        if self.blocks < 2:
            raise SpecError(f"{word} outside of a loop", span=self.scope.clause.span)
        self.line(word)

    def return_(self, stmt: ir.Return, leave: str) -> None:
        self.line(leave)

    def act(self, stmt: ir.Act, leave: str) -> None:
        self.line(act(stmt, self.scope, self._event_time))

    def show(self, stmt: ir.Show, leave: str) -> None:
        from unitrace.output.records import Event

        scope = self.scope
        make, new = scope.bind(Event), "".join(scope.text(value) + ", " for value in stmt.values)
        time, cpu, comm, tid = (scope.text(value) for value in _values(stmt, scope)[:4])
        label = scope.bind(scope.clause.probe.label or scope.clause.probe.written)
        names = scope.bind(stmt.names)
        types = scope.bind(tuple(value.type for value in stmt.values))
        emit = scope.bind(scope.runtime.emit)
        self.line(f"{emit}({make}({time}, {cpu}, {comm}, {tid}, {label}, {names}, {types}, ({new})))")


def _values(show: ir.Stmt, scope: Scope) -> tuple[ir.Expr, ...]:
    """The expressions that a shown record is made of; for a bare probe time, CPU, comm and tid first."""
    if isinstance(show, ir.Act):
        return show.args
    assert isinstance(show, ir.Show)
    from unitrace.contract.sites import SITES

    head = [ir.Site(SITES[name].type, name) for name in ("nsecs", "cpu", "comm", "tid")]  # type: ignore[arg-type]
    return (*head, *show.values)


def _tseries(store: Store) -> Callable[[Any, int, int], None]:
    """What adds a value to a time series: the newest ``count`` intervals are kept."""
    kind = store.aggregate
    assert kind is not None
    length, count = kind.parameters[:2]

    def add(key: Any, value: int, nsecs: int) -> None:
        cells = store.state(key)
        if cells is None:
            return
        at = nsecs // length
        cell = cells.get(at)
        if cell is None:
            if cells and at <= max(cells) - count:
                return
            cells[at] = [1, value, value, value, value]
            for old in [one for one in cells if one <= at - count]:
                del cells[old]
            return
        cell[0] += 1
        cell[1] = value
        cell[2] += value
        cell[3] = min(cell[3], value)
        cell[4] = max(cell[4], value)

    return add


def _vars_in(node: object) -> Iterable[ir.Var]:
    if isinstance(node, ir.Var):
        yield node
    elif isinstance(node, tuple):
        for item in node:
            yield from _vars_in(item)
    elif isinstance(node, (ir.Expr, ir.Stmt)):
        for name in node._fields:
            if name not in ("type", "span"):
                yield from _vars_in(getattr(node, name))


def _returns_in_loop(body: tuple[ir.Stmt, ...], inside: bool = False) -> bool:
    """Whether a Return stands inside a loop (then rows need a function of their own)."""
    for stmt in body:
        if isinstance(stmt, ir.Return) and inside:
            return True
        if isinstance(stmt, ir.If):
            if _returns_in_loop(stmt.then, inside) or _returns_in_loop(stmt.otherwise, inside):
                return True
        elif isinstance(stmt, (ir.Loop, ir.Unroll, ir.ForRange, ir.ForEach)) and _returns_in_loop(
            stmt.body, True
        ):
            return True
    return False


_STATEMENTS: dict[type, Callable[[_Body, Any, str], None]] = {
    ir.Assign: _Body.assign,
    ir.MapSet: _Body.map_set,
    ir.MapUpdate: _Body.map_update,
    ir.MapDelete: _Body.map_delete,
    ir.If: _Body.if_,
    ir.Loop: _Body.loop,
    ir.Unroll: _Body.unroll,
    ir.ForRange: _Body.for_range,
    ir.ForEach: _Body.for_each,
    ir.Break: _Body.break_,
    ir.Continue: _Body.continue_,
    ir.Return: _Body.return_,
    ir.Act: _Body.act,
    ir.Show: _Body.show,
}
