"""Records of a ring: recorded bytes of a real one, and what could fool a reader."""

from __future__ import annotations

import os
import random
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from unitrace_perf import records
from unitrace_perf.reader import Decoder, Follower, Stream
from unitrace_perf.records import _split_few, _split_many, split, task_records, walk

sys.path.insert(0, os.path.dirname(__file__))

from unitrace.contract.errors import BackendError
from unitrace.contract.model import Place

RECORDED = Path(__file__).parent / "recorded"
SAMPLES = (RECORDED / "samples.bin").read_bytes()
TASKS = (RECORDED / "tasks.bin").read_bytes()

ENTER, LEAVE = 1646, 1647  # perf event ids of sys_enter_lseek and sys_exit_lseek in the recording
PID, CHILD = 28596, 28597
LAYOUT = {
    "nsecs": Place(records.TIME, 8),
    "pid": Place(records.TGID, 4),
    "tid": Place(records.RAW_TID, 4),
    "cpu": Place(records.CPU, 4),
}
STREAMS = {
    ENTER: Stream(0, 0, {**LAYOUT, "offset": Place(records.RAW + 24, 8, signed=True)}),
    LEAVE: Stream(1, 0, {**LAYOUT, "ret": Place(records.RAW + 16, 8, signed=True)}),
}

# What the recorded program did: 60 lseeks into a ring of 4 KiB, then three more after it was read.
OFFSETS = [*(number * 1000 - 3 for number in range(26)), 7, 8, 9]


def listed(found: Mapping[int, Any]) -> dict[int, list[int]]:
    return {id: [int(start) for start in starts] for id, starts in found.items()}


def test_recorded_samples() -> None:
    decoder = Decoder(STREAMS)
    batches = {batch.clause: batch for batch in decoder.batches(SAMPLES)}
    assert list(batches[0].values("offset")) == OFFSETS
    assert set(batches[1].values("ret")) == {-9}
    for batch in batches.values():
        assert set(batch.values("pid")) == set(batch.values("tid")) == {PID}
        assert set(batch.values("cpu")) == {0}
        times = list(batch.values("nsecs"))
        assert times == sorted(times)
    assert decoder.lost == {0: 2 * 60 - len(batches[0]) - len(batches[1]) + 2 * 3}


def test_recorded_tasks() -> None:
    found = task_records(TASKS, lambda *_: None)
    assert [(one.kind, one.tid, one.comm) for one in found] == [
        (records.COMM, PID, b"renamed"),
        (records.FORK, CHILD, b""),
        (records.EXIT, CHILD, b""),
        (records.COMM, PID, b"python"),
    ]
    fork = found[1]
    assert (fork.tgid, fork.parent, fork.thread) == (CHILD, PID, False)
    assert [one.time for one in found] == sorted(one.time for one in found)


def test_names_follow_the_records() -> None:
    follower = Follower(names=True)
    assert follower.tasks is not None
    told = task_records(TASKS, lambda *_: None)
    first, fork, end, last = told
    follower.feed(told[::-1], last.time)  # rings of several CPUs come in any order
    times = [first.time, fork.time, end.time, last.time - 1, last.time]
    assert follower.tasks.comm_of(times, [PID, CHILD, CHILD, PID, PID]) == [
        b"renamed", b"renamed", b"renamed", b"renamed", b"python",
    ]  # fmt: skip
    assert follower.tgid(end.time + 1, CHILD) == CHILD


def test_what_is_too_new_waits() -> None:
    follower = Follower(names=True)
    assert follower.tasks is not None
    first, fork, _, last = task_records(TASKS, lambda *_: None)
    # The ring with the parent's renaming was read before it held it, the child's after.
    follower.feed([fork, last], first.time - 1)
    follower.feed([first], last.time)
    assert follower.tasks.comm_of([fork.time, last.time], [CHILD, PID]) == [b"renamed", b"python"]


def sample(id: int, payload: bytes) -> bytes:
    """A sample with ``payload`` as its raw data, padded as the kernel does."""
    payload += bytes(-(len(payload) + 4) % 8)
    size = records.RAW + len(payload)
    head = struct.pack("<IHHQIIQII", records.SAMPLE, 1, size, id, 1, 2, 3, 0, 0)
    return head + struct.pack("<I", len(payload)) + payload


