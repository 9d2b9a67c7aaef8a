"""The relay of a PostgreSQL session: counts its transactions, and ends politely.

Something of ours may be put into the server's stream only between two of its messages; where that cannot be had,
the client sees its connection close, as it would from a server that crashed.
"""

from __future__ import annotations

from ambassador.errors import AmbassadorError, Reason
from ambassador.kit.clock import ticks
from ambassador.net.relay import End, Who
from ambassador.net.stream import Stream
from ambassador.protocols.base import Link
from ambassador.protocols.postgres.answers import ending, refusal
from ambassador.telemetry.metrics import RequestMetrics
from ambassador.wire.postgres.messages import TERMINATE
from ambassador.wire.postgres.tracker import Tracker


class PostgresLink(Link):
    """One client joined to one server connection."""

    __slots__ = ("_began", "_errors", "_leaving", "_left", "_requests", "_seen", "_tracker")

    # Every message says its own length, and a session that ends without Terminate is over all the same.
    truncation_resets = False

    def __init__(self, downstream: Stream, upstream: Stream, requests: RequestMetrics) -> None:
        super().__init__(downstream, upstream)
        self._tracker = Tracker()
        self._requests = requests
        self._began = 0.0
        self._seen = 0
        self._errors = 0
        self._leaving: Reason | None = None
        self._left = False  # the client has ended its side

    @property
    def waiting(self) -> bool:
        return self._tracker.waiting

    @property
    def in_transaction(self) -> bool:
        return self._tracker.in_transaction

    def from_downstream(self, chunk: bytes) -> None:
        self._tracker.from_client(chunk)
        self.bytes_in += len(chunk)
        if not self._began:
            self._began = ticks()
        self.to_upstream(chunk)

    def from_upstream(self, chunk: bytes) -> None:
        self._tracker.from_server(chunk)
        self.bytes_out += len(chunk)
        self.to_downstream(chunk)
        seen = self._tracker.transactions
        if seen != self._seen:
            self._transactions_over(seen)

    def side_ended(self, by: Who) -> bool:
        """The server is gone: unless it said why, or the client had left, the client is told.

        A client that ends its side may still read what it asked for; that is passed on. Many never say good-bye.
        """
        if by == "client":
            self._left = True
            return False
        if self._tracker.terminated or (self._left and self._tracker.idle):
            self.finish(Reason.CLIENT_CLOSED)
        elif self._tracker.last_fatal:
            self.finish(Reason.UPSTREAM_CLOSED)
        else:
            self._tell(ending(Reason.UPSTREAM_CLOSED))
            self.finish(Reason.UPSTREAM_CLOSED, "the server closed the connection without a word")
        return True

    def leave(self, reason: Reason) -> None:
        self._leaving = reason
        if self._tracker.clean:
            self.expel(reason)

    def expel(self, reason: Reason) -> None:
        self._tell(ending(reason))
        self._say_goodbye()
        self.finish(reason)

    async def run(self) -> End:
        try:
            return await super().run()
        except AmbassadorError as error:
            self._tell(refusal(error))
            self._say_goodbye()
            return End(error.reason, str(error), "self")

    def _transactions_over(self, seen: int) -> None:
        """Transactions have ended since the last look; `seen` is how many there were in all."""
        tracker, requests = self._tracker, self._requests
        count, self._seen = seen - self._seen, seen
        now = ticks()
        began = self._began or now  # a server may be ready unasked
        # In a pipeline the client does not wait, so that what comes next began, as far as one can see, here.
        seconds, self._began = now - began, 0.0 if tracker.idle else now
        errors = tracker.errors
        if errors == self._errors:
            requests.ok += count
            requests.seconds.observe(seconds)
        else:
            failed, self._errors = min(count, errors - self._errors), errors
            requests.ok += count - failed
            requests.error += failed
            requests.error_seconds.observe(seconds)
        if self._leaving is not None and tracker.clean:
            self.expel(self._leaving)

    def _tell(self, words: bytes) -> None:
        if words and self._tracker.server_aligned:
            self.downstream.write(words)

    def _say_goodbye(self) -> None:
        if self._tracker.aligned and not self._tracker.terminated:
            self.upstream.write(TERMINATE)
