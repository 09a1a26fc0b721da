"""The collector: nothing is lost, doubled or out of order between the reader and the thread that helps it."""

from __future__ import annotations

import threading
import time

import pytest

from unitrace.kernel import collector
from unitrace.kernel.collector import Collector


class Source:
    """A ring that somebody fills with numbers of eight bytes each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.held = b""
        self.takers: set[int] = set()

    def put(self, numbers: range) -> None:
        with self._lock:
            self.held += written(numbers)

    def take(self) -> bytes:
        self.takers.add(threading.get_ident())
        with self._lock:
            held, self.held = self.held, b""
        return held

    def emptied(self) -> bool:
        """Whether somebody empties it soon."""
        deadline = time.monotonic() + 10
        while self.held and time.monotonic() < deadline:
            time.sleep(collector.LONGEST)
        return not self.held


def written(numbers: range) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in numbers)


def test_few_bytes_start_no_thread() -> None:
    one, two = Source(), Source()
    taking = Collector([one.take, two.take], 1 << 20)
    two.put(range(3))
    assert taking.take() == [b"", written(range(3))]
    one.put(range(1))
    time.sleep(3 * collector.LONGEST)
    assert taking.take() == [written(range(1)), b""]
    assert two.takers == {threading.get_ident()}
    taking.stop()


def test_many_bytes_are_taken_while_the_reader_is_busy() -> None:
    source = Source()
    taking = Collector([source.take], 1024)
    source.put(range(100))
    found = taking.take()
    for first in range(100, 1000, 100):
        source.put(range(first, first + 100))
        assert source.emptied()
        if first % 300 == 0:
            found += taking.take()
    source.put(range(1000, 1010))
    found += taking.take()  # what the thread held, then what is there now
    taking.stop()
    assert b"".join(found) == written(range(1010))
    assert len(source.takers) == 2


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "LIMIT", 8)
    source = Source()
    taking = Collector([source.take], 0)
    source.put(range(2))
    taking.take()
    source.put(range(2))
    assert source.emptied()
    source.put(range(5))
    time.sleep(5 * collector.LONGEST)
    assert len(source.held) == 40  # left to the ring
    assert len(taking.take()[0]) == 56
    taking.stop()
    taking.stop()


def test_a_ring_that_fails_is_left_to_the_reader() -> None:
    taken = [b"12345678"]

    def take() -> bytes:
        if taken:
            return taken.pop()
        raise OSError("gone")

    taking = Collector([take], 0)
    assert taking.take() == [b"12345678"]
    time.sleep(3 * collector.LONGEST)
    with pytest.raises(OSError, match="gone"):
        taking.take()
    taking.stop()
