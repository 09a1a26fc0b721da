"""Unpack the newest peers (bpftrace, perf, trace-cmd, ply, bcc) from Debian into a cache folder.

Nothing is installed: apt, under a configuration of its own, downloads the packages and all that they
depend on; dpkg-deb unpacks them; a small wrapper runs each program by the unpacked ld.so and libraries.
So a peer sees this machine's /proc, /sys and files at the same paths as any other program does.

    python -m bench.peers            unpack what is missing, then try each peer
    python -m bench.peers --check    only try them
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("bpftrace", "linux-perf", "trace-cmd", "ply", "bpfcc-tools")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TRACEFS = Path("/sys/kernel/tracing")

# Files that trace-cmd insists on writing, though it needs none of them to record events.
FUNCTION_TRACER_FILES = (
    "/proc/sys/kernel/ftrace_enabled",
    f"{TRACEFS}/set_ftrace_filter",
    f"{TRACEFS}/set_ftrace_notrace",
    f"{TRACEFS}/set_ftrace_pid",
)

VERSION_COMMANDS = {
    "bpftrace": ("-V",),
    "perf": ("--version",),
    "trace-cmd": ("--version",),
    "ply": ("-v",),
    "trace-bpfcc": ("--help",),
}


class PeersError(Exception):
    """The peers can't be unpacked here; the message says why and what to do."""


def cache_folder() -> Path:
    """Where the peers live: $UNITRACE_PEERS, else ~/.cache/unitrace-peers."""
    return Path(os.environ.get("UNITRACE_PEERS") or Path.home() / ".cache" / "unitrace-peers")


def program(name: str) -> Path:
    """The wrapper that runs a peer; it may not exist yet."""
    return cache_folder() / "bin" / name


def mirror() -> str:
    """The Debian mirror that the machine's own apt uses."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    for uri in listed:
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise PeersError("apt knows no Debian mirror here; name one with --mirror URL")


def write_apt_configuration(folder: Path, uri: str, suite: str, keyring: Path) -> Path:
    """Write an apt configuration that keeps to `folder` and believes that nothing is installed."""
    for part in ("lists/partial", "archives/partial", "sources.d"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    (folder / "sources.d" / "peers.sources").write_text(
        f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {keyring}\n"
    )
    configuration = folder / "apt.conf"
    configuration.write_text(
        "#clear APT::Update::Post-Invoke;\n"
        "#clear APT::Update::Post-Invoke-Success;\n"
        "#clear DPkg::Post-Invoke;\n"
        f'Dir::State "{folder}";\n'
        f'Dir::State::status "{folder}/status";\n'
        f'Dir::State::lists "{folder}/lists";\n'
        f'Dir::Cache "{folder}";\n'
        f'Dir::Cache::archives "{folder}/archives";\n'
        'Dir::Etc::sourcelist "/dev/null";\n'
        f'Dir::Etc::sourceparts "{folder}/sources.d";\n'
        'Dir::Etc::preferences "/dev/null";\n'
        'Dir::Etc::preferencesparts "/dev/null";\n'
        'APT::Install-Recommends "false";\n'
        'APT::Sandbox::User "";\n'
        'Acquire::Languages "none";\n'
    )
    return configuration


def download(folder: Path, configuration: Path) -> list[Path]:
    """Fetch the packages and their dependencies; return the .deb files."""
    apt_get = ["apt-get", "-c", str(configuration), "-q"]
    subprocess.run([*apt_get, "update"], check=True)
    subprocess.run([*apt_get, "-y", "--download-only", "install", *PACKAGES], check=True)
    return sorted((folder / "archives").glob("*.deb"))


def unpack(debs: list[Path], root: Path) -> None:
    """Unpack the .deb files over one another into an empty root."""
    if root.exists():
        shutil.rmtree(root)
    root.mkdir(parents=True)
    for deb in debs:
        subprocess.run(["dpkg-deb", "-x", str(deb), str(root)], check=True)


def loader(root: Path) -> Path:
    """The unpacked dynamic loader: ld-linux-x86-64.so.2, ld-linux-aarch64.so.1, ..."""
    for pattern in ("usr/lib/*/ld-linux*.so.*", "usr/lib/ld-linux*.so.*", "usr/lib/*/ld64.so.*"):
        for found in sorted(root.glob(pattern)):
            return found
    raise PeersError(f"no dynamic loader below {root}")


def function_tracer_is_denied() -> bool:
    """True where the kernel lists set_ftrace_filter but lets nobody write it (some hardened machines)."""
    path = TRACEFS / "set_ftrace_filter"
    try:
        os.close(os.open(path, os.O_WRONLY))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def hide_function_tracer() -> str:
    """Shell lines that put /dev/null over the function tracer's files, for this process alone."""
    files = " ".join(FUNCTION_TRACER_FILES)
    return (
        'if [ "$UNITRACE_PEERS_MASKED" != 1 ]; then\n'
        '  UNITRACE_PEERS_MASKED=1 exec unshare -m "$0" "$@"\n'
        "fi\n"
        f"for file in {files}; do\n"
        '  [ ! -e "$file" ] || mount --bind /dev/null "$file"\n'
        "done\n"
    )


