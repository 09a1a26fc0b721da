"""Writes ring buffer pages as the kernel would, for the decoders' tests."""

from __future__ import annotations

import struct

from unitrace_ftrace.pages import PageLayout

LAYOUT = PageLayout(4096, 16, 8)


def data(record: bytes, delta: int = 0) -> bytes:
    """A data event: the short form up to 112 bytes, else the one with a length."""
    padded = record + bytes(-len(record) % 4)
    if 0 < len(padded) <= 112:
        return struct.pack("<I", len(padded) // 4 | delta << 5) + padded
    return long_data(record, delta)


def long_data(record: bytes, delta: int = 0) -> bytes:
    """A data event with its length in a word of its own (the length counts that word)."""
    padded = record + bytes(-len(record) % 4)
    return struct.pack("<II", delta << 5, len(padded) + 4) + padded


def time_extend(delta: int) -> bytes:
    return struct.pack("<II", 30 | (delta & (1 << 27) - 1) << 5, delta >> 27)


def time_stamp(time: int) -> bytes:
    """An absolute time, of which 59 bits fit."""
    time &= (1 << 59) - 1
    return struct.pack("<II", 31 | (time & (1 << 27) - 1) << 5, time >> 27)


def discarded(record: bytes, delta: int) -> bytes:
    """An event that its writer took back (rb_event_discard())."""
    return struct.pack("<II", 29 | delta << 5, len(record) + 4) + record


def end() -> bytes:
    """A null event: nothing follows on this page."""
    return struct.pack("<I", 29)


def page(time: int, *events: bytes, lost: int | None = None, layout: PageLayout = LAYOUT) -> bytes:
    """A page. ``lost``: events missed before it; 0: the kernel doesn't say how many."""
    body = b"".join(events)
    room = layout.size - layout.data
    assert len(body) <= room
    commit = len(body)
    if lost is not None:
        commit |= 1 << 31
        if lost:
            commit |= 1 << 30
            body += struct.pack("<Q", lost)
    return struct.pack("<QQ", time, commit) + body + bytes(room - len(body))


def record(event: int, tid: int, payload: bytes = b"") -> bytes:
    """A record: common fields, then ``payload``."""
    return struct.pack("<HBBi", event, 0, 0, tid) + payload
