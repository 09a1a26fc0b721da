"""The cases of a runtime suite: read from a checkout's ``tests/runtime`` files.

A file is a suite; blank lines part its cases; each line is a directive and its value. Indented lines go on
with the program or the expectation above them. The directives are described in the checkout's own
``tests/README.md``.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Case", "Expect", "SuiteError", "for_this_machine", "load", "parse"]

DEFAULT_TIMEOUT = 5
NOT_SUITES = frozenset({"engine", "scripts", "outputs"})
EXPECTS = {
    "EXPECT": "text",
    "EXPECT_NONE": "text_none",
    "EXPECT_REGEX": "regex",
    "EXPECT_REGEX_NONE": "regex_none",
    "EXPECT_FILE": "file",
    "EXPECT_JSON": "json",
}
CONTINUED = frozenset({"PROG", "EXPECT", "EXPECT_REGEX"})
SINGLE = {
    "NAME": "name",
    "RUN": "run",
    "PROG": "prog",
    "AFTER": "after",
    "SETUP": "setup",
    "CLEANUP": "cleanup",
    "MIN_KERNEL": "min_kernel",
    "MAX_KERNEL": "max_kernel",
    "SKIP_IF_ENV_HAS": "skip_if_env",
}
FLAGS = {"WILL_FAIL": "will_fail", "NEW_PIDNS": "new_pidns"}
NUMBERS = {"TIMEOUT": "timeout", "RETURN_CODE": "return_code", "LOCALIZE_TIMESTAMPS": "localize"}


class SuiteError(Exception):
    """A suite file that can't be read as one: an unknown directive, or a case without a program."""


@dataclass
class Expect:
    """One expectation: ``mode`` is a value of `EXPECTS`, ``value`` a text, a pattern or a file's name."""

    value: str
    mode: str


@dataclass
class Case:
    """One case. Commands are as written, their placeholders unfilled; times are in seconds."""

    suite: str
    name: str = ""
    run: str = ""
    prog: str = ""
    expects: list[Expect] = field(default_factory=list)
    timeout: int = DEFAULT_TIMEOUT
    befores: list[str] = field(default_factory=list)
    after: str = ""
    setup: str = ""
    cleanup: str = ""
    min_kernel: str = ""
    max_kernel: str = ""
    requires: list[str] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    arch: list[str] = field(default_factory=list)
    skip_if_env: str = ""
    will_fail: bool = False
    new_pidns: bool = False
    return_code: int | None = None
    localize: int | None = None

    @property
    def id(self) -> str:
        """``suite.name``, by which reports and filters know the case."""
        return f"{self.suite}.{self.name}"

    @property
    def exact(self) -> bool:
        """Whether the whole output must equal a file, so that what precedes attaching is dropped."""
        return any(expect.mode in ("file", "json") for expect in self.expects)


def load(checkout: Path) -> list[Case]:
    """All cases of ``checkout`` that this machine's architecture can run, by suite and name."""
    directory = checkout / "tests" / "runtime"
    if not directory.is_dir():
        raise SuiteError(f"{directory}: no such directory (the path of a source checkout is wanted)")
    cases: list[Case] = []
    for path in sorted(directory.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            cases += parse(path.read_text(), path.name)
    return sorted(filter(for_this_machine, cases), key=lambda case: (case.suite, case.name))


def parse(text: str, suite: str) -> list[Case]:
    """The cases of one suite file, whatever their architecture."""
    cases = []
    block: list[str] = []
    for line in [*text.split("\n"), ""]:
        if line.startswith("#"):
            continue
        if line:
            block.append(line)
        elif block:
            cases.append(_case(block, suite))
            block = []
    return cases


def for_this_machine(case: Case) -> bool:
    """Whether ``case`` is for this architecture and byte order."""
    here = {platform.machine().lower(), "be" if sys.byteorder == "big" else "le"}
    wanted = {word for word in case.arch if not word.startswith("!")}
    unwanted = {word[1:] for word in case.arch if word.startswith("!")}
    return (not wanted or bool(wanted & here)) and not unwanted & here


def _case(block: list[str], suite: str) -> Case:
    case = Case(suite)
    above = ""
    for line in block:
        margin = len(above) + 1
        if above in CONTINUED and line[:margin].isspace():
            if above == "PROG":
                case.prog += "\n" + line[margin:]
            else:
                case.expects[-1].value += "\n" + line[margin:]
            continue
        word, _, value = line.strip().partition(" ")
        above = word
        _directive(case, word, value.strip())
    if not case.name or bool(case.run) == bool(case.prog):
        raise SuiteError(f"{suite}: {case.name or block[0]!r}: a name and one of RUN and PROG are wanted")
    return case


def _directive(case: Case, word: str, value: str) -> None:
    if word in SINGLE:
        setattr(case, SINGLE[word], value)
    elif word in EXPECTS:
        case.expects.append(Expect(value, EXPECTS[word]))
    elif word in FLAGS:
        setattr(case, FLAGS[word], True)
    elif word in NUMBERS:
        setattr(case, NUMBERS[word], int(value))
    elif word == "BEFORE":
        case.befores.append(value)
    elif word == "REQUIRES":
        case.requires.append(value)
    elif word == "REQUIRES_FEATURE":
        case.features += value.split()
    elif word == "ENV":
        case.env.update((pair.split("=", 1)[0], pair.split("=", 1)[1]) for pair in value.split())
    elif word == "ARCH":
        case.arch = [name.strip() for name in value.split("|")]
    else:
        raise SuiteError(f"{case.suite}: {word} is no directive known here")
