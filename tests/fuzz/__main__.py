"""python -m tests.fuzz --count 1000000 --seed 1 --jobs 2

Prints every fault with the number of its input (``--only N`` runs that one alone and shows it), and the
counts. Exits with 1 if there was a fault."""

from __future__ import annotations

import collections
import sys
import time
import traceback

from tests.seeds import asked, results

from .inputs import input_of
from .trial import Slow, prepare, tried

CHUNK = 2000


def main() -> int:
    """Run it."""
    given = asked("tests.fuzz", "input", 10_000)
    if given.only is not None:
        return _one(given.seed, given.only)
    counts: collections.Counter[str] = collections.Counter()
    faults: dict[str, tuple[int, str]] = {}
    begun = time.monotonic()
    for counted, found in results(given, chunk, CHUNK, prepare):
        counts.update(counted)
        for place, fault in found.items():
            if place not in faults:
                faults[place] = fault
                print(f"--- input {fault[0]} of seed {given.seed}\n{fault[1]}", flush=True)
    total = sum(n for name, n in counts.items() if name.startswith("kind "))
    print(f"{total} inputs of seed {given.seed} in {time.monotonic() - begun:.0f} s:")
    print(", ".join(f"{name} {n}" for name, n in sorted(counts.items())))
    print(f"{counts['fault']} faults at {len(faults)} places")
    return 1 if faults else 0


def chunk(numbers: tuple[int, int, int]) -> tuple[collections.Counter[str], dict[str, tuple[int, str]]]:
    """Inputs ``first`` to before ``last`` of a seed: counts, and faults by the place that raised them."""
    seed, first, last = numbers
    counts: collections.Counter[str] = collections.Counter()
    faults: dict[str, tuple[int, str]] = {}
    for number in range(first, last):
        kind, text = input_of(seed, number)
        counts[f"kind {kind}"] += 1
        try:
            counts[tried(text)] += 1
        except Slow:
            counts["slow"] += 1
            faults.setdefault(f"slow {kind}", (number, f"slow: {text[:400]!r}"))
        except Exception as error:
            counts["fault"] += 1
            frames = traceback.extract_tb(error.__traceback__)
            place = f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}"
            if place not in faults:
                faults[place] = (number, f"{text[:600]!r}\n{''.join(traceback.format_exception(error)[-4:])}")
    return counts, faults


def _one(seed: int, number: int) -> int:
    prepare()
    kind, text = input_of(seed, number)
    print(f"{kind}: {text}", flush=True)
    print(tried(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
