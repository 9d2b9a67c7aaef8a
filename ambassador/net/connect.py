"""Connect: one TCP socket out of several addresses, the first that answers (Happy Eyeballs, RFC 8305).

Written out here because uvloop's `sock_connect` looks up even an IP address in its pool of threads, where a handful
of lookups that hang would hold up every connection of the daemon.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

from ambassador.kit.tasks import Tasks

HEAD_START = 0.25
"""Seconds one address has before the next is tried as well (RFC 8305, section 5)."""

Found = tuple[int, int, int, str, tuple[Any, ...]]
"""One answer of getaddrinfo: family, type, protocol, canonical name, address."""


async def connect(found: Sequence[Found], *, head_start: float = HEAD_START) -> socket.socket:
    """A non-blocking socket connected to one of `found`, tried in their order with the families taking turns.

    Raises:
        OSError: none answered; with several, the text has every address and its reason.
    """
    if len(found) == 1:
        return await _connect(found[0])
    race = _Race(interleaved(found))
    try:
        return await race.run(head_start)
    finally:
        await race.clear()


class _Race:
    """Attempts at several addresses: the next starts when the head start is over, or all before have failed."""

    def __init__(self, waiting: Sequence[Found]) -> None:
        self._waiting = list(waiting)
        self._running: dict[asyncio.Task[socket.socket], Found] = {}
        self._failures: list[tuple[Found, OSError]] = []
        self._tasks = Tasks(_heard_otherwise)

    async def run(self, head_start: float) -> socket.socket:
        while self._waiting or self._running:
            if self._waiting:
                found = self._waiting.pop(0)
                self._running[self._tasks.start(_connect(found), name=f"connect {found[4][0]}")] = found
            patience = head_start if self._waiting else None
            done, _ = await asyncio.wait(self._running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                found, error = self._running.pop(task), task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                self._failures.append((found, error))
        raise self._together()

    async def clear(self) -> None:
        """End what still runs; close what has answered too late to win."""
        await self._tasks.stop(1)
        for task in self._running:
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().close()

    def _together(self) -> OSError:
        """One error for all; alike reasons are told once."""
        if len({error.strerror for _, error in self._failures}) == 1:
            return self._failures[0][1]
        return OSError(", ".join(f"{found[4][0]}: {error.strerror}" for found, error in self._failures))


def interleaved(found: Sequence[Found]) -> list[Found]:
    """The same with the address families taking turns, beginning with the family of the first."""
    families = dict.fromkeys(one[0] for one in found)
    lines = [[one for one in found if one[0] == family] for family in families]
    return [one for one in chain.from_iterable(zip_longest(*lines)) if one is not None]


async def _connect(found: Found) -> socket.socket:
    family, kind, protocol, _, address = found
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    try:
        error = sock.connect_ex(address)
        if error == errno.EINPROGRESS:
            await _writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except BaseException:
        sock.close()
        raise
    if error:
        sock.close()
        raise OSError(error, os.strerror(error))
    return sock


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(sock.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sock.fileno())


def _heard_otherwise(name: str, error: BaseException) -> None:
    """Failures are collected by the race itself."""
