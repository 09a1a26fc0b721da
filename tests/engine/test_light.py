"""The engine is light to import, and numpy comes with the first big batch."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"numpy", "dataclasses", "inspect", "subprocess", "json", "fnmatch", "socket", "random"}

PROGRAM = f"""
import sys
from tests.engine.programs import COMM_SITE, arg, clause, decl, engine_of, program, rows
from unitrace.contract import ir
from unitrace.contract.types import COMM
before = set(sys.modules)
of = program(clause(ir.MapUpdate("@", (COMM_SITE,), ()), ir.Act("printf", (arg("a"),), b"%d")),
             maps=[decl("@", "count", COMM)])
engine, emitted = engine_of(of)
engine.begin()
engine.feed([rows(0, range(100), comm=[b"sh"] * 100, a=[1] * 100)], 50)
engine.end()
engine.finish()
assert len(emitted) == 52, len(emitted)
print(*sorted({HEAVY!r} & set(sys.modules)))
"""


def test_a_small_run_needs_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("\n", "")
