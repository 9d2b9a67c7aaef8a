"""A server connection that many clients ask on, and what keeps one of them from holding up the others.

Replies come in one stream: while a client does not take its own, nobody behind it gets theirs. So everybody else is
moved to another connection; what they had asked is asked again there, if it only reads. What may have changed something
is never asked twice: who waits for such a reply waits for the slow client, but not for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from ambassador.net.taker import NOWHERE
from ambassador.protocols.redis.line import ServerLine
from ambassador.protocols.redis.owing import Creditor, Run
from ambassador.telemetry.logs import logger
from ambassador.upstreams.pool import State
from ambassador.upstreams.upstream import Lease
from ambassador.wire.redis.commands import Kind
from ambassador.wire.redis.messages import Protocol

if TYPE_CHECKING:
    from ambassador.protocols.redis.client import Conversation
    from ambassador.protocols.redis.hub import Hub

_log = logger(__name__)

MOMENT = 0.02
"""Seconds that a client may take to read on before the others are moved."""

PATIENCE = 1.0
"""Seconds that those who cannot be moved wait for it; then it is cut."""


class SharedLine(ServerLine):
    """Clients ask on it as they come. What they ask in one turn of the loop goes in one write."""

    __slots__ = ("_slow", "_timer")

    def __init__(self, hub: Hub, lease: Lease, protocol: Protocol, database: int) -> None:
        super().__init__(hub, lease, protocol, database, gathers=True)
        lease.move(State.SHARED)
        self.remembers = True
        self._slow: set[Creditor] = set()
        self._timer: asyncio.TimerHandle | None = None

    def retire(self) -> None:
        """See `ServerLine`."""
        self.open = False
        if not self.owed:
            # Not now: whoever called may be about to deliver what the last reply was.
            asyncio.get_running_loop().call_soon(self.drop)

    def drained(self) -> None:
        """See `Line`."""
        asyncio.get_running_loop().call_soon(self.drop)

    def eof(self) -> None:
        """See `Sink`."""
        self._mourn("the server closed it")
        super().eof()

    def lost(self, error: BaseException | None) -> None:
        """See `Sink`."""
        self._mourn("it was closed" if error is None else str(error) or type(error).__name__)
        super().lost(error)

    def _mourn(self, why: str) -> None:
        """Say in the log what many clients notice."""
        say = _log.warning if self.owed else _log.info
        endpoint = str(self.lease.connection.endpoint)
        say("upstream connection lost", upstream=self.hub.upstream.name, endpoint=endpoint, owed=self.owed, error=why)

    def drop(self) -> None:
        """See `ServerLine`. What only reads is asked once more elsewhere, if that is configured."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.gone and self.hub.options.retry_reads:
            orphans = [_successor(run) for run in self._movable()]
            if orphans:
                self.hub.ask_again((self.protocol, self.database), orphans)
        super().drop()

    # ---- slow clients

    def wait_for(self, client: Creditor) -> None:
        """`client` does not read: take nothing more from the server until it does."""
        if self.gone or not self._owes(client):
            return
        self._slow.add(client)
        self.stream.pause_reading()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(MOMENT, self._move_others)

    def wait_no_more(self, client: Creditor) -> None:
        """It reads again, or is gone."""
        if client not in self._slow:
            return
        self._slow.discard(client)
        if self._slow or self.gone:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.stream.resume_reading()

    def hand_over(self, line: SharedLine) -> None:
        """`line` has taken the place of this one: have asked there again what can be."""
        if self._slow:
            for run in self._movable():
                resume(_successor(run), line)

    def _move_others(self) -> None:
        self.hub.supersede(self)
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._cut_slow)

    def _cut_slow(self) -> None:
        self._timer = None
        if any(run.client not in self._slow for run in self._runs()):
            for client in tuple(self._slow):
                cast("Conversation", client).too_slow()

    def _owes(self, client: Creditor) -> bool:
        return any(run.client is client for run in self._runs())

    def _runs(self) -> Iterator[Run]:
        """What is owed to clients, in order."""
        run = self.first
        while run is not None:
            if run.client is not None:
                yield run
            run = run.after

    def _movable(self) -> list[Run]:
        """The runs of those clients of whom all runs only read, and who have seen nothing of their replies yet."""
        staying = set(self._slow)
        for run in self._runs():
            started = run.count != run.total or (run is self.first and self.cut_short)
            if run.client is not None and (run.asked is None or started or not _only_reads(run)):
                staying.add(run.client)
        return [run for run in self._runs() if run.client not in staying]


def resume(run: Run, line: SharedLine) -> None:
    """Ask on `line` for what `run` is owed; its client has been owed it all the time."""
    if run.client is not None and run.asked is not None:
        data, run.asked = run.asked, None  # it shall not be asked a third time
        run.client.owed -= run.count
        # All that it is owed comes from there now, so it is there that a slow client makes the others wait.
        cast("Conversation", run.client).line = line
        line.append(run)
        line.to.take(data)


def _only_reads(run: Run) -> bool:
    return run.kind == Kind.READ if run.kinds is None else all(kind == Kind.READ for kind in run.kinds)


def _successor(run: Run) -> Run:
    """What takes the place of `run` elsewhere; the replies still to come here are nobody's."""
    fresh = Run(run.client, run.to, run.total)
    fresh.kind, fresh.kinds, fresh.asked, fresh.apart = run.kind, run.kinds, run.asked, run.apart
    run.client, run.to, run.asked = None, NOWHERE, None
    return fresh
