"""python -m tests.backends.equivalence --count 100000 --seed 1 --jobs 2

Each clause runs in the kernel and in the engine. Prints every difference and every rejection with the number
of its clause (``--only N`` shows it), and the counts. Exits with 1 if there was one."""

from __future__ import annotations

import collections
import sys
import time
import traceback

from tests.seeds import asked, results
from unitrace.contract import ir

from .maker import Maker
from .trial import RAW_PROBE, CannotCompile, Rejected, same

CHUNK = 200
SHOWN = 5


def main() -> int:
    """Run it."""
    given = asked("tests.backends.equivalence", "clause", 1000)
    if given.only is not None:
        return _one(given.seed, given.only)
    counts: collections.Counter[str] = collections.Counter()
    begun = time.monotonic()
    for counted, faults in results(given, chunk, CHUNK):
        counts.update(counted)
        for number, text in faults[:SHOWN]:
            print(f"--- clause {number} of seed {given.seed}\n{text}", flush=True)
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
