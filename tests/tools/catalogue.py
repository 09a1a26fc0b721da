"""For each of bpftrace's tools: the workload it is run with, and what of its output two tracers must agree on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from . import disks, files, net

__all__ = ["CASES", "Case"]

TIME = (r"\d\d:\d\d:\d\d(\.\d+)?", "TIME")
HEADS = ("Tracing", "Attach", "Sampling", "Counting", "Reading", "Dump")


def _nothing() -> None:
    """Nothing has to be there before."""


def lines(only: str, *changes: tuple[str, str]) -> Callable[[str], list[str]]:
    """The lines that ``only`` is found in, times and the like replaced, sorted."""

    def view(text: str) -> list[str]:
        found = [line for line in text.splitlines() if re.search(only, line)]
        for pattern, instead in (TIME, *changes):
            found = [re.sub(pattern, instead, line) for line in found]
        return sorted(found)

    return view


def once(view: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """Each line of a view once: for what is printed at each interval."""
    return lambda text: sorted(set(view(text)))


def shape(*changes: tuple[str, str]) -> Callable[[str], list[str]]:
    """What is printed, without its numbers: for what depends on time, or on all that the machine does."""

    def view(text: str) -> list[str]:
        found = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(HEADS)]
        for pattern, instead in (
            (r"^[\[(].*\|[@ ]*\|$", "a histogram's row"),
            TIME,
            *changes,
            (r"-?\b\d+\b", "N"),
            (r" +", " "),
        ):
            found = [re.sub(pattern, instead, line) for line in found]
        return sorted(set(found))

    return view


@dataclass(frozen=True)
class Case:
    """``workload`` runs while both trace; ``view``: what of the output must be equal; ``ready`` runs before
    anybody traces."""

    tool: str
    workload: Callable[[], None]
    view: Callable[[str], list[str]]
    ready: Callable[[], object] = _nothing


_MINE = files.COMM

_ALL = (
    Case("bashreadline", files.read_line, lines(r"^\d\d:")),
    Case("biolatency-kp", disks.transfers, shape(), disks.disk),
    Case("biolatency", disks.transfers, shape(), disks.disk),
    Case("biosnoop", disks.transfers, lines(_MINE, (r"^\d+ +", ""), (r" +\d+$", " MS")), disks.disk),
    Case("biostacks", disks.transfers, lines(r"blkdev|submit_bio|blk_mq"), disks.disk),
    Case("bitesize", disks.transfers, lines(r"^@\[" + _MINE), disks.disk),
    Case("capable", files.capabilities, lines(_MINE)),
    Case("cpuwalk", files.busy, shape()),
    Case("dcsnoop", files.lookups, lines(_MINE + r".*(hostname|toolload-missing)", (r"^\d+ +", ""))),
    Case("execsnoop", files.executed, lines(r"tool load|-x a b|nowhere")),
    Case("gethostlatency", net.addresses, lines(_MINE, (r" +\d+ (\S+)$", r" MS \1"))),
    Case("killsnoop", files.killed, lines(_MINE)),
    Case("loads", files.nothing, shape((r"\d+\.\d+", "LOAD"))),
    Case("mdflush", disks.flushed, lines(_MINE), disks.array_ready),
    Case("naptime", files.naps, lines(_MINE)),
    Case("oomkill", disks.out_of_memory, lines("Triggered", (r"loadavg.*", ""), (r"\d+ pages", "N pages"))),
    Case("opensnoop", files.opened, lines(_MINE + r".*(hostname|nowhere|passwd|run/tmp)")),
    Case("pidpersec", files.forks, shape()),
    Case("runqlat", files.forks, shape()),
    Case("runqlen", files.busy, shape()),
    Case("setuids", files.users, lines(_MINE)),
    Case("ssllatency", net.handshake, lines(r"^@(hist|stat)F?\[", (r"(average|total) = \d+", r"\1"))),
    Case("sslsnoop", net.handshake, lines(_MINE, (r"^\d+ +", ""), (_MINE + r" +\d+", _MINE))),
    Case("statsnoop", files.statted, lines(_MINE + r".*(passwd|no/such)")),
    Case("swapin", disks.swapped, once(lines(r"^@\[" + _MINE, (r"\d+$", "N"))), disks.disk),
    Case("syncsnoop", files.synced, lines(_MINE)),
    Case("syscount", files.counted_calls, lines(r"@syscall\[110\]", (r"\d+$", "N"))),
    Case("tcpaccept", net.connected, lines(_MINE)),
    Case("tcpconnect", net.connected, lines(_MINE)),
    Case("tcpdrop", net.unreachable, lines(r"10\.9\.9\.2", (r"^TIME \d+ +\S+", "TIME")), net.wire_ready),
    Case("tcplife", net.connected, lines(_MINE, (r"\d+$", "MS"))),
    Case("tcpretrans", net.unanswered, lines(r"SYN_SENT", (r"^(TIME) \d+ +", r"\1 "))),
    Case("tcpsynbl", net.connected, lines(r"@backlog\[7\]|^\[")),
    Case("threadsnoop", files.threads, lines(_MINE)),
    Case("undump", files.passed_on, lines(_MINE)),
    Case("vfscount", files.touched, lines(r"vfs_(fsync_range|read|write|unlink|rmdir|mkdir)\]", (r"\d+$", "N"))),
    Case("vfsstat", files.touched, once(lines(r"vfs_(fsync|open|read|write)\]", (r"\d+$", "N")))),
    Case("writeback", disks.written_back, lines(r"sync", (r"[\d.]+$", "MS")), disks.disk),
    Case("xfsdist", disks.xfs, lines(r"^@us\["), disks.xfs_ready),
)  # fmt: skip

CASES = {one.tool: one for one in _ALL}
