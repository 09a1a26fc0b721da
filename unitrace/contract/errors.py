"""The errors a user can meet. Each carries a message, a place, and a remedy; the CLI alone prints them."""

from __future__ import annotations

from .ir import Span

__all__ = ["BackendError", "ProbeError", "Rejected", "SpecError", "UnitraceError", "UsageError", "marked"]


def marked(message: str, span: Span, source: str, origin: str = "", *, lines: bool = True) -> list[str]:
    """A message at a place, as compilers print it: with its line of the source underlined (unless told
    otherwise, or there is no source), then the calls that macros there were expanded from."""
    found = [f"{origin or 'stdin'}:{span.line}:{span.start + 1}-{span.end + 1}: {message}"]
    texts = source.split("\n") if source and lines else []
    if 0 < span.line <= len(texts):
        text = texts[span.line - 1]
        lead = "".join("\t" if c == "\t" else " " for c in text[: span.start])
        found += [text, lead + "~" * max(1, min(span.end, len(text)) - span.start)]
    if span.outer is not None:
        word = message.partition(":")[0]
        found += marked(f"{word}: expanded from", span.outer, source, origin)
    return found


class UnitraceError(Exception):
    """Base of every error meant for the user.

    ``message``: one line, no full stop. ``span``: the place in the program's text. ``remedy``: what
    to do about it. ``notes``: further lines (a verifier's log, what each backend said). ``warnings``: what
    the compiler had to say before.
    """

    exit_status = 1
    warnings: tuple[SpecError, ...] = ()

    def __init__(
        self,
        message: str,
        *,
        span: Span | None = None,
        remedy: str = "",
        notes: tuple[str, ...] = (),
        source: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.remedy = remedy
        self.notes = notes
        self.source = source


class SpecError(UnitraceError):
    """The program's text is wrong. ``others``: further errors found in the same go."""

    def __init__(
        self,
        message: str,
        *,
        span: Span | None = None,
        remedy: str = "",
        source: str = "",
        others: tuple[SpecError, ...] = (),
    ) -> None:
        super().__init__(message, span=span, remedy=remedy, source=source)
        self.others = others


class ProbeError(SpecError):
    """A probe that doesn't exist here, or can't be probed."""


class BackendError(UnitraceError):
    """The kernel refused what a backend asked, or no backend can do what the program needs."""


class Rejected(BackendError):
    """The kernel doesn't take what an offer promised; one that asks less of it may do (Options.cautious)."""


class UsageError(UnitraceError):
    """A wrong option or argument."""

    exit_status = 2
