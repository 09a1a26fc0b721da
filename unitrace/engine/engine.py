"""The reference engine: runs in user space what the backends leave, and so defines what a program means.

    engine = Engine(program, residuals, kept, emit)
    engine.begin()
    while engine.exit_code is None:
        engine.feed(batches, upto)
        engine.tick(time.monotonic_ns())
    engine.end()
    engine.finish()

Events are handled in the order of time over all CPUs, clauses and backends, except where no order
can be told from another: clauses that only aggregate, into maps that no event reads.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from unitrace.contract.ir import Clause, MapDecl, Program
from unitrace.contract.model import VECTOR_FROM, Batch, Column, RowBatch, Snapshot
from unitrace.contract.probes import BY_NAME
from unitrace.output.records import MapShown, Out

from .compile import Compiled, compiled
from .merge import in_order, rows_of, split
from .order import unordered
from .runtime import Exit, Runtime
from .timers import Timer, period

if TYPE_CHECKING:
    from unitrace.contract.backend import Attachment, KernelReader
    from unitrace.contract.types import Type

    from .resolve import Resolver
    from .shown import Shown
    from .vector import Vector

__all__ = ["Engine"]

Residuals = Mapping[int, tuple[Clause, tuple[Column, ...]]]

SHOW_FROM = 64
"""Rows of one clause in a row from which shown records are emitted as one record of columns."""


class Engine:
    """Runs a program's residual clauses.

    ``residuals``: by ordinal, what is left of a clause and the columns its events carry, also what
    clauses that run in the kernel send (offer.Sent); clauses that user space fires (begin, end, interval,
    self) need not be among them. ``kept``: who keeps which map in the kernel. ``reader``: who
    reads the kernel for clauses that user space fires; asked for where they do. ``emit`` is called with
    every record, in order. Raises BackendError for a clause that can't be run here, SpecError for one that
    is malformed.
    """

    def __init__(
        self,
        program: Program,
        residuals: Residuals,
        kept: Mapping[str, Attachment],
        emit: Callable[[Out], None],
        *,
        unsafe: bool = False,
        reader: Callable[[], KernelReader] | None = None,
    ) -> None:
        self.program = program
        self.exit_code: int | None = None
        self._emit = emit
        self._runtime = Runtime(emit, program.maps, kept, program.config, unsafe, reader)
        self._resolver: Resolver | None = None
        self._own: list[Compiled] = []
        self._streamed: dict[int, Compiled] = {}
        self._timers: list[Timer] = []
        self._held: list[Batch] = []
        self._columns: dict[int, tuple[Column, ...]] = {}
        self._vectors: dict[int, Vector | None] = {}
        self._shown: dict[int, Shown | None] = {}
        for clause in program.clauses:
            if _fired_here(clause):
                self._own.append(compiled(clause, (), self._runtime.stores, self._runtime, own=True))
        stores = self._runtime.stores
        for ordinal, (residual, columns) in residuals.items():
            if _fired_here(residual):
                continue
            self._columns[ordinal] = columns
            self._streamed[ordinal] = compiled(residual, columns, stores, self._runtime)
        self._unordered = unordered([one.clause for one in self._streamed.values()], program.maps)

    def hurry(self) -> None:
        """Come to the end: commands of system() that wait are left out, and counted as losses."""
        self._runtime.hurry()

    @property
    def began(self) -> int:
        """When the run began, CLOCK_MONOTONIC, ns: ``elapsed`` counts from there."""
        return self._runtime.started

    @property
    def losses(self) -> Mapping[str, int]:
        """What clauses couldn't have, by cause."""
        return self._runtime.lost

    # --- begin, end, timers ------------------------------------------------------------------

    def begin(self) -> None:
        """Run the begin clauses, and start the intervals."""
        self.fire("begin")
        now = time.monotonic_ns()
        self._timers = [
            Timer(at, period(one.clause.probe), now)
            for at, one in enumerate(self._own)
            if one.clause.probe.kind == "interval"
        ]

    def end(self) -> None:
        """Run the end clauses; exit() in one ends that one."""
        for one in self._own:
            if one.clause.probe.kind == "end":
                self._run_own(one)

    def fire(self, kind: str, name: str = "") -> int:
        """Run the clauses of probe kind ``kind`` (begin, self, test, bench), those named ``name`` if it
        is given, until one exits. How many there are."""
        chosen = [
            one
            for one in self._own
            if one.clause.probe.kind == kind and (not name or one.clause.probe.name == name)
        ]
        for one in chosen:
            if self.exit_code is None:
                self._run_own(one)
        return len(chosen)

    def runner(self, kind: str, name: str) -> Callable[[], None]:
        """What runs the clauses of one of those probes, once a call."""
        chosen = [
            one.run for one in self._own if one.clause.probe.kind == kind and one.clause.probe.name == name
        ]

        def run() -> None:
            try:
                for one in chosen:
                    one(((),))
            except Exit as exited:
                self.exit_code = exited.code

        return run

    def next_due(self) -> int | None:
        """When the next interval clause is due, CLOCK_MONOTONIC ns; None where there is none."""
        return min((timer.due for timer in self._timers), default=None)

    def tick(self, now: int) -> None:
        """Run the interval clauses that are due at ``now``, in the order of their times."""
        while self._timers and self.exit_code is None:
            timer = min(self._timers, key=_due)
            if timer.due > now:
                return
            timer.advance(now)
            self._run_own(self._own[timer.ordinal])

    # --- events ------------------------------------------------------------------------------

    def feed(self, batches: Iterable[Batch], upto: int | None = None) -> None:
        """Run the streamed clauses over ``batches``. Rows later than ``upto`` (ns) wait for the next
        call; None: nothing waits. After exit() nothing runs any more."""
        if self.exit_code is not None:
            return
        waiting = self._held
        self._held = []
        for batch in batches:
            if not len(batch) or batch.clause not in self._streamed:
                continue
            if batch.clause in self._unordered:
                self._aggregate(batch)
            else:
                waiting.append(batch)
        ready = waiting if upto is None else self._early(waiting, upto)
        if not ready:
            return
        ready.sort(key=_clause)
        if self._shown_at_once(ready):
            return
        names = [self._streamed[batch.clause].columns for batch in ready]
        collecting = gc.isenabled()  # rows are tuples without cycles: collecting costs a third of the time
        gc.disable()
        try:
            for clause, rows, count in in_order(ready, names):
                self._run(self._streamed[clause], rows, count)
        except Exit as exited:
            self.exit_code = exited.code
            self._held.clear()
        finally:
            if collecting:
                gc.enable()

    def _shown_at_once(self, ready: list[Batch]) -> bool:
        """Many events of one clause that only shows them, without a row made; False if that can't be."""
        clause = ready[0].clause
        one = self._streamed[clause]
        if ready[-1].clause != clause or one.pick is None or sum(map(len, ready)) < VECTOR_FROM:
            return False
        from .shown import NOTHING, showing

        if clause not in self._shown:
            self._shown[clause] = showing(one.clause, one.show, self._columns[clause])
        shown = self._shown[clause]
        record = NOTHING if shown is None else shown.record(ready)
        if record is NOTHING:
            return False
        if isinstance(record, Out):
            self._emit(record)
        return True

    def _early(self, waiting: list[Batch], upto: int) -> list[Batch]:
        """The rows up to time ``upto``; the others are held back."""
        early = []
        for batch in waiting:
            now, later = split(batch, upto, self._streamed[batch.clause].columns)
            if now is not None:
                early.append(now)
            if later is not None:
                self._held.append(later)
        return early

    def _aggregate(self, batch: Batch) -> None:
        """A batch of a clause for which order doesn't matter."""
        one = self._streamed[batch.clause]
        if len(batch) >= VECTOR_FROM and not isinstance(batch, RowBatch):
            vector = self._vector(one)
            if vector is not None and vector.run(batch):
                return
        one.run(rows_of(batch, one.columns))

    def _vector(self, one: Compiled) -> Vector | None:
        ordinal = one.clause.ordinal
        if ordinal not in self._vectors:
            from .vector import vectorised

            columns = self._columns[ordinal]
            self._vectors[ordinal] = vectorised(one.clause, columns, self._runtime.stores)
        return self._vectors[ordinal]

    def _run(self, one: Compiled, rows: Iterable[object], count: int) -> None:
        """``count`` rows of one clause, in order."""
        if one.pick is None or count < SHOW_FROM:
            one.run(rows)
            return
        from .show import shown

        record = shown(one, one.pick(rows))
        if record is not None:
            self._emit(record)

    def _run_own(self, one: Compiled) -> None:
        """Run a clause that user space fires, once."""
        try:
            one.run(((),))
        except Exit as exited:
            self.exit_code = exited.code

    # --- results -----------------------------------------------------------------------------

    def maps(self) -> dict[str, Snapshot]:
        """The maps' content now, by name; those kept in the kernel are read there."""
        kept = self._runtime.kept
        return {
            decl.name: kept[decl.name].snapshot(decl.name)
            if decl.name in kept
            else self._runtime.stores[decl.name].snapshot()
            for decl in self.program.maps
        }

    def resolve(self, of: Type, value: object) -> bytes:
        """A symbol, stack, address, time or cgroup as text, for whoever renders records."""
        if self._resolver is None:
            from .resolve import Resolver

            probes = (clause.probe for clause in self.program.clauses)
            files = dict.fromkeys(one.scope for one in probes if one.kind in ("uprobe", "uretprobe", "usdt"))
            self._resolver = Resolver(self._runtime.to_wall, tuple(files))
        return self._resolver(of, value)

    def finish(self) -> dict[str, Snapshot]:
        """Emit the maps in the order of their names, and how often warnings were repeated. What ``maps()``
        is at the end."""
        self._runtime.repeated()
        content = self.maps()
        if self._runtime.flag("print_maps_on_exit", True):
            for decl in sorted(self.program.maps, key=_name):
                self._emit(MapShown(decl, content[decl.name]))
        return content


def _fired_here(clause: Clause) -> bool:
    kind = BY_NAME.get(clause.probe.kind)
    return kind is not None and kind.by == "engine"


def _due(timer: Timer) -> int:
    return timer.due


def _clause(batch: Batch) -> int:
    return batch.clause


def _name(decl: MapDecl) -> str:
    return decl.name
