"""What one input goes through: parser, checker, lowering; and the engine, where nothing but begin and end
probes is asked for."""

from __future__ import annotations

import signal
from types import FrameType

import unitrace.engine.compile
from tests.lang.recorded import machine
from unitrace.contract.errors import UnitraceError
from unitrace.engine.engine import Engine
from unitrace.lang import compile_text
from unitrace.output.json import JsonSink
from unitrace.output.records import Out
from unitrace.output.sink import Writer
from unitrace.output.text import TextSink

__all__ = ["Slow", "prepare", "tried"]

SECONDS = 5.0
"""CPU time that one input may take."""


class Slow(BaseException):
    """An input took too long."""


class Nowhere(Writer):
    """A writer whose output nobody reads."""

    def __init__(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        """Takes bytes, and nothing else."""
        assert isinstance(data, bytes)

    @staticmethod
    def err(data: bytes) -> None:
        """Takes bytes, and nothing else."""
        assert isinstance(data, bytes)


def prepare() -> None:
    """Endless loops of programs end early; a trial that takes too long raises Slow."""
    unitrace.engine.compile.MOST_TURNS = 64

    def late(number: int, frame: FrameType | None) -> None:
        raise Slow

    signal.signal(signal.SIGPROF, late)


def tried(text: str) -> str:
    """How far the input came: "refused" by the front end, "compiled", or (begin and end alone) "ran", or
    "stopped" by an error of the engine's. Any other exception than UnitraceError goes through."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return _tried(text)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _tried(text: str) -> str:
    try:
        options = ("--a=4",) if 'getopt("a"' in text else ()
        program = compile_text(text, machine(), positional=("3", "text", *options)).program
    except UnitraceError as error:
        for one in (error, *getattr(error, "others", ())):
            assert isinstance(one.message, str) and "\n" not in one.message, "an error is one line"
        return "refused"
    if any(clause.probe.kind not in ("begin", "end") for clause in program.clauses):
        return "compiled"
    records: list[Out] = []
    try:
        engine = Engine(program, {}, {}, records.append)
        engine.begin()
        engine.end()
        engine.finish()
        for sink in (
            TextSink(Nowhere(), resolve=engine.resolve),
            JsonSink(Nowhere(), engine.resolve, True, False),
        ):
            sink.emit(records)
    except UnitraceError:
        return "stopped"
    return "ran"
