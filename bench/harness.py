"""What every section of the comparison needs: the tools, the load, the options; and what it hands back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import Case, Failed, Run, run
from bench.tools import Job, Step, Tool


@dataclass(frozen=True)
class Metric:
    """One column of a table."""

    name: str
    title: str
    digits: int = 1
    ratio: bool = True


@dataclass(frozen=True)
class Table:
    """One table of results: cases down, metrics across."""

    section: str
    title: str
    metrics: Sequence[Metric]
    cases: Sequence[Case]


@dataclass(frozen=True)
class Bench:
    """The run's options, and the ways to start things."""

    tools: Sequence[Tool]
    load: Sequence[str]
    rounds: int
    calls: int
    scratch: Path
    warm_up: bool = True
    timeout: float = 30.0
    favour: bool = False
    result: Path = field(init=False)
    output: Path = field(init=False)
    errors: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "result", self.scratch / "load.json")
        object.__setattr__(self, "output", self.scratch / "output")
        object.__setattr__(self, "errors", self.scratch / "errors")

    def load_command(self, *words: object, unseen: bool = False) -> list[str]:
        """The load, told to leave its result where load_result() finds it.

        `unseen`: its CPU time must not be counted as its tracer's (load.c, -u).
        """
        return [*self.load, *(["-u"] if unseen else []), "-o", str(self.result), *map(str, words)]

    def load_result(self) -> dict[str, float]:
        """What the load measured; Failed if it never ended."""
        try:
            result: dict[str, float] = json.loads(self.result.read_text())
        except (FileNotFoundError, ValueError):
            raise Failed("the load left no result") from None
        self.result.unlink()
        return result

    def tools_for(self, job: Job) -> list[Tool]:
        """The tools that can do a job at all."""
        return [tool for tool in self.tools if tool.steps(job, self.load, self.scratch)]

    def run(self, step: Step, *, first_line: str | None = None) -> Run:
        """Run one command; its output is in self.output afterwards, its errors in self.errors."""
        return run(
            step.argv,
            output=self.output,
            errors=self.errors,
            first_line=first_line,
            environment=step.environment,
            timeout=self.timeout,
            favour=self.favour,
        )

    def do(self, tool: Tool, job: Job, load: Sequence[str]) -> tuple[list[Run], list[str]]:
        """Run all the commands of a job; return what each cost, and what each said beside its result."""
        runs, said = [], []
        steps = tool.steps(job, load, self.scratch)
        for step in steps:
            runs.append(self.run(step))
            said.append(self.errors.read_text(errors="replace"))
            if step is not steps[-1]:
                said[-1] += self.output.read_text(errors="replace")
        return runs, said

    @contextmanager
    def ticking(self, microseconds: int) -> Iterator[None]:
        """A load in the background that makes one traced call each so often."""
        child = subprocess.Popen([*self.load, "tick", str(microseconds)])
        try:
            yield
        finally:
            child.kill()
            child.wait()
