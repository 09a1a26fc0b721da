"""RLIMIT_MEMLOCK: before 5.11 maps and programs count against it, and 64 KiB is the usual limit."""

from __future__ import annotations

__all__ = ["unlock_memory"]


def unlock_memory(version: tuple[int, int]) -> None:
    """Raise the limit as far as we may, where the kernel still looks at it (bpf(2) then says EPERM)."""
    if version >= (5, 11):
        return
    import resource

    for limit in (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]):
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
            return
        except (OSError, ValueError):
            continue
