"""Closing what is slow to close, without waiting for it.

The last close of a perf event, of a link on one and of a uprobe.multi link waits for RCU, 20-70 ms each,
one after the other (perf_trace_event_unreg in kernel/trace/trace_event_perf.c, bpf_uprobe_unregister and
perf_event_detach_bpf_prog in kernel/trace/bpf_trace.c). All is disabled by then, and nothing can come of
it any more. So a process of its own, which holds these descriptors and nothing else, ends at once
and has the kernel wait for it.
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
    """Close them; the waiting is done by a process that is left behind."""
    import signal

    wait, go = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        child = _fork()
        if child == 0:
            try:
                _hold_only(sorted((*fds, wait)))
                if not _fork():  # the second one is init's child: nobody here has to wait for it
                    os.read(wait, 1)  # until we have closed them: the last one to close waits
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    except OSError:
        pass  # no process to be had, or somebody else reaps our children: wait here
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    close_now((*fds, go, wait))


def _fork() -> int:
    """Fork. Python 3.12 warns where there are threads; the child does plain system calls alone."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _hold_only(fds: list[int]) -> None:
    """Close all other files: a pipe's reader must see its end now, not when this is done."""
    past = 0
    for fd in fds:
        os.closerange(past, fd)
        past = fd + 1
    os.closerange(past, max(past, os.sysconf("SC_OPEN_MAX")))
