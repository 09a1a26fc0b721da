"""Numbers of system calls, beside those of the C library's headers."""

from __future__ import annotations

import os
import re

import pytest

from unitrace.kernel.syscalls import number

HEADER = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"

RENAMED = {
    "fstat": "newfstat", "lstat": "newlstat", "sendfile": "sendfile64", "stat": "newstat", "umount2": "umount",
    "uname": "newuname",
}  # fmt: skip
"""What SYSCALL_DEFINE calls them."""

GONE = {
    "_sysctl", "afs_syscall", "create_module", "epoll_ctl_old", "epoll_wait_old", "get_kernel_syms",
    "get_thread_area", "getpmsg", "nfsservctl", "putpmsg", "query_module", "security", "set_thread_area",
    "tuxcall", "uselib", "vserver",
}  # fmt: skip


def test_numbers() -> None:
    assert [number("x86_64", name) for name in ("read", "newstat", "statx", "openat2")] == [0, 4, 332, 437]
    assert number("x86_64", "stat") is number("x86_64", "-") is number("aarch64", "read") is None


@pytest.mark.skipif(not os.path.exists(HEADER), reason="the C library's headers aren't installed")
def test_all_that_the_headers_know() -> None:
    with open(HEADER, encoding="ascii") as file:
        known = re.findall(r"^#define __NR_(\w+) (\d+)$", file.read(), re.MULTILINE)
    assert len(known) > 300
    for name, value in known:
        assert number("x86_64", RENAMED.get(name, name)) == (None if name in GONE else int(value)), name
