"""The hooks that a plugin may implement: entry-point group ``unitrace``, by pluggy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluggy

if TYPE_CHECKING:
    from .backend import Backend

__all__ = ["hookimpl", "hookspec"]

F = TypeVar("F", bound=Callable[..., Any])

hookspec = cast("Callable[[F], F]", pluggy.HookspecMarker("unitrace"))
hookimpl = cast("Callable[[F], F]", pluggy.HookimplMarker("unitrace"))


@hookspec
def unitrace_register_backend() -> Backend | None:
    """Return a backend. Called once, when the backend is first needed."""
