"""Each example of docs/language.md is a program that is accepted."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from unitrace.contract.errors import SpecError
from unitrace.contract.machine import Machine
from unitrace.lang import compile_text, functions

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
        if "no BTF" not in error.message:
            raise
        if not os.access("/sys/kernel/btf/vmlinux", os.R_OK):
            pytest.skip("no BTF here, and the recorded machine has none")
        compile_text(text, Machine(), positional=("7", "word"))


def test_every_function_says_what_it_does() -> None:
    for function in functions.FUNCTIONS.values():
        assert function.text
