# cython: language_level=3, annotation_typing=False, embedsignature=False, nonecheck=True
"""What a server owes, and to whom: replies on their way back.

What is owed is kept in runs (a client, how many replies), so that a pipeline of a hundred commands costs one entry, and
replies come in the order in which was asked. They go on as they came; only where they end is looked at.

Compiled, it is checked (`nonecheck`) that what is used is there: a fault of ours shall end a session, not the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambassador.errors import Reason, UpstreamError
from ambassador.kit.clock import ticks
from ambassador.net.taker import NOWHERE, Taker
from ambassador.wire.redis.replies import CONFIRMED, ERROR, PUSHED, SPENT, Replies
from ambassador.wire.redis.requests import Requests

if TYPE_CHECKING:
    from ambassador.protocols.redis.note import Note
    from ambassador.telemetry.requests import RequestMetrics

FAILED = 255

PUSH = 0x3E
"""`>`, with which begins what RESP3 sends unasked."""

HELD = 65536
"""Most bytes of an unfinished reply that wait for its end: until then a server that goes away can still be excused."""

LARGE_REPLY = 1 << 20
"""Bytes of a reply beyond which its client should not share a connection."""


class Creditor(Taker):
    """Who is owed replies: a client.

    Attributes:
        to: takes replies for the client.
        metrics: counts, by kind.
        owed: replies missing on any line; when there are none any more and `watched` is set, `emptied` is called.
        sent: bytes delivered.
        mute: replies are thrown away (CLIENT REPLY).
    """

    __slots__ = ("metrics", "mute", "owed", "sent", "to", "watched")

    def __init__(self, to: Taker, metrics: tuple[RequestMetrics, ...]) -> None:
        self.to = to
        self.metrics = metrics
        self.owed = 0
        self.sent = 0
        self.watched = False
        self.mute = False

    def emptied(self) -> None:
        """Nothing is owed any more. For a derived class."""

    def burdened(self) -> None:
        """A large reply is on its way. For a derived class."""


class Run:
    """Replies that a line owes one client, asked for in one go.

    Attributes:
        client: who asked; None when we did.
        to: who takes the replies; NOWHERE for a client that has turned them off.
        count: how many are still missing, of `total`; `errors` of those that came were errors.
        kind: of the last request; `kinds` of each where they differ, else None; `FAILED` where an error came.
        asked: the requests themselves, while they may have to be asked again; else None.
        since: when it was asked, in `kit.clock.ticks`.
        note: told once the last reply has gone; None in the common case.
        confirms: it is a command of the SUBSCRIBE family, and `count` the confirmations.
        apart: what the server says unasked goes to the line's listener by itself, not in one piece with the replies.
        after: the next run.
    """

    __slots__ = (
        "after", "apart", "asked", "client", "confirms", "count", "errors", "kind", "kinds", "note", "since", "to",
        "total",
    )  # fmt: skip

    def __init__(self, client: Creditor | None, to: Taker, count: int) -> None:
        self.begin(client, to, count)

    def begin(self, client: Creditor | None, to: Taker, count: int) -> None:
        """All of `__init__`, for who is compiled: it makes one without a call of Python's."""
        self.client = client
        self.to = to
        self.count = count
        self.total = count
        self.errors = 0
        self.kind = 0
        self.kinds: bytearray | None = None
        self.asked: bytes | None = None
        self.since = 0.0
        self.note: Note | None = None
        self.confirms = False
        self.apart = False
        self.after: Run | None = None


