"""What BTF says of the kernel's functions and structs, in the contract's types.

Where the kernel has none, its headers stand in for structs and constants (kernel/headers.py).

Typedefs and qualifiers are looked through. A struct inside another type comes without members: ask
``struct`` for them by its name. gcc's BTF doesn't tell user pointers from kernel ones; clang's does.
"""

from __future__ import annotations

from collections.abc import Iterator

from unitrace.contract.ir import Field
from unitrace.contract.machine import Answer, Machine
from unitrace.contract.record import Record
from unitrace.contract.types import BOOL, VOID, Array, Buffer, Enum, Int, Member, Pointer, Str, Struct, Type

from . import btf_file as raw
from . import survey as survey  # registers the fact "btf"
from .btf_file import Btf

__all__ = ["Prototype", "constant", "prototype", "struct", "unread"]


class Prototype(Record):
    """A function's arguments, each with the number of the register-sized slot it comes in as ``offset``,
    and its result (VOID for none)."""

    fields: tuple[Field, ...]
    result: Type


def prototype(machine: Machine, function: str, module: str = "") -> Prototype | None:
    """The prototype of a kernel function; None where BTF doesn't have it.

    ``module``: where it is; else the kernel's own is taken, then any module's.
    """
    for btf in _sources(machine, module):
        number = btf.function(function)
        if number:
            return _prototype(btf, btf.words(number, 3)[2])
    return None


def struct(machine: Machine, name: str, module: str = "") -> Struct | None:
    """The struct or union ``name`` ("struct file", "file", or a typedef's name) with its members.

    Members of unnamed structs and unions inside it stand among its own, as C has it.
    """
    word, _, bare = name.rpartition(" ")
    kinds = {"struct": (raw.STRUCT,), "union": (raw.UNION,)}.get(word, (raw.STRUCT, raw.UNION, raw.TYPEDEF))
    for btf in _sources(machine, module, only_kernel=not module):
        number = _through(btf, btf.named(bare, kinds))
        if number and btf.kind(number) in (raw.STRUCT, raw.UNION):
            return Struct(name, btf.words(number, 3)[2], tuple(_members(btf, number, 0)))
    return None


def constant(machine: Machine, name: str) -> Enum | None:
    """The enumeration that has ``name`` among its values; None where the kernel has none."""
    for btf in _sources(machine, "", only_kernel=True):
        number = btf.enumeration(name)
        if number:
            return _enum(btf, number, btf.kind(number))
    return None


def unread(machine: Machine) -> Answer:
    """Why a struct or a constant isn't known that the kernel may well have; truthy where its BTF is read."""
    answer = machine.answer("btf")
    if answer or not machine.live:
        return answer
    from . import headers

    lacking = headers.lacking(machine)
    remedy = ", or ".join(one for one in (answer.remedy, lacking.remedy) if one)
    return Answer(answer.errno, f"{answer.reason}; {lacking.reason}", remedy)


def _sources(machine: Machine, module: str, only_kernel: bool = False) -> Iterator[Btf]:
    """The BTF to look in, each opened when its turn comes."""
    if not machine.live:
        return
    if not machine.answer("btf"):
        if only_kernel:
            from . import headers

            found = headers.types(machine)
            if found is not None:
                yield found
        return
    own = not module or module == "vmlinux"
    kernel = raw.vmlinux() if own else None
    if kernel is not None:
        yield kernel
    if only_kernel or module == "vmlinux":
        return
    for found in map(raw.module, raw.modules() if own else [module]):
        if found is not None:
            yield found


def _through(btf: Btf, number: int) -> int:
    """The type behind typedefs, qualifiers and tags."""
    while number and btf.kind(number) in _LOOKED_THROUGH:
        number = btf.words(number, 3)[2]
    return number


_LOOKED_THROUGH = (raw.TYPEDEF, raw.CONST, raw.VOLATILE, raw.RESTRICT, raw.TYPE_TAG)


def _prototype(btf: Btf, number: int) -> Prototype:
    _, info, result = btf.words(number, 3)
    count = info & 0xFFFF
    words = btf.words(number, 2 * count, 3)
    fields: list[Field] = []
    slot = 0
    for name, of in zip(words[::2], words[1::2]):
        if not of:  # "...": the end
            break
        kind = _type(btf, of)
        fields.append(Field(btf.text(name) or f"arg{len(fields)}", kind, slot, kind.size))
        # a struct by value takes one or two registers, a larger one none (System V AMD64, AAPCS64)
        slot += 1 if kind.size <= 8 else 2 if kind.size <= 16 else 0
    return Prototype(tuple(fields), _type(btf, result))


