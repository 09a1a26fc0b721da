"""System calls whose events need memory: probes in the place of their tracepoints.

perf can't follow a tracepoint's pointer, and an eprobe, which could, never fires for perf (eprobe_register()
has nothing to do at TRACE_REG_PERF_REGISTER, 5.15 to 7.3).

At a call's entry it is the call's own function (kernel.entries). At the exit a function's return won't do:
a call that seccomp refuses has a sys_exit, and never ran. But a tracepoint with two users calls them by a
function of its own, ``__traceiter_sys_exit`` (5.10, tracepoint_update_call(), kernel/tracepoint.c). So two
events that stay switched off are its users; its arguments are the caller's pt_regs and the result; and a
filter takes this call's events alone, not those of 32-bit programs, which the tracepoints of calls don't
show either (trace_get_syscall_nr()).
"""

from __future__ import annotations

from unitrace.contract.ir import Clause, Load, Site
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Share
from unitrace.contract.types import UINT32, UINT64
from unitrace.kernel import arch, current, fetchargs, formats, functions, syscalls
from unitrace.kernel.arguments import Arguments
from unitrace.kernel.entries import at_entry

from .columns import Unserved
from .events import by_event
from .plan import Plan, need

__all__ = ["by_call"]

ITERATOR = "__traceiter_sys_exit"

TS_COMPAT = 2
"""In thread_info.status: the task is in a 32-bit call (arch/x86/include/asm/thread_info.h)."""


def by_call(machine: Machine, clause: Clause, event: str) -> Share:
    """The share of a clause on ``syscalls:<event>``, by a kprobe. Raises Unserved, NotStreamable."""
    for name in ("perf.kprobe_events", "kprobes.armed"):
        need(machine.answer(name))
    made = _entry(machine, clause, event) if event.startswith("sys_enter_") else _exit(machine, clause, event)
    assert isinstance(made.plan, Plan)
    # its registers are the caller's: a system call's tracepoint has no kernel frames
    stacks = tuple(
        (column, (space, depth * (space == "user"))) for column, (space, depth) in made.plan.stacks
    )
    return made.replace(plan=made.plan.replace(stacks=stacks))


def _entry(machine: Machine, clause: Clause, event: str) -> Share:
    try:
        place = at_entry(machine, clause.probe, event)
    except fetchargs.Unfetchable as no:
        raise Unserved(no.reason, no.remedy) from None
    return by_event(machine, clause, [place], "p", f"tracefs event on {place[0]}")


def _exit(machine: Machine, clause: Clause, event: str) -> Share:
    architecture = arch.architecture(str(machine.fact("kernel.arch")))
    number = syscalls.number(architecture.name, event.removeprefix("sys_exit_"))
    if number is None:
        raise Unserved(f"the number of the call of {event} isn't known")
    if not functions.exists(machine, ITERATOR):
        raise Unserved(f"this kernel has no function {ITERATOR}", "a kernel from 5.10 on")
    regs, result = architecture.argument(1), architecture.argument(2)
    called = f"+{architecture.register_offset('orig_ax')}({regs})"

    def at_exit(site: Site) -> str | None:
        if site.name == "entry" and isinstance(site.key, int):
            return f"+{architecture.syscall_offset(site.key)}({regs})"
        if site.name == "args" and site.key == "ret":
            return result
        if site.name == "args" and site.key == "__syscall_nr":
            return called
        raise fetchargs.Unfetchable(f"{ITERATOR} gets no {site.key or site.name}")

    arguments = Arguments(machine, clause.probe, architecture, at_exit)
    held = tuple(
        formats.read_format(machine, *one).id for one in (("syscalls", event), ("raw_syscalls", "sys_exit"))
    )
    try:
        only = _of_call(machine, arguments, f"{called}:u64", number)
    except fetchargs.Unfetchable as no:
        raise Unserved(no.reason, no.remedy) from None
    made = by_event(machine, clause, [(ITERATOR, arguments)], "p", f"tracefs event on {ITERATOR}", only)
    assert isinstance(made.plan, Plan)
    return made.replace(plan=made.plan.replace(held=held))


def _of_call(machine: Machine, arguments: Arguments, called: str, number: int) -> str:
    """The filter for exits of call ``number``, by ``called``, but of 32-bit calls. Raises Unfetchable."""
    (name,) = arguments.plain(Site(UINT64, "number"), called, "int").names
    members = (("struct task_struct", "thread_info"), ("struct thread_info", "status"))
    offset = sum(current.member_offset(machine, *member) for member in members)
    status = arguments.value(Load(UINT32, Site(UINT64, "curtask"), offset, "kernel"))
    native = (f"(CPU == {cpu} && !({one} & {TS_COMPAT}))" for cpu, one in zip(status.cpus, status.names))
    return f"({name} == {number}) && ({' || '.join(native)})"
