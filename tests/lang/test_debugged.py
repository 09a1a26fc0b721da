"""Programs that are probed by what their debug information says: arguments, structs, lines of the source."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import unitrace
from tests.kernel_facts.test_debuginfo import ENTERED_AT, PROGRAM, built
from unitrace.contract import ir
from unitrace.contract.errors import UnitraceError
from unitrace.contract.machine import Machine
from unitrace.kernel import elf
from unitrace.lang import compile_text


def test_arguments_and_structs(tmp_path: Path) -> None:
    path = built(tmp_path)
    text = f"uprobe:{path}:entered {{ @ = args.p->deep[1][2]; print(args.text); @s = ((struct point *)arg0).at.x; }}"
    program = compile_text(text, Machine()).program
    assert [one.name for one in program.clauses[0].probe.fields] == ["p", "c", "text", "at"]
    with pytest.raises(UnitraceError, match="Can't find function parameter q"):
        compile_text(f"uprobe:{path}:entered {{ print(args.q); }}", Machine())
    subprocess.run(["strip", "-g", path], check=True)
    with pytest.raises(UnitraceError, match="Cannot read function parameters"):
        compile_text(f"uprobe:{path}:entered {{ print(args.c); }}", Machine())


def test_own_structs_come_first(tmp_path: Path) -> None:
    path = built(tmp_path)
    text = f"struct point {{ long own; }}; uprobe:{path}:entered {{ @ = args.p->own; @t = ((struct point *)arg0).own; }}"
    program = compile_text(text, Machine()).program
    loads = [one for stmt in program.clauses[0].body if isinstance(stmt, ir.MapSet) for one in [stmt.value]]
    assert [one.offset for one in loads if isinstance(one, ir.Load)] == [0, 0]


def test_lines(tmp_path: Path) -> None:
    path = built(tmp_path)
    found = elf.find(str(path), "entered")
    assert found is not None
    program = compile_text(f"uprobe:{path}@a.c:{ENTERED_AT + 1} {{ }}", Machine()).program
    assert program.clauses[0].probe.address == found.offset_in_file
    with pytest.raises(UnitraceError, match=r"Unable to map 'a\.c:2' to address"):
        compile_text(f"uprobe:{path}@a.c:2 {{ }}", Machine())
    subprocess.run(["strip", "-g", path], check=True)
    with pytest.raises(UnitraceError, match="No debug information"):
        compile_text(f"uprobe:{path}@a.c:{ENTERED_AT} {{ }}", Machine())


@pytest.mark.privileged
def test_traced(tmp_path: Path) -> None:
    path = built(tmp_path)
    spec = f"""uprobe:{path}:entered {{ @c[args.c, str(args.text)] = args.p->deep[0][1]; @n++; }}
        uprobe:{path}@a.c:{1 + PROGRAM.split(chr(10)).index("  return n * 3;")} {{ @line = 1; }}"""
    with unitrace.trace(spec) as run:
        subprocess.run([path], check=False)
        list(run.finish())
    assert run.maps["@c"] == {(ord("x"), str(path).encode()): 0}
    assert run.maps["@line"] == {(): 1}
    assert run.maps["@n"] == {(): 1}
