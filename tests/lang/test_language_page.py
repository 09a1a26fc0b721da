"""Each example of docs/language.md is a program that is accepted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unitrace.contract.errors import SpecError
from unitrace.lang import functions

from .recorded import compiled

PAGE = (Path(__file__).parents[2] / "docs" / "language.md").read_text()
EXAMPLES = re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_example(text: str) -> None:
    try:
        compiled(text, positional=("7", "word"))
    except SpecError as error:
        # what a file on this machine has isn't the page's matter
        if "uprobe:" in text and error.message.startswith(("/bin/sh", "no file")):
            pytest.skip(error.message)
        raise


def test_every_function_says_what_it_does() -> None:
    for function in functions.FUNCTIONS.values():
        assert function.text
