"""What goes into a guest: its init, its kernel's modules, its command and its environment."""

from __future__ import annotations

import os
import shutil
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import join, quote

from . import cpio
from .errors import Unavailable
from .modules import boot_modules
from .store import Kernel

#: Environment variables that a guest inherits where they are set.
INHERITED = ("HOME", "LANG", "LC_ALL", "TERM", "PYTHONPATH", "VIRTUAL_ENV")


def environment(kernel_name: str, extra: Sequence[str], host: Mapping[str, str]) -> dict[str, str]:
    """A guest's environment: `extra` holds NAME=VALUE, or NAME for the host's value if it has one."""
    env = {name: host[name] for name in INHERITED if name in host}
    # The caller's interpreter goes first: `python` may be a wrapper script, which takes seconds.
    env["PATH"] = f"{Path(sys.executable).parent}:{host.get('PATH', os.defpath)}"
    env["TMPDIR"] = "/run/tmp"  # a tmpfs; the host's /tmp is visible too, but each change to it is a copy
    env["UNITRACE_GUEST"] = kernel_name
    for item in extra:
        name, is_set, value = item.partition("=")
        if is_set:
            env[name] = value
        elif name in host:
            env[name] = host[name]
    return env


def command_script(command: Sequence[str], cwd: str, env: Mapping[str, str]) -> str:
    """The shell script that a guest runs."""
    exports = "".join(f"export {name}={quote(value)}\n" for name, value in env.items())
    return f"{exports}cd {quote(cwd)} || exit\nexec {join(command)}\n"


def initramfs(kernel: Kernel, script: str, layers: Sequence[str], shares: Mapping[str, str]) -> bytes:
    """A guest's initramfs; `layers` are the tags that make its root, lowest first, `shares` tag to path."""
    modules = boot_modules(kernel.modules)
    config = {
        "HOSTNAME": f"guest-{kernel.name.replace('.', '-')}",
        "LAYERS": " ".join(layers),
        "MODULES": str(kernel.modules),
    }
    return cpio.archive(
        [
            *map(cpio.directory, ("bin", "dev", "lab", "lab/modules")),
            cpio.file("bin/busybox", busybox().read_bytes(), 0o755),
            cpio.file("init", (Path(__file__).parent / "init.sh").read_bytes(), 0o755),
            cpio.file("lab/config", "".join(f"{key}={quote(value)}\n" for key, value in config.items())),
            cpio.file("lab/shares", "".join(f"{tag} {directory}\n" for tag, directory in shares.items())),
            cpio.file("lab/command", script),
            *(cpio.file(f"lab/modules/{name}.ko", elf) for name, elf in modules.items()),
            cpio.file("lab/modules/order", "".join(f"{name}\n" for name in modules)),
        ]
    )


def busybox() -> Path:
    """A busybox that runs before there is any library. Raises Unavailable."""
    found = [Path(path) for path in (shutil.which("busybox"), "/bin/busybox", "/usr/bin/busybox") if path]
    for path in found:
        if path.is_file() and is_static(path.read_bytes()):
            return path
    raise Unavailable("no statically linked busybox here: apt-get install busybox-static")


def is_static(elf: bytes) -> bool:
    """Whether a 64-bit ELF file runs without an interpreter: no program header is a PT_INTERP."""
    if elf[:5] != b"\x7fELF\x02":
        return False
    (table,) = struct.unpack_from("<Q", elf, 0x20)  # e_phoff
    size, count = struct.unpack_from("<HH", elf, 0x36)  # e_phentsize, e_phnum
    pt_interp = 3
    return all(struct.unpack_from("<I", elf, table + size * i)[0] != pt_interp for i in range(count))
