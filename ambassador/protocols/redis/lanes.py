# cython: language_level=3, annotation_typing=False, embedsignature=False, nonecheck=True
"""Requests of clients on their way to a server connection: the first half of the hot path; the other is `owing`.

Bytes go on as they came; only their boundaries are looked at. On a line of its own a client may also ask half a request
(`streaming`); on a shared one only whole ones go, or a client that stops in the middle would stop all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambassador.errors import ClientError, Reason
from ambassador.net.taker import Taker
from ambassador.protocols.redis.owing import Creditor, Line
from ambassador.wire.redis.requests import BOUNDARY, INSIDE, PLAIN, SPECIAL, Requests

if TYPE_CHECKING:
    from ambassador.telemetry.requests import RequestMetrics

MOST_HELD = 1 << 20
"""Most bytes of an unfinished special request."""

MOST_OWED = 16384
"""Replies owed to one client at which no more is taken from it."""


class Asking(Creditor):
    """One client: as a taker takes what it sends.

    Attributes:
        line: where its requests go; None, or one that is not open: `homeless` is called.
        walk: walks the requests.
        count: bytes received.
        streaming: the line is the client's own: what has come of a plain request goes on at once.
        halted: nothing is taken: what comes is kept in `kept`, until `go_on`.
    """

    __slots__ = ("_held", "count", "halted", "kept", "line", "streaming", "walk")

    def __init__(self, to: Taker, walk: Requests, metrics: tuple[RequestMetrics, ...]) -> None:
        super().__init__(to, metrics)
        self.walk = walk
        self.line: Line | None = None
        self.count = 0
        self.streaming = False
        self.halted = False
        self.kept = b""
        self._held = bytearray()

    def take(self, chunk: bytes) -> None:
        """See `Taker`. Raises ClientError when the client breaks the protocol."""
        self.count += len(chunk)
        if self.halted:
            self.kept += chunk
            self.overheard()
        else:
            self._walk_on(chunk)

    def go_on(self) -> None:
        """Take again, beginning with what was kept."""
        self.halted = False
        chunk, self.kept = self.kept, b""
        if chunk:
            self._walk_on(chunk)

    def _walk_on(self, chunk: bytes) -> None:
        walk = self.walk
        size = len(chunk)
        start = 0
        while start < size:
            line = self.line
            if line is None or not line.open:
                self.kept = chunk[start:]
                self.halted = True
                self.homeless()
                return
            end = self._advance(line, chunk, start)
            stop = walk.stop
            upto = self._pass(line, chunk, start, end)
            if stop == SPECIAL:
                self.special(walk.code, self._request(chunk, upto, end))
            elif end > upto:
                self._hold(chunk, upto, end)
                if stop != INSIDE:
                    self.large(walk.code)
            if line.choked or self.owed > MOST_OWED:
                self.stalled()
            if self.halted:
                self.kept = chunk[end:]
                return
            start = end

    def _advance(self, line: Line, chunk: bytes, start: int) -> int:
        """Walk on; what was asked before a fault is asked all the same."""
        try:
            return self.walk.advance(chunk, start)
        except ClientError:
            if self.walk.count:
                self._ask(line, chunk, start, self.walk.begun)
            raise

    def _pass(self, line: Line, chunk: bytes, start: int, end: int) -> int:
        """Pass on what is plain, and may go now; returns where that ends."""
        walk = self.walk
        upto = end
        if walk.stop != BOUNDARY and not (self.streaming and walk.stop != SPECIAL and 0 <= walk.code < PLAIN):
            # It may have stopped within this request before, and what was there is held.
            upto = walk.begun if walk.begun > start else start  # noqa: FURB136 - a call in C it would be
        if upto > start:
            self._ask(line, chunk, start, upto)
        return upto

    def _ask(self, line: Line, chunk: bytes, start: int, upto: int) -> None:
        """Ask plain requests, the first of which may have begun in what is held."""
        data = chunk if start == 0 and upto == len(chunk) else chunk[start:upto]
        if self._held:
            data = bytes(self._held) + data
            self._held = bytearray()
        if self.walk.count:
            line.ask(self, data, self.walk)
        else:
            line.to.take(data)

    def _hold(self, chunk: bytes, start: int, stop: int) -> None:
        self._held += chunk[start:stop]
        if len(self._held) > MOST_HELD:
            raise ClientError(Reason.BAD_MESSAGE, "Protocol error: too big request for a command of this kind")

    def _request(self, chunk: bytes, start: int, stop: int) -> bytes:
        request = chunk[start:stop]
        if self._held:
            request = bytes(self._held) + request
            self._held = bytearray()
        return request

    # ---- for a derived class

    def special(self, code: int, request: bytes) -> None:
        """Serve a whole request that is not plain; halt if it cannot be done now."""

    def large(self, code: int) -> None:
        """The request under way is too large to be held; called once for it."""

    def homeless(self) -> None:
        """There is no line to ask; halted until there is one."""

    def stalled(self) -> None:
        """The line, or this client, has too much under way; halt until that is over."""

    def overheard(self) -> None:
        """Something has come though it is halted."""


# Their types hide these from Python, when compiled.
globals().update(MOST_HELD=MOST_HELD, MOST_OWED=MOST_OWED)
