"""Fetched kernels, kept outside the checkout in `$UNITRACE_LAB` (default ~/.cache/unitrace-lab).

    kernels/NAME.json                       which kernel NAME is, written last: no file, no kernel
    kernels/NAME/VERSION/vmlinuz            what QEMU boots
    kernels/NAME/VERSION/lib/modules/...    its modules
    NAME.lock                               held while NAME is fetched

A cached kernel is booted as it is, without asking the network; `fetch` looks for a newer one.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from .apt import PrivateApt
from .catalogue import CATALOGUE, METAPACKAGE, Entry
from .errors import Unavailable
from .resolve import Package, header_packages, kernel_packages


@dataclass(frozen=True)
class Kernel:
    """A kernel on this disk: `release` is what its `uname -r` prints, `version` that of its packages."""

    name: str
    release: str
    version: str
    packages: tuple[str, ...]

    @property
    def tree(self) -> Path:
        return lab_directory() / "kernels" / self.name / self.version

    @property
    def image(self) -> Path:
        return self.tree / "vmlinuz"

    @property
    def modules(self) -> Path:
        return self.tree / "lib/modules" / self.release


def lab_directory() -> Path:
    """Where all that the lab keeps is."""
    given = os.environ.get("UNITRACE_LAB")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given).absolute() if given else Path(cache) / "unitrace-lab"


def cached(name: str) -> Kernel | None:
    """The kernel of that name if it is here, without looking any further."""
    try:
        record = json.loads((lab_directory() / f"kernels/{name}.json").read_text())
        kernel = Kernel(record["name"], record["release"], record["version"], tuple(record["packages"]))
    except (OSError, ValueError, KeyError):
        return None
    return kernel if kernel.image.exists() and kernel.modules.is_dir() else None


def need(entry: Entry) -> Kernel:
    """The kernel of `entry`: the cached one, or fetched now. Raises Unavailable."""
    return cached(entry.name) or fetch(entry, refresh=False)


def fetch(entry: Entry, *, refresh: bool = True) -> Kernel:
    """Find today's kernel of `entry`, and download and unpack it unless it is the cached one.

    With refresh false, a kernel that another process has fetched meanwhile will do. Raises Unavailable.
    """
    with _locked(entry.name):
        here = cached(entry.name)
        if here and not refresh:
            return here
        with tempfile.TemporaryDirectory(prefix="unitrace-lab-apt-") as root:
            apt = PrivateApt(Path(root), entry.suites)
            apt.update()
            packages = kernel_packages(METAPACKAGE, apt.show)
            if not packages:
                raise Unavailable(f"no kernel behind {METAPACKAGE} in {', '.join(entry.suites)}")
            if here and here.packages == tuple(map(str, packages)):
                return here
            return _install(entry, apt, packages)


def headers(entry: Entry, directory: Path) -> list[Package]:
    """Unpack the headers of the kernel of `entry` into `directory`, to be laid over a guest's root (`--layer`).

    Returns what they came in. Raises Unavailable."""
    kernel = need(entry)
    with tempfile.TemporaryDirectory(prefix="unitrace-lab-apt-") as root:
        apt = PrivateApt(Path(root), entry.suites)
        apt.update()
        packages = header_packages(kernel.release, kernel.version, apt.show)
        if not packages:
            raise Unavailable(f"no headers of {kernel.release} {kernel.version}: fetch {entry.name} anew")
        debs = Path(root) / "debs"
        debs.mkdir()
        for deb in apt.download(packages, debs):
            subprocess.run(["dpkg-deb", "-x", str(deb), str(directory)], check=True)
    old = directory / "lib"
    if old.is_dir():  # before trixie; over a root whose /lib is a link it would hide all
        shutil.copytree(old, directory / "usr/lib", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(old)
    return packages


def clean() -> list[Path]:
    """Remove what the lab keeps, and nothing else that may be in the same directory; returns what went."""
    root = lab_directory()
    ours = [root / "kernels", *(root / f"{name}.lock" for name in CATALOGUE)]
    gone = [path for path in ours if path.exists()]
    for path in gone:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return gone


def _install(entry: Entry, apt: PrivateApt, packages: list[Package]) -> Kernel:
    """Download and unpack `packages`; the record that makes them a cached kernel is written last."""
    home = lab_directory() / "kernels" / entry.name
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".new-") as work:
        debs, unpacked, tree = (Path(work) / part for part in ("debs", "unpacked", "tree"))
        debs.mkdir()
        for deb in apt.download(packages, debs):
            subprocess.run(["dpkg-deb", "-x", str(deb), str(unpacked)], check=True)
        release = _arrange(unpacked, tree)
        kernel = Kernel(entry.name, release, packages[0].version, tuple(map(str, packages)))
        for old in home.glob("[!.]*"):
            shutil.rmtree(old)
        tree.rename(kernel.tree)
    record = home.with_name(f"{entry.name}.json")
    record.with_suffix(".new").write_text(json.dumps(asdict(kernel), indent=2) + "\n")
    record.with_suffix(".new").replace(record)
    return kernel


def _arrange(unpacked: Path, tree: Path) -> str:
    """Bring the files of either package layout into the store's own; returns the kernel's release."""
    modules = [*unpacked.glob("lib/modules/*"), *unpacked.glob("usr/lib/modules/*")]
    images = [*unpacked.glob("boot/vmlinuz-*"), *unpacked.glob("usr/lib/modules/*/vmlinuz")]
    if not (modules and images):
        raise Unavailable(
            "the packages of this kernel have a layout the lab doesn't know (no vmlinuz, or no modules)"
        )
    release = modules[0].name
    (tree / "lib/modules").mkdir(parents=True)
    images[0].rename(tree / "vmlinuz")
    modules[0].rename(tree / "lib/modules" / release)
    for depmod in (["/sbin/depmod"], ["busybox", "depmod"]):
        # A maintainer script's work. Only modprobe in the guest needs it, the boot doesn't.
        if shutil.which(depmod[0]):
            subprocess.run([*depmod, "-b", str(tree), release], stderr=subprocess.DEVNULL)
            break
    return release


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """One fetch of a kernel at a time, over all processes; the kernel drops the lock with the process."""
    try:
        lab_directory().mkdir(parents=True, exist_ok=True)
        lock = (lab_directory() / f"{name}.lock").open("w")
    except OSError as error:
        raise Unavailable(
            f"can't write to the cache, set UNITRACE_LAB to another directory: {error}"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
