"""--test and --bench: the clauses at test and bench probes, run and measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from unitrace.output.records import Benched, Out, Tested
from unitrace.output.sink import Writer
from unitrace.output.text import TextSink

from .engine import Engine

__all__ = ["benches", "tests"]

ENOUGH = 50_000_000
"""Nanoseconds that a benchmark runs at least."""

MOST = 1 << 20

Taken = Callable[[], list[Out]]


class _Memory(Writer):
    """Keeps what is written, errors too."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes | bytearray) -> None:
        self.data += data

    err = write


def tests(engine: Engine, names: tuple[str, ...], taken: Taken) -> Iterator[list[Out]]:
    """A result a test, in the program's order. A test fails if it returns or exits with another number
    than 0, a failed assert() included; then the run's exit code is 1."""
    passed: tuple[bool, ...] = ()
    for index, name in enumerate(names):
        begun = time.perf_counter_ns()
        engine.fire("test", name)
        took = time.perf_counter_ns() - begun
        passed = (*passed, not engine.exit_code)
        engine.exit_code = None
        memory = _Memory()
        TextSink(memory, resolve=engine.resolve).emit(taken())
        yield [Tested(names, index, took, passed, memory.data)]
    if not all(passed):
        engine.exit_code = 1


def benches(engine: Engine, names: tuple[str, ...], taken: Taken) -> Iterator[list[Out]]:
    """What the benchmarks print, then a result of each: it runs twice as often each time until that takes
    long enough to tell."""
    results: list[Out] = []
    for index, name in enumerate(names):
        run = engine.runner("bench", name)
        count, took = 1000, 0
        while engine.exit_code is None:
            begun = time.perf_counter_ns()
            for _ in range(count):
                run()
            took = time.perf_counter_ns() - begun
            if took >= ENOUGH or count >= MOST:
                break
            count *= 2
        results.append(Benched(names, index, took // count, count))
        yield taken()
    yield results
