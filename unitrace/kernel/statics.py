"""USDT probes as uprobe events: their places, and their arguments in the words of each place."""

from __future__ import annotations

from unitrace.contract.errors import ProbeError
from unitrace.contract.ir import Expr, Probe, Site
from unitrace.contract.machine import Machine

from .arch import Architecture
from .arguments import Arguments, Value
from .fetchargs import Fetch, Unfetchable
from .usdt import Usdt, probes

__all__ = ["StaticArguments", "place", "places"]


def places(probe: Probe) -> list[Usdt]:
    """Where a usdt probe is: ``probe.scope`` is its file, ``probe.name`` "PROVIDER:NAME" or "NAME".
    ProbeError where the file has no such probe."""
    provider, _, name = probe.name.rpartition(":")
    try:
        named = [one for one in probes(probe.scope) if one.name == name]
        found = [one for one in named if not provider or one.provider == provider]
    except (OSError, ValueError) as error:
        raise ProbeError(f"{probe.scope} can't be read: {error}", span=probe.span) from None
    if not found:
        raise ProbeError(f"{probe.scope} has no USDT probe {probe.name}", span=probe.span)
    return found


def place(probe: Probe, one: Usdt) -> str:
    """The place for uprobe_events. The kernel raises its semaphore while it is enabled (4.20)."""
    counter = f"({one.semaphore:#x})" if one.semaphore else ""
    return f"{probe.scope}:{one.location:#x}{counter}"


class StaticArguments(Arguments):
    """Arguments as the probe's note says where they are at one place."""

    def __init__(self, machine: Machine, probe: Probe, architecture: Architecture, at: Usdt) -> None:
        super().__init__(machine, probe, architecture, self._pointer)
        self._at = at

    def value(self, expr: Expr) -> Value:
        """An argument in its own width and sign, or memory that one points to."""
        found = self._values.get(expr)
        if found is not None or not isinstance(expr, Site) or expr.name not in ("arg", "args"):
            return found or super().value(expr)
        argument = self._at.args[self._number(expr)]
        text = argument.fetch()
        if text is None:
            raise Unfetchable(f"a probe event has no words for the argument {argument.written}")
        checks: tuple[str, ...] = ()
        if argument.memory:
            checks = (f"{argument.offset + argument.size - 1:+d}(%{argument.register}):string",)
        one = Fetch(text, "int", argument.size, argument.signed, checks)
        found = Value((self._name(text),), (tuple(map(self._name, checks)),), one)
        self._values[expr] = found
        return found

    def _number(self, site: Site) -> int:
        number = site.key
        if site.name == "args":
            number = next((one.offset for one in self.probe.fields if one.name == site.key), None)
        if not isinstance(number, int) or number >= len(self._at.args):
            raise Unfetchable(f"the probe has {len(self._at.args)} arguments, no {site.name}{site.key}")
        return number

    def _pointer(self, site: Site) -> str | None:
        if site.name not in ("arg", "args"):
            return None
        argument = self._at.args[self._number(site)]
        text = argument.fetch()
        if text is None or argument.size != 8:
            raise Unfetchable(f"the argument {argument.written} is no pointer that a probe event can follow")
        return text.rpartition(":")[0]