def wrapper_text(root: Path, target: Path) -> str:
    """The shell script that runs one unpacked program."""
    libraries = ":".join(str(p) for p in (loader(root).parent, root / "usr/lib"))
    environment = {
        "TRACEEVENT_PLUGIN_DIR": loader(root).parent / "traceevent/plugins",
        "PERF_EXEC_PATH": root / "usr/lib/perf-core",
    }
    command: list[object] = [target]
    if target.name.endswith("-bpfcc"):
        environment["PYTHONHOME"] = root / "usr"
        python = (root / "usr/bin/python3").resolve()
        command = [python, target]
    prelude = hide_function_tracer() if target.name == "trace-cmd" and function_tracer_is_denied() else ""
    exports = "".join(f"export {name}={shlex.quote(str(value))}\n" for name, value in environment.items())
    words = [loader(root), "--library-path", libraries, *command]
    line = " ".join(shlex.quote(str(word)) for word in words)
    return f'#!/bin/sh\n{prelude}{exports}exec {line} "$@"\n'


def programs(root: Path) -> Iterator[Path]:
    """The unpacked programs that get a wrapper."""
    for name in ("bpftrace", "perf", "trace-cmd", "ply"):
        for folder in ("usr/bin", "usr/sbin"):
            path = root / folder / name
            if path.exists():
                yield path
    yield from sorted((root / "usr/sbin").glob("*-bpfcc"))


def write_wrappers(root: Path, bin_folder: Path) -> None:
    """Write one wrapper per program into the cache's bin/."""
    bin_folder.mkdir(parents=True, exist_ok=True)
    for path in programs(root):
        wrapper = bin_folder / path.name
        wrapper.write_text(wrapper_text(root, path))
        wrapper.chmod(0o755)


def mount_tracing() -> None:
    """Mount tracefs, and debugfs for ply, where they aren't mounted yet."""
    for kind, folder, sign in (
        ("tracefs", TRACEFS, TRACEFS / "events"),
        ("debugfs", Path("/sys/kernel/debug"), Path("/sys/kernel/debug/tracing")),
    ):
        if not sign.exists():
            subprocess.run(["mount", "-t", kind, kind, str(folder)], check=False, stderr=subprocess.DEVNULL)


def version(name: str) -> str:
    """The first line that says something about a peer's version, or why it doesn't run."""
    path = program(name)
    if not path.exists():
        return "not unpacked"
    done = subprocess.run([str(path), *VERSION_COMMANDS[name]], capture_output=True, text=True, check=False)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[0] if lines else f"no output, status {done.returncode}"


def main(arguments: list[str] | None = None) -> int:
    """Unpack and try the peers."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only print the versions found")
    parser.add_argument("--again", action="store_true", help="download and unpack even if it was done before")
    parser.add_argument("--suite", default="testing", help="Debian suite (default: testing)")
    parser.add_argument("--mirror", help="Debian mirror (default: the one of the machine's own apt)")
    parser.add_argument("--keyring", type=Path, default=KEYRING)
    options = parser.parse_args(arguments)
    cache = cache_folder()
    root = cache / "root"
    try:
        if not options.check:
            mount_tracing()
            if options.again or not (cache / "bin" / "bpftrace").exists():
                apt = cache / "apt"
                uri = options.mirror or mirror()
                unpack(download(apt, write_apt_configuration(apt, uri, options.suite, options.keyring)), root)
            write_wrappers(root, cache / "bin")
    except (PeersError, subprocess.CalledProcessError, FileNotFoundError) as error:
        print(f"peers: {error}", file=sys.stderr)
        return 1
    for name in VERSION_COMMANDS:
        print(f"{name:12} {version(name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
