"""Losses: what the kernel says it couldn't record."""

from __future__ import annotations

from collections.abc import Mapping

from .instance import Instance

__all__ = ["missed", "overrun"]

_COUNTERS = {
    "overrun": "ring buffer of CPU {} full",
    "dropped events": "ring buffer of CPU {} full",
    "commit overrun": "ring buffer of CPU {} full while an event was interrupted",
}
"""Counters of per_cpu/cpuN/stats (Documentation/trace/ftrace.rst), as causes."""


def overrun(instance: Instance) -> dict[str, int]:
    """Events that found no room in the instance's rings, by CPU."""
    found: dict[str, int] = {}
    for cpu in instance.cpus():
        try:
            text = instance.read(f"per_cpu/cpu{cpu}/stats")
        except OSError:
            continue
        for line in text.splitlines():
            name, _, count = line.partition(": ")
            if name in _COUNTERS and int(count):
                cause = _COUNTERS[name].format(cpu)
                found[cause] = found.get(cause, 0) + int(count)
    return found


FAULTS_COUNT_UNTIL = (5, 14)
"""Before, kprobe_fault_handler() (arch/x86/kernel/kprobes/core.c) counts a fault in a probe's fetch as a
miss, though the event is recorded."""


def missed(root: str, names: Mapping[str, bool], version: tuple[int, ...]) -> dict[str, int]:
    """Hits that a kprobe of ours missed (it nested, or too many returns were pending): the third column
    of kprobe_profile. ``names``: the events, and whether each reads memory; ``version``: the kernel's."""
    found: dict[str, int] = {}
    try:
        with open(f"{root}/kprobe_profile", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return found
    for line in lines:
        words = line.split()
        if len(words) != 3 or words[0] not in names or not words[2].isdigit() or words[2] == "0":
            continue
        cause = f"probe {words[0]} missed"
        if names[words[0]] and version < FAULTS_COUNT_UNTIL:
            cause += ", or had a string it couldn't read (this kernel counts both)"
        found[cause] = int(words[2])
    return found
