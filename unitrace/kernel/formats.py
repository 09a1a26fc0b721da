"""Format files: what a tracepoint's raw record holds (``events/CATEGORY/EVENT/format``).

The C declarations there become contract types. The kernel's words: include/trace/stages/*.h (since
6.0; include/trace/trace_events.h before) and kernel/trace/trace_syscalls.c.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from functools import lru_cache

from unitrace.contract.errors import ProbeError
from unitrace.contract.ir import Field
from unitrace.contract.machine import Machine
from unitrace.contract.record import Record
from unitrace.contract.types import BOOL, VOID, Array, Buffer, Int, Pointer, Str, Struct, Type

from . import tracefs

__all__ = ["Format", "declared", "parse_format", "read_format", "tracepoints"]

DYNAMIC_STRING = 1024
"""Length of a ``char[]`` field's type: the format gives none. bpftrace's max_strlen."""


class Format(Record):
    """``id``: for perf and for ftrace's records. ``fields``: the event's own; ``common``: common_pid and
    the like. ``size``: bytes of the fixed part; dynamic data follows."""

    id: int
    fields: tuple[Field, ...]
    common: tuple[Field, ...]
    size: int


_FIELD = re.compile(r"\s+field:([^;]+);\s*offset:(\d+);\s*size:(\d+);(?:\s*signed:([01]);)?")
_ID = re.compile(r"^ID:\s*(\d+)", re.M)
_ARRAY = re.compile(r"^(.*?)\s*\b(\w+)\s*\[(.*)\]$")
_NAMED = re.compile(r"^(.*?)(\w+)$")

_CHARS = ("char", "const char", "unsigned char", "signed char")

# Widths (bits, signed) of C types and of kernel typedefs that are narrower than the 8-byte slots in
# which system call tracepoints hold their arguments.
_SCALARS = {
    "char": (8, True),
    "signed char": (8, True),
    "unsigned char": (8, False),
    "short": (16, True),
    "short int": (16, True),
    "unsigned short": (16, False),
    "unsigned short int": (16, False),
    "int": (32, True),
    "signed int": (32, True),
    "unsigned int": (32, False),
    "unsigned": (32, False),
    "long": (64, True),
    "long int": (64, True),
    "long long": (64, True),
    "unsigned long": (64, False),
    "long unsigned int": (64, False),
    "unsigned long long": (64, False),
    "long long unsigned int": (64, False),
    "bool": (8, False),
    "_Bool": (8, False),
    **{f"{p}{s}{n}": (n, s == "s") for p in ("", "__") for s in "us" for n in (8, 16, 32, 64)},
    **{f"uint{n}_t": (n, False) for n in (8, 16, 32, 64)},
    **{f"int{n}_t": (n, True) for n in (8, 16, 32, 64)},
    **{f"__{o}{n}": (n, False) for o in ("le", "be") for n in (16, 32, 64)},
    "pid_t": (32, True),
    "uid_t": (32, False),
    "gid_t": (32, False),
    "old_uid_t": (16, False),
    "old_gid_t": (16, False),
    "umode_t": (16, False),
    "key_t": (32, True),
    "key_serial_t": (32, True),
    "clockid_t": (32, True),
    "timer_t": (32, True),
    "mqd_t": (32, True),
    "rwf_t": (32, True),
    "qid_t": (32, False),
    "size_t": (64, False),
    "ssize_t": (64, True),
    "loff_t": (64, True),
    "off_t": (64, True),
    "time_t": (64, True),
    "aio_context_t": (64, False),
    "uintptr_t": (64, False),
}

_ADJUSTED = {
    "char",
    "short",
    "int",
    "long",
    "unsigned char",
    "unsigned short",
    "unsigned int",
    "unsigned long",
}


def read_format(machine: Machine, category: str, event: str) -> Format:
    """The format of ``category:event``. ProbeError where there is no such tracepoint, BackendError
    where tracefs can't be used."""
    folder = tracefs.event_dir(tracefs.root(machine), category, event)
    try:
        text = machine.read(f"{folder}/format")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ENAMETOOLONG):
            raise ProbeError(
                f"no tracepoint {category}:{event}", remedy="unitrace list 'tracepoint:*' shows them"
            ) from None
        raise ProbeError(f"tracepoint {category}:{event} can't be read: {error.strerror}") from None
    return parse_format(text, "user" if category == "syscalls" else "")


@lru_cache(maxsize=4096)  # front end, backends and attaching all ask for the same ones
def parse_format(text: str, space: str = "") -> Format:
    """The text of a format file. ``space``: where its pointers point ("user" for system calls)."""
    match = _ID.search(text)
    number = int(match[1]) if match else 0
    common: list[Field] = []
    own: list[Field] = []
    end = 0
    part = common
    for line in text.split("\n"):
        found = _FIELD.match(line)
        if found is None:
            continue
        offset, size = int(found[2]), int(found[3])
        field = _field(found[1].strip(), offset, size, found[4] == "1", space)
        if part is common and not field.name.startswith("common_"):
            part = own
        part.append(field)
        end = max(end, offset + size)
    return Format(number, tuple(own), tuple(common), end)


