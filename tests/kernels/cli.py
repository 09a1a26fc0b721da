"""The lab's command line: `python -m tests.kernels`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import store
from .boot import stoppable
from .campaign import run_all
from .catalogue import CATALOGUE, select
from .errors import EXIT_SKIP, Stopped, Unavailable
from .suite import prepare_checkout, pytest_command

_EPILOG = f"""\
NAME is one of {", ".join(CATALOGUE)}, or "all".
Options go before NAME, or between NAME and a "--".
Exit codes: the command's own; 77 this machine can't (stderr says why); 124 time-out; 125 the guest died.
Of "all": 0 if all passed, 77 if some or all couldn't be tried and none failed, else 1.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    own, command = split_command(sys.argv[1:] if argv is None else argv)
    top = parser()
    args = top.parse_args(own)
    if args.action == "run" and (not command or command[0].startswith("-")):
        top.error("run takes a command: run NAME [options] -- COMMAND ...")
    try:
        with stoppable():
            return _dispatch(args, command)
    except Unavailable as reason:
        print(f"lab: {reason}", file=sys.stderr)
        return EXIT_SKIP
    except Stopped as stopped:
        return stopped.exit_code
    except KeyboardInterrupt:
        return 130


def split_command(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The lab's own arguments, and the guest's: those after the first `--`, or else those after NAME."""
    words = list(argv)
    if "--" in words:
        at = words.index("--")
        return words[:at], words[at + 1 :]
    if words[:1] in (["run"], ["test"]):
        for at, word in enumerate(words, start=1):
            if word == "all" or word in CATALOGUE:
                return words[:at], words[at:]
    return words, []


def parser() -> argparse.ArgumentParser:
    """The parser of the lab's own arguments."""
    top = argparse.ArgumentParser(
        prog="python -m tests.kernels",
        description="Run a command, or the privileged tests, under other kernels.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="action", required=True)
    names = [*CATALOGUE, "all"]
    for action, text in (
        ("run", "run a command: run NAME [options] -- COMMAND ..."),
        ("test", "run the privileged tests: test NAME [options] -- PYTEST-ARGUMENT ..."),
    ):
        guest = commands.add_parser(action, help=text)
        guest.add_argument("name", choices=names, metavar="NAME")
        _add_guest_options(guest)
    fetch = commands.add_parser("fetch", help="fetch kernels, or newer ones than those cached")
    fetch.add_argument("names", nargs="+", choices=names, metavar="NAME")
    layer = commands.add_parser("headers", help="unpack a kernel's headers into a directory, for run --layer")
    layer.add_argument("name", choices=[*CATALOGUE], metavar="NAME")
    layer.add_argument("directory", metavar="DIR")
    commands.add_parser("list", help="show the kernels, and which are cached")
    commands.add_parser("clean", help="remove all that is cached")
    return top


def _add_guest_options(guest: argparse.ArgumentParser) -> None:
    add = guest.add_argument
    add("--mem", type=int, default=1024, metavar="MIB", help="memory (default: %(default)s)")
    add("--smp", type=int, default=2, metavar="N", help="CPUs (default: %(default)s)")
    add("--append", default="", metavar="WORDS", help="add to the kernel's command line")
    add(
        "--share",
        type=_directory,
        action="append",
        default=[],
        metavar="DIR",
        help="let writes to DIR reach the host",
    )
    add("--layer", type=_directory, action="append", default=[], metavar="DIR", help="lay DIR over the root")
    add(
        "--env",
        type=_variable,
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="set a variable, or hand one over",
    )
    add(
        "--timeout",
        type=float,
        default=600,
        metavar="S",
        help="for each kernel, boot included (default: %(default)s)",
    )
    add("--accel", default="tcg", help="QEMU's accelerator (default: %(default)s)")
    add("--verbose", action="store_true", help="tell boot and total time on stderr")


def _directory(text: str) -> str:
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"not a directory: {text}")
    return os.path.realpath(text)


def _variable(text: str) -> str:
    name = text.partition("=")[0]
    if not (name.isascii() and name.isidentifier()):  # a shell's variables are Python's ASCII identifiers
        raise argparse.ArgumentTypeError(f"not a variable: {text}")
    return text


def _dispatch(args: argparse.Namespace, command: list[str]) -> int:
    if args.action == "list":
        return _list()
    if args.action == "clean":
        for path in store.clean():
            print("removed", path)
        return 0
    if args.action == "fetch":
        for entry in select(args.names):
            kernel = store.fetch(entry)
            print(f"{kernel.name}: {kernel.release} ({', '.join(kernel.packages)})")
        return 0
    if args.action == "headers":
        for package in store.headers(CATALOGUE[args.name], Path(args.directory)):
            print(package)
        return 0
    if args.action == "test":
        prepare_checkout()
        command = pytest_command(command)
    return run_all(select([args.name]), command, args)


def _list() -> int:
    for name, entry in CATALOGUE.items():
        kernel = store.cached(name)
        state = f"{kernel.release}  {', '.join(kernel.packages)}" if kernel else "not cached"
        print(f"{name:8} {'+'.join(entry.suites):24} {state}")
    print(f"cache: {store.lab_directory()}")
    return 0
