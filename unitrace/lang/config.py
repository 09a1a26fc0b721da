"""The settings of a config block, as data: name, kind, what is allowed."""

from __future__ import annotations

import os
import re

from unitrace.contract.errors import UsageError

from . import ast
from .source import suggest
from .state import Unit

__all__ = ["SETTINGS", "configure"]

_UNSTABLE = ("error", "warn", "enable")

SETTINGS: dict[str, type | tuple[str, ...]] = {
    "cache_user_symbols": ("PER_PID", "PER_PROGRAM", "NONE"),
    "cpp_demangle": bool,
    "lazy_symbolication": bool,
    "license": (
        "Dual MIT/GPL",
        "Dual BSD/GPL",
        "Dual MPL/GPL",
        "GPL and additional rights",
        "GPL v2",
        "GPL",
    ),
    "log_size": int,
    "max_bpf_progs": int,
    "max_cat_bytes": int,
    "max_map_keys": int,
    "max_probes": int,
    "max_strlen": int,
    "max_type_res_iterations": int,
    "missing_probes": ("error", "warn", "ignore"),
    "on_stack_limit": int,
    "perf_rb_pages": int,
    "print_maps_on_exit": bool,
    "show_debug_info": bool,
    "stack_mode": ("bpftrace", "perf", "raw", "build_id"),
    "str_trunc_trailer": str,
    "unstable_dw_ustack": _UNSTABLE,
    "unstable_tseries": _UNSTABLE,
}
"""Name to the kind of its value, or the words that are allowed."""

_VALUE = re.compile(r'\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,}]+)')


def by_environment(unit: Unit) -> None:
    """Take over what BPFTRACE_<NAME> says in the environment: it comes before the config block. Raises
    UsageError."""
    for name, kind in SETTINGS.items():
        text = os.environ.get(f"BPFTRACE_{name.upper()}")
        if text is None:
            continue
        words = kind if isinstance(kind, tuple) else ("0", "1", "false", "true") if kind is bool else ()
        found = {word.lower(): word for word in words}.get(text.lower())
        wrong = found is None if words else kind is int and not (text.isdigit() and int(text[:12]) <= 1 << 24)
        if wrong or (name in ("max_strlen", "max_map_keys") and int(text) < 1):
            raise UsageError(
                f"Invalid value for BPFTRACE_{name.upper()}: {text[:40]!r}",
                remedy=", ".join(words) or f"a number, 1 to {1 << 24}",
            )
        if kind is bool:
            unit.config[name] = found in ("1", "true")
        else:
            unit.config[name] = int(text) if kind is int else found or text


def configure(unit: Unit, block: ast.Config) -> None:
    """Take the settings over; the first wrong one is an error at the block."""
    for written, value in block.settings:
        name = written.lower().removeprefix("bpftrace_")
        at = unit.source.text.find(written, block.start)
        shown = _VALUE.match(unit.source.text, at + len(written))
        end = shown.end() if shown else at + len(written)
        kind = SETTINGS.get(name)
        if kind is None:
            raise unit.source.error(
                f"{written}: not a known configuration option", at, end, suggest(name, SETTINGS)
            )
        if isinstance(kind, tuple):
            word = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
            allowed = {one.lower(): one for one in kind}
            if word.lower() not in allowed:
                raise unit.source.error(
                    f"Invalid value for {written}. Found: {word}. Valid values: {', '.join(kind)}.", at, end
                )
            unit.config[name] = allowed[word.lower()]
        elif kind is bool:
            if value not in (True, False, 0, 1):
                raise unit.source.error(f"Invalid value for {written}: expected true or false", at, end)
            unit.config[name] = bool(value)
        elif kind is int:
            if type(value) is not int:
                raise unit.source.error(f"Invalid value for {written}: expected a number", at, end)
            if name in ("max_strlen", "max_map_keys") and not 1 <= value <= 1 << 24:
                raise unit.source.error(f"Invalid value for {written}: {value} is out of range", at, end)
            unit.config[name] = value
        else:
            unit.config[name] = value
