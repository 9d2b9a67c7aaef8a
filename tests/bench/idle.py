"""What an idle session weighs: many clients logged in through a proxy, doing nothing.

The server behind is a stand-in that lets everybody in and says nothing more: a real one would need gigabytes for so
many, and is not what is weighed.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ambassador.wire.postgres import messages
from tests.bench.peers import Peer
from tests.support.processes import rss

SESSIONS = 2000
WARM = 50
"""Sessions opened ahead, so that what a proxy allocates once is not counted as a session's."""

_WELCOME = (
    messages.authentication(messages.AUTH_OK)
    + b"".join(
        messages.parameter_status(name, value)
        for name, value in (
            ("server_version", "17.0"),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO, MDY"),
            ("TimeZone", "UTC"),
            ("standard_conforming_strings", "on"),
            ("IntervalStyle", "postgres"),
            ("in_hot_standby", "off"),
            ("default_transaction_read_only", "off"),
        )
    )
    + messages.backend_key_data(1, b"key!")
    + messages.ready_for_query()
)


class _Welcoming(asyncio.Protocol):
    """Answers the first bytes of a connection as a server that trusts everybody; keeps it open."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data[:1] != b"X":
            self._transport.write(_WELCOME)


@contextmanager
def stand_in() -> Iterator[int]:
    """A server that lets everybody in; gives its port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(_Welcoming, "127.0.0.1", 0, backlog=1024))
    thread = threading.Thread(target=loop.run_forever, name="stand-in server")
    thread.start()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()


def kibibytes_per_session(peer: Peer, user: str, database: str) -> float:
    """Open `SESSIONS` idle sessions through `peer` and say what each added to its resident memory, KiB."""
    startup = messages.startup_message({"user": user, "database": database})
    with ExitStack() as stack:
        for _ in range(WARM):
            stack.enter_context(_session(peer.port, startup))
        before = rss(peer.pid)
        for _ in range(SESSIONS):
            stack.enter_context(_session(peer.port, startup))
        return (rss(peer.pid) - before) / 1024 / SESSIONS


@contextmanager
def _session(port: int, startup: bytes) -> Iterator[None]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(startup)
        heard = b""
        while messages.ready_for_query() not in heard:
            more = client.recv(4096)
            assert more, f"the session was not let in: {heard!r}"
            heard += more
        yield
