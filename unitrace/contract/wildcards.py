"""Probes of a wildcard that the kernel refuses: the others are traced all the same.

A function whose name several have can't be probed by name (kernel 6.7, commit b022f0c7e404), and the
kernel keeps some free of probes that it lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .backend import describe
from .errors import BackendError, ProbeError
from .ir import Clause, Probe

__all__ = ["LeftOut"]

NAMED = 3
"""How many the user is told by name."""


class LeftOut:
    """The clauses whose probes were refused, by their numbers, and why."""

    def __init__(self) -> None:
        self._refused: dict[int, tuple[Probe, BackendError | ProbeError]] = {}

    def __contains__(self, clause: Clause) -> bool:
        return clause.ordinal in self._refused

    @contextmanager
    def unless_named(self, clause: Clause) -> Iterator[None]:
        """Around what attaches the clause's probe: a refusal is an error where the user named the probe
        itself; one of a wildcard's is left out."""
        try:
            yield
        except (BackendError, ProbeError) as error:
            if not any(letter in clause.probe.written for letter in "*?["):
                raise
            self._refused[clause.ordinal] = clause.probe, error

    def notes(self, total: int) -> list[str]:
        """A line for the user, or none. Raises the first refusal where none of ``total`` probes is left."""
        if not self._refused:
            return []
        probes = [describe(probe) for probe, _ in self._refused.values()]
        _, first = next(iter(self._refused.values()))
        if len(probes) >= total:
            raise first
        names = ", ".join(probes[:NAMED]) + (", ..." if len(probes) > NAMED else "")
        return [f"{len(probes)} of {total} probes can't be had, and are left out: {names} ({first.message})"]
