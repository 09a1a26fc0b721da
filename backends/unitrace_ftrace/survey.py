"""What the machine gives of ftrace, found out by trying.

Each fact is an Answer: why it is missing, and the remedy.
"""

from __future__ import annotations

import errno
import os

from unitrace.contract.backend import Support
from unitrace.contract.machine import Answer, Machine, fact
from unitrace.kernel import survey as _general
from unitrace.kernel import tracefs
from unitrace.kernel.guard import mark

__all__ = ["STREAM", "first_missing", "in_tracefs", "supports"]

assert _general  # registers the facts that are not ftrace's own


def _open(path: str, flags: int, missing: Answer) -> Answer:
    """Whether ``path`` can be opened; ``missing`` where it isn't there."""
    try:
        os.close(os.open(path, flags | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return missing
        code = error.errno or errno.EIO
        remedy = "run as root" if code in (errno.EACCES, errno.EPERM) else ""
        return Answer(code, f"{path}: {os.strerror(code)}", remedy)
    return Answer()


def in_tracefs(
    machine: Machine, name: str, reason: str, remedy: str = "", flags: int = os.O_RDONLY
) -> Answer:
    """Whether the file ``name`` of tracefs can be opened; ``reason`` where it isn't there."""
    answer = machine.answer("tracefs")
    if not answer:
        return answer
    return _open(f"{tracefs.root(machine)}/{name}", flags, Answer(errno.ENOENT, reason, remedy))


@fact("ftrace.instances", "whether an instance of our own can be made in tracefs")
def _instances(machine: Machine) -> Answer:
    answer = machine.answer("tracefs")
    if not answer:
        return answer
    folder = f"{tracefs.root(machine)}/instances"
    if not os.path.isdir(folder):
        return Answer(errno.ENOENT, "this kernel's tracefs has no instances", "a kernel from 3.10 on")
    if not os.access(folder, os.W_OK):
        return Answer(errno.EACCES, f"no permission to make an instance in {folder}", "run as root")
    return Answer()


@fact("ftrace.kprobe_events", "whether kprobes can be made through tracefs")
def _kprobe_events(machine: Machine) -> Answer:
    reason = "this kernel has no kprobe_events (CONFIG_KPROBE_EVENTS is off)"
    return in_tracefs(
        machine, "kprobe_events", reason, "a kernel with CONFIG_KPROBE_EVENTS", os.O_WRONLY | os.O_APPEND
    )


@fact("ftrace.uprobe_events", "whether uprobes can be made through tracefs")
def _uprobe_events(machine: Machine) -> Answer:
    reason = "this kernel has no uprobe_events (CONFIG_UPROBE_EVENTS is off)"
    return in_tracefs(
        machine, "uprobe_events", reason, "a kernel with CONFIG_UPROBE_EVENTS", os.O_WRONLY | os.O_APPEND
    )


@fact("ftrace.eprobes", "whether a tracepoint's pointers can be followed (eprobes, 5.15)")
def _eprobes(machine: Machine) -> Answer:
    answer = machine.answer("tracefs")
    if not answer:
        return answer
    missing = Answer(
        errno.ENOENT,
        "this kernel has no eprobes",
        "a kernel from 5.15 on with CONFIG_PROBE_EVENTS and CONFIG_KPROBE_EVENTS",
    )
    # README lists them by another #ifdef than they are built by. A probe on an event that isn't there is
    # refused with ENODEV by those that have them, with EINVAL by all others.
    try:
        tracefs.write(
            f"{tracefs.root(machine)}/dynamic_events", f"e:{mark()}_try/none none.none", append=True
        )
    except OSError as error:
        if error.errno == errno.ENODEV:
            return Answer()
        if error.errno in (errno.EACCES, errno.EPERM):
            return Answer(error.errno, f"dynamic_events: {os.strerror(error.errno)}", "run as root")
    return missing


@fact("ftrace.fprobe_events", "whether functions can be probed without kprobes (fprobe events, 6.5)")
def _fprobe_events(machine: Machine) -> Answer:
    answer = in_tracefs(
        machine, "dynamic_events", "this kernel has no dynamic events", "", os.O_WRONLY | os.O_APPEND
    )
    if not answer:
        return answer
    try:
        readme = machine.read(f"{tracefs.root(machine)}/README")
    except OSError as error:
        return Answer(error.errno or errno.EIO, f"README: {error.strerror}")
    if " f[:" not in readme and "\tf[:" not in readme:
        return Answer(errno.ENOENT, "this kernel has no fprobe events", "a kernel from 6.5 on")
    return Answer()


@fact("ftrace.filters", "whether the kernel filters events")
def _filters(machine: Machine) -> Answer:
    return in_tracefs(
        machine,
        "events/task/task_newtask/filter",
        "events have no filters",
        "a kernel with CONFIG_EVENT_TRACING",
        os.O_WRONLY,
    )


@fact("ftrace.raw_pages", "whether the ring buffer's pages can be read as they are (trace_pipe_raw)")
def _raw_pages(machine: Machine) -> Answer:
    return in_tracefs(
        machine,
        "per_cpu/cpu0/trace_pipe_raw",
        "this kernel's ring buffer has no raw pages",
        "a kernel with CONFIG_TRACING",
        os.O_RDONLY | os.O_NONBLOCK,
    )


@fact("ftrace.clock_mono", "whether events can be stamped with CLOCK_MONOTONIC (4.1 at the latest)")
def _clock_mono(machine: Machine) -> Answer:
    answer = machine.answer("tracefs")
    if not answer:
        return answer
    try:
        clocks = machine.read(f"{tracefs.root(machine)}/trace_clock").replace("[", " ").replace("]", " ")
    except OSError as error:
        return Answer(error.errno or errno.EIO, f"trace_clock can't be read: {error.strerror}")
    if "mono" not in clocks.split():
        return Answer(errno.EINVAL, "this kernel has no trace clock mono", "a kernel from 4.1 on")
    return Answer()


@fact("ftrace.task_events", "whether forks and renames of tasks can be followed (for comm and pid)")
def _task_events(machine: Machine) -> Answer:
    for name in ("task_newtask", "task_rename"):
        answer = in_tracefs(
            machine,
            f"events/task/{name}/enable",
            f"this kernel has no tracepoint task:{name}",
            "a kernel from 3.4 on with CONFIG_EVENT_TRACING",
            os.O_WRONLY,
        )
        if not answer:
            return answer
    return Answer()


STREAM = ("tracefs", "ftrace.instances", "ftrace.raw_pages", "ftrace.clock_mono")
"""What every run needs."""


def first_missing(machine: Machine, facts: tuple[str, ...]) -> Answer:
    """The first of ``facts`` that doesn't hold; a good Answer where all do."""
    for name in facts:
        answer = machine.answer(name)
        if not answer:
            return answer
    return Answer()


def supports(machine: Machine) -> list[Support]:
    """The lines of ``unitrace backends``."""
    from unitrace.kernel import timers  # noqa: F401 (registers its fact)

    from . import hists  # noqa: F401 (registers its facts)

    stream = first_missing(machine, STREAM)

    def line(thing: str, how: str, *facts: str) -> Support:
        answer = first_missing(machine, facts) if stream else stream
        return Support(thing, answer, how)

    kprobes: tuple[str, ...] = ("ftrace.kprobe_events", "kprobes.armed")
    if not first_missing(machine, kprobes) and machine.answer("ftrace.fprobe_events"):
        kprobes = ("ftrace.fprobe_events",)
    return [
        line("tracepoint", "events in an instance"),
        line("syscall", "syscalls tracepoints"),
        line("kprobe", "kprobe events, else fprobe events", *kprobes),
        line("kretprobe", "kprobe events, else fprobe events", *kprobes),
        line("fentry", "kprobe events, else fprobe events", *kprobes),
        line("fexit", "kprobe events, else fprobe events", *kprobes),
        line("uprobe", "uprobe events", "ftrace.uprobe_events"),
        line("uretprobe", "uprobe events", "ftrace.uprobe_events"),
        line("usdt", "uprobe events at the file's notes", "ftrace.uprobe_events"),
        line("profile", "kprobe events where perf's timers fire", "ftrace.kprobe_events", "kernel.timers"),
        line("filter", "event filters", "ftrace.filters"),
        line("columns", "fetch arguments of probe events", "ftrace.uprobe_events"),
        line("strings of tracepoints", "eprobes", "ftrace.eprobes"),
        line("maps in the kernel", "hist triggers, where exact", "ftrace.hist"),
        line("comm and pid", "task_newtask and task_rename followed", "ftrace.task_events"),
    ]
