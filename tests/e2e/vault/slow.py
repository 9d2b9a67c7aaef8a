"""A way to a server on which requests and answers take as long as they are told to."""

from __future__ import annotations

import select
import socket

from tests.support.threaded import ThreadedServer

LOOK = 0.2
"""Seconds between looks at whether it is over."""


class Slow(ThreadedServer):
    """Stands before a port of this machine; a context manager.

    Attributes:
        delay: seconds that what comes back is held up.
        there: seconds that what goes there is.
    """

    def __init__(self, port: int) -> None:
        super().__init__(self._pass_on)
        self._target = port
        self.delay = 0.0
        self.there = 0.0
        self._cuts = 0

    def cut(self) -> None:
        """Close what is connected now, within `LOOK` seconds."""
        self._cuts += 1

    def _pass_on(self, near: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._target)) as far:
            cuts = self._cuts
            while cuts == self._cuts and not self.closing.is_set():
                for ready in select.select([near, far], [], [], LOOK)[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    self.closing.wait(self.delay if ready is far else self.there)
                    (near if ready is far else far).sendall(data)
