"""Plugins: found by their entry points, loaded one by one when they are first needed.

A broken plugin costs a warning, never the tool. The API version is checked at registration.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pluggy

from unitrace import entrypoints
from unitrace.contract import hookspecs
from unitrace.contract.backend import API_VERSION, Backend
from unitrace.contract.errors import UsageError
from unitrace.contract.record import Record
from unitrace.entrypoints import EntryPoint

__all__ = ["GROUP", "Loaded", "Plugins"]

GROUP = "unitrace"
"""The entry-point group that a plugin registers in."""


class Loaded(Record):
    """What became of one plugin: its ``backend``, or the ``failure`` in one line."""

    entry: EntryPoint
    backend: Any = None
    failure: str = ""


class Plugins:
    """The plugins of this installation. ``loaded``: what became of those asked for so far."""

    def __init__(self, paths: list[str] | None = None) -> None:
        self.entries = entrypoints.find(GROUP, paths)
        self.loaded: dict[str, Loaded] = {}
        self._manager = pluggy.PluginManager("unitrace")
        self._manager.add_hookspecs(hookspecs)

    def names(self) -> list[str]:
        """The names of all plugins, loaded or not."""
        return [entry.name for entry in self.entries]

    def load(self, name: str) -> Loaded:
        """Load the plugin ``name`` (once). UsageError where there is none of that name."""
        done = self.loaded.get(name)
        if done is None:
            entry = next((one for one in self.entries if one.name == name), None)
            if entry is None:
                raise UsageError(
                    f"no backend {name!r}",
                    remedy="have: " + (", ".join(self.names()) or "none, is unitrace installed?"),
                )
            done = self.loaded[name] = self._load(entry)
        return done

    def backend(self, name: str) -> Backend:
        """The backend ``name``. UsageError where it isn't there or failed to load."""
        done = self.load(name)
        if done.backend is None:
            raise UsageError(f"backend {name!r} failed to load: {done.failure}")
        backend: Backend = done.backend
        return backend

    def backends(self) -> Iterator[Backend]:
        """All backends that load; what doesn't is in ``failures()``."""
        for name in self.names():
            done = self.load(name)
            if done.backend is not None:
                yield done.backend

    def chosen(self, name: str | None = None) -> dict[str, Backend]:
        """The backends to plan with, by name: the one called ``name``, or all that load."""
        if name:
            return {name: self.backend(name)}
        return {one.name: one for one in self.backends()}

    def failures(self) -> list[Loaded]:
        """The plugins that failed to load so far."""
        return [done for done in self.loaded.values() if done.failure]

    def _load(self, entry: EntryPoint) -> Loaded:
        try:
            plugin = self._imported(entry)
            self._manager.register(plugin, entry.name)
            made = self._manager.subset_hook_caller(
                "unitrace_register_backend",
                [other for name, other in self._manager.list_name_plugin() if name != entry.name],
            )()
        except Exception as error:
            # Whatever a stranger's module raises at import is its own fault, not the tool's.
            if os.environ.get("UNITRACE_DEBUG"):
                raise
            return Loaded(entry, failure=f"{type(error).__name__}: {error}".splitlines()[0])
        if not made:
            return Loaded(entry, failure="it registers no backend")
        backend = made[0]
        if getattr(backend, "api", None) != API_VERSION:
            said = getattr(backend, "api", "none")
            return Loaded(entry, failure=f"written for API version {said}, this is {API_VERSION}")
        return Loaded(entry, backend)

    @staticmethod
    def _imported(entry: EntryPoint) -> object:
        # __import__, as importlib.import_module costs importing importlib first.
        module = __import__(entry.module, fromlist=["_"])
        return getattr(module, entry.attribute) if entry.attribute else module
