"""Reading the command line without click, which costs 25 ms to import: a third of a one-shot's start.

Only what is plainly right is read here, by the same table. For anything else (help, an unknown option, a
missing value, letters run together) the answer is None, and click reads it and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unitrace.cli.options import OPTIONS, Option, defaults

__all__ = ["read"]

_BY_FLAG: dict[str, Option] = {flag: option for option in OPTIONS for flag in option.flags}


def read(args: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]] | None:
    """The words and the options, or None where click has to look. UsageError for a wrong value."""
    words: list[str] = []
    given = defaults()
    rest = iter(args)
    for arg in rest:
        if arg == "--":
            words.extend(rest)
        elif not arg.startswith("-") or arg == "-":
            words.append(arg)
        else:
            flag, equals, value = arg.partition("=") if arg.startswith("--") else (arg, "", "")
            option = _BY_FLAG.get(flag)
            if option is None or (equals and not option.value):
                return None
            if not option.value:
                given[option.name] = True
                continue
            if not equals:
                following = next(rest, None)
                if following is None:
                    return None
                value = following
            given[option.name] = (*given[option.name], value) if option.many else value
    for option in OPTIONS:  # of an option that is given twice, the last value counts, and it alone is read
        value = given[option.name]
        if option.convert is not None and isinstance(value, str):
            given[option.name] = option.convert(value)
    return tuple(words), given
