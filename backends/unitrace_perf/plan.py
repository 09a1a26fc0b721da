"""What a Share's plan notes: how one clause's event is opened and read; and what all ways have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unitrace.contract.ir import Clause, Expr, Site
from unitrace.contract.machine import Answer, Machine
from unitrace.contract.model import Column, Place
from unitrace.contract.offer import conjuncts
from unitrace.contract.record import Record
from unitrace.contract.types import Stack, Symbol
from unitrace.kernel import filters
from unitrace.kernel.arguments import Value

from . import syscall
from .columns import Unserved

if TYPE_CHECKING:
    from unitrace.kernel.perf_events import Sampled

__all__ = ["Plan", "constants_of", "need", "pushed", "stacks_of", "tracked", "user_address"]


class Plan(Record):
    """How one clause's event is opened, and read: this backend's notes in a Share.

    ``way``: "tracepoint", "pmu", "dynamic" or "sampled". ``type``, ``config``, ``target``, ``offset``,
    ``regs``, ``period`` (``hertz``: so many a second), ``breakpoint``: of perf_event_attr (``target``: the
    function or path of a PMU probe). ``kind``, ``places``, ``fetch`` (for each place, field to fetch
    argument), ``values`` (column to where it is): of a tracefs event, whose layout is known when it is
    made. ``layout``: column to Place, else; ``raw_size``: what that counts on, 0: nothing. ``pairs``:
    columns of user addresses, to the event's field. ``constants``: columns that are the same in every
    sample. ``stacks``: column to ("kernel" or "user", depth). ``usermode``: whether that is asked for.
    ``filter``: as text. ``comm``, ``tgid``: whether those columns are asked for. ``pid``: only this
    process's events (0: all). ``counted``: the map that the event is, in counting mode (counted.py).
    ``held``: ids of tracepoints that must have a user, though nothing is read of them (calls.py). ``clock``:
    the timer's event that a probe looks at, whose id is in field ``clock_id`` (clocked.py).
    """

    way: str
    type: int = syscall.TYPE_TRACEPOINT
    config: int = 0
    target: str = ""
    offset: int = 0
    regs: int = 0
    period: int = 1
    hertz: bool = False
    breakpoint: int = 0
    kind: str = ""
    places: tuple[str, ...] = ()
    fetch: tuple[tuple[tuple[str, str], ...], ...] = ()
    values: tuple[tuple[str, Value], ...] = ()
    layout: tuple[tuple[str, Place], ...] = ()
    raw_size: int = 0
    pairs: tuple[tuple[str, str], ...] = ()
    constants: tuple[tuple[str, int], ...] = ()
    stacks: tuple[tuple[str, tuple[str, int]], ...] = ()
    usermode: bool = False
    filter: str = ""
    comm: bool = False
    tgid: bool = False
    pid: int = 0
    counted: str = ""
    held: tuple[int, ...] = ()
    clock: Sampled | None = None
    clock_id: str = ""


def stacks_of(columns: tuple[Column, ...]) -> tuple[tuple[str, tuple[str, int]], ...]:
    """The call stacks among the columns: which, and how deep."""
    return tuple(
        (column.name, (column.type.space, column.type.depth))
        for column in columns
        if isinstance(column.type, Stack) and isinstance(column.value, Site)
    )


def constants_of(
    machine: Machine, clause: Clause, columns: tuple[Column, ...]
) -> tuple[tuple[str, int], ...]:
    """The address of the probed kernel function, where it is asked for. Raises Unserved."""
    from unitrace.kernel.functions import address

    found = []
    for column in columns:
        if isinstance(column.value, Site) and column.value.name == "func" and not user_address(column):
            # not the record's own address: with IBT the probe stands behind the function's first instruction
            at = 0 if clause.probe.offset else address(machine, clause.probe.name, clause.probe.scope)
            if not at:
                raise Unserved(f"the address of {clause.probe.name} isn't known", "use --backend ebpf")
            found.append((column.name, at))
    return tuple(found)


def user_address(column: Column) -> bool:
    """Whether the column's values are addresses in a process."""
    return isinstance(column.type, Symbol) and column.type.space == "user"


def need(answer: Answer) -> None:
    if not answer:
        raise Unserved(answer.reason, answer.remedy)


def tracked(machine: Machine, columns: tuple[Column, ...]) -> tuple[bool, bool]:
    """Whether comm and pid are asked for; they are another's in a container."""
    names = {column.value.name for column in columns if isinstance(column.value, Site)}
    processes = any(map(user_address, columns)) or any(
        isinstance(one.type, Stack) and one.type.space == "user" for one in columns
    )
    comm, tgid = "comm" in names, "pid" in names or processes
    if comm or tgid:
        need(machine.answer("perf.initial_pid_namespace"))
    return comm, tgid


def pushed(clause: Clause, naming: filters.Naming) -> tuple[Callable[[Expr], bool], str]:
    """Which conjuncts of the predicate the kernel's filter decides, and that filter."""
    parts, text = filters.filtered(conjuncts(clause.predicate), naming)
    return parts.__contains__, text
