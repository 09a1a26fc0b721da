"""What can be read where a probe fires: the names of ir.Site, with their meaning to the bit."""

from __future__ import annotations

from .record import Record
from .types import COMM, INT64, UINT32, UINT64, Type

__all__ = ["SITES", "SiteValue"]


class SiteValue(Record):
    """``type`` where it is always the same (None: it depends on the probe). ``constant``: known when
    the program is planned, so the engine supplies it and no backend is asked."""

    name: str
    text: str
    type: Type | None = None
    constant: bool = False


_ALL = (
    SiteValue("pid", "process id (tgid) of the current task, initial PID namespace", UINT32),
    SiteValue("tid", "thread id of the current task, initial PID namespace", UINT32),
    SiteValue("comm", "name of the current task (task_struct.comm)", COMM),
    SiteValue("cpu", "number of the CPU the probe fires on", UINT32),
    SiteValue("nsecs", "CLOCK_MONOTONIC, ns; every batch carries it", UINT64),
    SiteValue("boot", "CLOCK_BOOTTIME, ns", UINT64),
    SiteValue("uid", "real user id, initial user namespace", UINT32),
    SiteValue("gid", "real group id, initial user namespace", UINT32),
    SiteValue("cgroup", "id of the task's cgroup v2", UINT64),
    SiteValue("curtask", "address of the current task_struct", UINT64),
    SiteValue("numaid", "NUMA node of the CPU", UINT32),
    SiteValue("random", "a random number", UINT32),
    SiteValue("jiffies", "the kernel's jiffies_64", UINT64),
    SiteValue("arg", "argument number key of a function, as a register holds it", INT64),
    SiteValue("sarg", "argument on the stack, number key", INT64),
    SiteValue(
        "entry", "argument number key that the call had which ends here, if it wasn't changed since", UINT64
    ),
    SiteValue("args", "named argument key: Probe.fields says its type"),
    SiteValue("retval", "return value, as the register holds it", INT64),
    SiteValue("register", "register key of the traced context", UINT64),
    SiteValue("func", "address of the traced function; prints as its name"),
    SiteValue("ctx", "address of the probe's context", UINT64),
    SiteValue("kstack", "kernel call stack"),
    SiteValue("ustack", "user call stack"),
    SiteValue("usermode", "1 where the event came from user mode", UINT32),
    SiteValue("sent", "value number key of a record that a clause sends which runs whole (offer.Sent)"),
    SiteValue("probe", "full name of the probe", constant=True),
    SiteValue("name", "function or event of the probe", constant=True),
)

SITES = {one.name: one for one in _ALL}
