"""What a Share's plan notes: how one clause's event is opened and read; and what all ways have in common."""

from __future__ import annotations

from collections.abc import Callable

from unitrace.contract.ir import Clause, Expr, Site
from unitrace.contract.machine import Answer, Machine
from unitrace.contract.model import Column, Place
from unitrace.contract.offer import conjuncts
from unitrace.contract.record import Record
from unitrace.kernel import filters

from . import syscall
from .columns import Unserved

__all__ = ["Plan", "need", "pushed", "tracked"]


class Plan(Record):
    """How one clause's event is opened, and read: this backend's notes in a Share.

    ``way``: "tracepoint", "pmu" or "dynamic". ``type``, ``config``, ``target``, ``offset``, ``regs``: of
    perf_event_attr (``target``: the function or path of a PMU probe). ``kind``, ``place``, ``fetch``
    (field to fetch argument), ``fields`` (column to field), ``cut`` (column to the most bytes of its
    string): of a tracefs event, whose layout is known when it is made. ``layout``: column to Place,
    else; ``raw_size``: what that counts on, 0: nothing. ``filter``: as text. ``comm``, ``tgid``:
    whether those columns are asked for.
    """

    way: str
    type: int = syscall.TYPE_TRACEPOINT
    config: int = 0
    target: str = ""
    offset: int = 0
    regs: int = 0
    kind: str = ""
    place: str = ""
    fetch: tuple[tuple[str, str], ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    cut: tuple[tuple[str, int], ...] = ()
    layout: tuple[tuple[str, Place], ...] = ()
    raw_size: int = 0
    filter: str = ""
    comm: bool = False
    tgid: bool = False


def need(answer: Answer) -> None:
    if not answer:
        raise Unserved(answer.reason, answer.remedy)


def tracked(machine: Machine, columns: tuple[Column, ...]) -> tuple[bool, bool]:
    """Whether comm and pid are asked for; they are another's in a container."""
    names = {column.value.name for column in columns if isinstance(column.value, Site)}
    comm, tgid = "comm" in names, "pid" in names
    if comm or tgid:
        need(machine.answer("perf.initial_pid_namespace"))
    return comm, tgid


def pushed(clause: Clause, naming: filters.Naming) -> tuple[Callable[[Expr], bool], str]:
    """Which conjuncts of the predicate the kernel's filter decides, and that filter."""
    texts: dict[Expr, str] = {}
    room = filters.FILTER_MAX
    for part in conjuncts(clause.predicate):
        text = filters.filter_text(part, naming)
        if text is not None and part not in texts and len(text) + 6 <= room:
            texts[part] = text
            room -= len(text) + 6
    whole = " && ".join(f"({text})" for text in texts.values()) if len(texts) > 1 else "".join(texts.values())
    return texts.__contains__, whole
