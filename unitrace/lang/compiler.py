"""The front end as one line: text -> tree -> probes -> types -> IR."""

from __future__ import annotations

import os
from collections.abc import Sequence

from unitrace.contract import ir
from unitrace.contract.errors import ProbeError, SpecError
from unitrace.contract.machine import Machine
from unitrace.contract.record import Record
from unitrace.contract.types import UINT32

from . import ast
from .parser import parse
from .resolve import Resolver
from .show import shown
from .source import Source
from .state import NotYet, Unit, shape_of
from .statements import Body
from .substitute import substituted

__all__ = ["Compiled", "compile_text"]

REMOVED = (
    "Probe has no valid attach points. It is being removed which may cause issues with program behavior."
)

_ROUNDS = 40
"""Times that types are gone through; each round can only widen them, so they settle long before."""


class Compiled(Record):
    """``notices``: what was done differently from what was written, one line each. ``warnings``: what may
    not be meant."""

    program: ir.Program
    notices: tuple[str, ...]
    warnings: tuple[SpecError, ...]


def compile_text(
    text: str,
    machine: Machine,
    *,
    positional: Sequence[str] = (),
    cpid: int = 0,
    pid: int = 0,
    exact_probes: bool = False,
    unsafe: bool = True,
    unlisted: bool = False,
    debug: Sequence[str] = (),
    name: str = "stdin",
) -> Compiled:
    """The IR of a program's text. Raises SpecError, with further ones in ``others``.

    ``positional``: the words behind the program (``$1``, and ``--name=value`` for getopt). ``pid``: user
    probes' files are looked up as that process sees them. ``unlisted``: kernel functions are taken that
    aren't in the list of those that can be traced. ``debug``: folders where separate debug files may be.
    """
    try:
        tree = parse(text, name)
        unit = Unit(Source(text, name), machine, positional, cpid, unsafe, debug)
        return Compiler(unit, tree, Resolver(unit, pid, exact_probes, unlisted)).compiled()
    except RecursionError:
        raise SpecError("the program is nested too deeply", source=text) from None


