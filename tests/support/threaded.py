"""A server of threads and blocking sockets: no loop under test can make it stand still."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.sockets import RESET

PATIENCE = 10.0
"""Seconds a conversation may stand still before its thread gives up, so that no fault of ours hangs a run."""


class ThreadedServer:
    """Give each connection to `serve` in a thread of its own. A context manager; `serve` need not close.

    `serve` may end by OSError or EOFError, as it does when we close under it; anything else it raises is a fault of
    the test's own, and raised again on leaving.

    Args:
        unix: listen at this path instead of TCP port `port` of this machine (0: a free one).
    """

    def __init__(self, serve: Callable[[socket.socket], None], *, unix: Path | None = None, port: int = 0) -> None:
        self._serve = serve
        self._faults: list[Exception] = []
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.accepted = 0
        self.closing = threading.Event()
        if unix is None:
            self._listening = socket.create_server(("127.0.0.1", port))
            self.port = int(self._listening.getsockname()[1])
            self.address = f"127.0.0.1:{self.port}"
        else:
            self._listening = socket.socket(socket.AF_UNIX)
            self._listening.bind(str(unix))
            self._listening.listen()
            self.port = 0
            self.address = f"unix:{unix}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self.refuse_connections()
        self.hang_up()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"{thread.name} did not end"
        if error is None and self._faults:
            raise self._faults[0]

    @property
    def connections(self) -> int:
        """How many are open now."""
        with self._lock:
            return len(self._open)

    def refuse_connections(self) -> None:
        """Take no more connections: whoever connects is refused."""
        # Closing alone would not wake the thread in accept.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def hang_up(self) -> None:
        """End every connection, politely."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """End every connection with a reset."""
        with self._lock:
            for sock in self._open:
                # The serving thread owns the descriptor: it is woken, and by closing sends what lingering zero means.
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    sock.shutdown(socket.SHUT_RD)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=f"fake server {self.address}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE)
            if sock.family == socket.AF_INET:  # as PostgreSQL does; or each small answer may wait 40 ms for the last
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(sock)
                self.accepted += 1
            self._start(partial(self._run, sock))
            if self.closing.is_set():  # it was on its way when all connections were ended
                self.hang_up()

    def _run(self, sock: socket.socket) -> None:
        try:
            self._serve(sock)
        except (OSError, EOFError):
            return
        except Exception as error:  # noqa: BLE001 - told by the thread that made us
            self._faults.append(error)
        finally:
            with self._lock:
                self._open.discard(sock)
                sock.close()


def take(sock: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes.

    Raises:
        EOFError: the other end ended before.
    """
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def echo(sock: socket.socket) -> None:
    """Send everything back, and end when the other end has ended."""
    while data := sock.recv(65536):
        sock.sendall(data)
    # A polite end would overtake the reset that `ThreadedServer.reset` asked for.
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(RESET)) != RESET:
        sock.shutdown(socket.SHUT_WR)
