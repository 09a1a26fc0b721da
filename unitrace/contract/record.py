"""Record: the plain immutable value that the contract is made of.

The standard dataclass costs 13 ms to import and half a millisecond a class; a tracer that
starts in a blink can't spend that on sixty node types. A ``Record`` subclass lists its fields
as annotations, with defaults after, and is compared, hashed and printed by them. Type checkers
see a frozen dataclass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeVar

    from typing_extensions import dataclass_transform

    R = TypeVar("R", bound="Record")  # made at run time it would cost 1.3 ms
else:

    def dataclass_transform(**_: Any) -> Any:
        return lambda cls: cls


__all__ = ["Record"]


@dataclass_transform(frozen_default=True)
class Record:
    """A frozen value with named fields; equal when of one class with equal fields."""

    __slots__: tuple[str, ...] = ("_hash",)
    _fields: tuple[str, ...] = ()
    _defaults: dict[str, Any] = {}  # noqa: RUF012 (written once a class, below)

    def __init_subclass__(cls) -> None:
        own = [name for name in cls.__annotations__ if not name.startswith("_")]
        cls._fields = (*cls._fields, *own)
        cls._defaults = {**cls._defaults, **{n: cls.__dict__[n] for n in own if n in cls.__dict__}}

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = self._fields
        if not named and len(values) == len(fields):  # by far the most
            self.__dict__.update(zip(fields, values))
            return
        if len(values) > len(fields):
            raise TypeError(f"{type(self).__name__} takes {len(fields)} fields, got {len(values)}")
        table = self.__dict__
        table.update(zip(fields, values))
        table.update(named)
        if len(table) != len(fields) or len(values) + len(named) != len(fields):
            table = {**self._defaults, **table}
            if len(table) != len(fields):
                wrong = set(table) ^ set(fields)
                raise TypeError(f"{type(self).__name__}: missing or unknown {sorted(wrong)}")
            self.__dict__.update(table)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_hash":  # the hash is computed once
            object.__setattr__(self, name, value)
            return
        raise AttributeError(f"{type(self).__name__}.{name} is read-only")

    def _key(self) -> tuple[Any, ...]:
        table = self.__dict__
        return tuple(table[name] for name in self._fields)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        try:
            return self._hash  # type: ignore[no-any-return, has-type]
        except AttributeError:
            self._hash = hash((type(self).__name__, *self._key()))
            return self._hash

    def __repr__(self) -> str:
        body = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({body})"

    def replace(self: R, **changes: Any) -> R:
        """A copy with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})
