"""``python -m tests.compat.tools DIRECTORY``: every .bt tool of a directory, parsed, checked and planned.

Prints Markdown: a row a tool, with what ``unitrace --dry-run`` says to it, and whether each backend alone would
take it; below, the reasons where one doesn't. Nothing is attached. One process does all of them, as starting
Python takes long in a guest. What a tool needs besides the kernel (a module, a library) must be there.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from unitrace.contract.errors import UnitraceError
from unitrace.contract.machine import Machine
from unitrace.contract.offer import Options
from unitrace.lang import compile_text
from unitrace.plan.choose import NoBackend, choose
from unitrace.plugins import Plugins

if TYPE_CHECKING:
    from unitrace.contract.backend import Backend
    from unitrace.contract.ir import Program

BACKENDS = ("ebpf", "ftrace", "perf")


@dataclass
class Tool:
    """What was found of one tool. ``fault``: why it isn't a program here, "" if it is one; ``chosen``: the
    backends that would run it, "" for none; ``refusals``: reasons by backend, for those that alone wouldn't."""

    name: str
    lines: int
    fault: str = ""
    milliseconds: float = 0.0
    chosen: str = ""
    refusals: dict[str, str] = field(default_factory=dict)

    @property
    def fine(self) -> bool:
        """Whether ``--dry-run`` says yes."""
        return bool(self.chosen)


def tried(path: Path, machine: Machine, backends: dict[str, Backend]) -> Tool:
    """One tool, compiled and planned: on all backends together, then on each alone."""
    text = path.read_text(errors="surrogateescape")
    tool = Tool(path.name, text.count("\n"))
    begun = time.perf_counter()
    try:
        program = compile_text(text, machine).program
    except UnitraceError as error:
        tool.fault = _said(error)
        return tool
    tool.milliseconds = (time.perf_counter() - begun) * 1000
    chosen: tuple[str, ...] = ()
    try:
        chosen = choose(program, backends, machine, Options()).backends
        tool.chosen = "+".join(chosen) or "none needed"
    except UnitraceError:
        pass  # each backend's own reason follows
    for name, backend in backends.items():
        if chosen == (name,):
            continue  # it takes the whole program
        if reason := _refusal(program, name, backend, machine):
            tool.refusals[name] = reason
    return tool


def _refusal(program: Program, name: str, backend: Backend, machine: Machine) -> str:
    """Why ``backend`` alone doesn't take the program; "" where it does."""
    try:
        choose(program, {name: backend}, machine, Options())
    except NoBackend as error:
        reasons = (getattr(answer, "reason", "") for answer in error.answers)
        return next(filter(None, reasons), "") or _said(error)
    except UnitraceError as error:
        return _said(error)
    return ""


def _said(error: UnitraceError) -> str:
    place = f" (line {error.span.line})" if error.span else ""
    return f"{error.message}{place}"


def page(tools: list[Tool], command: str) -> str:
    """The report."""
    taken = {name: sum(not tool.fault and name not in tool.refusals for tool in tools) for name in BACKENDS}
    lines = [
        _INTRODUCTION,
        "| | |",
        "|---|---|",
        f"| command | `{command}` |",
        f"| kernel | {os.uname().release}, {os.uname().machine} |",
        f"| parsed and checked | {sum(not tool.fault for tool in tools)} of {len(tools)} |",
        f"| `--dry-run` | {sum(tool.fine for tool in tools)} of {len(tools)} |",
        *(f"| `--dry-run --backend {name}` | {count} of {len(tools)} |" for name, count in taken.items()),
        "",
        "| tool | lines | parsed and checked | would run on | " + " | ".join(BACKENDS) + " |",
        "|---|---|---|---|" + "---|" * len(BACKENDS),
    ]
    for tool in tools:
        cells = ["-" if tool.fault else "no" if name in tool.refusals else "yes" for name in BACKENDS]
        lines.append(
            f"| {tool.name} | {tool.lines} | {'no' if tool.fault else 'yes'} | {tool.chosen or 'nothing'} | "
            + " | ".join(cells)
            + " |"
        )
    lines += ["", "## Why not", ""]
    for tool in tools:
        if tool.fault:
            lines.append(f"- {tool.name}: {tool.fault}")
        lines += [f"- {tool.name}, {name}: {reason}" for name, reason in tool.refusals.items()]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Print the report; 0 if every tool compiles, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.compat.tools", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "directory", type=Path, help="where the .bt files are, as bpftrace's package has them"
    )
    parser.add_argument("--only", metavar="NAME,NAME", help="these tools alone")
    asked = parser.parse_args(argv)
    paths = sorted(asked.directory.glob("*.bt"))
    if asked.only:
        paths = [path for path in paths if path.stem in asked.only.split(",")]
    if not paths:
        print(f"error: no .bt files in {asked.directory}", file=sys.stderr)
        return 2
    machine = Machine()
    plugins = Plugins().chosen()
    backends = {name: plugins[name] for name in BACKENDS if name in plugins}
    tools = []
    for path in paths:
        tool = tried(path, machine, backends)
        print(f"{tool.name}: {tool.fault or tool.chosen or 'no backend'}", file=sys.stderr, flush=True)
        tools.append(tool)
    print(page(tools, "python -m tests.compat.tools DIRECTORY"), end="")
    return 1 if any(tool.fault for tool in tools) else 0


_INTRODUCTION = """\
# bpftrace's tools

The .bt tools of bpftrace's package, unmodified: which parse and check, and which backends would take them. The
package stays where it is; nothing of it is copied. This page is written by the command below, run in a guest of
the kernel lab (`tests/kernels`) after `modprobe md_mod`, whose function mdflush.bt traces.
"""


if __name__ == "__main__":
    sys.exit(main())
