"""The two decoders of ring buffer pages: right, and equal."""

from __future__ import annotations

import random
import struct

import pytest
from ring_pages import LAYOUT, data, discarded, end, long_data, page, record, time_extend, time_stamp
from unitrace_ftrace.pages import PageLayout, Walked, committed, decode, parse_header_page, walk, walk_arrays

from unitrace.contract.errors import BackendError
from unitrace.contract.model import Place

HEADER = """\
\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:%d;\tsigned:0;
"""


def plain(walked: Walked) -> tuple[dict[int, tuple[list[int], list[int]]], int, int]:
    events = {
        key: ([int(s) for s in found.starts], [int(t) for t in found.times])
        for key, found in walked.events.items()
    }
    return events, walked.lost, walked.unknown


def both(raw: bytes, layout: PageLayout = LAYOUT) -> Walked:
    by_python = walk(memoryview(raw), layout)
    assert plain(by_python) == plain(walk_arrays(memoryview(raw), layout))
    return by_python


def test_header_page() -> None:
    assert parse_header_page(HEADER % 4080) == PageLayout(4096, 16, 8)
    assert parse_header_page(HEADER % 16368) == PageLayout(16384, 16, 8)
    with pytest.raises(BackendError):
        parse_header_page("\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n")


def test_one_event() -> None:
    raw = page(1000, data(record(7, 42)))
    assert plain(both(raw)) == ({7: ([20], [1000])}, 0, 0)


def test_nothing() -> None:
    assert plain(both(page(5))) == ({}, 0, 0)
    assert plain(both(b"")) == ({}, 0, 0)


def test_times_add_up() -> None:
    raw = page(10**12, data(record(1, 1)), data(record(1, 1), 5), data(record(1, 1), (1 << 27) - 1))
    times = both(raw).events[1].times
    assert times == [10**12, 10**12 + 5, 10**12 + 5 + (1 << 27) - 1]


def test_time_extend_and_stamp() -> None:
    raw = page(
        1 << 40, time_extend(3 << 28), data(record(1, 1), 1), time_stamp(1 << 50), data(record(2, 1), 2)
    )
    walked = both(raw)
    assert walked.events[1].times == [(1 << 40) + (3 << 28) + 1]
    assert walked.events[2].times == [(1 << 50) + 2]


def test_absolute_time_keeps_its_top_bits() -> None:
    high = 1 << 59 | 5 << 20
    raw = page(high, time_stamp(high + 77), data(record(1, 1)))
    assert both(raw).events[1].times == [high + 77]


def test_long_and_discarded_events() -> None:
    raw = page(
        0,
        long_data(record(3, 1, b"x" * 8)),
        discarded(record(9, 9), 4),
        data(record(4, 1, b"y" * 200), 2),
        end(),
        b"\xff" * 16,
    )
    walked = both(raw)
    assert sorted(walked.events) == [3, 4]
    assert walked.events[3].starts == [24]
    assert walked.events[4].times == [6]


def test_runs_of_alike_events_between_others() -> None:
    """Pages that are even but for a time, a discarded event or an end here and there."""
    some = [data(record(1, 1), delta) for delta in range(1, 9)]
    other = data(record(2, 1, b"y" * 24), 3)
    pages = [
        page(10**9, *some, time_extend(1 << 30), *some, time_stamp(1 << 40), *some),
        page(2 * 10**9, time_extend(1 << 29), *some, discarded(record(9, 9), 4), *some, end()),
        page(3 * 10**9, *some, other, *some, *some),
        page(4 * 10**9, *some, long_data(record(3, 1, b"x" * 8)), *some),
        page(5 * 10**9, *[one for event in some for one in (event, other)]),
        page(6 * 10**9, time_extend(1 << 29)),
    ]
    for raw in (*pages, b"".join(pages), b"".join([page(1, *some), *pages, page(10**10, *some)])):
        both(raw)


def test_missed_events() -> None:
    raw = page(0, data(record(1, 1)), lost=12) + page(1, data(record(1, 1)), lost=0)
    assert plain(both(raw))[1:] == (12, 1)


def test_larger_pages() -> None:
    layout = PageLayout(16384, 16, 8)
    raw = page(0, *[data(record(1, n), 1) for n in range(1000)], layout=layout)
    assert len(both(raw, layout).events[1].starts) == 1000


@pytest.mark.parametrize("seed", range(12))
def test_random_pages_decode_alike(seed: int) -> None:
    chance = random.Random(seed)
    sizes = [[24], [8, 24], list(range(0, 300, 4))][seed % 3]
    pages = []
    expected = 0
    for number in range(chance.randrange(1, 40) + 60 * (seed > 5)):
        events: list[bytes] = []
        room = 4080
        while True:
            kind = chance.random() if seed % 2 else 0.5
            delta = chance.randrange(1 << 20)
            body = record(chance.choice([1, 2, 300]), 1, bytes(chance.choice(sizes)))
            if kind < 0.02:
                event = time_extend(chance.randrange(1 << 40))
            elif kind < 0.03:
                event = time_stamp(chance.randrange(1 << 59))
            elif kind < 0.04:
                event = discarded(body, 1)
            else:
                event = data(body, delta)
            if len(event) > room or (chance.random() < 0.005):
                break
            expected += kind >= 0.04
            room -= len(event)
            events.append(event)
        pages.append(page(number << 30, *events))
    walked = both(b"".join(pages))
    assert sum(len(found.starts) for found in walked.events.values()) == expected
    for event, found in walked.events.items():
        raw = b"".join(pages)
        assert all(struct.unpack_from("<H", raw, start)[0] == event for start in found.starts)


def test_committed_bytes() -> None:
    raw = page(0, data(record(1, 1))) + page(0, data(record(1, 1)), lost=3)
    assert committed(memoryview(raw), LAYOUT) == 24


def test_columns() -> None:
    payload = [struct.pack("<qI4s", -n, n * 3, b"ab\0c") for n in range(100)]
    raw = page(50, *[data(record(6, n, body), 2) for n, body in enumerate(payload)])
    places = {
        "tid": Place(4, 4, "int", True),
        "a": Place(8, 8, "int", True),
        "b": Place(16, 4),
        "t": Place(20, 4, "text"),
    }
    columns = decode(raw, LAYOUT, 6, places)
    assert columns["nsecs"].tolist() == [50 + 2 * (n + 1) for n in range(100)]
    assert columns["tid"].tolist() == list(range(100))
    assert columns["a"].tolist() == [-n for n in range(100)]
    assert columns["b"].tolist() == [n * 3 for n in range(100)]
    assert set(columns["t"].tolist()) == {b"ab"}
    assert decode(raw, LAYOUT, 99, places) == {}
