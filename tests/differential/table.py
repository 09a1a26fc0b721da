"""The differential table: programs, the workload each watches, and the one right answer.

``PID`` in a program is replaced by the workload's process id; every backend must give the expected text or refuse,
and say why.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from tests.differential.workloads import (
    OFFSETS,
    WHENCES,
    executed,
    getppid,
    lseeks,
    opens,
    renames,
)  # fmt: skip
from unitrace.contract.model import hist_bucket, lhist_bucket
from unitrace.contract.types import Aggregate
from unitrace.output.histogram import bars

__all__ = ["CASES", "Case"]


class Case(NamedTuple):
    """``expected``: the text, a function that gives it after the workload, or a pattern.
    ``needs``: a probe type that not every machine has ("kprobe")."""

    name: str
    program: str
    workload: Callable[[], object]
    expected: str | Callable[[], str] | re.Pattern[str]
    needs: str = "tracepoint"


ENTER = "tracepoint:syscalls:sys_enter_lseek /pid == PID/"
LEAVE = "tracepoint:syscalls:sys_exit_lseek /pid == PID/"
PAIRS = tuple(zip(OFFSETS, WHENCES))


def lines(*texts: object) -> str:
    return "".join(f"{text}\n" for text in texts)


def ended(text: str = "") -> str:
    """What a run prints when it ends: two newlines, then the maps."""
    return "\n\n" + text


def hist(values: tuple[int, ...]) -> str:
    counts: dict[int, int] = {}
    for value in values:
        counts[hist_bucket(value)] = counts.get(hist_bucket(value), 0) + 1
    return lines("@:", *(bar.decode() for bar in bars(Aggregate("hist", True, (0,)), counts)), "")


def lhist(values: tuple[int, ...], low: int, high: int, step: int) -> str:
    counts: dict[int, int] = {}
    for value in values:
        bucket = lhist_bucket(value, low, high, step)
        counts[bucket] = counts.get(bucket, 0) + 1
    return lines(
        "@:", *(bar.decode() for bar in bars(Aggregate("lhist", True, (low, high, step)), counts)), ""
    )


def divided(value: int, by: int) -> int:
    return value // by if value >= 0 else -(-value // by)


CASES = (
    Case("count", ENTER + " { @ = count(); }", lseeks, ended("@: 10\n")),
    Case(
        "fields",
        ENTER + ' { printf("%d %d\\n", args.offset, args.whence); }',
        lseeks,
        lines(*(f"{o} {w}" for o, w in PAIRS)) + ended(),
    ),
    Case(
        "predicate on a signed field",
        "tracepoint:syscalls:sys_enter_lseek /pid == PID && (int64)args.offset < 0/ { @ = count(); }",
        lseeks,
        ended("@: 2\n"),
    ),
    Case(
        "predicate on a cast to unsigned",
        "tracepoint:syscalls:sys_enter_lseek /pid == PID && (uint64)args.offset > 100/ { @ = count(); }",
        lseeks,
        ended("@: 3\n"),
    ),
    Case(
        "predicate with or, not and a mask",
        "tracepoint:syscalls:sys_enter_lseek /pid == PID && (args.whence & 1 || !args.whence)/ { @ = count(); }",
        lseeks,
        ended(f"@: {sum(1 for w in WHENCES if w & 1 or not w)}\n"),
    ),
    Case(
        "count by key",
        ENTER + " { @[args.whence] = count(); }",
        lseeks,
        ended(lines("@[5]: 1", "@[2]: 2", "@[1]: 3", "@[0]: 4")),
    ),
    Case(
        "sum, min, max, avg, stats",
        ENTER
        + " { $o = (int64)args.offset; @a = sum($o); @b = min($o); @c = max($o); @d = avg($o); @e = stats($o); }",
        lseeks,
        ended(
            lines(
                f"@a: {sum(OFFSETS)}",
                f"@b: {min(OFFSETS)}",
                f"@c: {max(OFFSETS)}",
                f"@d: {divided(sum(OFFSETS), 10)}",
                f"@e: {{ .count = 10, .average = {divided(sum(OFFSETS), 10)}, .total = {sum(OFFSETS)} }}",
            )
        ),
    ),  # fmt: skip
    Case("hist", ENTER + " { @ = hist((int64)args.offset); }", lseeks, ended(hist(OFFSETS))),
    Case(
        "lhist",
        ENTER + " { @ = lhist((int64)args.offset, 0, 80, 20); }",
        lseeks,
        ended(lhist(OFFSETS, 0, 80, 20)),
    ),
    Case(
        "hist by two keys",
        ENTER + " { @[args.whence, pid == PID] = hist(args.whence); }",
        lambda: lseeks(2),
        re.compile(r"@\[0, (true|1)\]:\n\[0\] +8 \|@{52}\|\n"),
    ),
    Case(
        "strings at a pointer",
        "tracepoint:syscalls:sys_enter_openat /pid == PID/ { @[str(args.filename)] = count(); }",
        opens,
        re.compile(r"@\[/nonexistent/unitrace\]: 1\n"),
    ),
    Case(
        "return values", LEAVE + ' { printf("%d\\n", args.ret); }', lseeks, lambda: lines(*lseeks()) + ended()
    ),
    Case(
        "arithmetic",
        ENTER + ' { $o = (int64)args.offset; printf("%d %d %d\\n", $o * 3 - 1, $o << 2, -$o); }',
        lseeks,
        lines(*(f"{o * 3 - 1} {o << 2} {-o}" for o in OFFSETS)) + ended(),
    ),
    Case(
        "if, else and a ternary",
        ENTER
        + ' { if (args.whence > 1) { printf("%s\\n", "big"); } else { printf("%d\\n", args.whence ? 7 : 8); } }',
        lseeks,
        lines(*("big" if w > 1 else 7 if w else 8 for w in WHENCES)) + ended(),
    ),
    Case(
        "a map that is set",
        ENTER + " { @last[args.whence] = args.offset; @n++; }",
        lseeks,
        ended(lines(f"@last[0]: {-(1 << 40)}", "@last[1]: 3", "@last[5]: 64", "@last[2]: 100", "@n: 10")),
    ),
    Case(
        "from entry to exit",
        ENTER
        + " { @start[tid] = nsecs; } "
        + LEAVE
        + " { if (@start[tid]) { @took = count(); @long = max(nsecs - @start[tid] < 10000000000 ? 1 : 0); delete(@start[tid]); } }",
        lseeks,
        ended(lines("@long: 1", "@took: 10")),
    ),
    Case(
        "two probes, one clause",
        "tracepoint:syscalls:sys_enter_lseek, tracepoint:syscalls:sys_exit_lseek /pid == PID/ { @[probe] = count(); }",
        lseeks,
        ended(
            lines("@[tracepoint:syscalls:sys_enter_lseek]: 10", "@[tracepoint:syscalls:sys_exit_lseek]: 10")
        ),
    ),
    Case(
        "the order of two clauses",
        ENTER + ' { printf("in "); } ' + LEAVE + ' { printf("out\\n"); }',
        lseeks,
        "in out\n" * 10 + ended(),
    ),
    Case(
        "exit at the third event",
        ENTER + ' { @n++; printf("%d\\n", args.offset); if (@n == 3) { exit(); } }',
        lseeks,
        lines(0, 5, -1) + ended("@n: 3\n"),
    ),
    Case(
        "begin and end",
        'BEGIN { printf("hello\\n"); } '
        + ENTER
        + ' { @ = count(); } END { print(@); clear(@); printf("bye\\n"); }',
        lseeks,
        lines("hello", "@: 10", "bye") + ended(),
    ),
    Case(
        "thread and command",
        ENTER + " { @[comm, tid == pid] = count(); }",
        lseeks,
        re.compile(r"^\n\n@\[[^\n]+, (true|1)\]: 10\n$"),
    ),
    Case(
        "an inline array of characters",
        'tracepoint:task:task_rename /pid == PID/ { printf("%s\\n", args.newcomm); }',
        renames,
        re.compile(r"^ut-one\nut-two\n[^\n]+\n\n\n$"),
    ),
    Case(
        "a predicate on it",
        'tracepoint:task:task_rename /pid == PID && args.newcomm == "ut-two"/ { @ = count(); }',
        renames,
        ended("@: 1\n"),
    ),
    Case(
        "a predicate on comm",
        'tracepoint:task:task_rename /pid == PID && comm == "ut-one"/ { printf("%s\\n", args.newcomm); }',
        renames,
        "ut-two\n" + ended(),
    ),
    Case(
        "a string of any length",
        'tracepoint:sched:sched_process_exec /comm == "ut-exec"/ { printf("%s\\n", args.filename); }',
        executed,
        re.compile(r"^(/tmp/[^/\n]+/ut-exec\n)\1\n\n$"),
    ),
    Case("uprobe", "uprobe:libc:getppid /pid == PID/ { @ = count(); }", getppid, ended("@: 25\n")),
    Case(
        "arguments of a uprobe",
        'uprobe:libc:lseek64 /pid == PID && arg2 < 2/ { printf("%d %d\\n", arg1, arg2); }',
        lseeks,
        lines(*(f"{o} {w}" for o, w in PAIRS if w < 2)) + ended(),
    ),
    Case(
        "uretprobe",
        'uretprobe:libc:lseek64 /pid == PID/ { printf("%d\\n", (int64)retval); }',
        lseeks,
        lambda: lines(*(r if r >= 0 else -1 for r in lseeks())) + ended(),
    ),
    Case(
        "a bare probe with a predicate",
        "tracepoint:syscalls:sys_enter_lseek /pid == PID && args.whence == 5/",
        lseeks,
        re.compile(
            r"^ *\d+\.\d{9} \[\d{3}\] \S+-\d+ tracepoint:syscalls:sys_enter_lseek fd=\d+ offset=64 whence=5\n$"
        ),
    ),
    Case(
        "kprobe",
        "kprobe:do_sys_openat2 /pid == PID/ { @[str(arg1)] = count(); }",
        opens,
        re.compile(r"@\[/nonexistent/unitrace\]: 1\n"),
        "kprobe",
    ),
    Case(
        "kretprobe",
        "kretprobe:do_sys_openat2 /pid == PID && (int32)retval < 0/ { @[(int32)retval] = count(); }",
        opens,
        ended("@[-2]: 2\n"),
        "kprobe",
    ),
    Case(
        "the most quoted probe",
        'kprobe:do_sys_open /pid == PID/ { printf("%s\\n", str(arg1)); }',
        opens,
        re.compile(r"^/etc/hostname\n/nonexistent/unitrace\n/nonexistent/"),
        "kprobe",
    ),
)
