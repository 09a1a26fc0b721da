"""Where a field of a format file lies in a raw record, as a batch wants to know it."""

from __future__ import annotations

from unitrace.contract.ir import Field
from unitrace.contract.model import Place
from unitrace.contract.types import Bool, Enum, Int, Pointer, Str

__all__ = ["place_of"]


def place_of(field: Field) -> Place:
    """The Place of ``field`` in its event's record.

    A number may be narrower than its slot (arguments of system calls have eight bytes each): its low
    bytes count. What is neither number nor string comes as bytes.
    """
    kind = field.type
    if field.how != "value":
        return Place(field.offset, 4, field.how)
    if isinstance(kind, (Int, Enum)):
        return Place(field.offset, kind.size, "int", kind.signed)
    if isinstance(kind, (Bool, Pointer)):
        return Place(field.offset, kind.size, "int")
    if isinstance(kind, Str):
        return Place(field.offset, field.length, "text")
    return Place(field.offset, field.length, "bytes")
