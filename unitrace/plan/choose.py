"""Choosing: the backends are asked for their offers, the likeliest first; the best exact one is taken.

The whole program is asked for first, as one group: one backend for all is the cheapest and gives
one order of events. Only where none takes it all are the groups that share no map asked
for one by one, and may end on different backends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from unitrace.contract.backend import Backend
from unitrace.contract.errors import BackendError
from unitrace.contract.ir import Clause, Program
from unitrace.contract.machine import Machine
from unitrace.contract.offer import NotStreamable, Offer, Options, Refusal, Request
from unitrace.contract.record import Record
from unitrace.plan.groups import by_engine, components, keepable, maps_used, resident
from unitrace.plan.show import plain, texts
from unitrace.plan.witness import witnessed

__all__ = ["Answers", "NoBackend", "Part", "Plan", "ask", "choose", "request"]

Answers = tuple[Offer | Refusal, ...]


class NoBackend(BackendError):
    """No backend can run a group of clauses; ``answers``: what each said."""

    answers: Answers = ()


class Part(Record):
    """One group of clauses: the ``offer`` taken, and what every backend ``answers``-ed."""

    offer: Offer
    answers: Answers


class Plan(Record):
    """How a program will run. ``program``: as planned (a Show may have become plain); ``notices``:
    lines that the user must see."""

    program: Program
    parts: tuple[Part, ...]
    notices: tuple[str, ...] = ()

    @property
    def backends(self) -> tuple[str, ...]:
        """The names of the chosen backends, in the order of the program."""
        return tuple(dict.fromkeys(part.offer.backend for part in self.parts))


def choose(
    program: Program,
    backends: Mapping[str, Backend],
    machine: Machine,
    options: Options,
    ask_all: bool = False,
) -> Plan:
    """The plan for ``program`` on the given backends (one only where the user forced it).

    Once an exact offer costs no more than any backend not yet asked could, those aren't asked: a
    survey takes 10 ms and can't change the choice. ``ask_all`` asks them too, to explain.

    Raises NoBackend with every backend's reason where a clause can't run anywhere.
    """
    kernel_side = tuple(clause for clause in program.clauses if not by_engine(clause))
    if not kernel_side:
        return Plan(program, ())
    parts, refused = _parts(program, kernel_side, backends, machine, options, ask_all)
    if not refused:
        return Plan(program, parts, _passed_over(parts, backends))
    simpler = plain(program)
    if simpler != program:
        kernel_side = tuple(clause for clause in simpler.clauses if not by_engine(clause))
        parts, still = _parts(simpler, kernel_side, backends, machine, options, ask_all)
        if not still:
            reason = next((one.reason for one in refused if isinstance(one, Refusal)), "")
            names = ", ".join(texts(program))
            said = f"{names}: shown as an address, not as a string ({reason})"
            return Plan(simpler, parts, (*_passed_over(parts, backends), said))
        refused = still
    raise _nobody(refused, program)


def ask(request: Request, backends: Iterable[Backend], machine: Machine, ask_all: bool) -> Answers:
    """What each backend says to ``request``, as long as it can matter. A backend that fails is a
    refusal too."""
    answers: list[Offer | Refusal] = []
    for backend in sorted(backends, key=lambda one: one.cost):
        found = best(tuple(answers), Options())
        if found is not None and found.cost <= backend.cost and not ask_all:
            break
        answers.append(_answer(backend, machine, request))
    return tuple(answers)


def _answer(backend: Backend, machine: Machine, request: Request) -> Offer | Refusal:
    """What one backend says; where it can't read memory through a map's value, perhaps by witness."""
    try:
        answer: Offer | Refusal = backend.offer(machine, request)
    except NotStreamable as error:
        answer = Refusal(backend.name, str(error))
    except BackendError as error:
        answer = Refusal(backend.name, error.message, error.remedy)
    if isinstance(answer, Offer) or NotStreamable.REASON not in answer.reason:
        return answer
    by_witness = witnessed(request)
    if by_witness is None:
        return answer
    other = _answer(backend, machine, by_witness)
    if isinstance(other, Offer):
        return other
    return answer.replace(reason=f"{answer.reason}; {other.reason}", remedy=other.remedy)


def best(answers: Answers, options: Options) -> Offer | None:
    """The offer to take: exact before approximate (which must be allowed), then the least cost."""
    usable = [one for one in answers if isinstance(one, Offer) and (one.exact or options.approximate)]
    return min(usable, key=lambda one: (not one.exact, one.cost), default=None)


def _parts(
    program: Program,
    clauses: tuple[Clause, ...],
    backends: Mapping[str, Backend],
    machine: Machine,
    options: Options,
    ask_all: bool,
) -> tuple[tuple[Part, ...], Answers]:
    """The parts, and () or the answers to the first group that nobody takes."""
    whole = ask(request(program, clauses, options), backends.values(), machine, ask_all)
    offer = best(whole, options)
    if offer is not None:
        return (Part(offer, whole),), ()
    groups = components(clauses)
    if len(groups) == 1:
        return (), whole
    chosen: dict[str, list[Clause]] = {}
    for group in groups:
        answers = ask(request(program, group, options), backends.values(), machine, ask_all)
        offer = best(answers, options)
        if offer is None:
            return (), answers
        chosen.setdefault(offer.backend, []).extend(group)
    parts = []
    for number, (name, members) in enumerate(chosen.items()):
        ordered = tuple(sorted(members, key=lambda clause: clause.ordinal))
        wanted = request(program, ordered, options)
        wanted = wanted.replace(spare=wanted.spare << number)
        answers = ask(wanted, backends.values(), machine, ask_all)
        offer = best(ask(wanted, [backends[name]], machine, ask_all), options)
        if offer is None:
            return (), answers
        parts.append(Part(offer, answers))
    return tuple(parts), ()


def request(program: Program, clauses: tuple[Clause, ...], options: Options) -> Request:
    """The request for ``clauses`` of ``program``, as backends are asked it."""
    used = frozenset().union(*map(maps_used, clauses))
    maps = tuple(decl for decl in program.maps if decl.name in used)
    return Request(clauses, maps, keepable(program) & used, options, program.source, resident(program) & used)


def _passed_over(parts: tuple[Part, ...], backends: Mapping[str, Backend]) -> tuple[str, ...]:
    """A line for each backend that would have cost less than the chosen one, but refused: nobody shall
    run for months on the weaker backend without knowing."""
    lines = [
        f"by {part.offer.backend}, as {answer.backend} can't here: {answer.reason}"
        for part in parts
        for answer in part.answers
        if isinstance(answer, Refusal) and backends[answer.backend].cost < part.offer.cost
    ]
    return tuple(dict.fromkeys(lines))


def _nobody(answers: Answers, program: Program) -> NoBackend:
    refusals = [one for one in answers if isinstance(one, Refusal)]
    inexact = [one for one in answers if isinstance(one, Offer)]
    notes = [f"{one.backend}: {one.reason}{_then(one.remedy)}" for one in refusals]
    notes += [f"{one.backend}: inexact: {'; '.join(one.caveats)} (--approx allows it)" for one in inexact]
    clause = next((one.clause for one in refusals if one.clause is not None), None)
    span = clause.probe.span if clause is not None else None
    if len(answers) == 1 and refusals:
        only = refusals[0]
        text, remedy, notes = f"{only.backend} can't run this: {only.reason}", only.remedy, []
    else:
        text, remedy = "no backend can run this here", ""
    error = NoBackend(text, remedy=remedy, span=span, notes=tuple(notes), source=program.source)
    error.answers = answers
    return error


def _then(remedy: str) -> str:
    return f" ({remedy})" if remedy else ""
