"""unitrace: one trace spec on ftrace, perf_event and eBPF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unitrace.contract.errors import (
        BackendError,
        ProbeError,
        SpecError,
        UnitraceError,
        UsageError,
    )
    from unitrace.contract.machine import Machine
    from unitrace.contract.offer import Options
    from unitrace.plan.explain import Explanation
    from unitrace.session import Trace, trace

__all__ = [
    "BackendError", "Explanation", "Machine", "Options", "ProbeError", "SpecError", "Trace", "UnitraceError",
    "UsageError", "__version__", "explain", "trace",
]  # fmt: skip

__version__ = "0.1.0"

_HOMES = {
    "Machine": "contract.machine",
    "Options": "contract.offer",
    "Explanation": "plan.explain",
    "Trace": "session",
    "trace": "session",
    **dict.fromkeys(
        ("BackendError", "ProbeError", "SpecError", "UnitraceError", "UsageError"), "contract.errors"
    ),
}


def explain(spec: str, backend: str | None = None, *, machine: Machine | None = None) -> Explanation:
    """What each backend would do with ``spec`` on ``machine`` (default: this one), and which one is
    chosen. Attaches nothing. ``str()`` of the result is the text that ``unitrace explain`` prints."""
    from unitrace.session import explained

    return explained(spec, backend, machine=machine)


def __getattr__(name: str) -> Any:
    # Names of the API are imported when first used: ``import unitrace`` alone costs nothing.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'unitrace' has no attribute {name!r}")
    value = getattr(__import__(f"unitrace.{home}", fromlist=["_"]), name)
    globals()[name] = value
    return value
