"""The command line's door: ``unitrace`` and ``python -m unitrace``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line on sys.argv; never returns."""
    from unitrace.cli.main import main as run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