class Line(Taker):
    """One server connection: takes requests by `ask`, and as a taker what the server sends.

    Attributes:
        to: takes requests for the server.
        listener: takes what the server says unasked; of shared lines nobody.
        owed: replies missing; `first` to `last` are the runs they are owed in.
        count: bytes received from the server.
        gone: it has been given up; nothing that still comes is looked at.
        open: whether clients may ask. A line that is closed to them still delivers what it owes.
        choked: too much is unsent; clients should wait.
        remembers: runs keep their requests, for the case that they must be asked again.
        raw: nothing is looked at any more (MONITOR, replication): every byte is the listener's.
    """

    __slots__ = (
        "_flowed", "_flowing", "_held", "_since", "_unasked", "choked", "count", "first", "gone", "last", "listener",
        "open", "owed", "raw", "remembers", "to", "walk",
    )  # fmt: skip

    def __init__(self, to: Taker, walk: Replies, listener: Taker = NOWHERE) -> None:
        self.to = to
        self.walk = walk
        self.listener = listener
        self.first: Run | None = None
        self.last: Run | None = None
        self.owed = 0
        self.count = 0
        self.gone = False
        self.open = True
        self.choked = False
        self.raw = False
        self.remembers = False
        self._held = b""
        self._flowing = False  # the beginning of the unfinished item has been delivered
        self._unasked = False  # to the listener
        self._flowed = 0  # so much of it
        self._since = 0.0

    # ---- requests

    def ask(self, client: Creditor, data: bytes, walk: Requests) -> None:
        """Send `data`, which holds the whole requests that `walk` has just counted."""
        run = Run.__new__(Run)
        run.begin(client, NOWHERE if client.mute else client.to, walk.count)
        run.kind = walk.kind
        if walk.mixed:
            run.kinds = walk.kinds
        run.apart = client.mute
        if self.remembers:
            run.asked = data
        self.append(run)
        self.to.take(data)

    def append(self, run: Run) -> None:
        """Owe the replies of `run` behind all others; who calls sends the requests."""
        if self.first is None:
            self.first = run
            self._since = ticks()
        else:
            self.last.after = run  # type: ignore[union-attr]  # there is a last one where there is a first
        self.last = run
        run.since = self._since
        self.owed += run.count
        if run.client is not None:
            run.client.owed += run.count

    # ---- replies

    def take(self, chunk: bytes) -> None:
        """See `Taker`. Raises UpstreamError when the server breaks the protocol."""
        self.count += len(chunk)
        if self.raw:
            self.listener.take(chunk)
        else:
            self._walk_on(chunk)

    def _walk_on(self, chunk: bytes) -> None:
        size = len(chunk)
        start = 0
        walk = self.walk
        now = self._since = ticks()
        while start < size and not self.gone:
            run = self.first
            want = 1 if run is None else run.count
            walk.each_push = run is not None and run.apart
            end = walk.advance(chunk, start, want)
            done = walk.done
            if walk.stop == CONFIRMED and (run is None or not run.confirms):
                done -= 1  # the server has ended a subscription of its own accord
            if done and run is None:
                # Not even a client that has the connection for itself: it would take it for the answer to what it asks
                # next.
                raise UpstreamError(Reason.UPSTREAM_BAD_MESSAGE, "a reply came that nobody asked for")
            if walk.stop == ERROR or walk.stop == PUSHED or walk.stop == CONFIRMED:  # noqa: PLR1714 - compares integers in C
                self._told(run, chunk, start, end)
            elif walk.whole > start:
                self._deliver(run, chunk, start, walk.whole)
            if walk.stop == SPENT and walk.whole < size:
                self._keep(run, chunk, walk.whole)
            if done and run is not None:
                # One error answers all of a SUBSCRIBE, whatever number of channels it names.
                self._answered(run, run.count if run.confirms and walk.stop == ERROR else done, now)
            start = end
            if self.raw and start < size:
                self.listener.take(chunk[start:])
                return
        if self.owed == 0 and not self.open:
            self.drained()

    def _deliver(self, run: Run | None, chunk: bytes, start: int, stop: int) -> None:
        """Pass on whole items, the first of which may have begun in what is held."""
        data = chunk  # a pointer, when compiled: a slice of it is one step
        if start != 0 or stop != len(chunk):
            chunk = data[start:stop]
        if self._held:
            chunk = self._held + chunk
            self._held = b""
        self._flowing = False
        self._give(run, chunk)

    def _give(self, run: Run | None, data: bytes) -> None:
        if run is None:
            self.listener.take(data)
            return
        if run.client is not None:
            run.client.sent += len(data)
        run.to.take(data)

    def _told(self, run: Run | None, chunk: bytes, start: int, end: int) -> None:
        """Pass on what ends with an item that must be looked at."""
        begun = self.walk.begun
        if begun > start:
            self._deliver(run, chunk, start, begun)
        if run is not None and self.walk.stop == ERROR:
            run.errors += 1
        if self._flowing:
            self._deliver(None if self._unasked else run, chunk, begun, end)
            return
        item = self._held + chunk[begun:end]
        self._held = b""
        if run is None or self.walk.stop == PUSHED or (self.walk.stop == CONFIRMED and not run.confirms):
            self.listener.take(item)
        elif self.walk.stop == ERROR:
            self._give(run, self.on_error(run, item))
        else:
            self._give(run, item)

    def _keep(self, run: Run | None, chunk: bytes, start: int) -> None:
        """The beginning of an unfinished item: it waits for its end, unless it is long."""
        rest = chunk[start:]
        if not self._flowing:
            self._held += rest
            if len(self._held) <= HELD:
                return
            rest = self._held
            self._held = b""
            self._flowing = True
            self._flowed = 0
            # Of all that is told of by itself nothing else is long.
            self._unasked = run is None or (run.apart and (rest[0] == PUSH or self.walk.subscribed))
        if self._unasked:
            self.listener.take(rest)
            return
        before = self._flowed
        self._flowed += len(rest)
        self._give(run, rest)
        if before <= LARGE_REPLY < self._flowed and run is not None and run.client is not None:
            run.client.burdened()

    def _answered(self, run: Run, done: int, now: float) -> None:
        run.count -= done
        self.owed -= done
        client = run.client
        if client is not None:
            client.owed -= done
            if self.walk.stop == ERROR and client.metrics:
                kind = run.kind
                if run.kinds is not None:
                    at = run.total - run.count - 1
                    kind = run.kinds[at]
                    run.kinds[at] = FAILED
                metrics = client.metrics[kind]
                metrics.error += 1
        if run.count == 0 and not self.gone:
            self.first = run.after
            if run.after is None:
                self.last = None
            run.after = None
            self._finish(run, now)
        if client is not None and client.owed == 0 and client.watched:
            client.emptied()

    def _finish(self, run: Run, now: float) -> None:
        client = run.client
        if client is not None and client.metrics:
            metrics = client.metrics[run.kind]
            if run.kinds is None:
                metrics.ok += run.total - run.errors
            else:
                for kind in run.kinds:
                    if kind != FAILED:
                        each = client.metrics[kind]
                        each.ok += 1
            histogram = metrics.error_seconds if run.errors else metrics.seconds
            histogram.observe(now - run.since)
        if run.note is not None:
            run.note.answered()

    @property
    def cut_short(self) -> bool:
        """Whether the first run's client has a part of a reply whose rest is missing."""
        return self._flowing and not self._unasked

    @property
    def broken_off(self) -> bool:
        """Whether the listener has a part of something whose rest is missing."""
        return self._flowing and self._unasked

    def drained(self) -> None:
        """Closed to clients, and nothing is owed any more."""

    def on_error(self, run: Run, error: bytes) -> bytes:  # noqa: ARG002 - a derived class looks at both
        """An error reply, whole, on its way to who asked; returns what goes instead."""
        return error


# Their types hide these from Python, when compiled.
globals().update(FAILED=FAILED, HELD=HELD, LARGE_REPLY=LARGE_REPLY)
