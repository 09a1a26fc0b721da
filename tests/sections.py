"""A page of results in Markdown, a section a kernel: each run replaces its own and leaves the others."""

from __future__ import annotations

import os
import re
import time

__all__ = ["kernel", "page", "sections", "today"]

HEADING = re.compile(r"^## (.*)\n", re.M)
NUMBER = re.compile(r"\d+")


def sections(text: str) -> dict[str, str]:
    """Title to body of each section of a page."""
    parts = HEADING.split(text)
    return dict(zip(parts[1::2], parts[2::2]))


def page(head: str, found: dict[str, str]) -> str:
    """The page: what stands before its sections, and these in the order of kernels."""
    ordered = sorted(found.items(), key=lambda one: ([*map(int, NUMBER.findall(one[0]))], one[0]))
    return "\n".join([head, *(f"## {title}\n\n{body.strip()}\n" for title, body in ordered)])


def kernel() -> str:
    """What a section calls the running kernel: a newer build of it takes the place of the last."""
    return f"Linux {'.'.join(os.uname().release.split('.')[:2])}"


def today() -> str:
    """Today, and what exactly runs."""
    machine = os.uname()
    return f"Linux {machine.release}, {machine.machine}, {time.strftime('%d %B %Y').lstrip('0')}"
