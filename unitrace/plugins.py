"""Plugins: found by their entry points, loaded one by one when they are first needed.

A broken plugin costs a warning, never the tool. The API version is checked at registration. A run calls
the one hook it needs itself; ``check`` has pluggy look at all that is loaded (docs/decisions/0005).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from unitrace import entrypoints
from unitrace.contract.backend import API_VERSION, Backend
from unitrace.contract.errors import UsageError
from unitrace.contract.hookspecs import HOOKS, IMPLEMENTED
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
        self._modules: dict[str, object] = {}

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

    def check(self) -> None:
        """Load all, and have pluggy check that each implements hooks that there are, with arguments
        that they have; what doesn't is a failure."""
        import pluggy

        for name in self.names():
            done = self.load(name)
            if done.failure:
                continue
            manager = pluggy.PluginManager("unitrace")
            specifications: Any = _Specifications(pluggy.HookspecMarker("unitrace"))
            manager.add_hookspecs(specifications)
            try:
                manager.register(self._modules[name], name)
                manager.check_pending()
            except pluggy.PluginValidationError as error:
                self.loaded[name] = Loaded(done.entry, failure=str(error).splitlines()[0])

    def failures(self) -> list[Loaded]:
        """The plugins that failed to load so far."""
        return [done for done in self.loaded.values() if done.failure]

    def _load(self, entry: EntryPoint) -> Loaded:
        try:
            plugin = self._modules[entry.name] = self._imported(entry)
            register: Any = getattr(plugin, "unitrace_register_backend", None)
            backend = register() if hasattr(register, IMPLEMENTED) else None
        except Exception as error:
            # Whatever a stranger's module raises at import is its own fault, not the tool's.
            if os.environ.get("UNITRACE_DEBUG"):
                raise
            return Loaded(entry, failure=f"{type(error).__name__}: {error}".splitlines()[0])
        if backend is None:
            return Loaded(entry, failure="it registers no backend")
        if getattr(backend, "api", None) != API_VERSION:
            said = getattr(backend, "api", "none")
            return Loaded(entry, failure=f"written for API version {said}, this is {API_VERSION}")
        return Loaded(entry, backend)

    @staticmethod
    def _imported(entry: EntryPoint) -> object:
        # __import__, as importlib.import_module costs importing importlib first.
        module = __import__(entry.module, fromlist=["_"])
        return getattr(module, entry.attribute) if entry.attribute else module


class _Specifications:
    """The hooks, marked as pluggy wants its specifications."""

    def __init__(self, mark: Any) -> None:
        for hook in HOOKS:
            setattr(self, hook.__name__, mark(hook))
