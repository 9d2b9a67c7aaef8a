"""Both halves of the Redis protocol's hot path on a bench: a line between clients and a server, without sockets.

The two are one module each; here they are put together as the twin has them, the source or what was compiled of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock

from ambassador.net.taker import Giving
from ambassador.protocols.redis import lanes, owing
from ambassador.telemetry.requests import RequestMetrics
from ambassador.wire.redis.replies import Replies
from ambassador.wire.redis.requests import Requests
from tests.support.resp import request
from tests.support.twins import load_source, twin_of

Halves = SimpleNamespace
"""`Asking` and `Line`, with what else the two modules hold; `owing` is the module that looks at the clock."""

READ, WRITE, OTHER = 0, 1, 2
MULTI = 32
CLASSES = {b"GET": READ, b"SET": WRITE, b"PING": OTHER, b"MULTI": MULTI}
UNKNOWN = 255

GET, SET, PING = request(b"GET", b"a"), request(b"SET", b"a", b"1"), request(b"PING")
MULTI_REQUEST = request(b"MULTI")
ONE, OK, PONG = b"$3\r\none\r\n", b"+OK\r\n", b"+PONG\r\n"
FAULT = b"-ERR no\r\n"
MESSAGE = b">3\r\n$7\r\nmessage\r\n$1\r\nn\r\n$2\r\nhi\r\n"


class Counted:
    """What a client has got, and what was counted of it."""

    heard: list[bytes]
    metrics: tuple[RequestMetrics, ...]

    @property
    def got(self) -> bytes:
        return b"".join(self.heard)

    @property
    def counts(self) -> dict[int, tuple[int, int]]:
        each = enumerate(self.metrics)
        return {kind: (one.ok, one.error) for kind, one in each if one.ok or one.error}

    @property
    def timed(self) -> tuple[int, int]:
        good, bad = (sum(getattr(one, name).count for one in self.metrics) for name in ("seconds", "error_seconds"))
        return good, bad


@cache
def client_class(base: Any) -> Any:
    """A client that writes down what it is told, derived from the twin's `Asking`."""

    class Client(Counted, base):  # type: ignore[misc]  # it is the base of the twin
        """With `halting` it halts at what it cannot do at once."""

        def __init__(self, line: Any) -> None:
            self.heard: list[bytes] = []
            self.specials: list[tuple[int, bytes]] = []
            self.told: list[str] = []
            self.halting = False
            self.on_special: Callable[[], object] = int
            self.on_large: Callable[[], object] = int
            counts = tuple(RequestMetrics() for _ in range(9))
            super().__init__(Giving(self.heard.append), Requests(CLASSES, 1000), counts)
            self.line = line

        def special(self, code: int, request: bytes) -> None:
            self.specials.append((code, request))
            self.halted = self.halting
            self.on_special()

        def large(self, code: int) -> None:
            self.told.append(f"large {code}")
            self.on_large()

        def homeless(self) -> None:
            self.told.append("homeless")

        def stalled(self) -> None:
            self.told.append("stalled")
            self.halted = self.halting

        def emptied(self) -> None:
            self.told.append(f"emptied behind {len(self.heard)}")

        def burdened(self) -> None:
            self.told.append(f"burdened at {len(self.got)}")

    return Client


class Bench:
    """A line between clients and a server, and a clock that stands still until it is moved."""

    def __init__(self, module: Halves) -> None:
        self.module = module
        self.now = 100.0
        self.sent: list[bytes] = []
        self.unasked: list[bytes] = []
        self.line: Any = self.new_line()

    def new_line(self) -> Any:
        """A line to the same server."""
        return self.module.Line(Giving(self.sent.append), Replies(), Giving(self.unasked.append))

    def client(self, **attributes: Any) -> Any:
        """A client that asks on the line, and writes down what it is told."""
        made = client_class(self.module.Asking)(self.line)
        for name, value in attributes.items():
            setattr(made, name, value)
        return made

    @property
    def asked(self) -> bytes:
        """All that the server was sent."""
        return b"".join(self.sent)


class Note:
    """Writes down how a run ends."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def answered(self) -> None:
        self.told.append("answered")

    def lost(self) -> None:
        self.told.append("lost")


@cache
def halves(twin: str) -> Halves:
    """Both modules as the twin has them; skips the test where the compiled ones were not built."""
    below = twin_of(owing, twin)
    if twin == "pure":
        with mock.patch.dict(sys.modules, {owing.__name__: below}):
            above = load_source(lanes)
    else:
        above = twin_of(lanes, twin)
    return Halves(**{**vars(below), **vars(above), "owing": below})


def feed(taker: Any, pieces: list[bytes]) -> None:
    """Give a taker all pieces that are not empty."""
    for piece in pieces:
        if piece:
            taker.take(piece)
