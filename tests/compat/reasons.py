"""Why a case failed, in words that many cases share."""

from __future__ import annotations

import re

from tests.compat.run import Outcome

__all__ = ["reason"]

_CRASH = re.compile(
    r"^Traceback \(most recent call last\)(?:.*\n)*?(\w[\w.]*(?:Error|Exception|Exit|Interrupt)\b.*)", re.M
)
_CRASH_LINE = re.compile(r"^([A-Z]\w*(?:Error|Exception)): .*$", re.M)
_REFUSAL = re.compile(r"^(?:\S+?:\d+(?::[\d-]+)*: )?(?:unitrace: )?(?:error|ERROR): (.*)$", re.M)
_BECAUSE = re.compile(r"^  (\w+: .*)$", re.M)
_PATH = re.compile(r"(?<![\w.])\.{0,2}/[\w.+-]+(?:/[\w.+*-]*)+")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\b(?:0x)?\d+\b|[$@]\w+")
MESSAGE_MAX = 140


def reason(outcome: Outcome) -> tuple[str, str]:
    """The kind of a failure ("crashed", "refused", "exit code", "output differs", "timed out" ...), and its gist.

    The gist has what the executable itself said, without names and numbers, or is "".
    """
    crash = _CRASH.search(outcome.output)
    if crash:
        return "crashed", _gist(crash.group(1))
    refusal = _REFUSAL.search(outcome.output)
    said = refusal.group(1) if refusal else ""
    if refusal and (because := _BECAUSE.search(outcome.output, refusal.end())):
        said += f"; {because.group(1)}"  # what the first backend said
    said = _gist(said)
    if outcome.how == "setup":
        return "its surroundings couldn't be made", _gist(outcome.output)
    if outcome.how == "attach":
        return "no sign of attached probes in time", said
    if outcome.how == "timeout":
        return "timed out with other output than expected", said
    if outcome.how == "exit" and outcome.code == 0:
        return "exited with 0 where a failure is expected", ""
    if outcome.how == "exit" and said:
        return "refused", said
    if outcome.how == "exit":
        return f"exited with {outcome.code}", ""
    return ("output differs", said) if outcome.output.strip() else ("no output", "")


def _gist(message: str) -> str:
    text = _QUOTED.sub("…", _PATH.sub("…", message.strip()))
    return text if len(text) <= MESSAGE_MAX else text[: MESSAGE_MAX - 1] + "…"
