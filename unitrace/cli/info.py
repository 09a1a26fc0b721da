"""``--info``: what is there, in the lines that bpftrace's users and scripts look for."""

from __future__ import annotations

import os

from unitrace import __version__
from unitrace.cli.backends import surveyed

__all__ = ["info"]


def info() -> str:
    """The text. What backends can do, and why not, says ``unitrace backends``."""
    machine = surveyed()
    system = os.uname()
    facts = machine.survey()

    def works(*names: str) -> bool:
        return any(bool(facts.get(name)) for name in names)

    functions = works("ftrace.kprobe_events", "perf.kprobe_pmu", "bpf.kprobe_pmu", "bpf.kprobe_events")
    groups: dict[str, dict[str, object]] = {
        "System": {"OS": f"{system.sysname} {system.release} {system.version}", "Arch": system.machine},
        "Build": {
            "version": f"v{__version__}",
            "bcc library path resolution": True,
            "libdw (DWARF support)": True,
            "dwunwind (DWARF stack unwinding)": False,
            "blazesym (advanced symbolization)": False,
        },
        # The engine has no verifier's limits, and reads any clock and any CPU's share of a map.
        "Language": {
            "Loop support": True,
            "get_ktime_ns": True,
            "get_tai_ns": True,
            "lookup_percpu_elem": True,
            "jiffies64": True,
            "get_func_ip": functions or works("bpf.func_ip"),
            "probe_read_kernel": works("bpf.read_kernel"),
            "dpath": False,
            "skboutput": False,
        },
        "Kernel features": {"btf": works("btf")},
        "Probe types": {
            "kprobe": functions,
            "kprobe_multi": works("bpf.kprobe_multi"),
            "kprobe_session": False,
            "uprobe_multi": works("bpf.uprobe_multi"),
            "fentry": functions or works("bpf.fentry"),
            "iter": works("bpf.iter"),
        },
    }
    lines = []
    for title, things in groups.items():
        lines += [title, *(f"  {name}: {_word(value)}" for name, value in things.items()), ""]
    return "\n".join([*lines, "See also: unitrace backends"])


def _word(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
