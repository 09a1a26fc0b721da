"""What is known while a program is being checked: its maps, macros, types, options, faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unitrace.contract.errors import SpecError
from unitrace.contract.ir import MapDecl, Probe
from unitrace.contract.machine import Machine
from unitrace.contract.types import Aggregate, Type

from . import ast
from .source import Source
from .typenames import TypeNames

__all__ = ["MapInfo", "NotYet", "Slot", "Unit"]


class NotYet(Exception):
    """A type isn't known yet: the statement is left for the next round. ``error``: what to say if it
    never is."""

    def __init__(self, error: SpecError) -> None:
        super().__init__(error.message)
        self.error = error


class Slot:
    """A scratch variable. ``flexible``: its type comes from literals alone; ``fixed``: it was declared;
    ``pointed``: its address was taken."""

    __slots__ = ("assigned", "fixed", "flexible", "name", "pointed", "type")

    def __init__(self, name: str) -> None:
        self.name = name
        self.type: Type | None = None
        self.flexible = True
        self.fixed = False
        self.assigned = False
        self.pointed = False


class MapInfo:
    """A map as far as it is known. ``keyed``: with or without keys, None before the first use."""

    __slots__ = ("declared", "entries", "flexible", "key", "key_flexible", "keyed", "name", "place", "read",
                 "value")  # fmt: skip

    def __init__(self, name: str, entries: int) -> None:
        self.name = name
        self.entries = entries
        self.keyed: bool | None = None
        self.key: tuple[Type, ...] | None = None
        self.key_flexible: list[bool] = []
        self.value: Type | None = None
        self.flexible = True
        self.declared = ""
        self.read = False
        self.place: tuple[int, int] = (0, 0)

    @property
    def spelled(self) -> str:
        """The map's name in the IR: with its ``@``, so that the nameless map has one too."""
        return f"@{self.name}"

    def decl(self) -> MapDecl | None:
        """The IR's declaration; None where the types never became known."""
        key = () if self.keyed is False else self.key
        if self.value is None or key is None:
            return None
        evicts = self.declared in ("lruhash", "percpulruhash")
        return MapDecl(self.spelled, key, self.value, self.entries, evicts)


class Unit:
    """A program that is being compiled.

    ``changed``: in this round a type became another after something had seen it; ``waiting``: a statement
    had to wait for a type.
    """

    def __init__(
        self,
        source: Source,
        machine: Machine,
        positional: Sequence[str] = (),
        cpid: int = 0,
        unsafe: bool = True,
        debug: Sequence[str] = (),
    ) -> None:
        self.source = source
        self.machine = machine
        self.positional = tuple(one for one in positional if not one.startswith("--"))
        self.named = _named(positional)
        self.named_used: dict[str, str] = {}
        self.cpid = cpid
        self.unsafe = unsafe
        self.config: dict[str, int | bool | bytes | str] = {}
        self.types = TypeNames(machine, debug, source.text)
        self.macros: dict[tuple[str, int], ast.Macro] = {}
        self.macro_names: dict[str, ast.Macro] = {}
        self.maps: dict[str, MapInfo] = {}
        self.slots: dict[object, Slot] = {}
        self.names: dict[object, set[str]] = {}
        self.errors: list[SpecError] = []
        self.warnings: dict[tuple[str, int, int], SpecError] = {}
        self.changed = False
        self.waiting = False
        self.label_length = 16

    def setting(self, name: str, default: int) -> int:
        """A number from the config block."""
        value = self.config.get(name, default)
        return value if type(value) is int else default

    @property
    def max_strlen(self) -> int:
        """The longest string, NUL counted."""
        return self.setting("max_strlen", 1024)

    def map(self, name: str) -> MapInfo:
        """The map ``name``, made where it wasn't known."""
        info = self.maps.get(name)
        if info is None:
            info = self.maps[name] = MapInfo(name, self.setting("max_map_keys", 4096))
        return info

    def slot(self, root: object, key: object, name: str) -> Slot:
        """The variable that ``key`` (its place in the program) stands for; its name is unique in ``root``."""
        found = self.slots.get(key)
        if found is None:
            taken = self.names.setdefault(root, set())
            unique, number = name, 2
            while unique in taken:
                unique, number = f"{name}_{number}", number + 1
            taken.add(unique)
            found = self.slots[key] = Slot(unique)
        found.assigned = found.pointed = False
        return found

    def warn(self, message: str, start: int, end: int) -> None:
        """Keep a warning; the same one at the same place once."""
        self.warnings[(message, start, end)] = self.source.error(message, start, end)

    def map_decls(self) -> tuple[MapDecl, ...]:
        """All maps whose types are known."""
        return tuple(decl for info in self.maps.values() if (decl := info.decl()) is not None)

    def is_aggregate(self, name: str) -> bool:
        """Whether a map holds an aggregate."""
        info = self.maps.get(name)
        return info is not None and isinstance(info.value, Aggregate)


def _named(positional: Sequence[str]) -> Mapping[str, str | None]:
    found: dict[str, str | None] = {}
    for one in positional:
        if one.startswith("--") and len(one) > 2:
            name, equals, value = one[2:].partition("=")
            found[name] = value if equals else None
    return found


def shape_of(probe: Probe) -> object:
    """What of a probe its body can depend on: bodies of probes of one shape are the same."""
    where = probe.scope if probe.kind in ("tracepoint", "rawtracepoint") else ""
    user = probe.scope == "syscalls" if where else False
    return (probe.kind, user, probe.fields, probe.result, probe.scope if probe.kind == "iter" else "")
