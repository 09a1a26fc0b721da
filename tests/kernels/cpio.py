"""The archive format of an initramfs: cpio's "newc".

Kernel: Documentation/driver-api/early-userspace/buffer-format.rst
"""

from __future__ import annotations

import stat
from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """One file or directory; `mode` has the type bits too."""

    path: str
    mode: int
    data: bytes = b""


def directory(path: str) -> Member:
    return Member(path, stat.S_IFDIR | 0o755)


def file(path: str, data: bytes | str, mode: int = 0o644) -> Member:
    return Member(path, stat.S_IFREG | mode, data.encode() if isinstance(data, str) else data)


def archive(members: list[Member]) -> bytes:
    """The members as one archive, in order: the kernel makes no parent directories, list them first."""
    parts: list[bytes] = []
    for inode, member in enumerate([*members, Member("TRAILER!!!", 0)], start=1):
        name = member.path.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device (2), device node (2), name's size, no checksum
        fields = (inode, member.mode, 0, 0, 1, 0, len(member.data), 0, 0, 0, 0, len(name), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields)
        parts += _padded(header + name), _padded(member.data)
    return b"".join(parts)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
