"""Which Debian mirror this machine uses: the lab asks the same one, and names none itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import Unavailable
from .resolve import parse_stanzas

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: Names that say "this is Debian's own archive" and not a third party's.
CODENAMES = frozenset({"bullseye", "bookworm", "trixie", "forky", "sid"})
STATUSES = frozenset({"oldoldstable", "oldstable", "stable", "testing", "unstable"})


@dataclass(frozen=True)
class Source:
    """One binary package source of apt's configuration, whichever of the two formats it was written in."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str | None = None


def parse_list(text: str) -> Iterator[Source]:
    """The sources of a one-line-style file (sources.list(5))."""
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line.strip())
        if match:
            options, uri, suite, components = match.groups()
            key = re.search(r"signed-by=(\S+)", options or "", re.IGNORECASE)
            yield Source(uri, (suite,), tuple(components.split()), key.group(1) if key else None)


def parse_deb822(text: str) -> Iterator[Source]:
    """The sources of a deb822-style file (`*.sources`)."""
    for stanza in parse_stanzas(text):
        if "deb" not in stanza.get("Types", "").split() or stanza.get("Enabled", "yes").lower() in (
            "no",
            "false",
        ):
            continue
        key = stanza.get("Signed-By", "")
        for uri in stanza.get("URIs", "").split():
            yield Source(
                uri,
                tuple(stanza.get("Suites", "").split()),
                tuple(stanza.get("Components", "").split()),
                key if key.startswith("/") else None,  # a key may also be written out in place
            )


def configured(etc: Path = Path("/etc/apt")) -> list[Source]:
    """All sources of this machine's apt, in the order apt reads them."""
    found: list[Source] = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if path.suffix in (".list", ".sources") and path.is_file():
            parse = parse_deb822 if path.suffix == ".sources" else parse_list
            found += parse(path.read_text(errors="replace"))
    return found


def mirror(sources: list[Source], *, security: bool) -> Source:
    """The machine's source of Debian's main archive, or of its security archive.

    `$UNITRACE_LAB_MIRROR` and `$UNITRACE_LAB_SECURITY_MIRROR` go before, for machines that aren't Debian.
    Raises Unavailable when neither says anything.
    """
    given = os.environ.get("UNITRACE_LAB_SECURITY_MIRROR" if security else "UNITRACE_LAB_MIRROR")
    if given:
        return Source(given, (), ("main",))
    for source in sources:
        for suite in source.suites:
            name, _, kind = suite.partition("-")
            wanted = kind == "security" if security else not kind
            if wanted and name in CODENAMES | STATUSES and "main" in source.components:
                return source
    if security:  # mirrors that carry both keep them side by side
        main = mirror(sources, security=False)
        return Source(re.sub(r"/debian/?$", "/debian-security", main.uri), (), ("main",), main.signed_by)
    raise Unavailable(
        "apt's sources name no Debian mirror: set UNITRACE_LAB_MIRROR and UNITRACE_LAB_SECURITY_MIRROR"
    )


def sources_list(suites: tuple[str, ...], sources: list[Source]) -> str:
    """A sources.list for `suites`, from this machine's mirror."""
    lines = []
    for suite in suites:
        source = mirror(sources, security=suite.endswith("-security"))
        key = source.signed_by or (str(KEYRING) if KEYRING.exists() else "")
        lines.append(f"deb {f'[signed-by={key}] ' if key else ''}{source.uri} {suite} main\n")
    return "".join(lines)
