"""The plugin's door."""

from __future__ import annotations

from unitrace.contract.backend import Backend
from unitrace.contract.hookspecs import hookimpl


@hookimpl
def unitrace_register_backend() -> Backend:
    """The backend ``procevents``."""
    from unitrace_procevents.backend import ProcEvents

    return ProcEvents()
