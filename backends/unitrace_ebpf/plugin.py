"""The eBPF backend's entry point: nothing is imported before it is asked for."""

from __future__ import annotations

from unitrace.contract.backend import Backend
from unitrace.contract.hookspecs import hookimpl


@hookimpl
def unitrace_register_backend() -> Backend:
    """The backend that compiles to BPF and loads by bpf(2)."""
    from .backend import Ebpf

    return Ebpf()
