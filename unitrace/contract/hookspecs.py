"""The hooks that a plugin may implement: entry-point group ``unitrace``, marked as pluggy marks them.

``hookimpl`` is ``pluggy.HookimplMarker("unitrace")`` to the letter (use that if you like), but without
importing pluggy, which brings ``inspect``: 12 ms of a one-shot's 80. What pluggy checks, unknown hooks and
wrong signatures, ``unitrace plugins`` has it check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeVar

    from .backend import Backend

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["HOOKS", "IMPLEMENTED", "hookimpl"]

IMPLEMENTED = "unitrace_impl"
"""The attribute by which pluggy knows an implementation of project ``unitrace``."""

_OPTIONS = ("wrapper", "hookwrapper", "optionalhook", "tryfirst", "trylast")


def hookimpl(function: F) -> F:
    """Mark ``function`` as the implementation of the hook of its name."""
    setattr(function, IMPLEMENTED, {**dict.fromkeys(_OPTIONS, False), "specname": None})
    return function


def unitrace_register_backend() -> Backend | None:
    """Return a backend. Called once, when the backend is first needed."""


HOOKS = (unitrace_register_backend,)
"""Every hook, by its specification."""
