"""A real server of our own, whichever it is: on a free port, and gone when we are."""

from __future__ import annotations

import errno
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from ambassador.demo.unprivileged import Guise, mortal
from ambassador.kit.clock import SYSTEM

POLL = 0.01
PORTS_TRIED = 5
OURSELVES = Guise((), None)


class ServerFailed(Exception):
    """A server or one of its programs did not do what was asked; the text ends with what it said."""


@dataclass(frozen=True)
class Certificates:
    """PEM files for the server side of TLS. `client_ca` makes it ask clients for a certificate."""

    cert: Path
    key: Path
    client_ca: Path | None = None


PORTS = range(10_000, 32_768)
"""Below those that Linux lends to clients (ip_local_port_range, ip(7))."""

_given: deque[int] = deque(maxlen=1000)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago, and that nobody in this process was given lately.

    It is none of those that the kernel lends to clients, one of whom might be there before whoever asked for it.
    """
    while True:
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        if port not in _given:
            _given.append(port)
            return port


def environment(home: Path) -> dict[str, str]:
    """A small environment for a server's programs: nothing of the caller's settings, nothing of its home."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def write_private(path: Path, text: str, *, uid: int | None = None) -> None:
    """Replace a file in one step, mode 0600 from the beginning, owned by who will read it (`uid`, or ourselves)."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if uid is not None:
            os.fchown(descriptor, uid, uid)
        file.write(text)
    fresh.replace(path)


class Server(ABC):
    """One server's files and its process; a context manager that starts and removes both.

    Start it from a thread that outlives it: the kernel ends it with that thread (see `unprivileged.mortal`).

    Args:
        name: what its directory's name begins with.
        origin: which package brought it, for people.
        port: TCP port; 0 means a free one.
        guise: who the server will appear to be.

    Attributes:
        host, port: where it listens.
        directory: everything it owns, its unix socket too; short, since a socket's name ends at 107 bytes.
    """

    port_taken: ClassVar[str]
    """What its log says when somebody else has the port."""

    def __init__(self, name: str, origin: str, *, port: int = 0, guise: Guise = OURSELVES) -> None:
        self.host = "127.0.0.1"
        self.port = port
        self.directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))  # $TMPDIR may be too long
        self._origin = origin
        self._guise = guise
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What differs

    @abstractmethod
    def _prepare(self) -> None:
        """Write what the server reads, unless it is there; called by every `start`, and again for another port."""

    @abstractmethod
    def _words(self) -> Sequence[str | Path]:
        """The server's program and its arguments, which hold no secret."""

    @abstractmethod
    def _takes_connections(self) -> bool:
        """Whether the running server is ready."""

    @abstractmethod
    def _remove(self) -> None:
        """Delete everything it owned."""

    # Its life

    def start(self, timeout: float = 30.0) -> None:
        """Make its files if there are none yet, start the server, wait until it takes connections.

        Raises:
            ServerFailed: with the end of its log.
        """
        tries = PORTS_TRIED if self.port == 0 else 1
        for tries_left in reversed(range(tries)):
            self.port = free_port(self.host) if tries > 1 else self.port
            self._prepare()
            try:
                self._launch(timeout)
            except ServerFailed as error:
                # Someone may have taken the port between our look and the server's bind.
                if not tries_left or self.port_taken not in str(error):
                    raise
            else:
                return

    def stop(self, timeout: float = 10.0, *, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT is a fast shutdown, SIGTERM may wait for what is under way, SIGQUIT is a crash."""
        process, self._process = self._process, None
        if process is None:
            return
        for number in (how, signal.SIGQUIT, signal.SIGKILL):
            process.send_signal(number)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                continue
            return

    def kill(self) -> None:
        """End the server as a power cut would: by SIGKILL."""
        self.stop(how=signal.SIGKILL)

    def restart(self) -> None:
        """Stop, if it runs, and start on the same port: every session ends."""
        self.stop()
        self._launch(30.0)

    def close(self) -> None:
        """End the server and remove everything it owned. Closing twice does nothing."""
        self.stop()
        self._remove()

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether the server was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """What the server wrote so far."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    # Behind it

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerFailed("the server is not running")
        return self._process

    def _launch(self, timeout: float) -> None:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._guise.command([*mortal(), *self._words()]),
                user=self._guise.uid,
                group=self._guise.uid,
                extra_groups=None if self._guise.uid is None else [],
                env=environment(self.directory),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # a Ctrl-C at the terminal is ours to answer, in our order
            )
        try:
            self._wait("take connections", self._alive_and_ready, timeout)
        except BaseException:
            self.stop()
            raise

    def _alive_and_ready(self) -> bool:
        if self._running().poll() is not None:
            raise ServerFailed(f"{self._origin} ended at once: {self.log()[-2000:]}")
        return self._takes_connections()

    def _wait(self, what: str, done: Callable[[], bool], timeout: float) -> None:
        deadline = SYSTEM.now() + timeout
        while not done():
            if SYSTEM.now() > deadline:
                raise ServerFailed(f"{self._origin} did not {what} in {timeout:g} s: {self.log()[-2000:]}")
            time.sleep(POLL)
