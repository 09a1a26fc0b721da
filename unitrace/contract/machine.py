"""Machine: what a tracer can know of the machine it runs on, as plain data.

Facts are asked for by name and found out when first asked, by really trying (feature lists lie).
What was found can be saved to JSON and loaded again, elsewhere: planning for a 3.10 server is then
an unprivileged test. Facts can be masked ("no ring buffer"), so that the path for an old kernel
runs for real on a new one.

The core registers the general facts (kernel/survey.py), each backend those of its own framework
(``kernel.facts`` decorator, names like "bpf.ringbuf", "perf.kprobe_pmu", "ftrace.instances").
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from .record import Record

__all__ = ["Answer", "Fact", "FACTS", "Machine", "fact"]


class Answer(Record):
    """What the kernel said to a try. ``errno`` 0: it works. ``reason``: one line, why not; ``remedy``:
    what would make it work ("" where nothing does)."""

    errno: int = 0
    reason: str = ""
    remedy: str = ""

    def __bool__(self) -> bool:
        return self.errno == 0 and not self.reason


class Fact(Record):
    """``name``: "group.word"; ``text``: what it says; ``find``: finds it out on the running machine.

    A fact is an Answer, or a plain value: str, int, list of str, or dict of str."""

    name: str
    text: str
    find: Callable[[Machine], Any]


FACTS: dict[str, Fact] = {}


def fact(name: str, text: str) -> Callable[[Callable[[Machine], Any]], Callable[[Machine], Any]]:
    """Decorator: registers a function of the machine as the fact ``name``."""

    def register(find: Callable[[Machine], Any]) -> Callable[[Machine], Any]:
        FACTS[name] = Fact(name, text, find)
        return find

    return register


class Machine:
    """The running machine, or one that was saved.

    ``known``: facts found so far. ``files``: kernel files read so far, path to text or errno.
    A loaded machine answers from these alone (``live`` is False): an unknown fact is
    ``Answer(1, "not recorded")``, an unknown file FileNotFoundError.
    """

    def __init__(
        self,
        known: dict[str, Any] | None = None,
        files: dict[str, str | int] | None = None,
        live: bool = True,
    ) -> None:
        self.known: dict[str, Any] = known or {}
        self.files: dict[str, str | int] = files or {}
        self.live = live

    def fact(self, name: str) -> Any:
        """The fact ``name``; KeyError where nobody registered it."""
        if name not in self.known:
            if not self.live:
                return Answer(1, f"{name} was not recorded")
            self.known[name] = FACTS[name].find(self)
        return self.known[name]

    def answer(self, name: str) -> Answer:
        """The fact ``name`` as an Answer; truthy where the thing works."""
        value = self.fact(name)
        if isinstance(value, Answer):
            return value
        return Answer() if value else Answer(1, f"no {name}")

    def read(self, path: str) -> str:
        """The text of a small kernel file (a format, a sysctl). OSError where it can't be read."""
        found = self.files.get(path)
        if found is None:
            if not self.live:
                raise FileNotFoundError(2, "not recorded", path)
            try:
                with open(path, "rb", buffering=0) as file:
                    found = file.readall().decode(errors="surrogateescape")
            except OSError as error:
                found = error.errno or 5
            self.files[path] = found
        if isinstance(found, int):
            raise OSError(found, os.strerror(found), path)
        return found

    def masked(self, facts: Iterable[str]) -> Machine:
        """A copy on which the named facts are answered with "masked". A name that nobody registers is
        taken too: a backend registers its facts when it is first asked."""
        known = {**self.known}
        for name in facts:
            known[name] = Answer(1, f"{name} is masked")
        return Machine(known, self.files, self.live)

    def survey(self) -> dict[str, Any]:
        """All registered facts."""
        return {name: self.fact(name) for name in FACTS}

    def save(self, path: str) -> None:
        """Write all facts, and the files read so far, as JSON."""
        import json

        facts = {n: _plain(value) for n, value in self.survey().items()}
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"unitrace_machine": 1, "facts": facts, "files": self.files}, file, indent=1)

    @classmethod
    def load(cls, path: str) -> Machine:
        """A machine saved by ``save``. ValueError where the file is something else."""
        import json

        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        if not isinstance(data, dict) or data.get("unitrace_machine") != 1:
            raise ValueError(f"{path} is not a saved machine")
        facts = {name: _answered(value) for name, value in data["facts"].items()}
        return cls(facts, dict(data["files"]), live=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Answer):
        return {"errno": value.errno, "reason": value.reason, "remedy": value.remedy}
    return value


def _answered(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"errno", "reason", "remedy"}:
        return Answer(value["errno"], value["reason"], value["remedy"])
    return value
