"""What a program asks of user space, event by event: printf, print, clear, zero, exit, time, cat, ...

``act(stmt, scope, event_time)`` gives the Python line that does an ir.Act. In ``Act``:

printf, errorf, warnf   ``text``: format, ``args``: values
print                   ``map`` with ``args`` (top, divisor), or one value in ``args``
clear, zero             ``map``
exit                    ``args``: (code,) or ()
time                    ``text``: format ("%H:%M:%S\\n" if empty)
cat, system             ``text``: format, ``args``: values (system needs --unsafe)
join                    ``args``: strings, up to the first empty one; ``text``: separator
signal, signal_thread   ``args``: (number,): to this process, from its own clauses (--unsafe)
debugf                  ``text``: format, ``args``: values; into the kernel's trace: by bpf_trace_printk where
                        a backend has it, else through trace_marker
assert                  ``args``: (condition,), ``text``: message
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import takewhile
from typing import Any

from unitrace.contract import ir
from unitrace.contract.errors import BackendError, SpecError
from unitrace.output.records import (
    Joined,
    MapShown,
    Message,
    Out,
    Printed,
    Text,
    TimeShown,
    ValueShown,
)

from .expressions import Scope
from .runtime import Exit

__all__ = ["act", "maker"]

MOST_CAT_BYTES = 10240
"""What cat() shows of a file at most (bpftrace's BPFTRACE_MAX_CAT_BYTES)."""


def act(stmt: ir.Act, scope: Scope, event_time: Callable[[], str]) -> str:
    """The Python statement that does ``stmt``; SpecError for an act unknown here, BackendError for one
    that user space can't do or mustn't."""
    method = _TABLE.get(stmt.name)
    if method is None:
        raise BackendError(
            f"{stmt.name}() can't be done in user space",
            span=stmt.span or scope.clause.span,
            remedy="use a backend that runs the clause in the kernel (eBPF)",
        )
    if stmt.name in _UNSAFE and not scope.runtime.unsafe:
        raise BackendError(
            f"{stmt.name}() is unsafe", span=stmt.span or scope.clause.span, remedy="add --unsafe"
        )
    return method(stmt, scope, event_time)


def maker(kind: type[Out], field: str, **rest: Any) -> Callable[[Any], Any]:
    """A quick constructor of records that differ in one field only."""
    base = dict(kind(**rest, **{field: ()}).__dict__)
    new, put = object.__new__, object.__setattr__

    def make(value: Any) -> Any:
        record = new(kind)
        put(record, "__dict__", {**base, field: value})
        return record

    return make


def _args(stmt: ir.Act, scope: Scope) -> str:
    return "(" + "".join(scope.text(value) + ", " for value in stmt.args) + ")"


def _types(stmt: ir.Act) -> tuple[Any, ...]:
    return tuple(value.type for value in stmt.args)


def _printf(stmt: ir.Act, scope: Scope, event_time: Callable[[], str]) -> str:
    level = stmt.name
    make = maker(Printed, "values", format=stmt.text, types=_types(stmt), level=level, span=stmt.span)
    emit = scope.bind(scope.runtime.emit)
    if not stmt.args:
        return f"{emit}({scope.bind(make(()))})"
    return f"{emit}({scope.bind(make)}({_args(stmt, scope)}))"


def _print(stmt: ir.Act, scope: Scope, event_time: Callable[[], str]) -> str:
    runtime = scope.runtime
    if not stmt.map:
        if len(stmt.args) != 1:
            raise SpecError("print() takes a map or one value", span=stmt.span)
        make = maker(ValueShown, "value", type=stmt.args[0].type)
        return f"{scope.bind(runtime.emit)}({scope.bind(make)}({scope.text(stmt.args[0])}))"
    decl = scope.store(stmt.map).decl
    content = runtime.content(stmt.map)

    def shown(top: int = 0, divisor: int = 1) -> None:
        runtime.emit(MapShown(decl, content(), int(top), int(divisor) or 1))

    return f"{scope.bind(shown)}{_args(stmt, scope)}"


def _emptied(stmt: ir.Act, scope: Scope, event_time: Callable[[], str]) -> str:
    scope.store(stmt.map)
    return f"{scope.bind(scope.runtime.emptier(stmt.map, stmt.name))}()"


def _exit(stmt: ir.Act, scope: Scope, event_time: Callable[[], str]) -> str:
    code = scope.text(stmt.args[0]) if stmt.args else "0"
    return f"raise {scope.bind(Exit)}({code})"


def _assert(stmt: ir.Act, scope: Scope, event_time: Callable[[], str]) -> str:
    runtime, span, text = scope.runtime, stmt.span, stmt.text.decode("utf-8", "replace")

    def check(holds: bool, *rest: Any) -> None:
        if not holds:
            runtime.emit(Message("error", f"assert failed: {text}", span))
            raise Exit(1)

    return f"{scope.bind(check)}{_args(stmt, scope)}"


def _time(stmt: ir.Act, scope: Scope, event_time: Callable[[], str]) -> str:
    runtime, form = scope.runtime, stmt.text or b"%H:%M:%S\n"

    def show(nsecs: int) -> None:
        runtime.emit(TimeShown(runtime.strftime(form, nsecs + runtime.to_wall)))

    return f"{scope.bind(show)}({event_time()})"


def _cat(stmt: ir.Act, scope: Scope, event_time: Callable[[], str]) -> str:
    from unitrace.output.printf import Format

    runtime, form = scope.runtime, Format(stmt.text, _types(stmt))

    def cat(values: tuple[Any, ...]) -> None:
        path = form.row(values)
        most = runtime.setting("max_cat_bytes", MOST_CAT_BYTES)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                pieces = []
                while most > 0 and (piece := os.read(descriptor, most)):
                    pieces.append(piece)
                    most -= len(piece)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            name = path.decode("utf-8", "replace")
            runtime.emit(Message("error", f"failed to open file '{name}' ({why})"))
            return
        runtime.emit(Text("cat", b"".join(pieces)))

    return f"{scope.bind(cat)}({_args(stmt, scope)})"


def _system(stmt: ir.Act, scope: Scope, event_time: Callable[[], str]) -> str:
    from unitrace.output.printf import Format

    runtime, form = scope.runtime, Format(stmt.text, _types(stmt))

    def system(values: tuple[Any, ...]) -> None:
        import subprocess

        if runtime.late:
            runtime.lose("system() left out at the end")
            return
        command = form.row(values).split(b"\0", 1)[0]
        done = subprocess.run(
            ["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        runtime.emit(Text("system", done.stdout))

    return f"{scope.bind(system)}({_args(stmt, scope)})"


def _join(stmt: ir.Act, scope: Scope, event_time: Callable[[], str]) -> str:
    if not stmt.args:
        raise SpecError("join() takes an array of strings", span=stmt.span)
    runtime, separator = scope.runtime, stmt.text or b" "

    def join(values: tuple[Any, ...]) -> None:
        runtime.emit(Joined(separator.join(takewhile(bool, values))))

    return f"{scope.bind(join)}({_args(stmt, scope)})"


def _signal(stmt: ir.Act, scope: Scope, event_time: Callable[[], str]) -> str:
    if not scope.own:
        raise BackendError(
            "signal() must be sent where the event happens",
            span=stmt.span or scope.clause.span,
            remedy="use a backend that runs the clause in the kernel (eBPF)",
        )

    def send(number: int) -> None:
        try:
            os.kill(os.getpid(), number)
        except (OSError, OverflowError) as error:
            scope.runtime.emit(Message("error", f"signal {number}: {error}", stmt.span))

    return f"{scope.bind(send)}{_args(stmt, scope)}"


def _debugf(stmt: ir.Act, scope: Scope, event_time: Callable[[], str]) -> str:
    from unitrace.output.printf import Format

    runtime, form = scope.runtime, Format(stmt.text, _types(stmt))
    try:
        kernel = runtime.own.kernel()
        return f"{scope.bind(lambda values: kernel.trace(form.row(values)))}({_args(stmt, scope)})"
    except BackendError:
        pass

    def debugf(values: tuple[Any, ...]) -> None:
        path = "/sys/kernel/tracing/trace_marker"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, form.row(values))
            finally:
                os.close(descriptor)
        except OSError as error:
            runtime.warn(f"debugf(): {path}: {os.strerror(error.errno or 5)}", stmt.span, stmt)

    return f"{scope.bind(debugf)}({_args(stmt, scope)})"


_UNSAFE = frozenset({"signal", "signal_thread", "system"})

_TABLE: dict[str, Callable[[ir.Act, Scope, Callable[[], str]], str]] = {
    "assert": _assert,
    "cat": _cat,
    "clear": _emptied,
    "debugf": _debugf,
    "errorf": _printf,
    "exit": _exit,
    "join": _join,
    "print": _print,
    "printf": _printf,
    "signal": _signal,
    "signal_thread": _signal,
    "system": _system,
    "time": _time,
    "warnf": _printf,
    "zero": _emptied,
}
