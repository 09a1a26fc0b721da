"""From a metapackage to the packages that hold today's kernel.

Up to 6.18 linux-image-cloud-amd64 depends on one package that holds it all. From 6.19 on the kernel is in
linux-binary-*, its modules in linux-modules-*, its description in linux-base-*, some of them behind
metapackages of their own. Both are the same walk: follow the dependencies on linux-* packages that ask for
one exact version.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

#: Packages with files in them name a release; metapackages name a flavour only.
_HOLDS_FILES = re.compile(r"linux-(image|binary|modules|base)-\d")
_EXACT = re.compile(r"\s*(linux-[^\s:]+)(?::\w+)?\s*\(=\s*([^)\s]+)\s*\)\s*")


@dataclass(frozen=True)
class Package:
    """A package of one version, as `apt-get download` takes it."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}={self.version}"


def parse_stanzas(text: str) -> list[dict[str, str]]:
    """The stanzas of a deb822 text (`apt-cache show`, `*.sources`), continuation lines joined by blanks."""
    stanzas: list[dict[str, str]] = []
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                if key:
                    fields[key] = f"{fields[key]} {line.strip()}".strip()
            elif ":" in line:
                key, _, value = line.partition(":")
                fields[key] = value.strip()
        if fields:
            stanzas.append(fields)
    return stanzas


def exact_dependencies(stanza: dict[str, str]) -> list[Package]:
    """The linux-* packages that a stanza depends on in one exact version."""
    relations = f"{stanza.get('Pre-Depends', '')},{stanza.get('Depends', '')}".split(",")
    return [Package(*match.groups()) for match in map(_EXACT.fullmatch, relations) if match]


def kernel_packages(metapackage: str, show: Callable[[list[str]], str]) -> list[Package]:
    """The packages that hold the kernel of `metapackage`, sorted by name; empty when there is none.

    `show` returns what `apt-cache --no-all-versions show NAME...` prints. Versions are the candidates' own,
    which are those asked for as long as the archive is consistent.
    """
    found: dict[str, Package] = {}
    wanted = [metapackage]
    while wanted:
        upcoming: list[str] = []
        for stanza in parse_stanzas(show(wanted)):
            if stanza.get("Package", "") not in wanted or stanza["Package"] in found:
                continue
            found[stanza["Package"]] = Package(stanza["Package"], stanza["Version"])
            upcoming += [package.name for package in exact_dependencies(stanza)]
        wanted = [name for name in dict.fromkeys(upcoming) if name not in found]
    return sorted((p for p in found.values() if _HOLDS_FILES.match(p.name)), key=lambda p: p.name)


def header_packages(release: str, version: str, show: Callable[[list[str]], str]) -> list[Package]:
    """The packages that hold the headers of one kernel: its own, and those that flavours have in common. Empty
    when the archive has them no longer."""
    own = Package(f"linux-headers-{release}", version)
    stanzas = parse_stanzas(show([str(own)]))[:1]
    common = [one for stanza in stanzas for one in exact_dependencies(stanza) if one.name.endswith("-common")]
    return [own, *common] if common else []
