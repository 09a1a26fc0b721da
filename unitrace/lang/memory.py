"""Members, elements, what pointers point to, casts, sizes: everything about memory."""

from __future__ import annotations

from unitrace.contract import ir
from unitrace.contract.types import (
    INT64,
    UINT64,
    Array,
    Bool,
    Buffer,
    Enum,
    Int,
    Member,
    Pointer,
    Str,
    Struct,
    Tuple,
    Type,
    Void,
)

from . import ast, rules
from .base import Base, Surroundings, spelled
from .source import suggest
from .typenames import TASK, bare

__all__ = ["Memory", "is_char"]

_BY_VALUE = 256
"""Bytes up to which an array is read as a whole to take an element that is known at run time only."""


def is_char(of: Type) -> bool:
    """Whether an array of this type is text."""
    return isinstance(of, Int) and of.bits == 8 and of.signed


def address(pointer: ir.Expr, offset: int) -> ir.Expr:
    """``pointer`` plus ``offset`` bytes."""
    if offset == 0:
        return pointer
    whole = rules.cast(pointer, UINT64)
    if isinstance(whole, ir.Binary) and whole.op == "+" and isinstance(whole.right, ir.Const):
        value = whole.right.value
        assert isinstance(value, int)
        return whole.replace(right=ir.Const(UINT64, rules.wrap(value + offset, UINT64)))
    return rules.fold(ir.Binary(UINT64, "+", whole, ir.Const(UINT64, rules.wrap(offset, UINT64))))


