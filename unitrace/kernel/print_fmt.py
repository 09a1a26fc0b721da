"""A tracepoint's arguments as its own print fmt has them, rendered by libtraceevent where that is installed.

The kernel's format file ends in a C expression (``print fmt: "prev_comm=%s ...", REC->prev_comm, ...``) that
ftrace's own text is made by. libtraceevent evaluates it over a raw record. Not every backend has one: so the
record is made of the event's values here.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from typing import Any

from unitrace.contract.errors import BackendError, UsageError
from unitrace.contract.ir import Field
from unitrace.contract.machine import Machine
from unitrace.contract.types import Array, Str

from . import tracefs
from .formats import Format, parse_format

__all__ = ["PrintFmt", "record"]

LIBRARY = "libtraceevent.so.1"

_SYMBOLS = re.compile(r"%[-0-9]*p[sSfFB]")
"""Addresses that print as kernel functions."""


class _Record(ctypes.Structure):
    """struct tep_record, event-parse.h."""

    _fields_ = (
        ("ts", ctypes.c_ulonglong),
        ("offset", ctypes.c_ulonglong),
        ("missed_events", ctypes.c_longlong),
        ("record_size", ctypes.c_int),
        ("size", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("cpu", ctypes.c_int),
        ("ref_count", ctypes.c_int),
        ("locked", ctypes.c_int),
        ("priv", ctypes.c_void_p),
        ("spare", ctypes.c_void_p * 4),
    )


class _Sequence(ctypes.Structure):
    """struct trace_seq, trace-seq.h."""

    _fields_ = (
        ("buffer", ctypes.c_void_p),
        ("buffer_size", ctypes.c_uint),
        ("len", ctypes.c_uint),
        ("readpos", ctypes.c_uint),
        ("state", ctypes.c_int),
        ("spare", ctypes.c_void_p * 4),
    )


class PrintFmt:
    """Renders events. UsageError where the library isn't installed."""

    def __init__(self, machine: Machine) -> None:
        try:
            library = ctypes.CDLL(LIBRARY)
        except OSError:
            raise UsageError(
                f"--pretty needs {LIBRARY}, which isn't installed",
                remedy="install libtraceevent (Debian: libtraceevent1)",
            ) from None
        for name in ("tep_alloc", "tep_print_event", "tep_parse_event", "trace_seq_init", "trace_seq_reset"):
            getattr(library, name).restype = ctypes.c_void_p
        self._machine = machine
        self._library = library
        self._handle = ctypes.c_void_p(library.tep_alloc())
        library.tep_set_long_size(self._handle, 8)
        if hasattr(library, "tep_set_loglevel"):  # 1.3: it would complain of what it can't parse on stderr
            library.tep_set_loglevel(self._handle, 0)
        self._sequence = _Sequence()
        library.trace_seq_init(ctypes.byref(self._sequence))
        self._formats: dict[str, Format | None] = {}
        self._named = False
        self._read("printk_formats", library.tep_parse_printk_formats)

    def arguments(self, probe: str, tid: int, values: Mapping[str, Any]) -> bytes | None:
        """The arguments of an event by its probe's label, thread and fields; None where the probe has no
        print fmt, or none that the library knows."""
        if probe not in self._formats:
            self._formats[probe] = self._format(probe)
        described = self._formats[probe]
        raw = None if described is None else record(described, tid, values)
        if raw is None:
            return None
        held = ctypes.create_string_buffer(raw, len(raw))
        one = _Record(size=len(raw), record_size=len(raw))
        one.data = ctypes.addressof(held)
        sequence = ctypes.byref(self._sequence)
        self._library.trace_seq_reset(sequence)
        self._library.tep_print_event(self._handle, sequence, ctypes.byref(one), b"%s", b"INFO")
        text = ctypes.string_at(self._sequence.buffer, self._sequence.len)
        return None if text.startswith(b"[FAILED TO PARSE]") else text

    def _format(self, probe: str) -> Format | None:
        kind, _, rest = probe.partition(":")
        if kind == "syscall":
            rest = f"syscalls:sys_enter_{rest.removeprefix('sys_enter_')}"
        elif kind != "tracepoint":
            return None
        category, _, name = rest.partition(":")
        try:
            folder = tracefs.event_dir(tracefs.root(self._machine), category, name)
            text = self._machine.read(f"{folder}/format")
        except (OSError, BackendError):
            return None
        data = text.encode()
        self._library.tep_parse_event(self._handle, data, ctypes.c_ulong(len(data)), category.encode())
        if _SYMBOLS.search(text) and not self._named:
            self._named = True
            self._read("/proc/kallsyms", self._library.tep_parse_kallsyms)
        return parse_format(text)

    def _read(self, path: str, parse: Any) -> None:
        """Have the library parse a file, of tracefs where it is relative; without it, addresses stay."""
        try:
            if not path.startswith("/"):
                path = f"{tracefs.root(self._machine)}/{path}"
            with open(path, "rb") as file:
                parse(self._handle, file.read())
        except (OSError, BackendError):
            pass


def record(described: Format, tid: int, values: Mapping[str, Any]) -> bytes | None:
    """The raw record of an event with these fields, as ftrace would have written it; None where a value has
    no raw form."""
    raw = bytearray(described.size)
    values = {**values, "common_type": described.id, "common_pid": tid}
    for field in (*described.common, *described.fields):
        if field.name not in values:
            continue
        data = _packed(field, values[field.name])
        if data is None:
            return None
        if field.how == "value":
            raw[field.offset : field.offset + field.length] = data[: field.length].ljust(field.length, b"\0")
        else:
            start = len(raw) - (field.offset + 4 if field.how == "rel_loc" else 0)
            raw[field.offset : field.offset + 4] = (len(data) << 16 | start).to_bytes(4, "little")
            raw += data
    return bytes(raw)


def _packed(field: Field, value: Any) -> bytes | None:
    """The bytes of a field's value."""
    if isinstance(value, int):
        return (value & (1 << 8 * field.length) - 1).to_bytes(field.length, "little")
    if isinstance(value, tuple) and isinstance(field.type, Array):
        size = field.type.of.size
        if all(isinstance(one, int) for one in value):
            return b"".join((one & (1 << 8 * size) - 1).to_bytes(size, "little") for one in value)
    if isinstance(value, bytes):
        return value + b"\0" if isinstance(field.type, Str) else value
    return None
