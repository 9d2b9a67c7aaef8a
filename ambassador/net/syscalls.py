"""System calls of the hot path, on descriptors that never block: the pure twin.

The compiled one, `syscalls.pyx`, spares Python's own wrapping: no lock let go and taken again around a call that
cannot wait, no buffer of the greatest length for each read, no list of tuples for what has happened.
"""

from __future__ import annotations

import os
import select

from ambassador.net.taker import Taker

BATCH = 256
"""Most descriptors that one `Epoll.wait` names; who is left out comes first the next time."""


class Descriptor(Taker):
    """A connected stream socket's descriptor, which somebody else owns."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def receive(self, most: int) -> bytes | None:
        """What has come, `most` (1 to 65536) bytes of it at the most; b"" after the peer's end; None: nothing has come.

        Raises:
            OSError: the connection is broken.
        """
        try:
            return os.read(self.fd, most)
        except BlockingIOError:
            return None

    def send(self, data: bytes) -> int:
        """Give the kernel as much of `data` as it takes now; returns how many bytes those are.

        Raises:
            OSError: the connection is broken, or our side has ended.
        """
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0

    def ready(self, events: int) -> None:
        """It has `events` (epoll_ctl(2)). They may be those of an earlier owner of its number."""

    def failed(self, error: Exception) -> None:
        """`ready` has raised `error`."""


class Epoll:
    """The kernel's own list of descriptors to watch, epoll(7)."""

    __slots__ = ("_epoll", "_happened", "fd")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._happened: list[tuple[int, int]] = []
        self.fd = self._epoll.fileno()

    def wait(self) -> int:
        """How many descriptors, `BATCH` at the most, have something now; `which` and `what` tell. Does not wait."""
        self._happened = self._epoll.poll(0, BATCH)
        return len(self._happened)

    def which(self, index: int) -> int:
        """The descriptor at `index` of the last `wait`."""
        return self._happened[index][0]

    def what(self, index: int) -> int:
        """Its events."""
        return self._happened[index][1]

    def watch(self, fd: int, before: int, now: int) -> None:
        """Watch `fd` for the events `now`, where it was watched for `before`; 0: not at all.

        Raises:
            OSError: the kernel's limit of watches is reached (epoll_ctl(2), ENOSPC), or it has no memory.
        """
        if not before:
            self._epoll.register(fd, now)
        elif now:
            self._epoll.modify(fd, now)
        else:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Give it back."""
        self._epoll.close()