def _type(btf: Btf, number: int, alias: str = "") -> Type:
    """The contract's type for type ``number``; ``alias``: the typedef's name we came through."""
    if not number:
        return VOID
    name, info, size = btf.words(number, 3)
    kind = info >> 24 & 31
    if kind in _LOOKED_THROUGH:
        return _type(btf, size, btf.text(name) if kind == raw.TYPEDEF else alias)
    if kind == raw.INT:
        return Int(8, True) if _is_char(btf, number) else _int(size, btf.words(number, 1, 3)[0])
    if kind == raw.PTR:
        return _pointer(btf, size)
    if kind == raw.ARRAY:
        of, _, count = btf.words(number, 3, 3)
        return Str(count) if count and _is_char(btf, of) else Array(_type(btf, of), count)
    if kind in (raw.STRUCT, raw.UNION):
        if not name and not alias:
            return Struct("", size, tuple(_members(btf, number, 0)))
        return Struct(_spelled(kind, btf.text(name)) if name else alias, size)
    if kind == raw.FWD:
        return Struct(_spelled(raw.UNION if info >> 31 else raw.STRUCT, btf.text(name)), 0)
    if kind in (raw.ENUM, raw.ENUM64):
        return _enum(btf, number, kind, alias)
    return Buffer(size) if kind == raw.FLOAT else VOID


def _is_char(btf: Btf, number: int) -> bool:
    """Whether it is ``char`` itself, whose sign (none, since -funsigned-char of 6.2) says nothing."""
    number = _through(btf, number)
    return bool(number) and btf.kind(number) == raw.INT and btf.name(number) == "char"


def _spelled(kind: int, name: str) -> str:
    return f"{'struct' if kind == raw.STRUCT else 'union'} {name}"


def _int(size: int, encoding: int) -> Type:
    if encoding >> 24 & 4:  # BTF_INT_BOOL
        return BOOL
    if size > 8:
        return Buffer(size)
    return Int(size * 8, bool(encoding >> 24 & 1))


def _pointer(btf: Btf, to: int) -> Type:
    space, at = "", to
    while at and btf.kind(at) in _LOOKED_THROUGH:
        if btf.kind(at) == raw.TYPE_TAG and btf.name(at) == "user":
            space = "user"
        at = btf.words(at, 3)[2]
    target = _type(btf, to)
    if isinstance(target, Struct) and not target.name:
        target = VOID  # it can't be looked up by a name
    return Pointer(target, space)


def _enum(btf: Btf, number: int, kind: int, alias: str = "") -> Enum:
    name, info, size = btf.words(number, 3)
    count, signed = info & 0xFFFF, bool(info >> 31)
    if kind == raw.ENUM:
        words = btf.words(number, 2 * count, 3)
        numbers = words[1::2]
        # before 6.0 the sign wasn't recorded: values are s32
        values = [n - (1 << 32) if n >> 31 and signed else n for n in numbers]
        names = words[::2]
    else:
        words = btf.words(number, 3 * count, 3)
        joined = [low | high << 32 for low, high in zip(words[1::3], words[2::3])]
        values = [n - (1 << 64) if n >> 63 and signed else n for n in joined]
        names = words[::3]
    label = f"enum {btf.text(name)}" if name else alias or "enum"
    return Enum(label, size * 8, signed, tuple(zip(map(btf.text, names), values)))


def _members(btf: Btf, number: int, base: int) -> list[Member]:
    """The members of a struct that starts at bit ``base``; those of unnamed ones inside among them."""
    info = btf.words(number, 1, 1)[0]
    packed = info >> 31  # BTF_INFO_KFLAG: the offset's high byte is a bit field's size
    words = btf.words(number, 3 * (info & 0xFFFF), 3)
    found: list[Member] = []
    for name, of, place in zip(words[::3], words[1::3], words[2::3]):
        at, bits = (place & 0xFFFFFF, place >> 24) if packed else (place, 0)
        inner = _through(btf, of)
        if not name:
            if inner and btf.kind(inner) in (raw.STRUCT, raw.UNION):
                found += _members(btf, inner, base + at)
            continue
        if not packed and inner and btf.kind(inner) == raw.INT:
            encoding, size = btf.words(inner, 1, 3)[0], btf.words(inner, 3)[2]
            if encoding & 0xFF != size * 8:  # before 5.0: the width is the integer's
                bits, at = encoding & 0xFF, at + (encoding >> 16 & 0xFF)
        found.append(_member(btf.text(name), _type(btf, of), base + at, bits))
    return found


def _member(name: str, of: Type, at: int, bits: int) -> Member:
    if not bits:
        return Member(name, of, at // 8)
    unit = of.size * 8
    start = at // unit * unit
    if at + bits > start + unit:  # it straddles two units
        start = at // 8 * 8
    return Member(name, of, start // 8, at - start, bits)
