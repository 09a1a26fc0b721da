"""The probe types, described once: parser, list, planner and documentation read this table."""

from __future__ import annotations

from .record import Record

__all__ = ["BY_NAME", "EVENTS", "PROBE_TYPES", "ProbeType"]


class ProbeType(Record):
    """``syntax``: its target as users write it. ``by``: "kernel" (a backend attaches it) or "engine"
    (user space fires it). ``short``: other spellings. ``returns``: fires at return (retval)."""

    name: str
    syntax: str
    text: str
    short: tuple[str, ...] = ()
    by: str = "kernel"
    returns: bool = False


PROBE_TYPES = (
    ProbeType("tracepoint", "tracepoint:CATEGORY:EVENT", "static kernel tracepoint", ("t",)),
    ProbeType("rawtracepoint", "rawtracepoint:[MODULE:]EVENT", "raw tracepoint", ("rt",)),
    ProbeType("syscall", "syscall:NAME", "entry of a system call", ("sc",)),
    ProbeType("kprobe", "kprobe:[MODULE:]FUNCTION[+OFFSET]", "kernel function's entry", ("k",)),
    ProbeType("kretprobe", "kretprobe:[MODULE:]FUNCTION", "its return", ("kr",), returns=True),
    ProbeType("fentry", "fentry:[MODULE:]FUNCTION", "kernel function's entry, by BTF", ("f", "kfunc")),
    ProbeType("fexit", "fexit:[MODULE:]FUNCTION", "its return", ("fr", "kretfunc"), returns=True),
    ProbeType("uprobe", "uprobe:FILE:SYMBOL[+OFFSET]", "user function's entry", ("u",)),
    ProbeType("uretprobe", "uretprobe:FILE:SYMBOL", "its return", ("ur",), returns=True),
    ProbeType("usdt", "usdt:FILE:[PROVIDER:]NAME", "user static tracepoint", ("U",)),
    ProbeType("software", "software:EVENT:COUNT", "perf software event", ("s",)),
    ProbeType("hardware", "hardware:EVENT:COUNT", "perf hardware event", ("h",)),
    ProbeType("profile", "profile:UNIT:N", "timed sampling on every CPU", ("p",)),
    ProbeType("watchpoint", "watchpoint:ADDRESS:LENGTH:MODE", "memory access", ("w",)),
    ProbeType("iter", "iter:OBJECT", "walk over kernel objects", ("it",)),
    ProbeType("interval", "interval:UNIT:N", "timer in user space", ("i",), by="engine"),
    ProbeType("begin", "begin", "once, before the first event", ("BEGIN",), by="engine"),
    ProbeType("end", "end", "once, after the last event", ("END",), by="engine"),
    ProbeType("self", "self:signal:NAME", "a signal to the tracer", (), by="engine"),
    ProbeType("test", "test:NAME", "run under --test", (), by="engine"),
    ProbeType("bench", "bench:NAME", "run under --bench", (), by="engine"),
)

BY_NAME = {name: one for one in PROBE_TYPES for name in (one.name, *one.short)}

EVENTS = {
    "software": (
        "alignment-faults", "bpf-output", "context-switches", "cpu", "cpu-clock", "cpu-migrations", "cs",
        "dummy", "emulation-faults", "faults", "major-faults", "minor-faults", "page-faults", "task-clock",
    ),
    "hardware": (
        "backend-stalls", "branch-instructions", "branch-misses", "branches", "bus-cycles", "cache-misses",
        "cache-references", "cpu-cycles", "cycles", "frontend-stalls", "instructions", "ref-cycles",
    ),
    "profile": ("hz", "ms", "s", "us"),
    "interval": ("hz", "ms", "s", "us"),
    "self": ("signal",),
}  # fmt: skip
"""The events or units of the probe types whose targets are the same everywhere."""
