"""The relay of a PostgreSQL session: ends politely.

Something of ours may be put into the server's stream only between two of its messages; where that cannot be had,
the client sees its connection close, as it would from a server that crashed.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from ambassador.errors import AmbassadorError, Reason
from ambassador.net.relay import End, Relay, Who
from ambassador.net.stream import Stream
from ambassador.net.taker import NOWHERE, Giving
from ambassador.protocols.base import Link
from ambassador.protocols.postgres.answers import ending, refusal
from ambassador.protocols.postgres.lanes import Answers, Questions
from ambassador.telemetry.requests import RequestMetrics
from ambassador.wire.postgres.messages import TERMINATE
from ambassador.wire.postgres.tracker import Tracker

REST: Final = 0.05
"""Seconds between a client's last answer and its farewell. libpq takes an error that it reads together with the
ReadyForQuery before it for a notice, and then only finds the connection gone."""


class PostgresLink(Relay, Link):
    """One client joined to one server connection."""

    __slots__ = ("_answers", "_left", "_questions", "_resting", "_tracker")

    # Every message says its own length, and a session that ends without Terminate is over all the same.
    truncation_resets = False

    def __init__(self, downstream: Stream, upstream: Stream, requests: RequestMetrics) -> None:
        self._tracker = tracker = Tracker()
        self._questions = Questions(upstream.outlet, tracker)
        self._answers = Answers(downstream.outlet, tracker, self._questions, requests)
        super().__init__(downstream, upstream, self._questions, self._answers)
        self._resting: asyncio.TimerHandle | None = None
        self._left = False  # the client has ended its side

    @property
    def waiting(self) -> bool:
        return self._tracker.waiting

    @property
    def in_transaction(self) -> bool:
        return self._tracker.in_transaction

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
        self._answers.leaving = partial(self._rest, reason)
        if self._tracker.clean:
            self._rest(reason)

    def _rest(self, reason: Reason) -> None:
        """Leave in a moment, or when the client speaks again: that is not passed on, and answered by the farewell."""
        self._answers.leaving = None
        if self._resting is None:
            self._questions.to = Giving(lambda _: self.expel(reason))
            self._resting = asyncio.get_running_loop().call_later(REST, self.expel, reason)

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
        finally:
            if self._resting is not None:
                self._resting.cancel()
                self._questions.to = NOWHERE  # or the two would hold each other

    def _tell(self, words: bytes) -> None:
        if words and self._tracker.server_aligned:
            self.downstream.write(words)

    def _say_goodbye(self) -> None:
        if self._tracker.aligned and not self._tracker.terminated:
            self.upstream.write(TERMINATE)
