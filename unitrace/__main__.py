"""The command line's door: ``unitrace`` and ``python -m unitrace``."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line on sys.argv; never returns."""
    # What is imported stays; looking through it for garbage again and again costs 5 % of the start.
    # cli/trace.py turns it on again once the run is under way.
    gc.disable()
    from unitrace.cli.main import main as run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
