"""``python -m tests.without bpf,btf -- COMMAND``: a command for which bpf(2) is refused, or BTF isn't there.

bpf: a seccomp filter answers EPERM, as in containers. btf: in a mount namespace of its own, an empty file system
lies over /sys/kernel/btf, so that neither the kernel's types can be read nor those of its modules. Both hold for all
that the command starts, and nobody else sees anything of it. Needs root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Sequence

__all__ = ["WHATS", "command", "without"]

BTF = "/sys/kernel/btf"

CALLS: dict[str, dict[int, tuple[int, ...]]] = {
    "x86_64": {0xC000003E: (321, 321 | 1 << 30), 0x40000003: (357,)},
    "aarch64": {0xC00000B7: (280,), 0x40000028: (386,)},
}
"""The numbers of bpf(2) by AUDIT_ARCH (include/uapi/linux/audit.h), for each machine: those of its own programs
(on x86-64 also of x32's) and of 32-bit ones."""

NR, ARCH = 0, 4  # struct seccomp_data, include/uapi/linux/seccomp.h
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000  # SECCOMP_RET_ALLOW, _ERRNO, _KILL_PROCESS
PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38
CLONE_NEWNS, MS_RDONLY, MS_REC, MS_PRIVATE = 0x20000, 1, 0x4000, 1 << 18

LIBC = ctypes.CDLL(None, use_errno=True)


def refuse_bpf() -> None:
    """bpf(2) fails with EPERM from here on, in this process and in all that it starts."""
    program = _filter(CALLS[os.uname().machine])
    kept = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog, include/uapi/linux/filter.h
    head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept))
    _done(LIBC.prctl(PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))))
    _done(LIBC.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), head, *map(ctypes.c_ulong, (0, 0))))


def _filter(calls: dict[int, tuple[int, ...]]) -> bytes:
    """Classic BPF: a call of an architecture that isn't known ends the process, as its numbers aren't ours."""
    code: list[tuple[int, int, int, int]] = [(LOAD, 0, 0, ARCH)]
    for arch, numbers in calls.items():
        block = [(LOAD, 0, 0, NR)]
        block += [(EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
        block += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ERRNO | errno.EPERM)]
        code += [(EQUAL, 0, len(block), arch), *block]
    code.append((RETURN, 0, 0, KILL))
    return b"".join(struct.pack("HBBI", *one) for one in code)


def hide_btf() -> None:
    """/sys/kernel/btf is empty from here on, for this process and all that it starts."""
    _done(LIBC.unshare(CLONE_NEWNS))
    _done(LIBC.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))
    if os.path.isdir(BTF):
        _done(LIBC.mount(b"none", BTF.encode(), b"tmpfs", ctypes.c_ulong(MS_RDONLY), None))


def _done(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


WHATS = {"btf": hide_btf, "bpf": refuse_bpf}


def without(whats: Sequence[str]) -> None:
    """Do without ``whats``, each of WHATS, from here on. ValueError for another, OSError where the kernel says
    no."""
    unknown = sorted(set(whats) - set(WHATS))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: only {' and '.join(WHATS)} can be done without")
    for what, start in WHATS.items():
        if what in whats:
            start()


def command(whats: Sequence[str], words: Sequence[str]) -> list[str]:
    """The command ``words``, as one that does without ``whats``."""
    return [sys.executable, "-m", "tests.without", ",".join(whats), "--", *words] if whats else [*words]


def main(words: list[str]) -> int:
    """Run the command line; returns only where that fails."""
    if len(words) < 3 or words[1] != "--":
        print((__doc__ or "").partition("\n")[0], file=sys.stderr)
        return 2
    try:
        without(words[0].split(","))
        os.execvp(words[2], words[2:])
    except (OSError, ValueError) as error:
        print(f"tests.without: {error}", file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
