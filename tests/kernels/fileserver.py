"""How a guest gets at this machine's files: one virtiofsd per directory tree.

There are two of them. The one in C came with QEMU up to 7.2 (Debian 12: qemu-system-common); the one in Rust
is a package of its own (Debian 13, Ubuntu 24.04: virtiofsd). Their options differ, what they do doesn't. 9p
would need no daemon, but Debian's cloud kernels are built without it.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import Unavailable

_PLACES = (
    "/usr/libexec/virtiofsd",
    "/usr/lib/virtiofsd",
    "/usr/lib/qemu/virtiofsd",
    "/usr/lib/kvm/virtiofsd",
)


@dataclass(frozen=True)
class Tree:
    """A directory to serve. What is read-only never changes for the guest, so it may cache it for good."""

    tag: str
    directory: str
    writable: bool = False


@dataclass(frozen=True)
class Virtiofsd:
    """The daemon of this machine."""

    path: str
    in_rust: bool

    @classmethod
    def find(cls) -> Virtiofsd:
        """Raises Unavailable."""
        for path in filter(None, (*_PLACES, shutil.which("virtiofsd"))):
            if Path(path).is_file():
                usage = subprocess.run([path, "--help"], capture_output=True, text=True)
                return cls(path, in_rust="--shared-dir" in usage.stdout + usage.stderr)
        raise Unavailable("no virtiofsd here: apt-get install virtiofsd (Debian 12: qemu-system-common)")

    def argv(self, tree: Tree, fd: int) -> list[str]:
        """The command line that serves `tree` on the listening socket `fd`.

        Nested mounts show as plain directories: an overlay doesn't look into mounts. No extended attributes:
        an overlay asks for some at each lookup; where there are none, the guest itself has the answer.
        """
        cache = "auto" if tree.writable else "always"
        if self.in_rust:
            options = [f"--shared-dir={tree.directory}", f"--cache={cache}", "--sandbox=chroot"]
            return [self.path, f"--fd={fd}", *options, "--no-announce-submounts", "--log-level=error"]
        if "," in tree.directory:
            raise Unavailable(f"this virtiofsd can't serve a path with a comma: {tree.directory}")
        options = [
            f"source={tree.directory}",
            f"cache={cache}",
            "sandbox=chroot",
            "no_readdirplus",
            "log_level=err",
        ]
        return [self.path, f"--fd={fd}", "-f", "-o", ",".join(options)]

    def serve(self, tree: Tree, path: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start serving `tree` on a socket at `path`.

        The socket is made here: so it is there before QEMU connects, and the C daemon needs none of the lock
        files that it would leave behind.
        """
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            fd = listener.fileno()
            return subprocess.Popen(
                self.argv(tree, fd),
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
