"""Printing an error as compilers and bpftrace do: place, message, source line, the place underlined."""

from __future__ import annotations

import sys

from unitrace.contract.errors import SpecError, UnitraceError, marked

__all__ = ["lines_of", "note", "report", "say", "warn_lines"]


def report(error: UnitraceError, origin: str = "") -> None:
    """Print ``error`` to stderr. ``origin``: the name of the program's file, "" for -e."""
    origin = origin or getattr(error, "origin", "")
    for warning in error.warnings:
        _say(warn_lines(warning, origin))
    _say(lines_of(error, origin))


def say(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """One line on stderr that the user must see."""
    _say([f"note: {text}"])


def lines_of(error: UnitraceError, origin: str = "") -> list[str]:
    """The error as lines of text."""
    lines = _placed(error, "ERROR", origin)
    lines += [f"  {line}" for line in error.notes]
    if isinstance(error, SpecError):
        for other in error.others:
            lines += lines_of(other, origin)
    return lines


def warn_lines(warning: UnitraceError, origin: str = "") -> list[str]:
    """A warning of the compiler as lines of text."""
    return _placed(warning, "WARNING", origin)


def _placed(error: UnitraceError, word: str, origin: str) -> list[str]:
    message = f"{word}: {error.message}"
    lines = [message] if error.span is None else marked(message, error.span, error.source, origin)
    return lines + [f"HINT: {hint}" for hint in error.remedy.splitlines()]


def _say(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    try:
        sys.stderr.buffer.write(text.encode(errors="surrogateescape"))
        sys.stderr.flush()
    except (AttributeError, ValueError):
        sys.stderr.write(text)
    except BrokenPipeError:
        pass
