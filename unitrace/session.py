"""A run from text to records, and the Python API around it.

    with unitrace.trace("tracepoint:sched:sched_switch") as t:
        for event in t:
            print(event.time, event.comm, event["next_pid"])
    print(t.stats.lost, t.backend)

The way of a run is ``Trace.__init__`` (compile, plan), ``__enter__`` (attach, arm), ``rounds`` (read,
evaluate), ``finish`` (disarm, last read, maps). Whatever happens on the way, ``close`` removes
all that was made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from unitrace.contract.errors import BackendError, Rejected, UnitraceError
from unitrace.contract.machine import Machine
from unitrace.contract.model import VECTOR_FROM
from unitrace.contract.offer import Options
from unitrace.output.records import Attached, Ended, Lost, Message, Out
from unitrace.plan.choose import Plan, choose
from unitrace.plan.show import named, only, raw
from unitrace.plugins import Plugins

if TYPE_CHECKING:
    import re

    from unitrace.child import Child
    from unitrace.contract.backend import Attachment, Backend, KernelReader
    from unitrace.contract.model import Snapshot
    from unitrace.engine.engine import Engine
    from unitrace.output.values import Resolver
    from unitrace.plan.explain import Explanation

__all__ = ["Compiled", "Stats", "Trace", "explained", "parsed", "trace", "written_probes"]

SHORTEST, BUSY, LONGEST = 0.001, 0.010, 0.025
"""Seconds between two reads of the buffers: short at the start and while many events come, long else; when
many come, not too short either, as they are decoded the quicker the more there are at once. A few
events don't make it shorter: they may be our own sleeps, traced. A timer costs the traced program
~600 ns an event, a wake-up an event 8-11 us (measured)."""

SETTLED_NS = 1_000_000
"""How old an event must be to be evaluated: one that is younger may still be in the writing on
another CPU, and an older one must not overtake it."""


class Stats:
    """Counts of a run. ``events``: read from the kernel; ``lost``: by cause, and their sum."""

    def __init__(self) -> None:
        self.events = 0
        self.losses: dict[str, int] = {}

    @property
    def lost(self) -> int:
        """How many events were lost anywhere."""
        return sum(self.losses.values())


class Compiled:
    """A program, its plan, and the backends: what is known before anything is attached.

    ``notices``: lines that the user must see (a successor was traced, a string is an address).
    ``probes``: leave out clauses at other probes than those whose name it finds. ``ask_all``: also
    ask the backends that can't be better any more, to explain the choice. ``unsafe``: whether
    system(), signal() and their like pass the check, and kernel functions that aren't said to be traceable.
    ``debug``: folders where programs' separate debug files may be. ``pretty``: a bare tracepoint shows its
    record's fields as they are, for kernel.print_fmt.
    """

    def __init__(
        self,
        spec: str,
        backends: Mapping[str, Backend],
        *,
        machine: Machine | None = None,
        options: Options = Options(),  # noqa: B008 (a Record: immutable)
        positional: Sequence[str] = (),
        cpid: int = 0,
        probes: re.Pattern[str] | None = None,
        ask_all: bool = False,
        unsafe: bool = True,
        debug: Sequence[str] = (),
        pretty: bool = False,
    ) -> None:
        from unitrace.lang import compile_text

        self.spec = spec
        self.options = options
        self.machine = machine or Machine()
        self.backends = backends
        compiled = compile_text(
            spec,
            self.machine,
            positional=tuple(positional),
            cpid=cpid,
            pid=options.pid,
            exact_probes=options.exact_probes,
            unsafe=unsafe,
            unlisted=unsafe,
            debug=debug,
        )
        self.warnings = compiled.warnings
        program = raw(compiled.program) if pretty else compiled.program
        if probes is not None:
            program = named(program, probes)
        if cpid or options.pid:
            program = only(program, cpid or options.pid, written=options.pid > 0)
        # the command's process is the one to trace, as with -p
        self._planned = program, options.replace(pid=options.pid or cpid)
        try:
            self.plan = choose(program, backends, self.machine, self._planned[1], ask_all)
        except UnitraceError as error:
            error.warnings = compiled.warnings
            raise
        self.program = self.plan.program
        self.notices = (*compiled.notices, *self.plan.notices)

    def cautious(self) -> Plan:
        """A plan that asks less of the kernel."""
        program, options = self._planned
        return choose(program, self.backends, self.machine, options.replace(cautious=True))


class Trace:
    """A run. A context manager; iterating yields its records until the program exits, ``stop`` is
    called or ``timeout`` seconds have passed. Not for use by several threads, ``stop`` excepted.

    Attributes after the run: ``maps`` (name to {key: value}), ``stats``, ``backend`` (names of the
    chosen backends, "+"-joined), ``plan``, ``exit_code``.
    """

    def __init__(
        self,
        compiled: Compiled,
        *,
        timeout: float | None = None,
        unsafe: bool = False,
        child: Child | None = None,
    ) -> None:
        self.compiled = compiled
        self.plan: Plan = compiled.plan
        self.program = compiled.program
        self.backend = "+".join(self.plan.backends) or "none"
        self.stats = Stats()
        self.maps: dict[str, Snapshot] = {}
        self._unsafe = unsafe
        self._child = child
        self._timeout = timeout
        self._attachments: list[Attachment] = []
        self._records: list[Out] = []
        self._engine: Engine | None = None
        self._reader: KernelReader | None = None
        self._signals: list[str] = []
        self._stopped = False
        self._finished = False
        kinds = {clause.probe.kind for clause in compiled.program.clauses}
        self._walks = "iter" in kinds and kinds <= {"iter", "begin", "end"}

    @property
    def exit_code(self) -> int:
        """What exit() said; 0 otherwise."""
        code = self._engine.exit_code if self._engine else None
        return code or 0

    @property
    def ended(self) -> bool:
        """Whether the program called exit(), has only begin and end clauses, or was stopped."""
        return self._stopped or self._engine is None or self._engine.exit_code is not None

    @property
    def resolve(self) -> Resolver | None:
        """Renders stacks, symbols and the like; the sinks need it."""
        return getattr(self._engine, "resolve", None)

    def stop(self) -> None:
        """End the run at the next turn. Safe in a signal handler and from other threads."""
        self._stopped = True
        if self._engine is not None:
            self._engine.hurry()

    def signalled(self, name: str) -> None:
        """Run the ``self:signal:NAME`` clauses at the next turn. Safe in a signal handler."""
        self._signals.append(name)

    @property
    def signals(self) -> tuple[str, ...]:
        """The names of the signals that the program has clauses for."""
        probes = (clause.probe for clause in self.program.clauses)
        return tuple(dict.fromkeys(probe.name for probe in probes if probe.kind == "self"))

    def __enter__(self) -> Trace:
        try:
            self._attach()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Out]:
        """The records of the run, those of its end (maps, losses) included; not its own marks."""
        from unitrace.output.rows import single

        for records in chain(self.rounds(), (self.finish() for _ in range(1))):
            for record in records:
                if not isinstance(record, (Attached, Ended)):
                    yield from single(record)

    def rounds(self) -> Iterator[list[Out]]:
        """The records, a list each time the buffers were read; the lists may be empty."""
        pause = SHORTEST
        until = None if self._timeout is None else time.monotonic() + self._timeout
        while not self.ended and (until is None or time.monotonic() < until):
            seen = self.stats.events
            over = self._watched_ended()
            self._turn(time.monotonic_ns() - SETTLED_NS)
            yield self._taken()
            new = self.stats.events - seen
            pause = BUSY if new >= VECTOR_FROM else min(pause * 1.5, LONGEST)
            if over:
                break
            if not self.ended:
                self._wait(pause)

    def selftests(self, kind: str) -> Iterator[list[Out]]:
        """Run the clauses at "test" or "bench" probes: the records of each, its result the last."""
        from unitrace.engine.selftests import benches, tests

        engine = self._engine
        assert engine is not None
        probes = [clause.probe for clause in self.program.clauses if clause.probe.kind == kind]
        names = tuple(dict.fromkeys(probe.name for probe in probes))
        yield self._taken()
        yield from (tests if kind == "test" else benches)(engine, names, self._taken)

    def finish(self) -> list[Out]:
        """Disarm, read what is left, run the end clauses; the last records. Once only."""
        if self._finished or self._engine is None:
            return []
        self._finished = True
        for attachment in self._attachments:
            attachment.stop()
        if self._engine.exit_code is None:
            self._turn(None)
        self._count_losses()
        self._engine.end()
        self._records.append(Ended())
        self.maps = self._engine.finish()
        self._records.extend(Lost(count, cause) for cause, count in self.stats.losses.items())
        return self._taken()

    def close(self) -> None:
        """Remove all that was made in the kernel. The first failure is raised, after all was tried."""
        failed: BaseException | None = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        while self._attachments:
            try:
                self._attachments.pop().__exit__(None, None, None)
            except Exception as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _attach(self) -> None:
        from unitrace.engine.engine import Engine

        try:
            self._put_in_place()
        except Rejected as error:
            self.close()
            self.plan = self.compiled.cautious()
            self.program = self.plan.program
            text = f"{error.message}; its events come to user space instead"
            self._records.append(Message("warning", text))
            self._put_in_place()
        residuals: dict[int, Any] = {}
        kept: dict[str, Attachment] = {}
        for part, attachment in zip(self.plan.parts, self._attachments):
            for share in part.offer.shares:
                if share.residual is not None:
                    residuals[share.clause.ordinal] = (share.residual, share.columns)
                for sent in share.sends:
                    residuals[sent.clause.ordinal] = (sent.clause, sent.columns)
            kept.update(dict.fromkeys(_kept(part.offer), attachment))
        engine = self._engine = Engine(
            self.program,
            residuals,
            kept,
            self._records.append,
            unsafe=self._unsafe,
            reader=self._kernel_reader,
        )
        self._records.append(Attached(len(self.program.clauses)))
        engine.begin()
        for attachment in self._attachments:
            if hasattr(attachment, "began"):
                attachment.began = engine.began
            attachment.start()
        if self._child is not None:
            self._child.release()
        elif not self._attachments and engine.next_due() is None and not self.signals:
            self._stopped = True  # nothing can happen any more: begin and end alone

    def _put_in_place(self) -> None:
        machine, backends = self.compiled.machine, self.compiled.backends
        for part in self.plan.parts:
            attachment = backends[part.offer.backend].attach(machine, part.offer)
            self._attachments.append(attachment)
            attachment.__enter__()

    def _kernel_reader(self) -> KernelReader:
        """What reads the kernel for begin and its like, from the first backend that can."""
        said = []
        for backend in self.compiled.backends.values():
            if hasattr(backend, "reader"):
                try:
                    self._reader = backend.reader(self.compiled.machine)
                    self.backend = "+".join(dict.fromkeys((*self.plan.backends, backend.name)))
                    return self._reader
                except BackendError as error:
                    said.append(error)
        if not said:
            raise BackendError("no backend here reads the kernel", remedy="let the eBPF backend take part")
        raise said[0]

    def _watched_ended(self) -> bool:
        """Whether the command of -c, or the process of -p, is gone, or there were only objects to walk over.
        Asked before a read, so that the last events are in that read."""
        if self._child is not None:
            return self._child.ended()
        if self._walks:
            return True
        pid = self.compiled.options.pid
        return pid > 0 and not os.path.exists(f"/proc/{pid}")

    def _turn(self, upto: int | None) -> None:
        engine = self._engine
        assert engine is not None
        batches = [batch for attachment in self._attachments for batch in attachment.read()]
        self.stats.events += sum(map(len, batches))
        engine.feed(batches, upto)
        while self._signals:
            engine.fire("self", self._signals.pop(0))
        engine.tick(time.monotonic_ns())

    def _wait(self, pause: float) -> None:
        assert self._engine is not None
        due = self._engine.next_due()
        if due is not None:
            pause = min(pause, max(0.0, (due - time.monotonic_ns()) / 1e9))
        if pause > 0:
            (time.sleep if self._child is None else self._child.wait)(pause)

    def _count_losses(self) -> None:
        for attachment in self._attachments:
            self._records.extend(Message("warning", note) for note in getattr(attachment, "notes", ()))
            for cause, count in attachment.losses().items():
                self.stats.losses[cause] = self.stats.losses.get(cause, 0) + count
        if self._engine is not None:
            self.stats.losses.update(self._engine.losses)

    def _taken(self) -> list[Out]:
        taken = self._records[:]
        self._records.clear()
        return taken


def _kept(offer: Any) -> set[str]:
    """The maps that the offer keeps in the kernel: those of its clauses that it runs whole."""
    from unitrace.contract.offer import maps_used

    return set().union(*(maps_used(one.clause) for one in offer.shares if one.residual is None))


def trace(
    spec: str,
    backend: str | None = None,
    *,
    timeout: float | None = None,
    machine: Machine | None = None,
    positional: Sequence[str] = (),
    options: Options = Options(),  # noqa: B008
    unsafe: bool = False,
) -> Trace:
    """A run of ``spec`` (a program, or a list of probes), ready to be entered with ``with``.

    ``backend``: the name of the only backend to use; None lets the planner choose. ``timeout``:
    seconds. ``positional``: values of $1, $2, ... Raises SpecError, ProbeError, BackendError and
    UsageError (all UnitraceError) before anything is attached.
    """
    compiled = Compiled(
        spec,
        Plugins().chosen(backend),
        machine=machine,
        positional=positional,
        options=options,
        unsafe=unsafe,
    )
    return Trace(compiled, timeout=timeout, unsafe=unsafe)


def written_probes(spec: str) -> list[str]:
    """The probes that a program names, as it names them. SpecError where it can't be parsed."""
    from unitrace.lang import parse
    from unitrace.lang.ast import Action

    tree = parse(spec)
    return [point.text for item in tree.items if isinstance(item, Action) for point in item.probes]


def parsed(spec: str) -> object:
    """The program's tree (lang.ast). SpecError where it can't be parsed."""
    from unitrace.lang import parse

    return parse(spec)


def explained(spec: str, backend: str | None = None, *, machine: Machine | None = None) -> Explanation:
    """What ``unitrace.explain`` returns. Raises the errors of the program's text alone."""
    from unitrace.plan.choose import NoBackend
    from unitrace.plan.explain import Explanation

    try:
        compiled = Compiled(spec, Plugins().chosen(backend), machine=machine, ask_all=True)
    except NoBackend as error:
        return Explanation(spec, None, error)
    return Explanation(spec, compiled.plan, None, compiled.notices)
