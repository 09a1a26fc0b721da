"""Saying what each backend would do with a program, and why one was chosen."""

from __future__ import annotations

from unitrace.contract.errors import UnitraceError
from unitrace.contract.ir import Act, Assign, Clause, MapSet, MapUpdate, Show, Stmt
from unitrace.contract.offer import Offer, Refusal, Share, conjuncts
from unitrace.contract.record import Record
from unitrace.plan.choose import Answers, NoBackend, Plan

__all__ = ["Explanation", "lines_of", "part_lines"]


class Explanation(Record):
    """What ``explain`` found. ``plan`` is None where no backend can; then ``error`` says why and
    ``answers`` holds what each backend said. ``str()`` renders it."""

    spec: str
    plan: Plan | None
    error: UnitraceError | None = None
    notices: tuple[str, ...] = ()

    @property
    def backend(self) -> str:
        """The chosen backends, "+"-joined; "" where there is none."""
        return "+".join(self.plan.backends) if self.plan else ""

    def __str__(self) -> str:
        return "\n".join(lines_of(self))


def lines_of(explanation: Explanation) -> list[str]:
    """The text of an explanation, as lines."""
    lines: list[str] = [f"note: {notice}" for notice in explanation.notices]
    if explanation.plan is not None:
        if not explanation.plan.parts:
            lines.append("user space alone: no probe of this program is in the kernel")
        for part in explanation.plan.parts:
            lines += part_lines(part.answers, part.offer)
    elif isinstance(explanation.error, NoBackend):
        lines += part_lines(explanation.error.answers, None)
    return lines


def part_lines(answers: Answers, chosen: Offer | None) -> list[str]:
    """One group of clauses: its probes, then a paragraph a backend, the chosen one first."""
    lines: list[str] = []
    if chosen is not None:
        lines += _probe_lines([share.clause for share in chosen.shares])
    ordered = sorted(answers, key=lambda one: one is not chosen and one != chosen)
    for answer in ordered:
        if isinstance(answer, Refusal):
            lines.append(f"  {answer.backend}: refuses: {answer.reason}")
            if answer.remedy:
                lines.append(f"    remedy: {answer.remedy}")
        else:
            lines += _offer_lines(answer, answer == chosen)
    return lines


def _probe_lines(clauses: list[Clause]) -> list[str]:
    labels = list(dict.fromkeys(clause.probe.label or clause.probe.written for clause in clauses))
    if len(labels) > 6:
        return [*labels[:5], f"... and {len(labels) - 5} more"]
    return labels


def _offer_lines(offer: Offer, chosen: bool) -> list[str]:
    word = "chosen" if chosen else "could"
    exact = "exact" if offer.exact else "inexact: " + "; ".join(offer.caveats)
    lines = [f"  {offer.backend}: {word}, {exact}, about {offer.event_ns} ns an event"]
    said = list(dict.fromkeys(_share_line(share) for share in offer.shares))
    return lines + [f"    {line}" for line in said[:6]]


def _share_line(share: Share) -> str:
    parts = [share.how]
    total, taken = len(conjuncts(share.clause.predicate)), len(conjuncts(share.accepted))
    if total:
        parts.append(f"predicate in the kernel: {'all' if taken == total else f'{taken} of {total} parts'}")
    if share.residual is None:
        parts.append("all of it in the kernel" if share.sends else "maps kept in the kernel")
        sent = [stmt for one in share.sends for stmt in one.clause.body]
        acts = dict.fromkeys(_verb(stmt) if isinstance(stmt, (Act, Show)) else "warnings" for stmt in sent)
        if acts:
            parts.append("user space: " + ", ".join(acts))
    else:
        names = [column.name for column in share.columns if column.name != "nsecs"]
        if names:
            parts.append("columns: " + ", ".join(names))
        parts.append("user space: " + (", ".join(_verbs(share.residual)) or "nothing"))
    return "; ".join(parts)


def _verbs(clause: Clause) -> list[str]:
    verbs = ["the rest of the predicate"] if clause.predicate is not None else []
    return verbs + list(dict.fromkeys(map(_verb, clause.body)))


def _verb(stmt: Stmt) -> str:
    if isinstance(stmt, Show):
        return "a line an event"
    if isinstance(stmt, Act):
        return stmt.name
    if isinstance(stmt, (MapUpdate, MapSet)):
        return stmt.map
    if isinstance(stmt, Assign):
        return "variables"
    return type(stmt).__name__.lower()
