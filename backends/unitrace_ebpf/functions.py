"""BTF of a program that has functions of its own: the kernel wants to know a callback's type (5.13).

``struct btf_header`` and what follows it: Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from . import syscall

__all__ = ["described", "functions"]

INT, PTR, FUNC, FUNC_PROTO = 1, 2, 12, 13
MAIN, TURN = 4, 5  # ids, in the order below


def described() -> int:
    """A file descriptor of BTF in which type MAIN is a program's function and TURN a callback."""
    strings = b"\0int\0at\0of\0main\0turn\0"
    name = {
        word: strings.index(b"\0" + word + b"\0") + 1 for word in (b"int", b"at", b"of", b"main", b"turn")
    }
    types = b"".join(
        (
            struct.pack("<IIII", name[b"int"], INT << 24, 4, 1 << 24 | 32),  # 1: int
            struct.pack("<III", 0, PTR << 24, 0),  # 2: void *
            struct.pack("<III", 0, FUNC_PROTO << 24 | 2, 1),  # 3: int (int at, void *of)
            struct.pack("<IIII", name[b"at"], 1, name[b"of"], 2),
            struct.pack("<III", name[b"main"], FUNC << 24, 3),
            struct.pack("<III", name[b"turn"], FUNC << 24, 3),  # static, as callbacks must be
        )
    )
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return syscall.btf_load(head + types + strings)


def functions(starts: Sequence[int]) -> bytes:
    """``struct bpf_func_info`` of the program and its callbacks, by where they start."""
    return b"".join(struct.pack("<II", at, TURN if at else MAIN) for at in sorted({0, *starts}))
