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
_ATTEMPTS = 8
_ERROR = re.compile(
    r"^(?:In file included from )?/virtual/main\.c:(\d+):(?!\d+: (?:warning|note))", re.MULTILINE
)
_ANY_ERROR = re.compile(r"^.*\berror: .*$|^\w*(?:Error|Exception): .*$", re.MULTILINE | re.IGNORECASE)
_OPTIONAL = re.compile(r"#include <(.*)>|(enum \w+) \{ .*")


def compiled(text: str, python: str, patience: float) -> tuple[bytes, list[str]]:
    """The BTF of a text's types, and the headers that were left out.

    Lines that don't compile are left out: constants that are none of C's, and headers, as bcc has some of its
    own (linux/bpf.h), which don't go with those of every kernel. ValueError with the first error where it is
    another line's.
    """
    lines, left_out = text.split("\n"), list[str]()
    said = ""
    for _ in range(_ATTEMPTS):
        said = _run("\n".join(lines), python, patience)
        blob = to_btf(said)
        if b"\0unitrace\0" in blob:
            return blob, left_out
        places = {int(number) - 1 for number in _ERROR.findall(said)}
        blamed = {at: found for at in places if (found := _OPTIONAL.match(lines[at]))}
        if not blamed:
            break
        left_out += [found[1] for found in blamed.values() if found[1]]
        enums = tuple(f"{found[2]} " for found in blamed.values() if found[2])
        # their numbers stay those that the next errors speak of
        lines = ["" if at in blamed or line.startswith(enums) else line for at, line in enumerate(lines)]
    reason = _ANY_ERROR.search(said)
    raise ValueError(reason[0].strip() if reason else "it says nothing of their types")


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
