"""Two ends of one connection, both as streams of ours."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ambassador.net.stream import LIMIT, Stream
from tests.support.sockets import tcp_pair


@asynccontextmanager
async def stream_pair(*, unix: bool = False, limit: int = LIMIT) -> AsyncIterator[tuple[Stream, Stream]]:
    """A TCP connection of this machine, or a unix socket pair; both ends are gone afterwards."""
    made: list[Stream] = []
    try:
        for end in socket.socketpair() if unix else tcp_pair():
            end.setblocking(False)
            made.append(Stream.adopt(end, limit=limit))
        near, far = made
        yield near, far
    finally:
        for stream in made:
            stream.abort()
            await stream.wait_closed(5)
