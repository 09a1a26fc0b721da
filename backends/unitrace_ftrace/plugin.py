"""The ftrace backend's entry point. Imports next to nothing: a plugin is loaded at every start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrace.contract.hookspecs import hookimpl

if TYPE_CHECKING:
    from unitrace.contract.backend import Backend

__all__ = ["unitrace_register_backend"]


@hookimpl
def unitrace_register_backend() -> Backend | None:
    """The ftrace backend."""
    from .backend import Ftrace

    return Ftrace()
