"""What a kernel must load before it can see its root, in load order.

Debian builds virtio and the overlay file system as modules, or builds them in: it changes between kernels.
There is no modules.dep in the packages, so the order comes from the modules' own .modinfo.
"""

from __future__ import annotations

import gzip
import lzma
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from .errors import Unavailable

WANTED = ("virtio_pci", "virtio_console", "virtiofs", "overlay")


def name_of(path: Path) -> str:
    """A module's name as the kernel spells it: `9pnet-virtio.ko.xz` is 9pnet_virtio."""
    return path.name.partition(".ko")[0].replace("-", "_")


def depends(elf: bytes) -> list[str]:
    """The modules that a module asks for in its .modinfo."""
    match = re.search(rb"\0depends=([^\0]*)\0", elf)
    return [name.replace("-", "_") for name in match.group(1).decode().split(",") if name] if match else []


def load_order(wanted: Iterable[str], load: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """`wanted` and all they depend on as name: ELF, each after its dependencies.

    `load` gives a module's ELF, or None for one that is built in, which is left out.
    """
    order: dict[str, bytes] = {}

    def add(name: str) -> None:
        elf = None if name in order else load(name)
        if elf is not None:
            for dependency in depends(elf):
                add(dependency)
            order[name] = elf

    for name in wanted:
        add(name)
    return order


def read(path: Path) -> bytes:
    """A module's ELF, decompressed: not every kernel decompresses what insmod gives it."""
    data = path.read_bytes()
    if path.suffix == ".ko":
        return data
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".gz":
        return gzip.decompress(data)
    raise Unavailable(f"{path.name}: modules compressed like this aren't supported by the lab yet")


def boot_modules(tree: Path) -> dict[str, bytes]:
    """The modules of the kernel in `tree` that must be loaded before its root is there, in load order."""
    files: Mapping[str, Path] = {name_of(path): path for path in (tree / "kernel").rglob("*.ko*")}
    return load_order(WANTED, lambda name: read(files[name]) if name in files else None)
