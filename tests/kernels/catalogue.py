"""The kernels the lab knows, by the short names its command line takes.

A kernel is named by where it comes from, never by a package: Debian's metapackage says which package holds
today's build, and `resolve` asks it.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Debian's cloud flavour: the generic one's tracing options, a third of its size, and quick to boot.
METAPACKAGE = "linux-image-cloud-amd64"


@dataclass(frozen=True)
class Entry:
    """One kernel to choose: `suites` are searched together and the highest version wins."""

    name: str
    suites: tuple[str, ...]


CATALOGUE = {
    entry.name: entry
    for entry in (
        Entry("5.10", ("bullseye-security",)),
        Entry("6.1", ("bookworm-security",)),
        # Either suite may be ahead, and after a point release the second one may be empty.
        Entry("6.12", ("trixie", "trixie-security")),
        Entry("newest", ("trixie-backports",)),
    )
}


def select(names: list[str]) -> list[Entry]:
    """The entries of `names`, in order; "all" stands for every one.

    Raises KeyError with the first unknown name.
    """
    chosen: list[Entry] = []
    for name in names:
        chosen += CATALOGUE.values() if name == "all" else [CATALOGUE[name]]
    return list(dict.fromkeys(chosen))
