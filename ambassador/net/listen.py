"""Acceptor: takes connections from a listening socket, a few at a time, and outlives every shortage of files."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from ambassador.net.bound import BoundSocket, bind
from ambassador.net.dial import Keepalive, keep_alive
from ambassador.net.stream import LIMIT, Stream

__all__ = ["Acceptor", "BoundSocket", "bind"]

_BATCH = 64
"""Most connections taken in one turn of the event loop, so that a storm does not starve those already here."""

_RETRY = 0.5
"""Seconds to let go after an error that will not pass at once, such as too many open files."""


class Acceptor:
    """Give every new connection at `bound` to `on_stream`.

    Args:
        on_stream: called in the event loop with each new stream; must not block and not raise.
        on_error: called when accepting failed for a reason of this machine's (too many open files, no memory), once
            for each pause; and with what `on_stream` raised against the rule.
        keepalive: TCP keepalive of accepted connections.
        limit: bytes gathered for a stream that is awaited.
    """

    def __init__(
        self,
        bound: BoundSocket,
        on_stream: Callable[[Stream], None],
        *,
        on_error: Callable[[BaseException], None] | None = None,
        keepalive: Keepalive | None = None,
        limit: int = LIMIT,
    ) -> None:
        self.bound = bound
        self._socket = bound.socket
        self._on_stream = on_stream
        self._on_error = on_error or _log_nothing
        self._limit = limit
        self._retry: asyncio.TimerHandle | None = None
        self._listening = False
        self._keepalive: Keepalive | None = None
        self.keepalive = keepalive

    @property
    def keepalive(self) -> Keepalive | None:
        """TCP keepalive of connections accepted from now on."""
        return self._keepalive

    @keepalive.setter
    def keepalive(self, value: Keepalive | None) -> None:
        self._keepalive = value
        if self._socket.family != socket.AF_UNIX:
            # Set at the listening socket and inherited (tcp(7)), instead of four system calls for each connection.
            keep_alive(self._socket, value)

    def start(self) -> None:
        """Begin, or begin again after `stop`."""
        if not self._listening:
            self._listening = True
            asyncio.get_running_loop().add_reader(self._socket.fileno(), self._ready)

    def stop(self) -> None:
        """Take no more. The socket goes on listening, and connections queue there, until its owner closes it."""
        self._pause()

    def close(self) -> None:
        """Take no more, and close the socket."""
        self._pause()
        self.bound.close()

    def _pause(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._listening:
            self._listening = False
            asyncio.get_running_loop().remove_reader(self._socket.fileno())

    def _ready(self) -> None:
        for _ in range(_BATCH):
            if not self._listening:
                break
            try:
                sock, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionError:
                continue  # it was gone before it was taken (accept(2))
            except OSError as error:
                self._let_go(error)
                break
            sock.setblocking(False)
            self._take(sock)

    def _take(self, sock: socket.socket) -> None:
        try:
            self._on_stream(Stream.adopt(sock, limit=self._limit))
        except Exception as error:  # noqa: BLE001 - told; the next are taken all the same
            self._on_error(error)

    def _let_go(self, error: OSError) -> None:
        # The socket stays readable while its queue is not empty: asking again at once would spin.
        self._pause()
        self._retry = asyncio.get_running_loop().call_later(_RETRY, self.start)
        self._on_error(error)


def _log_nothing(error: BaseException) -> None:
    """What is done with errors when nobody asked for them."""
