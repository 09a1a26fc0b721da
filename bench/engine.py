"""The engine alone: M events/s of named clauses, best of several runs, over batches in memory.

    python -m bench.engine [--events N]

"rows" is the row-wise path (lists of Python values), "columns" the path for big batches (packed
records, numpy).
"""

from __future__ import annotations

import argparse
import struct
import time
from collections.abc import Callable

from unitrace.contract import ir
from unitrace.contract.model import Batch, Column, Place, RowBatch
from unitrace.contract.offer import columns_of
from unitrace.contract.types import BOOL, COMM, INT64, UINT32, Aggregate
from unitrace.engine.engine import Engine
from unitrace.kernel.packed import PackedBatch

PROBE = ir.Probe("tracepoint", "syscalls", "sys_exit_read", label="tracepoint:syscalls:sys_exit_read")
COMM_SITE, PID = ir.Site(COMM, "comm"), ir.Site(UINT32, "pid")
RET = ir.Site(INT64, "args", "ret")
RECORD = struct.Struct("<Qq16sII")
LAYOUT = {
    "nsecs": Place(0, 8),
    "args.ret": Place(8, 8, signed=True),
    "comm": Place(16, 16, "text"),
    "pid": Place(32, 4),
    "tid": Place(32, 4),
    "cpu": Place(36, 4),
}
COUNT = ir.MapUpdate("@c", (COMM_SITE,), ())
HIST = ir.MapUpdate("@h", (), (RET,))
BY_PID = ir.MapUpdate("@p", (PID, COMM_SITE), (RET,))
POSITIVE = ir.Binary(BOOL, ">", RET, ir.Const(INT64, 100))
MAPS = (
    ir.MapDecl("@c", (COMM,), Aggregate("count")),
    ir.MapDecl("@h", (), Aggregate("hist", True, (0,))),
    ir.MapDecl("@p", (UINT32, COMM), Aggregate("sum", True)),
    ir.MapDecl("@x", (UINT32,), INT64),
)
PRINTF = ir.Act("printf", (COMM_SITE, PID, RET), b"%s %d %d\n")
SCRATCH = (
    ir.Assign("x", ir.Binary(INT64, "*", RET, ir.Const(INT64, 3))),
    ir.MapSet("@x", (PID,), ir.Binary(INT64, "+", ir.MapGet(INT64, "@x", (PID,)), ir.Var(INT64, "x"))),
    ir.If(ir.Binary(BOOL, "<", ir.Var(INT64, "x"), ir.Const(INT64, 0)), (PRINTF,)),
)
SCALAR = ir.MapSet("@x", (PID,), RET)

CASES: list[tuple[str, str, ir.Expr | None, tuple[ir.Stmt, ...]]] = [
    ("@[comm] = count()", "columns", None, (COUNT,)),
    ("@ = hist(args.ret)", "columns", None, (HIST,)),
    ("/args.ret > 100/ { @ = hist(args.ret) }", "columns", POSITIVE, (HIST,)),
    ("@[pid, comm] = sum(args.ret)", "columns", None, (BY_PID,)),
    ("@[comm] = count()", "rows", None, (COUNT,)),
    ("@ = hist(args.ret)", "rows", None, (HIST,)),
    ("@[pid, comm] = sum(args.ret)", "rows", None, (BY_PID,)),
    ("@x[pid] = args.ret", "rows", None, (SCALAR,)),
    ("$x = args.ret * 3; @x[pid] += $x; if ($x < 0) { printf }", "rows", None, SCRATCH),
    ("@x[pid] = args.ret; printf(comm, pid, args.ret)", "rows", None, (SCALAR, PRINTF)),
    ("printf(comm, pid, args.ret)", "rows", None, (PRINTF,)),
    ("a bare probe", "rows", None, (ir.Show(("ret",), (RET,)),)),
    ("printf(comm, pid, args.ret)", "packed", None, (PRINTF,)),
]


def packed(count: int) -> PackedBatch:
    """Events of 17 commands, 300 processes and returns from -20 to 3,000,000."""
    records = bytearray(RECORD.size * count)
    for at in range(count):
        name = b"command%d" % (at * 7919 % 17)
        ret = at * 7919 % (1 << at % 22) - 20
        RECORD.pack_into(records, at * RECORD.size, at, ret, name, 1000 + at * 31 % 300, at % 2)
    return PackedBatch(0, bytes(records), range(0, len(records), RECORD.size), LAYOUT)


def as_rows(batch: PackedBatch) -> RowBatch:
    """The same as lists of Python values."""
    return RowBatch(0, {name: list(batch.values(name)) for name in LAYOUT})


def speed(clause: ir.Clause, batch: Callable[[], Batch], runs: int = 5) -> float:
    """Events per second, the best of ``runs``."""
    columns: tuple[Column, ...] = columns_of(clause)
    best = float("inf")
    for _ in range(runs):
        made = batch()
        engine = Engine(ir.Program((clause,), MAPS), {0: (clause, columns)}, {}, lambda record: None)
        start = time.perf_counter()
        engine.feed([made], None)
        best = min(best, time.perf_counter() - start)
    return len(made) / best


def main() -> None:
    """Print a line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    count = parser.parse_args().events
    source = packed(count)
    listed = as_rows(source)

    def fresh() -> Batch:  # a batch whose arrays nobody has asked for yet
        return PackedBatch(0, source.buffer, source.starts, LAYOUT)

    print(f"{'clause':58} {'path':8} {'M events/s':>10}")
    for title, path, predicate, body in CASES:
        clause = ir.Clause(0, PROBE, predicate, body)
        rate = speed(clause, (lambda: listed) if path == "rows" else fresh)
        print(f"{title:58} {path:8} {rate / 1e6:10.2f}")


if __name__ == "__main__":
    main()
