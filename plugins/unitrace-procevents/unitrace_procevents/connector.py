"""The process connector's socket: netlink family 11, include/uapi/linux/cn_proc.h."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

__all__ = ["EXEC", "EXIT", "Connector"]

EXEC, EXIT = 0x00000002, 0x80000000
_HEADERS = 16 + 20
"""struct nlmsghdr, then struct cn_msg up to its data."""
_EVENT = struct.Struct("=IIQII")
"""struct proc_event: what, cpu, timestamp_ns (ktime_get_ns), process_pid, process_tgid."""
_LISTEN, _IGNORE = 1, 2


class Connector:
    """A socket subscribed to process events. ``lost``: times the kernel said that its queue ran full."""

    def __init__(self, buffer_bytes: int) -> None:
        self.lost = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 11)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self._socket.bind((0, 1))

    def listen(self, on: bool) -> None:
        """Subscribe, or not any more."""
        operation = struct.pack("=I", _LISTEN if on else _IGNORE)
        message = struct.pack("=IIIIHH", 1, 1, 0, 0, len(operation), 0) + operation
        self._socket.send(struct.pack("=IHHII", 16 + len(message), 3, 0, 0, os.getpid()) + message)

    def events(self) -> Iterator[tuple[int, int, int, int, int]]:
        """What is queued now: (what, cpu, nsecs, tid, pid)."""
        while True:
            try:
                data = self._socket.recv(256)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != 105:  # ENOBUFS
                    raise
                self.lost += 1
                continue
            if len(data) >= _HEADERS + _EVENT.size:
                yield _EVENT.unpack_from(data, _HEADERS)

    def close(self) -> None:
        """Close the socket; the subscription dies with it."""
        self._socket.close()