class Compiler:
    """Holds what is known of one program while it is compiled."""

    def __init__(self, unit: Unit, tree: ast.Program, resolver: Resolver) -> None:
        self.unit = unit
        self.tree = tree
        self.resolver = resolver
        self.by_place = "uaddr" in unit.source.text  # then a body depends on where its probe is
        self.actions: list[tuple[ast.Action, list[ir.Probe]]] = []

    def compiled(self) -> Compiled:
        """Definitions, then probes, then types until they settle, then clauses."""
        self.definitions()
        self.resolve()
        clauses = self.settle()
        unit = self.unit
        self.options()
        for info in unit.maps.values():
            if info.declared and info.value is None:
                unit.warn(f"Unused map: @{info.name}", *info.place)
        config = tuple(sorted(unit.config.items()))
        program = ir.Program(clauses, unit.map_decls(), unit.source.text, config)
        notices = (*self.resolver.notices, *unit.types.notices())
        return Compiled(program, notices, tuple(unit.warnings.values()))

    def definitions(self) -> None:
        """Config, C definitions, macros, map declarations."""
        unit, errors = self.unit, self.unit.errors
        for item in self.tree.items:
            try:
                if isinstance(item, ast.Config):
                    from .config import configure

                    configure(unit, item)
                elif isinstance(item, ast.CDefinition):
                    from .cdefs import define

                    define(unit, item)
                elif isinstance(item, ast.Macro):
                    unit.macros[(item.name, len(item.params))] = item
                    unit.macro_names[item.name] = item
                elif isinstance(item, ast.Import) and not item.path.startswith("stdlib/"):
                    raise unit.source.error(
                        f"Cannot import {item.path!r}: imports are not supported yet", item.start, item.end
                    )
                elif isinstance(item, ast.Function):
                    raise unit.source.error(
                        "functions (fn) are not supported", item.start, item.end, "a macro can do the same"
                    )
            except SpecError as error:
                errors.append(error)
        if any(name.startswith("BPFTRACE_") for name in os.environ):
            from .config import by_environment

            by_environment(unit)
        for item in self.tree.items:
            if isinstance(item, ast.MapDeclaration):
                self.declare(item)

    def declare(self, item: ast.MapDeclaration) -> None:
        """``let @a = hash(10)``."""
        unit = self.unit
        kinds = ("hash", "lruhash", "percpuhash", "percpulruhash", "percpuarray", "array")
        if item.kind not in kinds:
            unit.errors.append(
                unit.source.error(
                    f"Invalid bpf map type: {item.kind}",
                    item.start,
                    item.end,
                    f"one of {', '.join(kinds[:4])}",
                )
            )
            return
        if item.size < 1:
            unit.errors.append(
                unit.source.error(
                    f"Map declaration for @{item.name} needs at least one entry", item.start, item.end
                )
            )
        info = unit.map(item.name)
        info.entries, info.declared, info.place = item.size, item.kind, (item.start, item.end)

    def resolve(self) -> None:
        """The probes of every action."""
        unit = self.unit
        missing = unit.config.get("missing_probes", "error")
        total = 0
        for item in self.tree.items:
            if not isinstance(item, ast.Action):
                continue
            probes: list[ir.Probe] = []
            self.resolver.typed |= item.body is None  # a bare probe shows its arguments
            for point in item.probes:
                try:
                    probes += self.resolver.probes(point)
                except ProbeError as error:
                    wild = error.message.startswith("No matches") and "*" in point.text
                    if missing == "warn" or (wild and len(item.probes) > 1):
                        unit.warn(f"{error.message} Skipping.", point.start, point.end)
                    elif missing != "ignore":
                        unit.errors.append(error)
            if not probes and missing == "warn":
                unit.warn(REMOVED, item.start, item.end)
            self.actions.append((item, probes))
            total += len(probes)
            for probe in probes:
                unit.label_length = max(unit.label_length, len(probe.label) + 1)
        most = unit.setting("max_probes", 1024)
        if total > most:
            many = SpecError(
                f"Can't attach to {total} probes because it exceeds the current limit of {most} probes",
                remedy=f"raise it, if you mean it: config = {{ max_probes={total} }}",
                source=unit.source.text,
            )
            unit.errors.append(many)
        if not total and not unit.errors and missing == "error":
            unit.errors.append(unit.source.error("No probes to attach", 0, 1))

    def settle(self) -> tuple[ir.Clause, ...]:
        """Go through all bodies until no type changes; the clauses of the last time."""
        unit = self.unit
        kept, warnings = list(unit.errors), unit.warnings
        known = -1
        for _ in range(_ROUNDS):
            unit.changed = unit.waiting = False
            unit.errors[:] = kept
            unit.warnings = {**warnings}
            clauses = self.clauses()
            before, known = known, self.known()
            if not unit.changed and not (unit.waiting and known != before):
                break
        if unit.errors:
            certain = [one for one in unit.errors if not one.message.startswith("Could not resolve the type")]
            unit.errors[:] = certain or unit.errors
            unique = list({(error.message, error.span): error for error in unit.errors}.values())
            first, *others = unique
            first.others = tuple(others)
            first.warnings = tuple(unit.warnings.values())
            raise first
        return clauses

    def options(self) -> None:
        """Refuse a ``--name`` that no getopt() asks for; ``--help`` lists those that one does."""
        expected = self.unit.named_used
        unknown = sorted(f"--{name}" for name in self.unit.named if name not in expected)
        if not unknown:
            return
        wrong = SpecError(f"unexpected program command line options: {', '.join(unknown)}")
        wrong.remedy = "the program has no options"
        if "--help" in unknown and expected:
            wrong.remedy = "expected program options:"
            lines = (f"--{name}: {about}" if about else f"--{name}" for name, about in expected.items())
            wrong.notes = tuple(lines)
        elif expected:
            wrong.remedy = f"expected program options: {', '.join(f'--{name}' for name in expected)}"
        raise wrong

    def known(self) -> int:
        """How many types are known: a statement that waits needs another round only if that grew."""
        maps, slots = self.unit.maps.values(), self.unit.slots.values()
        return sum((info.value is not None) + (info.key is not None) for info in maps) + sum(
            slot.type is not None for slot in slots
        )

    def clauses(self) -> tuple[ir.Clause, ...]:
        """One clause a probe; probes of one shape share their body."""
        found: list[ir.Clause] = []
        for number, (item, probes) in enumerate(self.actions):
            bodies: dict[object, tuple[ir.Expr | None, tuple[ir.Stmt, ...]]] = {}
            span = self.unit.source.span(item.start, item.end)
            for probe in probes:
                shape: object = shape_of(probe)
                if self.by_place:
                    shape = shape, probe.scope, probe.address
                if shape not in bodies:
                    bodies[shape] = self.body(item, probe, (number, len(bodies)))
                predicate, body = bodies[shape]
                if item.body is None:
                    body = (shown(probe),)
                found.append(ir.Clause(len(found), probe, predicate, body, span))
        return tuple(found)

    def body(
        self, item: ast.Action, probe: ir.Probe, path: tuple[object, ...]
    ) -> tuple[ir.Expr | None, tuple[ir.Stmt, ...]]:
        """Predicate and statements at one shape of probe."""
        body = Body(self.unit, probe, path)
        predicate: ir.Expr | None = None
        made: tuple[ir.Stmt, ...] = ()
        if item.predicate is not None:
            try:
                with body.collected() as before:
                    predicate = body.condition(item.predicate)
                if before:
                    # the predicate does something: it becomes the body's first statement
                    then = body.block(item.body) if item.body is not None else (shown(probe),)
                    return None, (*before, ir.If(predicate, then))
            except NotYet as late:
                self.unit.errors.append(late.error)
            except SpecError as error:
                self.unit.errors.append(error)
        if item.body is not None:
            made = body.block(item.body)
        if isinstance(predicate, ir.Const):
            if predicate.value:
                predicate = None
            else:
                predicate = ir.Binary(predicate.type, "!=", ir.Site(UINT32, "pid"), ir.Site(UINT32, "pid"))
        return predicate, substituted(made)
