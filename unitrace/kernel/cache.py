"""The on-disk cache: indexes of a kernel's BTF and functions, types of its headers, which take long to make.

In $XDG_CACHE_HOME/unitrace, else ~/.cache/unitrace. Everything works without it. Files are trusted only
if they are ours and nobody else can write them: a root run may see another user's home.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable

__all__ = ["build_id", "folder", "kept", "modules_key"]

FORMAT = 2
"""Raised when what is kept changes its form."""


def folder() -> str:
    """The cache's directory; "" where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        home = os.path.expanduser("~")
        if not os.path.isabs(home) or home == "/":
            return ""
        base = f"{home}/.cache"
    return f"{base}/unitrace"


def build_id() -> str:
    """What tells this kernel from all others: its GNU build id, in hex, else its version text."""
    try:
        with open("/sys/kernel/notes", "rb", buffering=0) as file:
            notes = file.readall()
    except OSError:
        notes = b""
    at = notes.find(b"\x03\0\0\0GNU\0")  # NT_GNU_BUILD_ID
    if at >= 4:
        length = int.from_bytes(notes[at - 4 : at], "little")
        return notes[at + 8 : at + 8 + length].hex()
    said = os.uname()
    return "".join(c if c.isalnum() else "-" for c in f"{said.release}-{said.version}")


def modules_key() -> str:
    """The build id and a digest of which modules are loaded."""
    try:
        with open("/proc/modules", "rb", buffering=0) as file:
            lines = file.readall().split(b"\n")
    except OSError:
        lines = []
    from zlib import crc32

    loaded = b"\n".join(sorted(b" ".join(line.split(b" ")[:2]) for line in lines if line))
    return f"{build_id()}-{crc32(loaded):08x}"


KEEP = 4
"""Files of one kind: as many kernels, or sets of modules, are remembered."""


def kept(kind: str, key: str, make: Callable[[], bytes], keep: int = KEEP) -> bytes | mmap.mmap:
    """What ``make`` returns: from the cache if it is there, else made and, where possible, kept; so are the
    ``keep`` last of a kind."""
    place = folder()
    if not place:
        return make()
    path = f"{place}/{kind}-{FORMAT}-{key}"
    found = _mapped(path)
    if found is not None:
        return found
    content = make()
    _write(place, path, content, keep)
    return content


def _mapped(path: str) -> mmap.mmap | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022 or not status.st_size:
            return None
        return mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)


def _prune(place: str, written: str, keep: int) -> None:
    kind = written.partition(f"-{FORMAT}-")[0]
    paths = [f"{place}/{name}" for name in os.listdir(place) if name.startswith(f"{kind}-")]
    if len(paths) > keep:
        for path in sorted(paths, key=lambda one: os.stat(one).st_mtime)[:-keep]:
            os.unlink(path)


def _write(place: str, path: str, content: bytes, keep: int) -> None:
    if not content:
        return
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(place, 0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
        os.rename(temporary, path)
        _prune(place, os.path.basename(path), keep)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass
