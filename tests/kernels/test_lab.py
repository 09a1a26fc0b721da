"""The lab's own tests: its pure parts, and one that really boots a kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from . import campaign, catalogue, cli, cpio, guest, modules, qemu, resolve, sources, suite
from .errors import EXIT_SKIP, Unavailable
from .fileserver import Tree, Virtiofsd
from .store import Kernel

# What `apt-cache --no-all-versions show` printed in November 2026, the fields that matter.
BOOKWORM = {
    "linux-image-cloud-amd64": """\
Package: linux-image-cloud-amd64
Source: linux-signed-amd64 (6.1.192+2)
Version: 6.1.192-2
Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)
Description-en: Linux for x86-64 cloud (meta-package)
 This package depends on the latest Linux kernel and modules.
""",
    "linux-image-6.1.0-56-cloud-amd64": """\
Package: linux-image-6.1.0-56-cloud-amd64
Version: 6.1.192-2
Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool
""",
}
BACKPORTS = {
    "linux-image-cloud-amd64": """\
Package: linux-image-cloud-amd64
Version: 7.3.4-1~bpo13+1
Depends: linux-base-cloud-amd64 (= 7.3.4-1~bpo13+1), linux-image-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)
""",
    "linux-base-cloud-amd64": """\
Package: linux-base-cloud-amd64
Version: 7.3.4-1~bpo13+1
Depends: linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)
""",
    "linux-image-7.3.4+deb13-cloud-amd64": """\
Package: linux-image-7.3.4+deb13-cloud-amd64
Version: 7.3.4-1~bpo13+1
Depends: dracut | linux-initramfs-tool, linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1),
 linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)
Pre-Depends: linux-base (>= 4.17~)
""",
    **{
        f"linux-{part}-7.3.4+deb13-cloud-amd64": (
            f"Package: linux-{part}-7.3.4+deb13-cloud-amd64\nVersion: 7.3.4-1~bpo13+1\n"
        )
        for part in ("base", "binary", "modules")
    },
}


def packages(archive: dict[str, str]) -> list[str]:
    def show(names: list[str]) -> str:
        return "\n".join(archive[name] for name in names if name in archive)

    return [str(package) for package in resolve.kernel_packages(catalogue.METAPACKAGE, show)]


def test_kernel_in_one_package() -> None:
    assert packages(BOOKWORM) == ["linux-image-6.1.0-56-cloud-amd64=6.1.192-2"]


def test_kernel_in_several_packages() -> None:
    assert packages(BACKPORTS) == [
        f"linux-{part}-7.3.4+deb13-cloud-amd64=7.3.4-1~bpo13+1"
        for part in ("base", "binary", "image", "modules")
    ]


def test_suite_without_a_kernel() -> None:
    assert packages({}) == []


def test_headers_of_a_kernel() -> None:
    own = """\