def lost(count: int) -> bytes:
    return struct.pack("<IHHQQ", records.LOST, 0, 56, ENTER, count) + bytes(32)


def looks_like_a_sample(size: int) -> bytes:
    """Payload in which a header and a known id stand where a record could start."""
    return bytes(4) + struct.pack("<IHHQ", records.SAMPLE, 1, size, ENTER) * 4


def by_walking(data: bytes) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for at, kind, _, id in walk(data):
        if kind == records.SAMPLE:
            found.setdefault(id, []).append(at)
    return found


def mixture(seed: int, count: int) -> bytes:
    dice = random.Random(seed)
    kinds = [
        lambda: sample(ENTER, bytes(dice.randrange(0, 80))),
        lambda: sample(LEAVE, dice.randbytes(dice.randrange(16, 40))),
        lambda: sample(ENTER, looks_like_a_sample(dice.choice([48, 56, 64, 88]))),
        lambda: lost(dice.randrange(9)),
    ]
    return b"".join(dice.choice(kinds)() for _ in range(count))


@pytest.mark.parametrize("seed", range(20))
def test_split_finds_what_walking_finds(seed: int) -> None:
    data = mixture(seed, 300)
    told: list[list[int]] = []
    for many in (False, True):
        at: list[int] = []

        def other(offset: int, kind: int, size: int, at: list[int] = at) -> None:
            at.append(offset)

        found = _split_many(data, STREAMS, other) if many else _split_few(data, other)
        assert listed(found) == by_walking(data)
        told.append(at)
    assert told[0] == told[1] == [at for at, kind, _, _ in walk(data) if kind != records.SAMPLE]


@pytest.mark.parametrize("ids", [[ENTER], [ENTER, LEAVE], list(range(1, 40))])
def test_one_shape(ids: list[int]) -> None:
    data = b"".join(sample(ids[number % len(ids)], bytes(20)) for number in range(200))
    wanted = by_walking(data)
    assert listed(_split_few(data, _never)) == wanted
    assert listed(_split_many(data, ids, _never)) == wanted
    if len(ids) == 1:
        assert isinstance(_split_few(data, _never)[ENTER], range)


def test_many_ids_of_many_shapes() -> None:
    data = b"".join(sample(1 + number % 40, bytes(number % 40)) for number in range(400))
    assert listed(_split_many(data, range(1, 41), _never)) == by_walking(data)


def _never(at: int, kind: int, size: int) -> None:
    raise AssertionError((at, kind, size))


def test_a_length_that_fits_one_shape_by_chance() -> None:
    # The total is a multiple of the first record's size, the records aren't of one.
    data = sample(ENTER, bytes(20)) + sample(LEAVE, bytes(12)) + sample(ENTER, bytes(28))
    assert len(data) % 64 == 0
    assert listed(_split_few(data, _never)) == by_walking(data)
    assert listed(_split_many(data, STREAMS, _never)) == by_walking(data)


def test_no_records() -> None:
    assert split(b"", [ENTER], _never) == {}


@pytest.mark.parametrize("way", ["few", "many"])
def test_half_a_record_is_an_error(way: str) -> None:
    data = (sample(ENTER, bytes(20)) + sample(LEAVE, bytes(40)))[:-8]
    with pytest.raises(BackendError):
        if way == "few":
            _split_few(data, _never)
        else:
            _split_many(data, STREAMS, _never)


def test_a_sample_of_an_unknown_event_is_an_error() -> None:
    with pytest.raises(BackendError, match="unknown event"):
        Decoder(STREAMS).batches(sample(77, bytes(20)))


def test_a_probe_of_another_shape_is_an_error() -> None:
    stream = Stream(0, 0, LAYOUT, raw_size=20)
    with pytest.raises(BackendError, match="28 bytes of raw data"):
        Decoder({ENTER: stream}).batches(sample(ENTER, bytes(28)))


def test_the_pid_of_a_dead_task() -> None:
    follower = Follower(names=False)
    for time, tgid in ((100, 40), (300, 41)):
        follower.feed([records.Task(records.EXIT, time, tgid, 7)], time)
    assert [follower.tgid(time, 7) for time in (99, 100, 299, 300)] == [7, 40, 40, 41]
