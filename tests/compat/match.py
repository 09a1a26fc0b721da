"""Whether an output is the one that a case expects."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from tests.compat.suite import Case, Expect

__all__ = ["ATTACHED", "after_attaching", "decode", "unmet"]

ATTACHED = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"


def decode(raw: bytes) -> str:
    """Output as text: bytes that aren't UTF-8 as ``\\xNN``, line ends as newlines."""
    return raw.decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")


def after_attaching(output: str) -> str:
    """What follows the line that tells that all probes are attached; all of it if there is no such line."""
    before, line, rest = output.partition(ATTACHED + "\n")
    return rest if line and (not before or before.endswith("\n")) else output


def unmet(case: Case, output: str, directory: Path) -> list[Expect]:
    """The expectations that ``output`` doesn't meet; expected files are looked up in ``directory``."""
    if case.exact:
        output = after_attaching(output)
    return [expect for expect in case.expects if not _met(expect, output, directory, case.localize)]


def _met(expect: Expect, output: str, directory: Path, localize: int | None) -> bool:
    if expect.mode.startswith("text"):
        found = re.search(rf"^\s*{re.escape(expect.value)}\s*$", output, re.MULTILINE) is not None
        return found != expect.mode.endswith("_none")
    if expect.mode.startswith("regex"):
        found = re.search(expect.value, output, re.MULTILINE) is not None
        return found != expect.mode.endswith("_none")
    wanted = (directory / expect.value).read_text().strip()
    if expect.mode == "file":
        if localize is not None:
            wanted = time.strftime(wanted, time.localtime(localize))
        return output.strip() == wanted
    try:
        if expect.value.endswith(".ndjson"):
            return [*map(json.loads, output.strip().split("\n"))] == [*map(json.loads, wanted.split("\n"))]
        return len(output.strip().split("\n")) == 1 and bool(json.loads(output) == json.loads(wanted))
    except ValueError:
        return False
