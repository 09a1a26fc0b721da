"""A few thousand inputs of the fuzzer, and the faults that it found, each by the shortest input that shows it."""

from __future__ import annotations

import collections
import signal
from collections.abc import Iterator

import pytest

import unitrace.engine.compile

from .inputs import input_of
from .trial import prepare, tried

FOUND = (
    ("begin { printf(\"%99999999999999999999d\", 1); }", "refused"),
    ("begin { print(arg" + "9" * 5000 + "); }", "refused"),
    ("begin { signal(\"A\\n\"); }", "refused"),
    ("kprobe:vfs\udc8b { }", "refused"),
    ("kprobe:\udce7vfs_* { }", "refused"),
    ("struct A { int x; struct B y:3; }; begin { }", "refused"),
    ("begin { print(memcmp(comm, strftime(\"%H\", nsecs), 3)); }", "refused"),
    ("begin { print(memcmp(\"a\", \"b\", 18446744073709551615)); }", "ran"),
    ("begin { print(memcmp((int32[2])5000, (uint8[2])(uint16)3, 3)); }", "ran"),
    ("begin { print((mac_address)63); }", "refused"),
    ("begin { print($0" + "3" * 5000 + "); }", "refused"),
    ("kp*be:\udce5vfs_read { }", "refused"),
    ("fexit:[vfs_read { }", "refused"),
    ("kprobe:vfs_[z-a] { }", "refused"),
    ("begin { @u = avg(1); print((1, (x=@u, y={ let $q = 2; $q }))); }", "ran"),
    ("begin { printf(\"%u %x %p %c\", usym(1), usym(2), usym(3), usym(4)); }", "ran"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def prepared() -> Iterator[None]:
    most, handler = unitrace.engine.compile.MOST_TURNS, signal.getsignal(signal.SIGPROF)
    prepare()
    yield
    unitrace.engine.compile.MOST_TURNS = most
    signal.signal(signal.SIGPROF, handler)


@pytest.mark.parametrize("text, end", FOUND, ids=lambda value: value[:40].encode("ascii", "replace").decode())
def test_what_was_found(text: str, end: str) -> None:
    assert tried(text) == end


def test_only_errors_for_the_user_come_out() -> None:
    ends = collections.Counter(tried(input_of(0, number)[1]) for number in range(3000))
    assert min(ends[end] for end in ("refused", "compiled", "ran")) > 50, "inputs of all kinds are among them"