def _field(declaration: str, offset: int, size: int, signed: bool, space: str) -> Field:
    word = declaration.split(" ", 1)[0]
    how = {"__data_loc": "data_loc", "__rel_loc": "rel_loc"}.get(word, "value")
    if how != "value":
        declaration = declaration[len(word) + 1 :]
    name, kind = declared(declaration, size, signed, space, dynamic=how != "value")
    written = declaration.removesuffix(name).strip()
    if how == "value" and written in _ADJUSTED and _SCALARS[written][0] < 8 * size:
        return Field(name, kind, offset, size, how, _SCALARS[written][0])
    return Field(name, kind, offset, size, how)


def declared(
    declaration: str, size: int, signed: bool, space: str = "", *, dynamic: bool = False
) -> tuple[str, Type]:
    """Name and type of a C declaration (``const char * filename``, ``unsigned long args[6]``).

    ``size`` bytes and ``signed`` as the format file says. The type may be narrower than ``size``: system
    calls hold each argument in eight bytes. ``dynamic``: a ``__data_loc`` field, whose own size says nothing.
    """
    if dynamic:
        return _dynamic(declaration, signed)
    array = _ARRAY.match(declaration)
    if array:
        return array[2], _array(array[1].strip(), array[3].strip(), size, signed, space)
    named = _NAMED.match(declaration)
    if named is None:  # void (*fn)(int): kept whole
        return declaration, Int(size * 8, signed) if size in (1, 2, 4, 8) else Buffer(size)
    of, name = named[1].strip(), named[2]
    if not of:  # "int" alone: no name
        of, name = name, ""
    return name, _plain(of, size, signed, space)


def _dynamic(declaration: str, signed: bool) -> tuple[str, Type]:
    """``char[] name``, ``u8[] name``, ``cpumask_t *[] name``: an array whose count is in the record."""
    of, _, name = declaration.rpartition(" ")
    element = of.replace("[]", "").strip()
    if element in _CHARS:
        return name, Str(DYNAMIC_STRING)
    bits, sign = _SCALARS.get(element, (8, signed))
    return name, Array(Int(bits, sign), 0)


def _array(of: str, count: str, size: int, signed: bool, space: str) -> Type:
    if of in ("char", "const char"):
        return Str(size) if size else Str(DYNAMIC_STRING)
    number = int(count) if count.isdigit() else 0
    if of.endswith("*"):
        width = size // number if number else 8
        element = _plain(of, width, signed, space)
        return Array(element, size // 8)
    bits, sign = _SCALARS.get(of, (0, signed))
    if bits and size % (bits // 8) == 0:
        return Array(Int(bits, sign), size * 8 // bits)
    if number and size % number == 0:  # by a macro's name or a typedef's: the size must do
        return Array(_plain(of, size // number, signed, space), number)
    return Array(Int(8), size)


def _plain(of: str, size: int, signed: bool, space: str) -> Type:
    if of.endswith("*"):
        return Pointer(pointee(of[:-1].strip()), space) if size == 8 else Int(size * 8, signed)
    if of.startswith(("struct ", "union ")):
        return Struct(of.removeprefix("const "), size)
    if size not in (1, 2, 4, 8):
        return Buffer(size)
    of = of.removeprefix("const ")
    if of in ("bool", "_Bool") and size == 1:
        return BOOL
    if of in _ADJUSTED:  # the slot's width, the type's sign, as bpftrace has it
        return Int(size * 8, _SCALARS[of][1])
    bits, sign = _SCALARS.get(of, (0, signed))
    if bits == size * 8 or (bits and bits < size * 8 == 64):
        return Int(bits, sign)
    return Int(size * 8, signed)


_QUALIFIERS = ("const", "volatile", "__user", "__rcu", "restrict")


def pointee(of: str) -> Type:
    """What a ``<of> *`` points to; VOID where the name alone doesn't say."""
    words = [word for word in of.replace("*", " * ").split() if word not in _QUALIFIERS]
    bare = " ".join(words)
    if bare.endswith("*"):
        return Pointer(pointee(bare[:-1].strip()))
    if words and words[0] in ("struct", "union"):
        return Struct(bare, 0)
    if bare in ("bool", "_Bool"):
        return BOOL
    if bare in _SCALARS:
        return Int(*_SCALARS[bare])
    return VOID


def tracepoints(machine: Machine, category: str = "*", event: str = "*") -> Iterator[tuple[str, str]]:
    """The tracepoints that match both patterns (``*``, ``?``, ``[...]``), as the kernel lists them."""
    from fnmatch import fnmatchcase

    text = machine.read(f"{tracefs.root(machine)}/available_events")
    for line in text.split("\n"):
        group, _, name = line.partition(":")
        if name and fnmatchcase(group, category) and fnmatchcase(name, event):
            yield group, name
