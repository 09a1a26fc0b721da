"""System calls by their entry functions, where their tracepoints' pointers can't be followed.

The function gets the call's arguments in the caller's struct pt_regs, right after the tracepoint, whenever
the tracepoint fires: ``__x64_sys_openat`` for ``syscalls:sys_enter_openat``, both made by SYSCALL_DEFINE.
"""

from __future__ import annotations

from unitrace.contract.ir import Probe, Site
from unitrace.contract.machine import Machine

from . import arch, functions
from .arguments import Arguments
from .fetchargs import Unfetchable

__all__ = ["at_entry"]


def at_entry(machine: Machine, probe: Probe, event: str) -> tuple[str, Arguments]:
    """The entry function of the call of ``event`` ("sys_enter_openat"), and the arguments of ``probe`` (its
    tracepoint) in terms of it. Raises Unfetchable."""
    architecture = arch.architecture(str(machine.fact("kernel.arch")))
    function = architecture.syscall_prefix + event.removeprefix("sys_enter_")
    if not functions.exists(machine, function):
        raise Unfetchable(f"this kernel has no function {function}")
    names = [field.name for field in probe.fields if field.name != "__syscall_nr"]
    regs = architecture.argument(0)

    def from_regs(site: Site) -> str | None:
        if site.name != "args" or site.key not in names:
            raise Unfetchable(f"{function} gets no {site.key or site.name}")
        return f"+{architecture.syscall_offset(names.index(str(site.key)))}({regs})"

    return function, Arguments(machine, probe, architecture, from_regs)
