"""What to run: from -e, a script file, standard input, or probes on the command line."""

from __future__ import annotations

import os
import sys

from unitrace.contract.errors import UsageError
from unitrace.contract.record import Record

__all__ = ["Spec", "read_spec"]


class Spec(Record):
    """``text`` of the program; ``positional``: what is left for $1, $2, ...; ``origin``: the file's name."""

    text: str
    positional: tuple[str, ...] = ()
    origin: str = ""


def read_spec(programs: tuple[str, ...], words: tuple[str, ...]) -> Spec:
    """The spec that the command line means. UsageError where there is none, or its file can't be read.

    With -e (the last one counts) all words are positional. Else ``-`` or an existing file is a
    script, with the further words positional; anything else is a list of probes.
    """
    if programs:
        return Spec(programs[-1], words)
    if not words:
        raise UsageError("nothing to trace", remedy="unitrace PROBE, unitrace -e PROGRAM or unitrace --help")
    first = words[0]
    if first == "-":
        return Spec(_decoded(sys.stdin.buffer.read()), words[1:])
    if _is_script(first):
        try:
            with open(first, "rb") as file:
                return Spec(_decoded(file.read()), words[1:], first)
        except OSError as error:
            raise UsageError(f"failed to open file '{first}': {error.strerror}") from None
    return Spec("\n".join(words))


def _is_script(word: str) -> bool:
    if os.path.isfile(word):
        return True
    if word.endswith(".bt") and ":" not in word and "{" not in word:
        raise UsageError(f"failed to open file '{word}': No such file or directory")
    return False


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="surrogateescape")
