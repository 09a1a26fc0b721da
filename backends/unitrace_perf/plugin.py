"""The plugin: one hook. The backend itself is imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrace.contract.hookspecs import hookimpl

if TYPE_CHECKING:
    from unitrace.contract.backend import Backend

__all__ = ["unitrace_register_backend"]


@hookimpl
def unitrace_register_backend() -> Backend:
    """The perf_event backend."""
    from .backend import PerfBackend

    return PerfBackend()
