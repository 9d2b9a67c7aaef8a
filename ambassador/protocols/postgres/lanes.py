# cython: language_level=3, annotation_typing=False, embedsignature=False
"""The two lanes of a PostgreSQL session: what the client asks, and what the server answers.

Here the session's transactions are followed, counted and timed, a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Callable

from ambassador.kit.clock import ticks
from ambassador.net.lane import Lane
from ambassador.net.taker import Taker
from ambassador.telemetry.requests import RequestMetrics
from ambassador.wire.postgres.tracker import Tracker


class Questions(Lane):
    """From the client to the server.

    `since` is when a client that nothing was owed to began to ask, in `kit.clock.ticks`; 0.0 when nothing is owed.
    """

    __slots__ = ("_tracker", "since")

    def __init__(self, to: Taker, tracker: Tracker) -> None:
        super().__init__(to)
        self._tracker = tracker
        self.since = 0.0

    def take(self, chunk: bytes) -> None:
        """See `Lane`."""
        self._tracker.from_client(chunk)
        self.count += len(chunk)
        if self.since == 0.0:
            self.since = ticks()
        self.to.take(chunk)


class Answers(Lane):
    """From the server to the client. `leaving` is called whenever the session stands where it may end."""

    __slots__ = ("_bad", "_errors", "_good", "_questions", "_requests", "_seen", "_tracker", "leaving")

    def __init__(self, to: Taker, tracker: Tracker, questions: Questions, requests: RequestMetrics) -> None:
        super().__init__(to)
        self._tracker = tracker
        self._questions = questions
        self._requests = requests
        self._good = requests.seconds
        self._bad = requests.error_seconds
        self._seen = 0
        self._errors = 0
        self.leaving: Callable[[], None] | None = None

    def take(self, chunk: bytes) -> None:
        """See `Lane`."""
        tracker = self._tracker
        tracker.from_server(chunk)
        self.count += len(chunk)
        self.to.take(chunk)
        if tracker.transactions != self._seen:
            self._over()

    def _over(self) -> None:
        """Transactions have ended since the last look."""
        tracker, requests, questions = self._tracker, self._requests, self._questions
        count = tracker.transactions - self._seen
        self._seen = tracker.transactions
        now = ticks()
        seconds = now - questions.since if questions.since else 0.0  # a server may be ready unasked
        # In a pipeline the client does not wait, so that what comes next began, as far as one can see, here.
        questions.since = 0.0 if tracker.idle else now
        if tracker.errors == self._errors:
            requests.ok += count
            self._good.observe(seconds)
        else:
            failed = min(count, tracker.errors - self._errors)
            self._errors = tracker.errors
            requests.ok += count - failed
            requests.error += failed
            self._bad.observe(seconds)
        if self.leaving is not None and tracker.clean:
            self.leaving()
