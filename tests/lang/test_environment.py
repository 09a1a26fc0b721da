"""Settings from the environment."""

from __future__ import annotations

import pytest

from unitrace.contract.errors import UsageError
from unitrace.contract.machine import Machine
from unitrace.lang import compile_text


def config(text: str = "begin { }") -> dict[str, object]:
    return dict(compile_text(text, Machine()).program.config)


def test_it_goes_before_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFTRACE_STACK_MODE", "raw")
    monkeypatch.setenv("BPFTRACE_MAX_STRLEN", "99")
    monkeypatch.setenv("BPFTRACE_NO_SUCH", "1")
    found = config("config = { stack_mode = perf } begin { }")
    assert (found["stack_mode"], found["max_strlen"]) == ("raw", 99)


@pytest.mark.parametrize(
    ("name", "word"), [("STACK_MODE", "fast"), ("MAX_STRLEN", "-1"), ("PRINT_MAPS_ON_EXIT", "maybe")]
)
def test_wrong_values(monkeypatch: pytest.MonkeyPatch, name: str, word: str) -> None:
    monkeypatch.setenv(f"BPFTRACE_{name}", word)
    with pytest.raises(UsageError, match=f"BPFTRACE_{name}"):
        config()
