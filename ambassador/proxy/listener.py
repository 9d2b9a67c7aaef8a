"""A bound address: takes clients, gives each a session, and judges the sessions' silence.

A reload hands a listener a new `Plan` and it goes on: its sockets stay bound, its sessions stay as they began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ambassador.config.address import Address
from ambassador.errors import Overloaded, Reason
from ambassador.kit.clock import Clock
from ambassador.kit.tasks import Tasks
from ambassador.net.listen import Acceptor, BoundSocket
from ambassador.net.stream import LINGER, Stream
from ambassador.proxy.limits import sweep_interval
from ambassador.proxy.session import Plan, Session
from ambassador.telemetry import logs

_log = logs.logger(__name__)

REFUSALS = 64
"""Clients over the limit that may be heard out before they are told so; beyond them a client is told so unheard, so
that a flood of connections can hold neither memory nor descriptors. Cancel requests come through these places too."""


COMPLAIN_EVERY = 30.0
"""Seconds between log lines about clients that cannot be accepted; it is tried twice a second."""


class Listener:
    """One configured listener at work.

    Args:
        plan: what to do with clients, until `apply` brings another.
    """

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self.plan = plan
        self.sessions: set[Session] = set()
        self._clock = clock
        self._admitted = 0
        self._stopped = False
        self._lingering: dict[Stream, None] = {}  # in the order in which they were seen off
        self._acceptors: dict[Address, Acceptor] = {}
        self._tasks = Tasks(self._failed)
        self._sweeping: asyncio.Task[None] | None = None
        self._complain_at = float("-inf")

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens now."""
        return tuple(self._acceptors)

    def open(self, sockets: Iterable[BoundSocket]) -> None:
        """Take clients from `sockets`. Who owns them closes them, behind `close`."""
        for socket in sockets:
            keepalive = self.plan.settings.keepalive
            acceptor = Acceptor(socket, self._accepted, on_error=self._not_accepted, keepalive=keepalive)
            acceptor.start()
            self._acceptors[socket.address] = acceptor
        self._schedule_sweeps()

    def apply(self, plan: Plan) -> None:
        """Serve clients who come from now on by `plan`."""
        self.plan = plan
        for acceptor in self._acceptors.values():
            acceptor.keepalive = plan.settings.keepalive
        self._schedule_sweeps()

    def close(self, addresses: Iterable[Address] | None = None) -> None:
        """Stop taking clients at `addresses`, or at all."""
        for address in tuple(self._acceptors if addresses is None else addresses):
            self._acceptors.pop(address).stop()

    def cut(self) -> int:
        """End every session now; returns how many there were."""
        for session in tuple(self.sessions):
            session.cut()
        return len(self.sessions)

    async def stop(self, timeout: float) -> None:
        """Close everything and wait for the sessions' tasks to end, at most `timeout` seconds."""
        self.close()
        self._stopped = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for late in await self._tasks.stop(timeout):
            _log.error("session did not end", task=late, listener=self.plan.name)

    def fold(self) -> None:
        """Bring the byte counts of live sessions into the metrics."""
        for session in self.sessions:
            session.fold()

    def _accepted(self, stream: Stream) -> None:
        if not self._has_room():
            self.plan.metrics.finished(Reason.TOO_MANY_CONNECTIONS)
            stream.write(self.plan.protocol.refuse(self._full(), reveal=False))
            stream.close(linger=0)
            return
        session = Session(stream, self.plan, self._clock, self._take_place)
        self.sessions.add(session)
        self.plan.metrics.active += 1
        self.plan.drain.join(session, session.leave)
        session.task = self._tasks.start(self._serve(session), name=f"session {session.id}")

    async def _serve(self, session: Session) -> None:
        try:
            await session.run()
        finally:
            self.sessions.discard(session)
            session.plan.metrics.active -= 1
            session.plan.drain.part(session)
            self._admitted -= session.admitted
        if not self._stopped:
            await self._see_off(session.stream)

    async def _see_off(self, stream: Stream) -> None:
        """Count a stream whose client has its last words, and does not go, for as long as it holds a descriptor."""
        self._lingering[stream] = None
        try:
            await stream.wait_closed(LINGER)
        finally:
            self._lingering.pop(stream, None)

    def _has_room(self) -> bool:
        """Whether one more client can be held at all; who only lingers gives way to a newcomer."""
        most = self.plan.settings.limits.connections + REFUSALS
        if len(self.sessions) + len(self._lingering) >= most and self._lingering:
            oldest = next(iter(self._lingering))
            del self._lingering[oldest]
            oldest.abort()
        return len(self.sessions) + len(self._lingering) < most

    def _take_place(self) -> None:
        if self._admitted >= self.plan.settings.limits.connections:
            raise self._full()
        self._admitted += 1

    def _full(self) -> Overloaded:
        limit = self.plan.settings.limits.connections
        return Overloaded(
            Reason.TOO_MANY_CONNECTIONS,
            f"listener {self.plan.name} has its {limit} connections (limits.connections)",
            public="sorry, too many clients already at this proxy",
        )

    def _schedule_sweeps(self) -> None:
        if self._sweeping is None and self._sweep_interval() is not None:
            self._sweeping = self._tasks.start(self._sweep(), name=f"sweeps of {self.plan.name}")

    async def _sweep(self) -> None:
        while (interval := self._sweep_interval()) is not None:
            await self._clock.sleep(interval)
            now = self._clock.now()
            for session in tuple(self.sessions):
                session.sweep(now)
        self._sweeping = None

    def _sweep_interval(self) -> float | None:
        """The shortest that any plan here asks for: sessions keep the limits they began with."""
        plans = {id(session.plan): session.plan for session in self.sessions} | {id(self.plan): self.plan}
        intervals = (sweep_interval(plan.settings.limits) for plan in plans.values())
        return min((interval for interval in intervals if interval is not None), default=None)

    def _not_accepted(self, error: BaseException) -> None:
        """This machine keeps us from taking a client, as with too many open files. It waits, and we try again."""
        if self._clock.now() >= self._complain_at:
            self._complain_at = self._clock.now() + COMPLAIN_EVERY
            _log.error("client not accepted", error=str(error), listener=self.plan.name)

    def _failed(self, task: str, error: BaseException) -> None:
        _log.exception("task failed", error, task=task, listener=self.plan.name)
