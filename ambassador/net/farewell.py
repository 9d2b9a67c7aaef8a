"""Farewell: the last moments of a connection, while its last bytes are being taken."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable

_LONGEST = 12
"""However slowly the bytes are taken: after so many times the linger it is over."""

_LOOK = 0.02
"""Seconds between looks at what the kernel still holds; nothing tells when it has been acknowledged."""

_INT = struct.Struct("i")


class Farewell:
    """Waits until the peer has taken what was written, then lets the connection go.

    A plain close needs to wait only for the peer's own end, which the owner hears of. A reset must wait for every
    byte to be acknowledged, because it throws away what the kernel still holds.

    Args:
        unsent: how many bytes are still here.
        let_go: ends the connection; with True by a reset.
        linger: seconds without progress after which it is over.
        reset: whether to end with a reset as soon as nothing is unsent.
    """

    __slots__ = ("_end", "_left", "_let_go", "_linger", "_loop", "_patience", "_reset", "_timer", "_unsent")

    def __init__(
        self, unsent: Callable[[], int], let_go: Callable[[bool], None], *, linger: float, reset: bool
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._unsent = unsent
        self._let_go = let_go
        self._linger = linger
        self._reset = reset
        self._left = unsent()
        self._patience = self._loop.time() + linger
        self._end = self._loop.time() + linger * _LONGEST
        self._timer = self._loop.call_later(self._period, self._look)

    def cancel(self) -> None:
        """The connection is gone by itself."""
        self._timer.cancel()

    @property
    def _period(self) -> float:
        return min(_LOOK, self._linger) if self._reset else self._linger

    def _look(self) -> None:
        left, now = self._unsent(), self._loop.time()
        if left < self._left:
            self._left, self._patience = left, now + self._linger
        if self._reset and left == 0:
            self._let_go(True)
        elif now >= min(self._patience, self._end):
            # What has left for the kernel is sent by it after a plain close; what has not is lost either way.
            self._let_go(self._reset or left > 0)
        else:
            self._timer = self._loop.call_later(self._period, self._look)


def unacknowledged(sock: socket.socket) -> int:
    """Bytes the kernel holds that the TCP peer has not acknowledged (SIOCOUTQ, tcp(7)); 0 for a closed socket."""
    try:
        return int(_INT.unpack(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(_INT.size)))[0])
    except (OSError, ValueError):
        return 0