class Memory(Base):
    """Lowering of what reads memory."""

    def load(
        self, of: Type, pointer: ir.Expr, offset: int, space: str, member: Member | None = None, nul: int = 0
    ) -> ir.Expr:
        """The value of type ``of`` at ``pointer`` + ``offset``; an array of char is its text, that needs
        ``nul`` bytes more where all of the array may be text."""
        if isinstance(of, Array) and is_char(of.of) and of.count:
            return ir.Text(Str(of.count + nul), address(pointer, offset), space)
        if isinstance(of, Str):
            return ir.Text(of, address(pointer, offset), space)
        if isinstance(of, Struct):
            of = self.unit.types.complete(of)
        bits = (member.bit_offset, member.bit_size) if member else (0, 0)
        if isinstance(pointer, ir.Binary) and pointer.op == "+" and isinstance(pointer.right, ir.Const):
            value = pointer.right.value
            if isinstance(value, int) and value < 1 << 31:
                pointer, offset = pointer.left, offset + value
        if isinstance(of, Int) and of.signed and 0 < bits[1] < of.bits:  # as bpftrace: zeros in front
            return rules.cast(ir.Load(of.replace(signed=False), pointer, offset, space, *bits), of)
        return ir.Load(of, pointer, offset, space, *bits)

    def member_of(self, of: Struct, name: str, node: ast.Node) -> Member:
        """Member ``name``, found inside members without a name too; its offset is from the struct's start."""
        whole = self.unit.types.complete(of)
        if not whole.members:
            raise self.fault(f"Unknown struct/union: '{of.name}'", node, self.unit.types.undefined(of.name))
        found = _find(whole, name, self)
        if found is None:
            raise self.fault(
                f"Struct/union of type '{whole.name}' does not contain a field named '{name}'",
                node,
                suggest(name, [member.name for member in whole.members if member.name]),
            )
        return found

    def _Field(self, node: ast.Field) -> ir.Expr:
        if (
            isinstance(node.operand, ast.Name)
            and node.operand.name == "args"
            and "args" not in self.here.bound
        ):
            return self.argument(node)
        return self.field(self.value(node.operand), node.name, node)

    def _Arrow(self, node: ast.Arrow) -> ir.Expr:
        return self._Field(node)

    def field(self, operand: ir.Expr, name: str, node: ast.Node) -> ir.Expr:
        """``operand.name``."""
        of = operand.type
        if isinstance(of, Pointer) and isinstance(of.to, Struct):
            member = self.member_of(of.to, name, node)
            nul = int(of.to.name in self.unit.types.structs)  # the kernel ends its own strings
            return self.load(member.type, operand, member.offset, self.space_of(operand), member, nul)
        if isinstance(of, Struct):
            member = self.member_of(of, name, node)
            if isinstance(operand, ir.Load):
                offset = operand.offset + member.offset
                nul = int(of.name in self.unit.types.structs)
                return self.load(member.type, operand.pointer, offset, operand.space, member, nul)
            for index, one in enumerate(self.unit.types.complete(of).members):
                if one.name == name:
                    return ir.MemberOf(one.type, operand, index)
            raise self.fault(f"Can not access field '{name}' of a struct that was copied", node)
        if isinstance(of, Tuple) and of.names:
            if name not in of.names:
                raise self.fault(
                    f"Record does not contain a field named '{name}'", node, suggest(name, of.names)
                )
            index = of.names.index(name)
            return self.item(operand, of, index)
        if isinstance(of, Pointer) and isinstance(of.to, Tuple):
            return self.field(self.load(of.to, operand, 0, self.space_of(operand)), name, node)
        remedy = ""
        if isinstance(operand, ir.Site) and operand.name == "curtask":
            remedy = self.unit.types.undefined(TASK)
        elif isinstance(of, Int) and of.bits == 64:
            remedy = f"cast it first: ((struct NAME *)...).{name}"
        raise self.fault(f"Can not access field '{name}' on expression of type '{spelled(of)}'", node, remedy)

    def item(self, operand: ir.Expr, of: Tuple, index: int) -> ir.Expr:
        """Item ``index`` of a tuple."""
        if isinstance(operand, ir.TupleOf):
            return operand.items[index]
        return ir.MemberOf(of.items[index], operand, index)

    def _TupleItem(self, node: ast.TupleItem) -> ir.Expr:
        operand = self.value(node.operand)
        of = operand.type
        if not isinstance(of, Tuple):
            raise self.fault(
                f"Can not access index '{node.index}' on expression of type '{spelled(of)}'", node
            )
        if node.index >= len(of.items):
            raise self.fault(
                f"Invalid tuple index: {node.index}. Found {len(of.items)} elements in tuple.", node
            )
        return self.item(operand, of, node.index)

    def _Index(self, node: ast.Index) -> ir.Expr:
        operand, index = self.several((node.operand, node.index))
        of = operand.type
        if not isinstance(index.type, (Int, Enum)) and not rules.is_number(index.type):
            raise self.fault(
                "The array index operator [] only accepts positive (unsigned) integer indices. "
                f"Got: {spelled(index.type)}",
                node,
            )
        known = index.value if isinstance(index, ir.Const) and isinstance(index.value, int) else None
        if isinstance(of, Tuple):
            if known is None or not 0 <= known < len(of.items):
                raise self.fault(
                    "A tuple's index has to be a constant below its size"
                    if known is None
                    else f"Invalid tuple index: {known}. Found {len(of.items)} elements in tuple.",
                    node,
                )
            return self.item(operand, of, known)
        if isinstance(of, Array):
            return self._element(node, operand, of, index, known)
        if isinstance(of, (Str, Buffer)):
            if known is not None and not 0 <= known < of.size:
                raise self.fault(f"the index {known} is out of bounds for array of size {of.size}", node)
            kind = Int(8, isinstance(of, Str))
            return ir.Index(kind, operand, rules.cast(index, INT64))
        if isinstance(of, Pointer):
            to = of.to
            if isinstance(to, Void) or not self.size_of(to):
                raise self.fault("The array index operator [] cannot be used on a pointer to void", node)
            return self._at(to, operand, index, known, self.space_of(operand))
        raise self.fault(
            f"The array index operator [] can only be used on arrays and pointers, found {spelled(of)}.",
            node,
        )

    def _element(
        self, node: ast.Index, operand: ir.Expr, of: Array, index: ir.Expr, known: int | None
    ) -> ir.Expr:
        if known is not None and of.count and not 0 <= known < of.count:
            raise self.fault(f"the index {known} is out of bounds for array of size {of.count}", node)
        if isinstance(operand, ir.Load) and (known is not None or of.size > _BY_VALUE or not of.count):
            return self._at(of.of, address(operand.pointer, operand.offset), index, known, operand.space)
        return ir.Index(of.of, operand, rules.cast(index, INT64))

    def _at(self, of: Type, pointer: ir.Expr, index: ir.Expr, known: int | None, space: str) -> ir.Expr:
        size = self.size_of(of)
        if known is not None:
            return self.load(of, pointer, known * size, space)
        offset = ir.Binary(UINT64, "*", rules.cast(index, UINT64), ir.Const(UINT64, size))
        return self.load(of, ir.Binary(UINT64, "+", rules.cast(pointer, UINT64), offset), 0, space)

    def size_of(self, of: Type) -> int:
        """The size of a type in bytes, that of kernel structs looked up."""
        if isinstance(of, Struct):
            return self.unit.types.complete(of).size
        if isinstance(of, Array):
            return self.size_of(of.of) * of.count
        return of.size

    def dereference(self, operand: ir.Expr, node: ast.Node) -> ir.Expr:
        """``*operand``."""
        of = operand.type
        if isinstance(of, Pointer):
            if isinstance(of.to, Void):
                raise self.fault("Can not dereference a pointer to void", node, "cast it to a pointer first")
            return self.load(of.to, operand, 0, self.space_of(operand))
        if isinstance(of, Int):
            return ir.Load(UINT64, operand, 0, self.space_of(operand))
        if isinstance(of, Struct):
            raise self.fault(
                f"Can not dereference struct/union of type '{of.name}'. It is not a pointer.", node
            )
        raise self.fault(f"Can not dereference type '{spelled(of)}'", node)

    # -- types ----------------------------------------------------------------------------------

    def type_of(self, ref: ast.TypeRef | ast.Expr) -> Type:
        """The type that a name or an expression stands for."""
        if isinstance(ref, ast.TypeOf):
            return self.type_of(ref.of)
        if isinstance(ref, ast.TypeName):
            bound = self.here.bound.get(ref.name)
            found: Type | None
            if bound is not None:
                found = self._bound_type(*bound)
                for suffix in ref.suffixes:
                    found = Pointer(bare(found)) if suffix == "*" else Array(found, int(suffix))
            else:
                found = self.unit.types.suffixed(ref.name, ref.suffixes)
            if found is None:
                known = None if ref.suffixes else self.unit.types.constant(ref.name)
                if known is not None:
                    return known[0]
                kernel = ref.name.startswith(("struct ", "union "))
                remedy = self.unit.types.undefined(ref.name) if kernel else ""
                raise self.fault(f'Cannot resolve unknown type "{ref.name}"', ref, remedy)
            return found
        if isinstance(ref, ast.TypeArg):
            return self.type_of(ref.of)
        return self.typed(ref)

    def _bound_type(self, node: ast.Expr, home: Surroundings) -> Type:
        """The type that a macro's argument stands for, found where the macro was called."""
        before, self.here = self.here, home
        try:
            return self.type_of(node.of if isinstance(node, ast.TypeArg) else node)
        finally:
            self.here = before

    def typed(self, node: ast.Expr) -> Type:
        """The type of an expression that is not evaluated."""
        with self.collected():
            return self.expr(node).type

    def _Sizeof(self, node: ast.Sizeof) -> ir.Expr:
        of = node.of
        if isinstance(of, ast.TypeName) and not of.suffixes and of.name not in self.here.bound:
            types = self.unit.types
            if types.suffixed(of.name, ()) is None and types.constant(of.name) is not None:
                return ir.Const(UINT64, 8)  # an enumerator is a number like others
        return ir.Const(UINT64, self.size_of(self.type_of(node.of)))

    def _Offsetof(self, node: ast.Offsetof) -> ir.Expr:
        of = self.type_of(node.of)
        offset = 0
        for name in node.fields:
            if isinstance(of, Pointer):
                of = of.to
            if not isinstance(of, Struct):
                raise self.fault(f"'{spelled(of)}' is not a struct", node)
            member = self.member_of(of, name, node)
            offset, of = offset + member.offset, member.type
        return ir.Const(UINT64, offset)

    def _Cast(self, node: ast.Cast) -> ir.Expr:
        to = self.type_of(node.to)
        operand = self.number(node.operand)
        return self.cast_to(operand, to, node)

    def cast_to(self, operand: ir.Expr, to: Type, node: ast.Node) -> ir.Expr:
        """A written cast."""
        of = operand.type
        if isinstance(to, Array) and to.count == 0 and not isinstance(of, Struct):
            if not to.of.size or of.size % to.of.size:
                raise self.fault(
                    "Cannot determine array size: the element size is incompatible with the cast "
                    "integer size",
                    node,
                )
            to = Array(to.of, of.size // to.of.size)
        if isinstance(of, Struct):
            raise self.fault(f'Cannot cast from C type "{spelled(of)}"', node)
        if not _castable(of, to):
            raise self.fault(f'Cannot cast from "{spelled(of)}" to "{spelled(to)}"', node)
        if isinstance(to, Pointer) and not to.space and isinstance(of, Pointer) and of.space:
            to = Pointer(to.to, of.space)
        if isinstance(to, Enum) and isinstance(operand, ir.Const) and to.values:
            if operand.value not in [number for _, number in to.values]:
                raise self.fault(
                    f"Enum: {to.name.removeprefix('enum ')} doesn't contain a variant value of "
                    f"{operand.value!r}",
                    node,
                )
            return ir.Const(to, operand.value)
        if isinstance(to, Array) and isinstance(of, Int) and of.size < to.size:
            operand = rules.cast(operand, Int(to.size * 8, of.signed))
        return rules.cast(operand, to)

    def argument(self, node: ast.Field) -> ir.Expr:
        """``args.name``: the builtins' part."""
        raise NotImplementedError


def _castable(of: Type, to: Type) -> bool:
    whole = (Int, Enum, Bool, Pointer)
    if isinstance(to, whole):
        if isinstance(of, Array):
            return isinstance(to, Int) and of.size == to.size
        return isinstance(of, whole) or (isinstance(to, Bool) and isinstance(of, Str))
    if isinstance(to, Array):
        if isinstance(of, Int) and isinstance(to.of, (Int, Bool)):
            return to.size == of.size or of.size < to.size <= 8
        return isinstance(of, (Str, Bool, Array, Buffer)) and of.size == to.size
    if isinstance(to, Str):
        return isinstance(of, Str) and to.length >= of.length
    if isinstance(to, Buffer):
        return isinstance(of, (Str, Buffer))
    return False  # as which text a number is shown, its function says


def _find(of: Struct, name: str, memory: Memory) -> Member | None:
    for member in of.members:
        if member.name == name:
            return member
        if not member.name and isinstance(member.type, Struct):
            inner = _find(memory.unit.types.complete(member.type), name, memory)
            if inner is not None:
                return inner.replace(offset=inner.offset + member.offset)
    return None
