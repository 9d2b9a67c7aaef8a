"""Connections to the admin server: few, and each with a deadline, so that no slow client keeps a probe waiting."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast

BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 21\r\nConnection: close\r\n\r\ntoo many connections\n"
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a client may use.

    Args:
        connections: most at once.
        head: seconds from connecting until the request's head is complete.
        answer: seconds from there until the answer is sent; a reload is the longest.
    """

    connections: int = 64
    head: float = 5.0
    answer: float = 60.0


class Connections:
    """Everyone connected. A newcomer to a full house takes the place of who has waited longest without a request."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._silent: dict[asyncio.Transport, asyncio.TimerHandle] = {}
        self._heard: dict[asyncio.Transport, asyncio.TimerHandle] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._silent) + len(self._heard)

    def admit(self, transport: asyncio.Transport) -> bool:
        """Make room for a new connection; False if everyone here is being served."""
        if len(self) >= self.bounds.connections:
            longest = next(iter(self._silent), None)
            if longest is None:
                return False
            self.part(longest)
            longest.abort()
        self._silent[transport] = asyncio.get_running_loop().call_later(self.bounds.head, transport.abort)
        self._empty.clear()
        return True

    def heard(self, transport: asyncio.Transport) -> None:
        """A request's head is complete: from now on its answer has a deadline."""
        timer = self._silent.pop(transport, None)
        if timer is not None:
            timer.cancel()
            self._heard[transport] = asyncio.get_running_loop().call_later(self.bounds.answer, transport.abort)

    def part(self, transport: asyncio.Transport) -> None:
        """A connection is gone. Parting twice does nothing."""
        timer = self._silent.pop(transport, None) or self._heard.pop(transport, None)
        if timer is not None:
            timer.cancel()
        if not len(self):
            self._empty.set()

    async def emptied(self) -> None:
        """Wait until nobody is connected. The caller brings the deadline."""
        await self._empty.wait()

    def abort(self) -> None:
        """End all of them now."""
        for transport in (*self._silent, *self._heard):
            self.part(transport)
            transport.abort()


class Gate(asyncio.Protocol):
    """Stands before the web server's own protocol and passes on what happens to an admitted connection."""

    def __init__(self, inner: asyncio.Protocol, connections: Connections) -> None:
        self._inner: asyncio.Protocol | None = inner
        self._connections = connections
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = stream = cast("asyncio.Transport", transport)
        if self._inner is not None and self._connections.admit(stream):
            self._inner.connection_made(stream)
            return
        self._inner = None
        stream.write(BUSY)
        stream.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._connections.part(self._transport)
        if self._inner is not None:
            self._inner.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()
