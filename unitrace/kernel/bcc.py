"""bcc's compiler, as a process: C text with the kernel's headers in, types out.

bpf_module_create_c_from_string() (bcc, src/cc/bpf_module.cc) compiles it for this machine, so that structs
are laid out as in the kernel. Nothing is loaded: the text has no map, and its function isn't asked for.
"""

from __future__ import annotations

import re

from .llvm_types import to_btf

__all__ = ["compiled"]

_RUN = """\
import sys, bcc
bcc.BPF(text=sys.stdin.buffer.read(), debug=1, cflags=sys.argv[1:])
"""
"""DEBUG_LLVM_IR is 1: the module is printed, on stdout or stderr as the version has it."""

_FLAGS = ("-g", "-Wno-everything", "-ferror-limit=0")
_ERROR = re.compile(r"^/virtual/main\.c:(\d+):\d+: (?:fatal )?error: (.*)$", re.MULTILINE)
_ANY_ERROR = re.compile(r"^.*\berror: .*$|^\w*(?:Error|Exception): .*$", re.MULTILINE | re.IGNORECASE)
_OPTIONAL = re.compile(r"enum \w+ \{ |enum \w+ \w+;$")
"""Lines that may go: the constants, which may not be ones of C."""


def compiled(text: str, python: str, patience: float) -> bytes:
    """The BTF of a text's types. Constants that the compiler doesn't know are left out. ValueError with the
    first thing it said where there is more to it; then nothing can be had."""
    said = _run(text, python, patience)
    wrong = {int(line) - 1 for line, _ in _ERROR.findall(said)}
    lines = text.split("\n")
    if wrong and all(_OPTIONAL.match(lines[at]) for at in wrong):
        gone = {lines[at].split()[1] for at in wrong}
        kept = [line for line in lines if not (_OPTIONAL.match(line) and line.split()[1] in gone)]
        said = _run("\n".join(kept), python, patience)
    blob = to_btf(said)
    if b"\0task_struct\0" not in blob:
        found = _ANY_ERROR.search(said)
        raise ValueError(found[0].strip() if found else "it says nothing of their types")
    return blob


def _run(text: str, python: str, patience: float) -> str:
    import subprocess

    try:
        done = subprocess.run(
            [python, "-I", "-c", _RUN, *_FLAGS],
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=patience,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"not done after {patience} s") from None
    except OSError as error:
        raise ValueError(f"{python}: {error.strerror}") from None
    return done.stdout.decode(errors="replace")
