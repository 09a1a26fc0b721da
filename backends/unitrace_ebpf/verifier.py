"""A rejected program, told so that a person can act on it."""

from __future__ import annotations

import ctypes
import errno
import os

from unitrace.contract.errors import BackendError, Rejected

from . import syscall
from .asm import Code
from .survey import explained

__all__ = ["load"]

SHOWN = 8
"""Lines of the verifier's log that go with the error: the last ones say what it objects to."""


def load(
    kind: int,
    code: Code,
    linked: bytes,
    name: str,
    what: str,
    *,
    expected: int = 0,
    target: tuple[int, int] = (0, 0),
    source: str = "",
) -> int:
    """BPF_PROG_LOAD. BackendError where the kernel refuses: by the verifier, with the place in the source
    and the end of its log; for another reason, with that and its remedy. ``what``: the probe's name."""
    of_its_own = (0, b"")
    if code.starts:
        from .functions import described, functions

        of_its_own = described(), functions([start.at for start in code.starts])
    try:
        return _loaded(kind, code, linked, name, what, expected, target, of_its_own, source)
    finally:
        if of_its_own[0]:
            os.close(of_its_own[0])


def _loaded(
    kind: int,
    code: Code,
    linked: bytes,
    name: str,
    what: str,
    expected: int,
    target: tuple[int, int],
    functions: tuple[int, bytes],
    source: str,
) -> int:
    try:
        return syscall.prog_load(kind, linked, name, expected=expected, target=target, functions=functions)
    except OSError as error:
        first = error
    log = ctypes.create_string_buffer(syscall.LOG_SIZE)
    try:
        return syscall.prog_load(
            kind, linked, name, expected=expected, target=target, functions=functions, log=log
        )
    except OSError as error:
        lines = log.value.decode(errors="replace").splitlines()
        if not lines or (len(lines) == 1 and lines[0].startswith("processed")):
            answer = explained(first if error.errno == errno.ENOSPC else error)
            raise BackendError(
                f"the kernel refuses the BPF program of {what}: {answer.reason}",
                remedy=answer.remedy,
            ) from None
        if error.errno == errno.ENOSPC and first.errno == errno.E2BIG:  # too much for the log, too
            raise Rejected(
                f"the kernel's verifier gives up on the program of {what}: it has too many ways through",
                source=source,
            ) from None
        reason, at = _objection(lines)
        span = code.spans[at] if 0 <= at < len(code.spans) else None
        raise Rejected(
            f"the kernel's verifier rejects the program of {what}: {reason}",
            span=span,
            source=source,
            notes=tuple(lines[-SHOWN:]),
        ) from None


def _objection(lines: list[str]) -> tuple[str, int]:
    """The verifier's last word before its statistics, and the instruction that it was looking at."""
    said = [
        line
        for line in lines
        if line and not line.startswith(("processed ", "verification time", "stack depth", "max_states"))
    ]
    at = -1
    for line in said:
        number, colon, _ = line.partition(":")
        if colon and number.isdigit():
            at = int(number)
    return (said[-1] if said else "no reason given"), at
