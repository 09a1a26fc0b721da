"""Results of test and bench clauses, as bpftrace prints them."""

from __future__ import annotations

from typing import Any

from unitrace.output.records import Benched, Tested

__all__ = ["as_data", "as_text"]

_GREEN, _RED, _PLAIN = "\033[32m", "\033[31m", "\033[0m"
_UNITS = ((10**9, "s"), (10**6, "ms"), (10**3, "\u03bcs"), (1, "ns"))
_TIME = 15


def as_text(one: Tested | Benched) -> bytes:
    """The lines of a result; the first has a head before it, the last of all tests a summary behind it."""
    text = _tested(one) if isinstance(one, Tested) else _benched(one)
    return text.encode(errors="surrogateescape")


def as_data(one: Tested | Benched) -> dict[str, Any]:
    """A result as JSON has it."""
    name = one.names[one.index]
    if isinstance(one, Benched):
        return {
            "type": "benchmark_result",
            "data": {name: {"average": one.average, "iters": one.iterations}},
        }
    output = one.output.decode(errors="replace")
    result = {"duration": one.ns, "passed": one.passed[one.index], "output": output}
    return {"type": "test_result", "data": {name: result}}


def _tested(one: Tested) -> str:
    name, count = one.names[one.index], len(one.names)
    unit, word = next((unit, word) for unit, word in _UNITS if one.ns >= unit or unit == 1)
    took = f"({one.ns // unit} {word})"
    lines = [f"{_mark('==========')} Running {count} tests."] if one.index == 0 else []
    lines.append(f"{_mark(' RUN      ')} {name}")
    if one.passed[one.index]:
        lines.append(f"{_mark('       OK ')} {name} {took}")
    else:
        said = one.output.decode(errors="surrogateescape")
        lines += [line for line in said.split("\n") if line]
        lines.append(f"{_mark('  FAILED  ', _RED)} {name} {took}")
    if one.index == count - 1:
        failed = [name for name, passed in zip(one.names, one.passed) if not passed]
        lines.append(f"{_mark('==========')} {_tests(count)} ran.")
        lines.append(f"{_mark('  PASSED  ')} {_tests(count - len(failed))}.")
        if failed:
            lines.append(f"{_mark('  FAILED  ', _RED)} {_tests(len(failed))}, listed below:")
            lines += [f"{_mark('  FAILED  ', _RED)} {name}" for name in failed]
    return "".join(f"{line}\n" for line in lines)


def _benched(one: Benched) -> str:
    width = max(40, *map(len, one.names)) + 1
    head = f"{'Benchmark':<{width}}{'Time(ns)':<{_TIME}}Iterations\n"
    line = f"{one.names[one.index]:<{width}}{one.average:<{_TIME}}{one.iterations}\n"
    return line if one.index else f"{head}{'-' * (len(head) - 1)}\n{line}"


def _mark(text: str, colour: str = _GREEN) -> str:
    return f"{colour}[{text}]{_PLAIN}"


def _tests(count: int) -> str:
    return f"{count} test{'' if count == 1 else 's'}"
