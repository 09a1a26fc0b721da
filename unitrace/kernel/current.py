"""The current task, for probe events: found by each CPU's own pointer to it.

A fetch argument can't say "this CPU's" variable, but it can name each CPU's: ``__per_cpu_offset[N]`` is
where CPU N's variables are, and ``current_task`` (or ``pcpu_hot``, 6.2 to 6.14, of which it is the first
member) is among them. So a value of the current task is fetched once for every CPU, and the one that
counts is known from the record's own CPU. x86-64 alone: arm64 keeps it in a register that no probe sees.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator

from unitrace.contract.ir import Expr, Load, Site
from unitrace.contract.machine import Answer, Machine, fact
from unitrace.contract.offer import walk
from unitrace.contract.types import UINT32, UINT64, Pointer, Struct, Type

from .arch import Architecture
from .fetchargs import Unfetchable

__all__ = ["CPUS_MAX", "OF_TASK", "call_argument", "expanded", "member_offset", "pointer", "reads"]

CPUS_MAX = 16
"""CPUs up to which a value is worth fetching once for each: an event has 128 arguments at most."""

OF_TASK = frozenset({"curtask", "uid", "gid", "cgroup"})
"""Sites that are read through the current task."""

_PATHS = {
    # current_uid_gid() looks at the subjective credentials (include/linux/cred.h)
    "uid": (("struct task_struct", "cred"), ("struct cred", "uid")),
    "gid": (("struct task_struct", "cred"), ("struct cred", "gid")),
    # task_dfl_cgroup(), cgroup_id(): include/linux/cgroup.h
    "cgroup": (
        ("struct task_struct", "cgroups"),
        ("struct css_set", "dfl_cgrp"),
        ("struct cgroup", "kn"),
        ("struct kernfs_node", "id"),
    ),
}


def _variables(machine: Machine, *names: str) -> dict[str, int] | Answer:
    """Where each CPU's variables ``names`` are among them, by kallsyms; those that there are."""
    if machine.fact("kernel.arch") != "x86_64":
        return Answer(errno.ENOENT, "only x86-64 keeps a pointer to the current task in memory")
    try:
        with open("/proc/kallsyms", "rb") as file:
            text = file.read()
    except OSError as error:
        return Answer(error.errno or errno.EIO, f"/proc/kallsyms: {error.strerror}")
    found: dict[str, int] = {}
    for name in (*names, "__per_cpu_offset"):
        at = text.find(b" %s\n" % name.encode())
        if at >= 0:
            line = text[text.rfind(b"\n", 0, at) + 1 : at]
            value = int(line.split()[0], 16)
            found[name] = value - (1 << 64) if value >> 63 else value
    base = found.pop("__per_cpu_offset", None)
    if base is None or not found:
        return Answer(errno.ENOENT, "kallsyms lists no variables (CONFIG_KALLSYMS_ALL is off)")
    if not base:
        return Answer(errno.EACCES, "kallsyms hides addresses (kernel.kptr_restrict)")
    return found


@fact("kernel.current_task", "offset of each CPU's pointer to the current task among its variables")
def _current_task(machine: Machine) -> int | Answer:
    found = _variables(machine, "current_task", "pcpu_hot")
    return found if isinstance(found, Answer) else found.get("current_task", found.get("pcpu_hot", 0))


@fact("kernel.top_of_stack", "offset of each CPU's pointer to the end of the current task's kernel stack")
def _top_of_stack(machine: Machine) -> int | Answer:
    found = _variables(machine, "cpu_current_top_of_stack", "pcpu_hot")
    if isinstance(found, Answer):
        return found
    if "cpu_current_top_of_stack" in found:
        return found["cpu_current_top_of_stack"]
    try:
        return found["pcpu_hot"] + member_offset(machine, "struct pcpu_hot", "top_of_stack")
    except Unfetchable as error:
        return Answer(errno.ENOENT, error.reason)


def pointer(machine: Machine, cpu: int) -> str:
    """The task that CPU ``cpu`` runs, as a fetch argument of a kernel event. Raises Unfetchable."""
    return _variable(machine, "kernel.current_task", cpu, "the current task")


def call_argument(machine: Machine, arch: Architecture, cpu: int, number: int) -> str:
    """Argument ``number`` of the system call that CPU ``cpu``'s task is in, as a fetch argument of a kernel
    event: the caller's struct pt_regs is where the task's kernel stack begins (task_pt_regs(), arch/x86/
    include/asm/processor.h). Raises Unfetchable."""
    top = _variable(machine, "kernel.top_of_stack", cpu, "the call's arguments")
    return f"{arch.syscall_offset(number) - 8 * len(arch.offsets):+d}({top})"


def _variable(machine: Machine, name: str, cpu: int, what: str) -> str:
    """The variable of CPU ``cpu`` that the fact ``name`` tells the place of."""
    offset = machine.fact(name)
    if not isinstance(offset, int):
        raise Unfetchable(f"{what} can't be had: {offset.reason}", offset.remedy)
    if not -(1 << 31) <= offset < 1 << 31:
        raise Unfetchable(f"{what} can't be had: its place is too far for a probe event")
    return f"{offset:+d}(@__per_cpu_offset+{8 * cpu})"


def reads(expr: Expr, sites: Collection[str] = OF_TASK) -> bool:
    """Whether a value depends on one of ``sites``."""
    return any(isinstance(one, Site) and one.name in sites for one in walk(expr))


def expanded(machine: Machine, site: Site) -> Expr:
    """``uid``, ``gid`` or ``cgroup`` as memory of the current task, by BTF. Raises Unfetchable."""
    made: Expr = Site(UINT64, "curtask")
    path = _PATHS[site.name]
    for (struct, member), last in zip(path, _ends(len(path))):
        at = member_offset(machine, struct, member)
        of: Type = (UINT64 if site.name == "cgroup" else UINT32) if last else Pointer(Struct(struct, 0))
        made = Load(of, made, at, "kernel")
    return made


def _ends(count: int) -> Iterator[bool]:
    for number in range(count):
        yield number == count - 1


def member_offset(machine: Machine, struct: str, member: str) -> int:
    """Where ``member`` is in a struct of the kernel's, by BTF. Raises Unfetchable."""
    from . import btf

    found = btf.struct(machine, struct)
    one = next((one for one in found.members if one.name == member), None) if found else None
    if one is None:
        answer = btf.unread(machine)
        reason = answer.reason or "the kernel's BTF hasn't it"
        raise Unfetchable(f"{struct}.{member} isn't known: {reason}", answer.remedy)
    return one.offset
