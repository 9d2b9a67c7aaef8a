# cython: language_level=3, boundscheck=False, wraparound=False, annotation_typing=False, embedsignature=False
"""Poller: which of our connections can be read or written now; one for each event loop.

It has an epoll of its own, which the event loop watches as it watches any descriptor. So a turn of the loop calls us
once, whatever number of connections has something, and what the kernel says of a connection arrives unabridged:
libuv takes a descriptor that has been reset for unusable and drops it, perhaps with bytes still to be read.
"""

from __future__ import annotations

import asyncio

from ambassador.net.syscalls import Descriptor, Epoll
from ambassador.net.taker import Taker


class Poller:
    """Members by their descriptors, told when something happens."""

    __slots__ = ("_count", "_epoll", "_members", "_telling", "_waiting", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._epoll = Epoll()
        self._members: list[Descriptor | None] = []
        self._count = 0
        self._telling = False
        self._waiting: list[Taker] = []
        loop.add_reader(self._epoll.fd, self._tell)

    def enter(self, member: Descriptor) -> None:
        """Know `member`, which tells its `fd`; nothing is watched yet."""
        while len(self._members) <= member.fd:
            self._members.append(None)
        self._members[member.fd] = member
        self._count += 1

    def watch(self, fd: int, before: int, now: int) -> None:
        """See `Epoll.watch`."""
        self._epoll.watch(fd, before, now)

    def leave(self, member: Descriptor) -> None:
        """Forget `member`, which is no longer watched and still open. With its last member the poller closes."""
        self._members[member.fd] = None
        self._count -= 1
        if not self._count:
            self.loop.remove_reader(self._epoll.fd)
            self._epoll.close()
            del _pollers[self.loop]

    def flush_later(self, taker: Taker) -> None:
        """Have `taker` flush once all who have something now were told: what many of them gave it goes in one piece."""
        if not self._telling and not self._waiting:
            self.loop.call_soon(self._flush)
        self._waiting.append(taker)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for taker in waiting:
            try:
                taker.flush()
            except Exception as error:  # noqa: BLE001 - one connection's trouble; the others are flushed all the same
                words = {"message": "what was gathered could not be sent", "exception": error}
                self.loop.call_exception_handler(words)

    def _tell(self) -> None:
        self._telling = True
        count = self._epoll.wait()
        for index in range(count):
            member = self._members[self._epoll.which(index)]
            if member is not None:
                try:
                    member.ready(self._epoll.what(index))
                except Exception as error:  # noqa: BLE001 - one connection's trouble; the others are told all the same
                    self._tell_failure(member, error)
        self._telling = False
        if self._waiting:
            self._flush()

    def _tell_failure(self, member: Descriptor, error: Exception) -> None:
        try:
            member.failed(error)
        except Exception as worse:  # noqa: BLE001 - the others are told all the same
            words = {"message": "a connection failed, and so did what should have ended it", "exception": worse}
            self.loop.call_exception_handler(words)


_pollers: dict[asyncio.AbstractEventLoop, Poller] = {}


def poller() -> Poller:
    """The running loop's poller.

    Raises:
        OSError: there are no more descriptors.
    """
    loop = asyncio.get_running_loop()
    found = _pollers.get(loop)
    if found is None:
        found = _pollers[loop] = Poller(loop)
    return found
