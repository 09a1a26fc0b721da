"""Long searches by seed: the command line of those that make up input after input, and their processes."""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

__all__ = ["asked", "results"]

Found = TypeVar("Found")


def asked(module: str, thing: str, count: int) -> argparse.Namespace:
    """What the user wants of ``python -m module``; ``count``: how many by default of each ``thing``."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--count", type=int, default=count, help=f"how many {thing}s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help=f"number of the first {thing}")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--seconds", type=float, default=1e9, help="end after the chunk in which this is over"
    )
    parser.add_argument("--only", type=int, help=f"run {thing} number N alone, and show it")
    return parser.parse_args()


def results(
    given: argparse.Namespace,
    chunk: Callable[[tuple[int, int, int]], Found],
    size: int,
    prepare: Callable[[], None] | None = None,
) -> Iterator[Found]:
    """What ``chunk`` finds in (seed, first, behind the last), ``size`` numbers at a time, in any order.
    ``prepare`` is called first in each process."""
    last = given.first + given.count
    chunks = [(given.seed, at, min(at + size, last)) for at in range(given.first, last, size)]
    begun = time.monotonic()
    with multiprocessing.Pool(given.jobs, prepare) as pool:
        for found in pool.imap_unordered(chunk, chunks):
            yield found
            if time.monotonic() - begun > given.seconds:
                break
