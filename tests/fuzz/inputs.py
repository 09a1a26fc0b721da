"""Input number N of a seed: the same on every machine, whatever came before it."""

from __future__ import annotations

from random import Random

from .damage import bytes_of_any_kind, exchanged, huge, nested
from .grammar import Grammar

__all__ = ["input_of"]


def input_of(seed: int, number: int) -> tuple[str, str]:
    """The kind of the input, and its text; bytes that aren't UTF-8 are surrogates, as the command line has
    them."""
    chance = Random((seed << 32) + number)
    grammar = Grammar(chance)
    roll = chance.random()
    if roll < 0.40:
        return "begin", grammar.begins()
    if roll < 0.58:
        return "program", grammar.program()
    if roll < 0.86:
        return "exchanged", exchanged(chance, grammar.begins() if roll < 0.72 else grammar.program())
    if roll < 0.94:
        data = bytes_of_any_kind(chance, grammar.program())
        return "bytes", data.decode("utf-8", "surrogateescape")
    if roll < 0.97:
        return "huge", huge(chance)
    return "nested", nested(chance)
