"""Which tier a case is in: what an executable must be able to do before the case can pass.

The rules look at the case's command line and at the probe types of its program; `KERNEL_STATE` names the cases
whose probes are plain but which ask the kernel something that user space can't answer.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.compat.suite import Case

__all__ = ["KERNEL_STATE", "TIERS", "probe_types", "program", "tier", "vacuous"]

TIERS = {
    "T1": "begin, end, interval, self and bench probes: user space alone can answer",
    "T1x": "the same probes, but kernel memory, kernel stacks or things only BPF has",
    "T2": "the command line and listing",
    "T3": "uprobe, usdt, tracepoint, rawtracepoint, software, hardware, profile, watchpoint",
    "T4": "kprobe, fentry, iter",
}

OWN = frozenset(["begin", "BEGIN", "end", "END", "interval", "i", "self", "bench", "test"])
EVENTS = frozenset(["uprobe", "u", "uretprobe", "ur", "usdt", "U", "tracepoint", "t", "rawtracepoint", "rt"])
EVENTS |= frozenset(["software", "s", "hardware", "h", "profile", "p", "watchpoint", "w"])
FUNCTIONS = frozenset(
    ["kprobe", "k", "kretprobe", "kr", "fentry", "f", "fexit", "fr", "kfunc", "kretfunc", "iter", "it"]
)

KERNEL_STATE = {
    "btf.redefine_btf_type": "kernel memory",
    "btf.btf_type_tag_access": "kernel memory",
    "btf.btf_char_array_to_string": "kernel memory",
    "builtin.ctx": "kernel memory",
    "builtin.curtask_field": "kernel memory",
    "call.percpu_kaddr": "kernel memory",
    "call.percpu_kaddr this cpu": "kernel memory",
    "call.percpu_kaddr field access": "kernel memory",
    "regression.debug location does not leak across probes": "kernel memory",
    "stdlib.ppid_macro": "kernel memory",
    "variable.variable declaration with builtin": "kernel memory",
    "builtin.curtask": "kernel pointer",
    "other.map_assign_map_ptr": "kernel pointer",
    "pointers.Pointer is truthy for if conditions": "kernel pointer",
    "pointers.Pointer is truthy for tenary expressions": "kernel pointer",
    "pointers.Pointer is useable in logical and expressions": "kernel pointer",
    "pointers.Pointer is useable in logical or expressions": "kernel pointer",
    "builtin.kstack": "kernel stack",
    "for.map stack key with a per cpu aggregation": "kernel stack",
    "regression.stack modes and size": "kernel stack",
    "tuples.kstack in tuple": "kernel stack",
    "builtin.log size too small": "BPF verifier",
    "call.debugf": "kernel trace buffer",
    "call.debugf_with_arguments": "kernel trace buffer",
    "call.debugf_with_seq_printf": "kernel trace buffer",
    "interop.interop return types": "BPF bytecode",
    "other.named command line params aot": "BPF bytecode",
    "pid_namespace.pid_tid_inside": "kernel's view of a namespace",
}

_INLINE = re.compile(r"""\s-[a-zA-Z]*e\s+(?:'((?:[^']|'\\''|'\S+?')*)'|"((?:[^"\\]|\\.)*)")""")
_NESTED = re.compile(r"\$\(echo .*\)")
_SCRIPT = re.compile(r"runtime/scripts/\S+\.bt")
_LISTING = re.compile(r"\{\{BPFTRACE\}\}\s+(?:-lv?|--list)(?=\s|$)")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_TYPE = re.compile(r"(?:^|[\s,;}])([A-Za-z]+)(?=\s*(?:[:{,/\s]|$))")


def tier(case: Case, checkout: Path) -> str | None:
    """The tier of ``case``; None if it tests the suite's own runner and no executable."""
    if case.run and "{{BPFTRACE}}" not in case.run:
        return None
    if case.id in KERNEL_STATE:
        return "T1x"
    text = program(case, checkout)
    types = probe_types(_positional(text, case.run))
    if types & FUNCTIONS:
        return "T4"
    if types & EVENTS:
        return "T3"
    if not text or (_LISTING.search(case.run) and not types):
        return "T2"
    return "T1"


def program(case: Case, checkout: Path) -> str:
    """The text of the case's program, wherever it comes from; "" if there is none."""
    if case.prog:
        return case.prog
    if _NESTED.search(case.run):
        return case.run[case.run.index("$(echo") :].replace("echo", " ").replace("'", " ").replace('"', " ")
    inline = [first or second for first, second in _INLINE.findall(case.run)]
    if inline:
        return "\n".join(inline).replace('\\"', '"')
    script = _SCRIPT.search(case.run)
    return (checkout / "tests" / script.group()).read_text() if script else ""


def probe_types(text: str) -> frozenset[str]:
    """The probe types that a program's text names outside of its clauses' bodies."""
    outside = ""
    depth = 0
    for char in _COMMENT.sub(" ", _STRING.sub('""', text)):
        if char == "}":
            depth -= 1
        if depth == 0:
            outside += char
        if char == "{":
            depth += 1
    return frozenset(_TYPE.findall(outside)) & (OWN | EVENTS | FUNCTIONS)


def vacuous(case: Case, matches: bool) -> bool:
    """Whether a program that prints nothing passes, given whether nothing ``matches`` the expectations."""
    return matches and not case.will_fail and not case.return_code


def _positional(text: str, run: str) -> str:
    if "$1" not in text or not run:
        return text
    return text.replace("$1", run.split()[-1], 1)
