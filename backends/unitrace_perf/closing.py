"""Closing events, without waiting for it.

The last close of a tracepoint or probe waits for RCU, 30-70 ms each, one after the other
(perf_trace_event_unreg(), kernel/trace/trace_event_perf.c). The events are disabled by then: nothing
can come of them. So the wait is given to a process of its own, which holds nothing but these fds and
ends at once; the kernel closes them as it ends.
"""

from __future__ import annotations

import os
from collections.abc import Collection

__all__ = ["close_behind", "close_now"]


def close_now(fds: Collection[int]) -> None:
    """Close them, and wait until the kernel is done."""
    for fd in fds:
        os.close(fd)


def close_behind(fds: Collection[int]) -> None:
    """Close them; what the kernel waits for is waited for by a process that we leave behind."""
    import signal
    import warnings

    reading, writing = os.pipe()  # our closes must not be the last: the other process waits for its end
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with warnings.catch_warnings():  # 3.12 warns of threads: the child does plain system calls alone
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                if os.fork() == 0:  # so that it is init's child, and nobody has to wait for it
                    _hold_only(sorted([*fds, reading]))
                    os.read(reading, 1)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    except OSError:
        pass  # no process to be had, or somebody else reaps our children: wait ourselves
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(reading)
    close_now(fds)
    os.close(writing)


def _hold_only(fds: list[int]) -> None:
    """Close all other files: a pipe's reader must see its end now, not when we are done."""
    past = 0
    for fd in fds:
        os.closerange(past, fd)
        past = fd + 1
    os.closerange(past, max(past, os.sysconf("SC_OPEN_MAX")))
