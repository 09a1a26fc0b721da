"""The types of values: what an expression of the IR yields, to the bit.

Sizes are in bytes unless a name says bits. Integers are C's: a width, a sign, wrap-around.
"""

from __future__ import annotations

from .record import Record

__all__ = [
    "BOOL", "COMM", "INT32", "INT64", "UINT32", "UINT64", "VOID",
    "Aggregate", "Array", "Bool", "Buffer", "Enum", "Formatted", "Int", "Member", "Pointer",
    "Stack", "Str", "Struct", "Symbol", "Tuple", "Type", "Void", "name_of", "shape",
]  # fmt: skip


class Type(Record):
    """Base of all types."""

    @property
    def size(self) -> int:
        """Bytes that a value takes in a C struct or a map key; 0 where it has none."""
        return 0


class Void(Type):
    """No value (a statement's result, ``void *``'s target)."""


class Bool(Type):
    """true or false; one byte."""

    @property
    def size(self) -> int:
        return 1


class Int(Type):
    """A C integer: ``bits`` is 8, 16, 32 or 64; two's complement, wraps."""

    bits: int
    signed: bool = False

    @property
    def size(self) -> int:
        return self.bits // 8


class Enum(Type):
    """A C enumeration: an integer whose values have names. ``values``: ((name, number), ...)."""

    name: str
    bits: int
    signed: bool
    values: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        return self.bits // 8


class Str(Type):
    """A string of at most ``length`` bytes, its NUL counted. As a value: bytes without the NUL."""

    length: int

    @property
    def size(self) -> int:
        return self.length


class Buffer(Type):
    """``length`` raw bytes (``buf()``)."""

    length: int

    @property
    def size(self) -> int:
        return self.length


class Pointer(Type):
    """An address. ``space``: "kernel", "user", or "" where the type system can't tell."""

    to: Type
    space: str = ""

    @property
    def size(self) -> int:
        return 8


class Array(Type):
    """``count`` values of one type, in a row."""

    of: Type
    count: int

    @property
    def size(self) -> int:
        return self.of.size * self.count


class Member(Record):
    """One member of a struct: byte ``offset``; for a bit field also its place in that unit."""

    name: str
    type: Type
    offset: int
    bit_offset: int = 0
    bit_size: int = 0


class Struct(Type):
    """A C struct or union. Members of kernel structs are looked up by name when they are needed."""

    name: str
    length: int
    members: tuple[Member, ...] = ()

    @property
    def size(self) -> int:
        return self.length


def _alignment(of: Type) -> int:
    """A tuple's item's alignment in bytes: C's."""
    while isinstance(of, Array):
        of = of.of
    if isinstance(of, Struct) and of.members:
        return max(_alignment(member.type) for member in of.members)
    return max(1, min(8, of.size & -of.size))


class Tuple(Type):
    """A tuple of values; with ``names`` a record (``(a=1, b=2)``). C alignment."""

    items: tuple[Type, ...]
    names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        end, widest = 0, 1
        for item in self.items:
            align = _alignment(item)
            widest = max(widest, align)
            end = -(-end // align) * align + item.size
        return -(-end // widest) * widest


class Stack(Type):
    """A call stack: addresses, innermost first. ``space``: "kernel" or "user"."""

    space: str
    depth: int = 127
    mode: str = "bpftrace"

    @property
    def size(self) -> int:
        return 8


class Symbol(Type):
    """An address that prints as a symbol (``ksym``, ``usym``). ``space`` as in Stack."""

    space: str

    @property
    def size(self) -> int:
        return 8 if self.space == "kernel" else 16


class Formatted(Type):
    """A value that prints in a form of its own: "inet", "mac", "timestamp", "cgroup", "strerror"."""

    form: str
    length: int = 8
    detail: str = ""

    @property
    def size(self) -> int:
        return self.length


class Aggregate(Type):
    """What a map holds when it is written by an aggregating function.

    ``function``: count, sum, min, max, avg, stats, hist, lhist or tseries. ``signed`` is the
    argument's sign. ``parameters``: hist: (bits,); lhist: (low, high, step); tseries:
    (interval_ns, count). How a value of each is held in user space: see model.Snapshot.
    """

    function: str
    signed: bool = False
    parameters: tuple[int, ...] = ()


VOID, BOOL = Void(), Bool()
INT32, INT64 = Int(32, True), Int(64, True)
UINT32, UINT64 = Int(32, False), Int(64, False)
COMM = Str(16)  # TASK_COMM_LEN, include/linux/sched.h


def shape(of: Type) -> tuple[int, bool] | None:
    """(bits, signed) of an integer-like type; None for others. BOOL counts as 8 unsigned bits."""
    if isinstance(of, (Int, Enum)):
        return of.bits, of.signed
    if isinstance(of, Pointer):
        return 64, False
    if isinstance(of, Bool):
        return 8, False
    if isinstance(of, Symbol) and of.space == "kernel":
        return 64, False
    if isinstance(of, Formatted) and of.form not in ("inet", "mac"):
        return 64, False
    return None


def name_of(of: Type) -> str:
    """The type as the language spells it: ``uint64``, ``string[16]``, ``struct file *``."""
    if isinstance(of, Int):
        return f"{'int' if of.signed else 'uint'}{of.bits}"
    if isinstance(of, Str):
        return f"string[{of.length}]"
    if isinstance(of, Buffer):
        return f"buffer[{of.length}]"
    if isinstance(of, Pointer):
        return f"{name_of(of.to)} *"
    if isinstance(of, Array):
        return f"{name_of(of.of)}[{of.count}]"
    if isinstance(of, Tuple):
        return "(" + ",".join(map(name_of, of.items)) + ")"
    if isinstance(of, (Struct, Enum)):
        return of.name
    if isinstance(of, Stack):
        return f"{of.space[0]}stack"
    if isinstance(of, Symbol):
        return f"{of.space[0]}sym"
    if isinstance(of, Formatted):
        return of.form
    if isinstance(of, Aggregate):
        return f"{of.function}_t"
    return type(of).__name__.lower()
