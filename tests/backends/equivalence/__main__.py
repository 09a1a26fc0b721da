"""python -m tests.backends.equivalence --count 100000 --seed 1 --jobs 2

Each clause runs in the kernel and in the engine. Prints every difference and every rejection with the number
of its clause (``--only N`` shows it), and the counts. Exits with 1 if there was one."""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import sys
import time
import traceback

from unitrace.contract import ir

from .maker import Maker
from .trial import RAW_PROBE, CannotCompile, Rejected, same

CHUNK = 200
SHOWN = 5


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.backends.equivalence")
    parser.add_argument("--count", type=int, default=1000, help="how many clauses")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first clause")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seconds", type=float, default=1e9, help="end when this is over")
    parser.add_argument("--only", type=int, help="run clause number N alone, and show it")
    given = parser.parse_args()
    if given.only is not None:
        return _one(given.seed, given.only)
    last = given.first + given.count
    chunks = [(given.seed, at, min(at + CHUNK, last)) for at in range(given.first, last, CHUNK)]
    counts: collections.Counter[str] = collections.Counter()
    begun = time.monotonic()
    with multiprocessing.Pool(given.jobs) as pool:
        for counted, faults in pool.imap_unordered(chunk, chunks):
            counts.update(counted)
            for number, text in faults[:SHOWN]:
                print(f"--- clause {number} of seed {given.seed}\n{text}", flush=True)
            if time.monotonic() - begun > given.seconds:
                break
    print(f"{sum(counts.values())} clauses of seed {given.seed} in {time.monotonic() - begun:.0f} s:")
    print(", ".join(f"{name}: {count}" for name, count in counts.most_common()))
    return 1 if counts["unequal"] or counts["rejected"] else 0


def chunk(numbers: tuple[int, int, int]) -> tuple[collections.Counter[str], list[tuple[int, str]]]:
    """Clauses ``first`` to before ``last`` of a seed: counts, and faults."""
    seed, first, last = numbers
    counts: collections.Counter[str] = collections.Counter()
    faults = []
    for number in range(first, last):
        try:
            tried(seed, number)
            counts["equal"] += 1
        except CannotCompile as error:
            counts[f"left to the engine ({error.reason})"] += 1
        except Rejected as error:
            counts["rejected"] += 1
            faults.append((number, str(error)[-600:]))
        except Exception:
            counts["unequal"] += 1
            faults.append((number, traceback.format_exc()[-1500:]))
    return counts, faults


def made(seed: int, number: int) -> tuple[ir.Clause, list[ir.MapDecl], list[list[int]]]:
    """Clause number ``number``, its maps, and events for it."""
    make = Maker(seed << 32 | number)
    when, body, decls = make.whole()
    return ir.Clause(0, RAW_PROBE, when, body), decls, make.events()


def tried(seed: int, number: int) -> None:
    same(*made(seed, number))


def _one(seed: int, number: int) -> int:
    clause, decls, events = made(seed, number)
    print("predicate", clause.predicate)
    for stmt in clause.body:
        print(stmt)
    for decl in decls:
        print(decl)
    print(events)
    try:
        same(clause, decls, events)
    except CannotCompile as error:
        print(f"left to the engine: {error.reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
