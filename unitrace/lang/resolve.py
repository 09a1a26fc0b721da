"""From an attach point's text to probes: short names, wildcards, what exists on this machine."""

from __future__ import annotations

from unitrace.contract.errors import ProbeError
from unitrace.contract.ir import Probe
from unitrace.contract.probes import BY_NAME, EVENTS, PROBE_TYPES

from . import ast
from .kernel_probes import KernelProbes
from .lexer import decode_number
from .places import WILD
from .source import suggest
from .user_probes import UserProbes

__all__ = ["Resolver"]

_UNITS = ("s", "ms", "us", "hz")
_SIGNALS = ("SIGUSR1",)

_FILES = frozenset(("uprobe", "uretprobe", "usdt", "self", "test", "bench", "iter"))
"""Probes whose targets may be written in any letters."""


class Resolver(KernelProbes, UserProbes):
    """Resolves attach points of all kinds: a method each, named after the probe type."""

    def probes(self, point: ast.AttachPoint) -> list[Probe]:
        """The probes that an attach point means. Raises ProbeError."""
        self.point = point
        parts = self.split(point.text)
        kind = parts[0].rpartition("=")[2] if "=" in parts[0] else parts[0]
        if kind not in BY_NAME:
            if WILD.search(kind) and len(parts) > 1:
                return self.any_kind(kind, parts[1:])
            near = suggest(kind, [name for name in BY_NAME if len(name) > 2])
            known = ", ".join(one.name for one in PROBE_TYPES)
            remedy = near or (
                f"a probe is TYPE:TARGET; types are {known}" if len(parts) == 1 else f"types: {known}"
            )
            raise self.error(f"Invalid probe type: {kind}", remedy)
        name = BY_NAME[kind].name
        rest = parts[1:]
        if name not in _FILES and not point.text.isascii():
            raise self.error(f"No matches for {point.text}: it isn't a name of the kernel's")
        made: list[Probe] = getattr(self, f"_{name}")(name, rest)
        return made

    def any_kind(self, pattern: str, rest: list[str]) -> list[Probe]:
        """A wildcard for the probe type: those types whose targets match."""
        from fnmatch import fnmatchcase

        found: list[Probe] = []
        for one in PROBE_TYPES:
            if fnmatchcase(one.name, pattern) and (one.name in _FILES or self.point.text.isascii()):
                try:
                    found += getattr(self, f"_{one.name}")(one.name, list(rest))
                except ProbeError:
                    continue
        if not found:
            raise self.error(f"No probe type matched for {pattern}")
        return found

    # -- fired by user space --------------------------------------------------------------------

    def _begin(self, kind: str, rest: list[str]) -> list[Probe]:
        if rest:
            raise self.error("begin/end probes should not have a target")
        return [self.made(kind, kind)]

    _end = _begin

    def _interval(self, kind: str, rest: list[str]) -> list[Probe]:
        self.count(kind, rest, 1, 2)
        unit, number = self.period(kind, rest)
        return [self.made(kind, f"{kind}:{':'.join(rest)}", scope=unit, name=str(number), offset=number)]

    _profile = _interval

    def period(self, kind: str, rest: list[str]) -> tuple[str, int]:
        """The unit ("s", "ms", "us", "hz", "ns") and number of a timer."""
        if len(rest) == 1:
            try:
                number = decode_number(rest[0])
            except ValueError as error:
                remedy = f"{kind}:s:1 or {kind}:1s is once a second"
                raise self.error(f"Invalid rate of {kind} probe: {error}", remedy) from None
            if number < 1000:
                raise self.error(
                    f"Invalid rate of {kind} probe. Minimum is 1000 or 1us. Found: {number} nanoseconds",
                    f"{kind}:s:{rest[0]} is once every {rest[0]} s" if rest[0].isdigit() else "",
                )
            return "ns", number
        unit, word = rest
        if unit not in _UNITS:
            raise self.error(f"{unit} is not an accepted unit of time", f"one of {', '.join(_UNITS)}")
        try:
            number = decode_number(word)
        except ValueError as error:
            raise self.error(f"Invalid rate of {kind} probe: {error}") from None
        if number < 1:
            raise self.error(f"{kind} frequency should be a positive integer")
        return unit, number

    def _self(self, kind: str, rest: list[str]) -> list[Probe]:
        self.count(kind, rest, 2, 2)
        if rest[0] != "signal":
            raise self.error(f"{rest[0]} is not a supported trigger")
        if rest[1] not in _SIGNALS:
            raise self.error(f"{rest[1]} is not a supported signal", f"one of {', '.join(_SIGNALS)}")
        return [self.made(kind, f"{kind}:{':'.join(rest)}", scope=rest[0], name=rest[1])]

    def _test(self, kind: str, rest: list[str]) -> list[Probe]:
        if len(rest) != 1 or not rest[0]:
            raise self.error(f"{kind} probes must have a name")
        return [self.made(kind, f"{kind}:{rest[0]}", name=rest[0])]

    _bench = _test

    # -- perf events ----------------------------------------------------------------------------

    def _software(self, kind: str, rest: list[str]) -> list[Probe]:
        self.count(kind, rest, 1, 2)
        events = EVENTS[kind]
        if WILD.search(rest[0]):
            raise self.error(f"wildcards are not allowed for {kind} probe type")
        if rest[0] not in events:
            raise self.error(
                f"{rest[0]} is not a {kind} probe", suggest(rest[0], events) or f"one of {', '.join(events)}"
            )
        number = 0
        if len(rest) == 2 and rest[1]:
            try:
                number = decode_number(rest[1])
            except ValueError as error:
                raise self.error(f"Invalid count for {kind} probe: {error}") from None
            if number < 1:
                raise self.error(f"{kind} count should be a positive integer")
        return [self.made(kind, f"{kind}:{':'.join(rest)}", name=rest[0], offset=number)]

    _hardware = _software

    def _watchpoint(self, kind: str, rest: list[str]) -> list[Probe]:
        self.count(kind, rest, 3, 3)
        try:
            address, length = decode_number(rest[0]), decode_number(rest[1])
        except ValueError as error:
            raise self.error(f"Invalid length argument: {error}") from None
        if not address:
            raise self.error("watchpoint must be attached to a non-zero address")
        if length not in (1, 2, 4, 8):
            raise self.error("watchpoint length must be one of (1,2,4,8)")
        mode = rest[2]
        if not mode or set(mode) - set("rwx"):
            raise self.error("watchpoint mode must be combination of (r,w,x)")
        if len(set(mode)) != len(mode):
            raise self.error("watchpoint modes may not be duplicated")
        label = f"{kind}:{':'.join(rest)}"
        return [self.made(kind, label, scope=mode, name=rest[0], offset=length, address=address)]

    def _iter(self, kind: str, rest: list[str]) -> list[Probe]:
        if not rest or not rest[0]:
            raise self.error("iter should specify a iterator's name")
        return [self.made(kind, f"{kind}:{':'.join(rest)}", name=rest[0], scope=":".join(rest[1:]))]