Package: linux-headers-5.10.0-46-cloud-amd64
Version: 5.10.262-1
Depends: linux-headers-5.10.0-46-common (= 5.10.262-1), linux-kbuild-5.10 (>= 5.10.262-1), linux-compiler-gcc-10-x86
"""
    archive = {"linux-headers-5.10.0-46-cloud-amd64=5.10.262-1": own}
    found = resolve.header_packages(
        "5.10.0-46-cloud-amd64", "5.10.262-1", lambda names: archive.get(names[0], "")
    )
    assert [str(one) for one in found] == [*archive, "linux-headers-5.10.0-46-common=5.10.262-1"]
    assert resolve.header_packages("5.10.0-45-cloud-amd64", "5.10.1-1", lambda names: "") == []


def test_catalogue_names() -> None:
    assert [entry.name for entry in catalogue.select(["6.1", "all"])] == ["6.1", "5.10", "6.12", "newest"]
    with pytest.raises(KeyError):
        catalogue.select(["2.6"])


DEB822 = """\
# the machine's own
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://elsewhere.example/debian
Suites: bookworm
Components: main
"""
ONE_LINE = """\
# deb http://off.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.gpg] https://docker.example/linux/debian bookworm stable
deb https://mirror.example/debian bookworm main contrib  # a comment
deb https://mirror.example/debian bookworm-updates main
"""


def test_sources_of_both_formats() -> None:
    found = list(sources.parse_deb822(DEB822))
    assert [source.uri for source in found] == [
        "http://mirror.example/debian",
        "http://mirror.example/debian-security",
    ]
    assert sources.mirror(found, security=False).signed_by == "/usr/share/keyrings/debian-archive-keyring.gpg"
    docker, main, _updates = sources.parse_list(ONE_LINE)
    assert docker.signed_by == "/etc/apt/keyrings/docker.gpg"
    assert main.components == ("main", "contrib")


def test_mirror_is_the_machines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UNITRACE_LAB_MIRROR", "UNITRACE_LAB_SECURITY_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    found = list(sources.parse_list(ONE_LINE))
    assert sources.mirror(found, security=False).uri == "https://mirror.example/debian"
    assert sources.mirror(found, security=True).uri == "https://mirror.example/debian-security"
    with pytest.raises(Unavailable, match="no Debian mirror"):
        sources.mirror([], security=True)
    monkeypatch.setenv("UNITRACE_LAB_MIRROR", "http://given.example/debian")
    text = sources.sources_list(("trixie", "trixie-security"), [])
    assert [line.split()[-3:] for line in text.splitlines()] == [
        ["http://given.example/debian", "trixie", "main"],
        ["http://given.example/debian-security", "trixie-security", "main"],
    ]


def elf_of(depends: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0intree=Y\0"


def test_modules_load_after_their_dependencies() -> None:
    tree = {
        "virtiofs": elf_of("fuse,virtio,virtio_ring"),
        "virtio_pci": elf_of("virtio-ring,virtio"),
        "virtio_ring": elf_of("virtio"),
        "virtio": elf_of(""),
        "fuse": elf_of(""),
    }
    order = list(modules.load_order(["virtio_pci", "built_in", "virtiofs"], tree.get))
    assert order == ["virtio", "virtio_ring", "virtio_pci", "fuse", "virtiofs"]


def test_module_names() -> None:
    assert modules.name_of(Path("kernel/net/9p/9pnet-virtio.ko.xz")) == "9pnet_virtio"


@pytest.mark.skipif(not shutil.which("cpio"), reason="cpio isn't installed")
def test_cpio_reads_our_archives(tmp_path: Path) -> None:
    members = [cpio.directory("a"), cpio.file("a/odd", b"12345", 0o750), cpio.file("a/empty", "")]
    subprocess.run(["cpio", "-idm", "--quiet"], input=cpio.archive(members), cwd=tmp_path, check=True)
    assert (tmp_path / "a/odd").read_bytes() == b"12345"
    assert (tmp_path / "a/odd").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "a/empty").read_bytes() == b""


def test_cpio_layout() -> None:
    data = cpio.archive([cpio.file("init", b"xyz", 0o755)])
    assert len(data) % 4 == 0
    assert data[:6] == b"070701" and int(data[14:22], 16) == 0o100755 and int(data[54:62], 16) == 3
    assert data[110:116] == b"init\0\0"  # header and name together fill whole words
    assert data[116:120] == b"xyz\0" and b"TRAILER!!!\0" in data


def test_command_keeps_its_arguments(tmp_path: Path) -> None:
    words = ["it's", "a b", "$HOME", "*", "", 'x"y', "line\nbreak"]
    command = [sys.executable, "-c", "import sys, os; print(sys.argv[1:], os.environ['V'])", *words]
    script = guest.command_script(command, str(tmp_path), {"V": "1 '2'"})
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{words} 1 '2'"


def test_environment() -> None:
    host = {"HOME": "/root", "PATH": "/bin", "SECRET": "s", "X": "x"}
    env = guest.environment("6.1", ["A=b=c", "X", "UNSET"], host)
    assert env["UNITRACE_GUEST"] == "6.1" and env["A"] == "b=c" and env["X"] == "x"
    assert env["PATH"] == f"{Path(sys.executable).parent}:/bin"
    assert "SECRET" not in env and "UNSET" not in env


def test_static_programs_are_told_from_dynamic_ones() -> None:
    assert not guest.is_static(Path(sys.executable).resolve().read_bytes())
    assert not guest.is_static(b"#!/bin/sh\n")


def test_qemu_command_line() -> None:
    machine = qemu.Machine(memory=512, append="lockdown=integrity")
    line = qemu.argv("qemu", machine, Path("/k/vmlinuz"), ["host", "share0"], {"stdout": 5})
    assert line[line.index("-append") + 1].endswith("mitigations=off lockdown=integrity")
    assert line[line.index("-accel") + 1] == "tcg,thread=single"
    assert "vhost-user-fs-pci,chardev=share0,tag=share0" in line
    assert "file,id=stdout,path=/proc/self/fd/5,append=on" in line


def test_both_virtiofsds() -> None:
    assert "--shared-dir=/a,b" in Virtiofsd("v", in_rust=True).argv(Tree("t", "/a,b"), 3)
    in_c = Virtiofsd("v", in_rust=False)
    assert "cache=auto" in in_c.argv(Tree("t", "/a", writable=True), 3)[-1]
    with pytest.raises(Unavailable):
        in_c.argv(Tree("t", "/a,b"), 3)


@pytest.mark.parametrize(
    ("argv", "own", "command"),
    [
        (
            ["run", "6.1", "--mem", "512", "--", "ls", "--", "x"],
            ["run", "6.1", "--mem", "512"],
            ["ls", "--", "x"],
        ),
        (["run", "--mem", "512", "6.1", "ls", "-l"], ["run", "--mem", "512", "6.1"], ["ls", "-l"]),
        (["test", "all", "-k", "6.1"], ["test", "all"], ["-k", "6.1"]),
        (["fetch", "6.1", "newest"], ["fetch", "6.1", "newest"], []),
    ],
)
def test_command_line_is_split(argv: list[str], own: list[str], command: list[str]) -> None:
    assert cli.split_command(argv) == (own, command)


@pytest.mark.parametrize("option", [["--env", "1+1=2"], ["--share", "/no/such"], ["--mem", "lots"]])
def test_options_are_checked(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "6.1", *option, "--", "true"])
    assert option[0] in capsys.readouterr().err


def test_verdict_of_several_kernels() -> None:
    assert campaign.verdict([0, 0]) == 0
    assert campaign.verdict([0, EXIT_SKIP]) == EXIT_SKIP
    assert campaign.verdict([EXIT_SKIP, 3]) == 1


def test_files_of_a_collection() -> None:
    assert suite.collected_files(["tests/a.py: 3", "tests/b.py: 1", "", "3 tests"]) == [
        "tests/a.py",
        "tests/b.py",
    ]
    assert suite.collected_files(["tests/a.py::x[1: 2]", "tests/a.py::y"]) == ["tests/a.py"]


def test_paths_among_pytest_arguments() -> None:
    assert suite.names_paths(["-x", "tests/kernels/test_lab.py::test_verdict_of_several_kernels"])
    assert not suite.names_paths(["-k", "no_such_path"])


def test_a_kernel_is_where_the_lab_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNITRACE_LAB", str(tmp_path))
    kernel = Kernel("6.1", "6.1.0-56-cloud-amd64", "6.1.192-2", ())
    assert kernel.image == tmp_path / "kernels/6.1/6.1.192-2/vmlinuz"
    assert kernel.modules == tmp_path / "kernels/6.1/6.1.192-2/lib/modules/6.1.0-56-cloud-amd64"


@pytest.mark.lab
@pytest.mark.skipif("UNITRACE_GUEST" in os.environ, reason="inside a guest")
def test_a_guest_boots_and_reports() -> None:
    script = 'uname -r; pwd; echo "$UNITRACE_GUEST" >&2; test -e /sys/kernel/tracing/trace; exit 7$?'
    argv = [sys.executable, "-m", "tests.kernels", "run", "6.1", "--timeout", "120", "--", "sh", "-c", script]
    done = subprocess.run(argv, cwd=suite.CHECKOUT, capture_output=True, text=True)
    if done.returncode == EXIT_SKIP:
        pytest.skip(done.stderr.strip())
    release, directory = done.stdout.splitlines()
    assert release.startswith("6.1.") and directory == str(suite.CHECKOUT)
    assert done.stderr == "6.1\n" and done.returncode == 70
