"""A private apt: own lists and own cache, so that suites this machine doesn't use can be asked.

Nothing of /etc/apt is changed and none of its hooks run; its network settings (proxies, certificates) are
kept.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import Unavailable
from .resolve import Package
from .sources import configured, sources_list

_SETTINGS = """\
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{root}/state";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
// Suites that are out of support no longer renew their Release file. Signatures are checked as ever.
Acquire::Check-Valid-Until "false";
"""


@dataclass(frozen=True)
class PrivateApt:
    """An apt that lives in `root` and sees `suites` only."""

    root: Path
    suites: tuple[str, ...]

    def update(self) -> None:
        """Write the configuration and read the suites' package lists. Raises Unavailable."""
        for part in ("lists/partial", "cache/archives/partial", "state"):
            (self.root / part).mkdir(parents=True, exist_ok=True)
        (self.root / "state/status").touch()
        (self.root / "sources.list").write_text(sources_list(self.suites, configured()))
        (self.root / "apt.conf").write_text(self._network_settings() + _SETTINGS.format(root=self.root))
        self._run("apt-get", "-qq", "update")

    def show(self, names: list[str]) -> str:
        """The stanzas of `names`, candidates only; names that don't exist are left out."""
        return self._run("apt-cache", "--no-all-versions", "show", *names, check=False)

    def download(self, packages: list[Package], directory: Path) -> list[Path]:
        """Fetch and verify `packages` into `directory`. Raises Unavailable."""
        self._run("apt-get", "-qq", "download", *map(str, packages), cwd=directory)
        return sorted(directory.glob("*.deb"))

    @staticmethod
    def _network_settings() -> str:
        """How this machine's apt reaches the network, as configuration text."""
        try:
            dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise Unavailable(f"fetching kernels takes apt, which doesn't run here: {error}") from error
        kept = (
            "Acquire::http",
            "Acquire::ftp",
            "Acquire::Retries",
            "Acquire::Check-Date",
            "Acquire::ForceIPv",
        )
        return "".join(f"{line}\n" for line in dump.splitlines() if line.startswith(kept))

    def _run(self, *argv: str, cwd: Path | None = None, check: bool = True) -> str:
        env = {**os.environ, "APT_CONFIG": str(self.root / "apt.conf"), "LC_ALL": "C"}
        try:
            done = subprocess.run(
                argv, cwd=cwd, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            raise Unavailable(f"fetching kernels takes apt, which doesn't run here: {error}") from error
        if check and done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
            reason = errors[0] if errors else "no reason given"
            raise Unavailable(f"{' '.join(argv[:3])} failed for {', '.join(self.suites)}: {reason}")
        return done.stdout
