"""A server connection that many clients ask on, and what keeps one of them from holding up the others.

Replies come in one stream: while a client does not take its own, nobody behind it gets theirs. So everybody else is
moved to another connection; what they had asked is asked again there, if it only reads. What may have changed something
is never asked twice: for those who wait for such a reply the slow client's is taken into memory. Where there is no room
for that, they wait, but not for long.
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

SOON = 0.005
"""Seconds between looks at how much has been taken into memory."""

ROOM = 32 << 20
"""Bytes of replies that are kept for the slow clients of one upstream; about that much again may come between looks."""

PATIENCE = 1.0
"""Seconds that those who cannot be moved wait, all in all, for clients that do not read; then these are cut."""

BRISK = 50e6
"""Bytes a second with which a client reads fast enough, however long its reply is."""

_HARMLESS = frozenset({Kind.READ, Kind.OTHER})
"""Plain commands that may be asked twice: those that read, and PING, ECHO, INFO and their like."""


class SharedLine(ServerLine):
    """Clients ask on it as they come. What they ask in one turn of the loop goes in one write.

    Attributes:
        slow: clients that do not read now, and how much each had read when that was looked at last.
    """

    __slots__ = ("_makes_way", "_patience", "_timer", "slow")

    def __init__(self, hub: Hub, lease: Lease, protocol: Protocol, database: int) -> None:
        super().__init__(hub, lease, protocol, database, gathers=True)
        lease.move(State.SHARED)
        self.remembers = True
        self.slow: dict[Conversation, int] = {}
        self._patience = PATIENCE
        self._makes_way = False
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

    def make_way(self) -> None:
        """What comes now takes its time: the others are to have another connection, as soon as there is one."""
        self._makes_way = True
        if self.open:
            self.hub.supersede(self)

    def wait_for(self, client: Conversation) -> None:
        """`client` does not read: take nothing more from the server until it does, or others need that."""
        if self.gone or not any(run.client is client for run in self._runs()):
            return
        self.slow[client] = _taken(client)
        self.stream.pause_reading()
        self._look_in(MOMENT)

    def wait_no_more(self, client: Conversation) -> None:
        """It reads again, or is gone."""
        if self.slow.pop(client, None) is not None and not (self.slow or self.gone):
            self.stream.resume_reading()

    def hand_over(self, line: SharedLine) -> None:
        """`line` has taken the place of this one: have asked there again what can be."""
        if self._makes_way:
            for run in self._movable():
                resume(_successor(run), line)

    def _look_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look, seconds)

    def _look(self, passed: float) -> None:
        """See to those who wait behind clients that have not read for a moment."""
        self._timer = None
        waits = any(run.client not in self.slow for run in self._runs())
        if not waits:
            self._patience = PATIENCE
        if not self.slow:
            return
        self.make_way()
        if waits and self._has_room():
            self.stream.resume_reading()
            self._look_in(SOON)
            return
        self.stream.pause_reading()
        if waits:
            self._lose_patience(passed)
        if waits or self.open:
            self._look_in(MOMENT)

    def _has_room(self) -> bool:
        lines = (line for line in self.hub.live if isinstance(line, SharedLine))
        return sum(client.stream.unsent for line in lines for client in line.slow) < ROOM

    def _lose_patience(self, passed: float) -> None:
        """Cut those who have not read fast enough for too long."""
        lazy = [client for client, before in self.slow.items() if _taken(client) - before < BRISK * passed]
        self.slow = {client: _taken(client) for client in self.slow}
        if lazy:
            self._patience -= passed
        if self._patience <= 0:
            for client in lazy:
                client.too_slow()

    def _runs(self) -> Iterator[Run]:
        """What is owed to clients, in order."""
        run = self.first
        while run is not None:
            if run.client is not None:
                yield run
            run = run.after

    def _movable(self) -> list[Run]:
        """The runs of those clients all of whose runs do no harm, and who have seen nothing of their replies yet."""
        staying: set[Creditor] = set(self.slow)
        for run in self._runs():
            started = run.count != run.total or (run is self.first and self.cut_short)
            if run.client is not None and (run.asked is None or started or not _is_harmless(run)):
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


def _taken(client: Conversation) -> int:
    """How many bytes a client has been sent that are not waiting here any more."""
    return client.sent - client.stream.unsent


def _is_harmless(run: Run) -> bool:
    return run.kind in _HARMLESS if run.kinds is None else _HARMLESS.issuperset(run.kinds)


def _successor(run: Run) -> Run:
    """What takes the place of `run` elsewhere; the replies still to come here are nobody's."""
    fresh = Run(run.client, run.to, run.total)
    fresh.kind, fresh.kinds, fresh.asked, fresh.apart = run.kind, run.kinds, run.asked, run.apart
    run.client, run.to, run.asked = None, NOWHERE, None
    return fresh
