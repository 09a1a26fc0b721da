"""The differential table: programs, the workload each watches, and the one right answer.

``PID`` in a program is replaced by the workload's process id; every backend must give the expected text or refuse,
and say why.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable
from typing import NamedTuple

from tests.differential.workloads import (
    LIBC,
    OFFSETS,
    WATCHED,
    WHENCES,
    busy,
    collected,
    executed,
    getppid,
    lseeks,
    opens,
    refused,
    renames,
    worded,
    written,
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


GETPPID = ctypes.cast(LIBC.getppid, ctypes.c_void_p).value or 0
"""Its address, in the workload too; the workload is gone when symbols are looked up."""

ENTER = "tracepoint:syscalls:sys_enter_lseek /pid == PID/"
THREAD = "tracepoint:syscalls:sys_enter_lseek /tid == PID/"
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
        ENTER + ' { printf("%ld %d\\n", args.offset, args.whence); }',
        lseeks,
        lines(*(f"{o} {w}" for o, w in PAIRS)) + ended(),
    ),
    Case("elapsed", ENTER + " { @[elapsed / 3600000000000] = count(); }", lseeks, ended("@[0]: 10\n")),
    Case(
        "searches in strings",
        ENTER
        + ' { @[strlen(probe), strstr(probe, "lseek"), strcontains(probe, "seeks"), probe[3]] = count(); }',
        lseeks,
        ended("@[35, 30, false, 99]: 10\n"),
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
        ENTER + ' { $o = (int64)args.offset; printf("%ld %ld %ld\\n", $o * 3 - 1, $o << 2, -$o); }',
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
        "a tuple kept from entry to exit",
        ENTER
        + " { @a[tid] = ((int64)args.offset, (comm, (uint8)args.whence)); } "
        + LEAVE
        + ' { $t = @a[tid]; if (has_key(@a, tid)) { printf("%lld ", $t.0); printf("%s %d\\n", $t.1.0 == comm ? "same" : "other", $t.1.1); } '
        "delete(@a, tid); }",
        lseeks,
        lines(*(f"{offset} same {whence}" for offset, whence in PAIRS)) + ended(),
    ),
    Case(
        "loops",
        ENTER
        + " { $n = 0; while ($n < (int64)args.whence) { $n++; if ($n == 4) { break; } @turn[tid, $n] = $n; } "
        "for $i : 0..3 { if ($i == 1) { continue; } @times[$i] = count(); } unroll (2) { @twice = count(); } } "
        "END { clear(@turn); }",
        lseeks,
        ended(lines("@times[0]: 10", "@times[2]: 10", "@twice: 20")),
    ),
    Case(
        "exit ends what maps count",
        ENTER + " { @seen = count(); if (args.whence == 5) { exit(); } }",
        lseeks,
        ended(lines(f"@seen: {WHENCES.index(5) + 1}")),
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
        'uprobe:libc:lseek64 /pid == PID && arg2 < 2/ { printf("%ld %d\\n", arg1, arg2); }',
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
    Case(
        "a count by key that no process decides",
        THREAD + " { @[args.whence] = count(); @n = count(); }",
        lseeks,
        ended(lines("@[5]: 1", "@[2]: 2", "@[1]: 3", "@[0]: 4", "@n: 10")),
    ),
    Case(
        "two maps of one event",
        THREAD + " { @a[tid == PID, args.whence] = count(); } " + THREAD + " { @b[args.whence] = count(); }",
        lseeks,
        re.compile(r"@a\[(true|1), 5\]: 1\n(?s:.*)@b\[5\]: 1\n@b\[2\]: 2\n@b\[1\]: 3\n@b\[0\]: 4\n"),
    ),
    Case(
        "a sum by thread",
        THREAD + " { @[tid == PID ? 1 : 0] = count(); } " + THREAD + " { @s = sum(args.offset); }",
        lseeks,
        ended(lines("@[1]: 10", f"@s: {sum(OFFSETS)}")),
    ),
    Case(
        "a map printed, zeroed, printed and cleared",
        THREAD
        + " { @[args.whence] = count(); } END { print(@); zero(@); print(@); clear(@); print(@); @x = 1; }",
        lseeks,
        re.compile(r"^@\[5\]: 1\n@\[2\]: 2\n@\[1\]: 3\n@\[0\]: 4\n\n?(@\[\d\]: 0\n){4}\n*@x: 1\n$"),
    ),
    Case(
        "members behind a pointer",
        "kprobe:do_sys_openat2 /pid == PID/ { $h = (struct open_how *)arg2;"
        ' printf("%d %d\\n", $h->flags & 0x80003, $h->resolve); }',
        opens,
        lines(*["524288 0"] * 3) + ended(),
        "kprobe",
    ),
    Case(
        "a number in user memory",
        'kprobe:do_sys_openat2 /pid == PID/ { printf("%x\\n", *(uint32 *)arg1); }',
        opens,
        lines("6374652f", "6e6f6e2f", "6e6f6e2f") + ended(),
        "kprobe",
    ),
    Case(
        "a number that can't be read",
        "kprobe:do_sys_openat2 /pid == PID/ { $p = (struct path *)arg1;"
        ' printf("%d %d\\n", $p->dentry->d_flags, $p->dentry->d_inode->i_mode); }',
        opens,
        lines(*["0 0"] * 3) + ended(),
        "kprobe",
    ),
    Case(
        "the current task",
        "kprobe:do_sys_openat2 /pid == PID/ { @[uid, gid, curtask->tgid == PID, curtask->pid == tid] = count(); }",
        opens,
        re.compile(r"^\n\n@\[0, 0, (true, true|1, 1)\]: 3\n$"),
        "kprobe",
    ),
    Case(
        "the user at a tracepoint",
        "tracepoint:syscalls:sys_enter_openat /pid == PID/ { @[uid, str(args.filename)] = count(); }",
        opens,
        re.compile(r"@\[0, /nonexistent/unitrace\]: 1\n"),
    ),
    Case(
        "strings of an array",
        "tracepoint:syscalls:sys_enter_execve /pid != PID && ppid == PID/ { join(args.argv); }",
        worded,
        lines("/bin/true a bc") + ended(),
    ),
    Case(
        "memory behind a map's value, where the call ends",
        "tracepoint:syscalls:sys_enter_getcwd /pid == PID/ { @b[tid] = args.buf; @n[tid] = args.size; } "
        'tracepoint:syscalls:sys_exit_getcwd /@b[tid]/ { printf("%d %s\\n", args.ret, str(@b[tid])); '
        "$b = (uint16 *)@b[tid]; @[*$b, @n[tid] > 100] = count(); delete(@b, tid); delete(@n, tid); }",
        os.getcwd,
        lambda: (
            lines(f"{len(os.getcwd()) + 1} {os.getcwd()}")
            + ended(f"@[{int.from_bytes(os.getcwd().encode()[:2], 'little')}, true]: 1\n")
        ),
    ),
    Case(
        "the end of a call that seccomp refused",
        "tracepoint:syscalls:sys_enter_getcwd /pid == PID/ { @b[tid] = args.buf; } "
        "tracepoint:syscalls:sys_exit_getcwd /pid == PID/ "
        '{ printf("%d %s\\n", args.ret, str(@b[tid])); delete(@b, tid); }',
        refused,
        lambda: lines(f"{len(os.getcwd()) + 1} {os.getcwd()}", "-1 ") + ended(),
    ),
    Case(
        "memory behind a map's value, where the function returns",
        "kprobe:do_sys_openat2 /pid == PID/ { @f[tid] = arg1; } "
        'kretprobe:do_sys_openat2 /@f[tid]/ { printf("%s\\n", str(@f[tid], 12)); delete(@f, tid); }',
        opens,
        lines("/etc/hostna", "/nonexisten", "/nonexisten") + ended(),
        "kprobe",
    ),
    Case(
        "arguments where the function returns",
        "fexit:do_sys_openat2 /pid == PID/ { @[args.dfd, str(args.filename, 12), (int64)retval < 0] = count(); }",
        opens,
        re.compile(r"@\[-100, /nonexisten, (true|1)\]: 2\n"),
        "kprobe",
    ),
    Case(
        "memory of the task that a timer interrupts",
        "profile:hz:499 /pid == PID/ { @[curtask->tgid == PID, uid] = count(); }",
        busy,
        re.compile(r"^\n\n@\[(true|1), 0\]: \d+\n$"),
        "profile",
    ),
    Case(
        "kernel stacks",
        "kprobe:do_sys_openat2 /pid == PID/ { @[kstack(1)] = count(); }",
        opens,
        re.compile(r"^\n\n@\[\n +do_sys_openat2\+\d+\n\]: 3\n$"),
        "kprobe",
    ),
    Case(
        "kernel stacks of a tracepoint",
        "tracepoint:task:task_rename /pid == PID/ { @[kstack(1)] = count(); }",
        renames,
        re.compile(r"^\n\n@\[\n +(__set_task_comm|__traceiter_task_rename)\+\d+\n\]: 3\n$"),
    ),
    Case(
        "user stacks",
        "uprobe:libc:getppid /pid == PID/ { @[ustack(1)] = count(); }",
        getppid,
        re.compile(rf"^\n\n@\[\n +(0x{GETPPID:x}|\S*getppid\+0)\n\]: 25\n$"),
    ),
    Case(
        "the function of a kprobe",
        "kprobe:do_sys_openat2, kretprobe:do_sys_openat2 /pid == PID/ { @[func] = count(); }",
        opens,
        ended("@[do_sys_openat2]: 6\n"),
        "kprobe",
    ),
    Case(
        "the function of a uprobe",
        "uprobe:libc:getppid /pid == PID/ { @[func] = count(); }",
        getppid,
        re.compile(rf"^\n\n@\[(0x{GETPPID:x}|\S*getppid)\]: 25\n$"),
    ),
    Case(
        "a static probe with a semaphore",
        'usdt:/usr/bin/python3.11:gc__start /comm == "python3.11"/ { @[arg0] = count(); }',
        collected,
        re.compile(r"^\n\n(@\[\d\]: \d\n)*@\[1\]: 7\n"),
    ),
    Case(
        "a watchpoint",
        f"watchpoint:{ctypes.addressof(WATCHED)}:8:w /pid == PID/ {{ @[usermode] = count(); }}",
        written,
        ended("@[1]: 5\n"),
    ),
)
