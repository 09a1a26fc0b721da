"""Values that no register holds: tuples, arrays, structs, addresses, buffers, and where they lie."""

from __future__ import annotations

from unitrace.contract.ir import (
    Call,
    Cast,
    Choice,
    Const,
    Expr,
    Index,
    Load,
    MapGet,
    MemberOf,
    Site,
    Text,
    TupleOf,
    Var,
)  # fmt: skip
from unitrace.contract.offer import walk
from unitrace.contract.record import Record
from unitrace.contract.types import UINT64, Array, Buffer, Formatted, Str, Struct, Tuple, Type

from ..asm import FP, R0, R1, R2, R3, R8
from .base import CannotCompile, shape
from .layouts import Part, in_register, member, slot
from .scalars import Scalars
from .stacks import is_words, put
from .strings import is_text

__all__ = ["Values", "Where"]

INLINE = 64
"""Bytes that are copied by loads and stores; more by a helper."""


class Where(Record):
    """A value in memory: the register that ``part.offset`` and ``off`` count from."""

    base: int
    off: int
    part: Part

    @property
    def at(self) -> int:
        return self.off + self.part.offset


class Values(Scalars):
    """``places``: the variables that no register holds."""

    def __init__(self, *args: object, **named: object) -> None:
        super().__init__(*args, **named)
        self.places: dict[str, Where] = {}

    # --- memory -----------------------------------------------------------------------------------

    def room(self, size: int) -> tuple[int, int]:
        """A place of ``size`` bytes: its base register and offset."""
        scratch, at = self.frame.room(size)
        return (R8 if scratch else FP), at

    def duplicate(self, source: int, at: int, base: int, off: int, size: int) -> None:
        """Copy memory of the program's own. R0-R5 are lost."""
        if source == R0:
            self.code.mov(R1, R0)
            source = R1
        if size <= INLINE:
            self.copy(source, at, base, off, size)
        else:
            self.address(R3, source, at)
            self.fetch("kernel", base, off, size)

    # --- any value to a place -------------------------------------------------------------------------

    def put(self, expr: Expr, part: Part, base: int, off: int, *, clean: bool = False) -> None:
        """``expr`` as ``part`` lays it out, from ``base + off``. ``clean``: what a string leaves is zero, so
        that equal values have equal bytes (the gaps between parts are the caller's)."""
        of, at = part.type, off + part.offset
        if in_register(of):
            self.scalar(expr if expr.type == of else Cast(of, expr))
            self.code.store(base, at, R0, part.size)
        elif isinstance(expr, Choice):
            otherwise, done = self.code.label(), self.code.label()
            self.truth(expr.condition, otherwise, False)
            self.put(expr.then, part, base, off, clean=clean)
            self.code.jump(done)
            self.code.place(otherwise)
            self.put(expr.otherwise, part, base, off, clean=clean)
            self.code.place(done)
        elif isinstance(of, Str) or (is_text(of) and not isinstance(expr.type, Array)):
            self.text(expr, base, at, min(part.size, of.size), clean=clean)
        elif isinstance(of, Tuple):
            self._tuple(expr, part, base, off, clean)
        elif is_words(of) and isinstance(expr, (Site, Call)):
            put(self, expr, base, at)
        elif isinstance(expr, Call):
            self._called(expr, part, base, at)
        elif isinstance(expr, Load):
            self.load_bytes(expr, base, at)
        elif (
            isinstance(expr, Cast)
            and expr.operand.type.size == of.size
            and not in_register(expr.operand.type)
        ):
            self.put(expr.operand, Part(expr.operand.type, part.offset, part.size), base, off, clean=clean)
        elif isinstance(expr, Const) and not expr.value:
            self.clear(base, at, part.size)
        elif isinstance(expr, TupleOf) and isinstance(of, Array):
            self.clear(base, at, part.size)
            for number, item in enumerate(expr.items[: of.count]):
                self.put(item, Part(of.of, at + number * of.of.size, of.of.size), base, 0, clean=True)
        elif not self.inline(expr, base, at):
            if not isinstance(expr, (Var, MemberOf, Index, MapGet)):
                raise CannotCompile(f"a value of type {type(of).__name__} by {type(expr).__name__.lower()}")
            where = self.locate(expr)
            size = min(where.part.size, part.size)
            self.duplicate(where.base, where.at, base, at, size)

    def _tuple(self, expr: Expr, part: Part, base: int, off: int, clean: bool) -> None:
        if isinstance(expr, TupleOf):
            items = expr.items
        elif isinstance(expr, Cast) and isinstance(expr.operand.type, Tuple):
            inner = expr.operand.type.items
            items = tuple(
                Cast(to.type, self._item(expr.operand, one, at))
                for at, (one, to) in enumerate(zip(inner, part.parts))
            )
        elif isinstance(expr.type, Tuple):
            items = tuple(self._item(expr, one, at) for at, one in enumerate(expr.type.items))
        else:
            raise CannotCompile(f"a tuple by {type(expr).__name__}")
        if len(items) != len(part.parts):
            raise CannotCompile("tuples of unequal length")
        if isinstance(expr, MapGet):  # read once, then taken apart
            where = self.locate(expr)
            self.places["\0tuple"] = where
            items = tuple(
                MemberOf(one, Var(expr.type, "\0tuple"), at)
                for at, one in enumerate(expr.type.items)  # type: ignore[attr-defined]
            )
        for inner_part, item in zip(part.parts, items):
            mark = self.frame.mark()
            self.put(item, inner_part, base, off, clean=clean)
            self.frame.release(mark)

    @staticmethod
    def _item(expr: Expr, of: Type, at: int) -> Expr:
        return expr.items[at] if isinstance(expr, TupleOf) else MemberOf(of, expr, at)

    def _called(self, expr: Call, part: Part, base: int, at: int) -> None:
        name, of = expr.function, part.type
        if name == "ntop" and isinstance(of, Formatted):
            self._ntop(expr, base, at)
        elif name == "macaddr" and not in_register(expr.args[0].type):
            where = self.locate(expr.args[0])
            self.duplicate(where.base, where.at, base, at, 6)
        elif name == "buf" and isinstance(of, Buffer):
            self._buf(expr, of, base, at + 8 if part.parts else at, bool(part.parts))
        else:
            raise CannotCompile(f"{name}()")

    def _ntop(self, expr: Call, base: int, at: int) -> None:
        """u64 family, then the address: 16 bytes of AF_INET6 (10), else 4 and zeros."""
        code, value = self.code, expr.args[-1]
        long = value.type.size >= 16 and not in_register(value.type)
        six = code.label()
        self.zero(base, at + 8, 16)
        if in_register(value.type):
            self.scalar(value)
            code.store(base, at + 8, R0, 4)
        else:
            where = self.locate(value)
            self.duplicate(where.base, where.at, base, at + 8, min(16, where.part.size))
        if len(expr.args) == 1:
            code.storei(base, at, 10 if long else 2, 8)
            return
        self.scalar(expr.args[0])
        code.storei(base, at, 10, 8)
        code.jump_ifi("==", R0, 10, six)
        code.storei(base, at, 2, 8)
        code.storei(base, at + 12, 0, 4)
        code.storei(base, at + 16, 0, 8)
        code.place(six)

    def _buf(self, expr: Call, of: Buffer, base: int, at: int, counted: bool) -> None:
        """The bytes, and zeros; before them the u64 length where it is ``counted``."""
        code, value = self.code, expr.args[0]
        count = expr.args[1] if len(expr.args) > 1 else Const(UINT64, of.length)
        known = isinstance(count, Const) and 0 <= int(count.value) <= of.length
        if not counted and not (known and int(count.value) == of.length):  # type: ignore[attr-defined]
            raise CannotCompile("buf() of a length that is computed")
        pointer = 0
        if in_register(value.type):
            self.scalar(value)
            pointer = self.spill()
        self.clear(base, at, of.length)
        if is_text(value.type) and not isinstance(value.type, Array):
            self._text_bytes(value, of, base, at)
        elif not pointer:
            where = self.locate(value)
            self.duplicate(where.base, where.at, base, at, min(where.part.size, of.length))
        if known:
            code.const(R0, int(count.value))  # type: ignore[attr-defined]
        else:
            fits, some = code.label(), code.label()
            self.scalar(count)
            code.jump_ifi("s>=", R0, 0, some)
            code.alui("mov", R0, 0)
            code.place(some)
            code.jump_ifi("<=", R0, of.length, fits)
            code.alui("mov", R0, of.length)
            code.place(fits)
        if counted:
            code.store(base, at - 8, R0, 8)
        if pointer:
            code.mov(R2, R0)
            code.load(R3, FP, pointer, 8)
            self.fetch("", base, at, 0)

    def _text_bytes(self, value: Expr, of: Buffer, base: int, at: int) -> None:
        """A string's bytes; its NUL and what follows count as zeros."""
        wide = -(-(max(value.type.size, of.length) + 8) // 8) * 8
        room, off = self.room(wide)
        self.clear(room, off, wide)
        self.text(value, room, off, max(value.type.size, of.length), clean=True)
        self.duplicate(room, off, base, at, of.length)

    # --- where a value lies -----------------------------------------------------------------------------

    def locate(self, expr: Expr) -> Where:
        """The memory that holds ``expr``; a room of its own where it isn't in memory already."""
        if isinstance(expr, Var):
            found = self.places.get(expr.name)
            if found is None:
                raise CannotCompile(f"${expr.name} before it is set")
            return found
        if isinstance(expr, MemberOf):
            return self._member(expr)
        if isinstance(expr, Index) and isinstance(expr.index, Const):
            return self._indexed(expr)
        part = slot(expr.type)
        base, off = self.room(part.size)
        if isinstance(expr, MapGet):
            self.value_of(expr, part, base, off)
        elif isinstance(expr, (TupleOf, Call, Load, Text, Choice, Cast, Const, Site)):
            self.put(expr, part, base, off)
        else:
            raise CannotCompile(f"{type(expr).__name__.lower()} as a value")
        return Where(base, off, part)

    def _member(self, expr: MemberOf) -> Where:
        whole, of = expr.operand, expr.operand.type
        if isinstance(whole, TupleOf):
            return self.locate(whole.items[expr.index])
        where = self.locate(whole)
        if where.part.parts:
            if not 0 <= expr.index < len(where.part.parts):
                raise CannotCompile("a tuple's item that isn't there")
            return where.replace(part=where.part.parts[expr.index])
        if isinstance(of, Struct) and expr.index < len(of.members):
            return where.replace(part=member(where.part, of.members[expr.index]))
        raise CannotCompile("a member of a value without any")

    def _indexed(self, expr: Index) -> Where:
        assert isinstance(expr.index, Const)
        where, of, number = self.locate(expr.operand), expr.operand.type, int(expr.index.value)
        step = expr.type.size
        count = of.count if isinstance(of, Array) else of.size // max(1, step)
        if not (isinstance(of, Array) or is_text(of)) or not 0 <= number < count:
            raise CannotCompile("an element out of bounds, or not of an array")
        return where.replace(part=Part(expr.type, where.part.offset + number * step, step))

    def value_of(self, expr: MapGet, part: Part, base: int, off: int) -> None:
        """A map's value to a place (tables.py)."""
        raise CannotCompile(f"reading {expr.map}")

    # --- what scalars.py and strings.py leave to this layer ----------------------------------------------

    def computed(self, expr: Expr) -> None:
        if isinstance(expr, MemberOf) and isinstance(expr.operand, TupleOf):
            self.scalar(expr.operand.items[expr.index])
            return
        if not isinstance(expr, (MemberOf, Index)):
            raise CannotCompile(f"{type(expr).__name__.lower()} as a number")
        mark = self.frame.mark()
        where = self.locate(expr)
        bits, signed = shape(expr.type)
        size = min(where.part.size, bits // 8)
        if where.at % size:
            raise CannotCompile("a value that isn't aligned")
        self.code.load(R0, where.base, where.at, size)
        of = expr.operand.type
        one = of.members[expr.index] if isinstance(of, Struct) and isinstance(expr, MemberOf) else None
        if one is not None and one.bit_size:
            self.code.alui("<<", R0, 64 - one.bit_offset - one.bit_size)
            self.code.alui("s>>" if signed else ">>", R0, 64 - one.bit_size)
        else:
            self.code.extend(R0, bits, signed)
        self.frame.release(mark)

    def text_computed(self, expr: Expr, base: int, off: int, size: int, clean: bool) -> None:
        if isinstance(expr, Load):
            self._loaded_text(expr, base, off, size)
            return
        if isinstance(expr, Call) and expr.function == "str" and is_text(expr.args[0].type):
            if len(expr.args) > 1:
                raise CannotCompile("str() of a value and a length")
            self.text(expr.args[0], base, off, min(size, expr.type.size), clean=clean)
            return
        if isinstance(expr, Call):
            raise CannotCompile(f"{expr.function}()")
        where = self.locate(expr)
        held = where.part.size if isinstance(where.part.type, Tuple) else expr.type.size
        if not clean and size >= held:
            self.duplicate(where.base, where.at, base, off, held)
            return
        if clean:
            self.clear(base, off, size)
        self.address(R3, where.base, where.at)
        self.fetch("kernel", base, off, min(size, held), text=True)

    def _loaded_text(self, expr: Load, base: int, off: int, size: int) -> None:
        """A char array in memory: all its bytes up to a NUL, be there one or not."""
        held = expr.type.size
        wide = -(-(held + 1) // 8) * 8
        mark = self.frame.mark()
        at, there = self.room(wide)
        self.clear(at, there, wide)
        self.pointer(expr.pointer, expr.offset)
        self.fetch(expr.space, at, there, held + 1, text=True)
        self.clear(base, off, size)
        self.duplicate(at, there, base, off, min(size, held))
        self.frame.release(mark)

    def in_place(self, expr: Expr, size: int) -> tuple[int, int] | None:
        """Where a string of at least ``size`` bytes lies already."""
        if not isinstance(expr, (Var, MemberOf)):
            return None
        where = self.locate(expr)
        return (where.base, where.at) if where.part.size >= size and where.at % 8 == 0 else None

    def refers(self, expr: Expr, name: str) -> bool:
        """Whether ``expr`` reads variable ``name``."""
        return any(isinstance(one, Var) and one.name == name for one in walk(expr))
