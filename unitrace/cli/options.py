"""The options of ``unitrace SPEC...``, described once: the quick reading and click's both use this table."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from unitrace.contract.errors import UsageError
from unitrace.contract.record import Record

__all__ = ["OPTIONS", "Option", "defaults"]

PID_MAX = 1 << 22
"""PID_MAX_LIMIT of a 64-bit kernel, include/linux/threads.h."""


class Option(Record):
    """``flags``: its spellings. ``name``: its key among the parsed. ``value``: what its value is called in
    the help, "" where it takes none. ``convert``: the value's text to what it means, UsageError where
    it means nothing. ``many``: may be given several times (the value is a tuple). ``help``: "" hides it."""

    flags: tuple[str, ...]
    name: str
    value: str = ""
    help: str = ""
    default: Any = None
    convert: Callable[[str], Any] | None = None
    many: bool = False


def _pid(given: str) -> int:
    digits = re.match(r"\s*[+-]?\d+", given)
    if digits is None:
        raise UsageError(f"Failed to parse pid: invalid integer: {given}")
    if digits.end() < len(given):
        raise UsageError(f"Failed to parse pid: invalid trailing bytes: {given}")
    if not 0 < int(given) <= PID_MAX:
        raise UsageError(f"Pid out of range: {given}")
    return int(given)


def _pattern(given: str) -> re.Pattern[str]:
    try:
        return re.compile(given)
    except re.error as error:
        raise UsageError(f"Invalid --probe-filter regex: {error}") from None


def _kib(given: str) -> int:
    if not given.isdigit() or not 4 <= int(given) <= 1 << 22:
        raise UsageError(f"--buffer-kib takes 4 to {1 << 22}, not {given!r}")
    return int(given)


def _seconds(given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise UsageError(f"--timeout takes seconds, not {given!r}")
    return seconds


def _form(given: str) -> str:
    if given not in ("text", "json", "jsonl"):
        raise UsageError(f'Invalid output format "{given}"', remedy="text, json or jsonl")
    return given


def _buffering(given: str) -> str:
    if given not in ("line", "full", "none"):
        raise UsageError(f"-B takes line, full or none, not {given!r}")
    return given


def _mode(given: str) -> str:
    if given not in ("test", "bench"):
        raise UsageError(f"--mode takes test or bench, not {given!r}")
    return given


OPTIONS = (
    Option(("-e",), "programs", "PROGRAM", "Run this program.", (), many=True),
    Option(("--backend",), "backend", "NAME", "Use this backend only (see: unitrace backends)."),
    Option(("-c", "--cmd"), "child", "COMMAND", "Run COMMAND; end when it ends."),
    Option(("-p", "--pid"), "pid", "PID", "Trace this process.", 0, _pid),
    Option(("-f", "--format"), "form", "FORMAT", "text, json or jsonl.", "text", _form),
    Option(
        ("--pretty",),
        "pretty",
        "",
        "Arguments of bare tracepoints as the kernel's print fmt has them.",
        False,
    ),
    Option(("-o", "--output"), "output", "FILE", "Write the output to FILE."),
    Option(("-q", "--quiet"), "quiet", "", "No 'Attached' line.", False),
    Option(("-v", "--verbose"), "verbose", "", "Say which backend was chosen, and why.", False),
    Option(("-l", "--list"), "listing", "", "List matching probes (unitrace list).", False),
    Option(("-B",), "buffering", "MODE", "line, full or none.", "line", _buffering),
    Option(("-b", "--buffer-kib"), "buffer_kib", "KIB", "Buffer per CPU (default 8192).", 8192, _kib),
    Option(("--timeout",), "timeout", "SECONDS", "End after this time.", None, _seconds),
    Option(("--unsafe",), "unsafe", "", "Allow system(), signal() and their like.", False),
    Option(("--approx",), "approx", "", "Allow inexact results (they are marked).", False),
    Option(("--exact-probes",), "exact_probes", "", "Never trace a successor of a renamed function.", False),
    Option(("--dry-run",), "dry_run", "", "Compile and plan, then end.", False),
    Option(("-d", "--debug"), "stages", "STAGE", "Print a stage: ast, ir, bpf or all.", (), many=True),
    Option(("--no-warnings",), "no_warnings", "", "Silence warnings.", False),
    Option(("--traceable-functions",), "functions", "FILE", "The kernel functions that can be traced."),
    Option(("--debuginfo",), "debug", "FOLDER", "Where debug files of programs may be.", (), many=True),
    Option(("--probe-filter",), "probe_filter", "REGEX", "Only probes whose name it finds.", None, _pattern),
    Option(("--mask",), "mask", "FACT", "Plan as if the machine lacked FACT.", (), many=True),
    Option(("--mode",), "mode", "MODE", "test or bench: run the probes of that kind.", None, _mode),
    Option(("--test",), "testing", "", "The same as --mode test.", False),
    Option(("--bench",), "benching", "", "The same as --mode bench.", False),
    Option(("-V", "--version"), "version", "", "Print the version.", False),
    Option(("--info",), "informing", "", "What is there (see also: unitrace backends).", False),
    # bpftrace's, which its scripts pass and which change nothing here
    Option(("--verify-llvm-ir",), "no_llvm", "", "", False),  # there is no LLVM
    Option(("--dwarf-pid",), "no_dwarf_pid", "PID", "", (), many=True),  # mappings are read at the stack
    Option(("--usdt-file-activation",), "no_activation", "", "", False),  # the kernel counts semaphores
    Option(("-k",), "no_helper_errors", "", "", False),  # no helpers; a full map always says so
    Option(("--include", "-I"), "no_include", "PATH", "", (), many=True),  # types come from the kernel
)


def defaults() -> dict[str, Any]:
    """Every option's name and default."""
    return {option.name: option.default for option in OPTIONS}
