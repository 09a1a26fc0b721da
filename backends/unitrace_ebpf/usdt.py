"""USDT probes: where they are, and their arguments as programs read them.

A probe that the compiler made several copies of has a note for each, with the arguments in other registers
perhaps. One program serves them all: it knows by the instruction pointer where it is. Only its low bits are
certain, as pages are mapped where the loader likes.
"""

from __future__ import annotations

from unitrace.contract.errors import ProbeError
from unitrace.contract.ir import Probe
from unitrace.kernel.arch import architecture
from unitrace.kernel.usdt import Argument, Usdt, probes

from .asm import FP, R0, R1, R3
from .compile.base import CONTEXT, Base, CannotCompile

__all__ = ["argument", "places"]

PAGE = 4096

_found: dict[tuple[str, str], list[Usdt]] = {}


def places(probe: Probe) -> list[Usdt]:
    """Where the probe is: ``probe.scope`` is its file, ``probe.name`` "PROVIDER:NAME" or "NAME".
    ProbeError where the file has no such probe."""
    key = probe.scope, probe.name
    if key not in _found:
        provider, _, name = probe.name.rpartition(":")
        try:
            everywhere = probes(probe.scope)
        except (OSError, ValueError) as error:
            raise ProbeError(f"{probe.scope} can't be read: {error}", span=probe.span) from None
        named = [one for one in everywhere if one.name == name and provider in ("", one.provider)]
        if not named:
            raise ProbeError(f"{probe.scope} has no USDT probe {probe.name}", span=probe.span)
        _found[key] = named
    return _found[key]


def argument(into: Base, at: tuple[Usdt, ...], number: int) -> None:
    """Argument ``number`` into R0, as wide as it is and with its own sign, extended to 64 bits."""
    by_words: dict[Argument, set[int]] = {}
    for one in at:
        if number >= len(one.args):
            raise CannotCompile(f"arg{number}: the probe has {len(one.args)}")
        found = one.args[number]
        if not found.known:
            raise CannotCompile(f"arg{number}: where it is, {found.written}, isn't understood")
        by_words.setdefault(found, set()).add(one.location % PAGE)
    if len(by_words) == 1:
        _value(into, next(iter(by_words)))
        return
    if sum(map(len, by_words.values())) != len(set().union(*by_words.values())):
        raise CannotCompile(f"arg{number}: copies of the probe can't be told apart")
    code = into.code
    done = code.label()
    for found, offsets in by_words.items():
        here, other = code.label(), code.label()
        arch = architecture()
        code.load(R1, CONTEXT, arch.offsets[arch.ip], 8)
        code.alui("&", R1, PAGE - 1)
        for offset in sorted(offsets):
            code.jump_ifi("==", R1, offset, here)
        code.jump(other)
        code.place(here)
        _value(into, found)
        code.jump(done)
        code.place(other)
    code.alui("mov", R0, 0)
    code.place(done)


def _value(into: Base, of: Argument) -> None:
    code, offsets = into.code, architecture().offsets
    if of.constant is not None:
        code.const(R0, of.constant)
    elif not of.memory:
        code.load(R0, CONTEXT, offsets[of.register], 8)
    else:
        used = into.frame.used
        slot = into.frame.take()
        if of.register:
            code.load(R3, CONTEXT, offsets[of.register], 8)
        else:
            code.alui("mov", R3, 0)
        if of.index:
            code.load(R1, CONTEXT, offsets[of.index], 8)
            code.alui("*", R1, of.scale)
            code.alu("+", R3, R1)
        code.alui("+", R3, of.offset)
        into.fetch("user", FP, slot, of.size)
        code.load(R0, FP, slot, of.size)
        into.frame.back(used)
    code.extend(R0, 8 * of.size, of.signed)
