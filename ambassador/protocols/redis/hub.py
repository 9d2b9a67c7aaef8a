"""All connections to one upstream: who shares which, reconnecting, rotation, and the ones kept for the next client."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ambassador.errors import AmbassadorError, CredentialError, Reason, UpstreamError
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.kit.tasks import Tasks
from ambassador.protocols.redis.aliases import Aliases
from ambassador.protocols.redis.line import PrivateLine, ServerLine, broken_protocol, excuse, words_for
from ambassador.protocols.redis.login import ServerFacts, login_to, warn_of
from ambassador.protocols.redis.moving import Moving
from ambassador.protocols.redis.options import RedisUpstreamOptions
from ambassador.protocols.redis.owing import Run
from ambassador.protocols.redis.rotating import Rotating
from ambassador.protocols.redis.shared import SharedLine, resume
from ambassador.protocols.redis.slot import LONGEST_PAUSE, Slot, Way, is_permanent, pauses
from ambassador.protocols.redis.state import Pin
from ambassador.telemetry import logs
from ambassador.upstreams.balance import ReadFrom
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.pool import State
from ambassador.upstreams.upstream import Lease, Login, Upstream
from ambassador.wire.redis.commands import BUILT_IN, Command
from ambassador.wire.redis.redact import redact_error

if TYPE_CHECKING:
    from ambassador.protocols.redis.client import Conversation
    from ambassador.protocols.redis.seat import Seat

_log = logs.logger(__name__)

WAYS = 256
"""Most combinations of version and database that are kept open; clients choose databases."""

LAST_MOMENTS = 2.0


class Hub:
    """One upstream's connections.

    Attributes:
        trouble: why the last try to open a connection failed; None once one succeeded.
        unused_since: when its last client left.
        live: all open connections, those included that only deliver what they still owe.
    """

    def __init__(self, upstream: Upstream, clock: Clock = SYSTEM) -> None:
        options = upstream.settings.options
        if not isinstance(options, RedisUpstreamOptions):
            raise TypeError("a redis listener leads to a redis upstream; the configuration is checked for it")
        self.upstream = upstream
        self.options = options
        self.clock = clock
        self.tasks = Tasks(lambda task, error: _log.exception("task failed", error, task=task))
        self.trouble: AmbassadorError | None = None
        self._commands: Mapping[bytes, Command] | None = None
        self._learning = False
        self.closed = False
        self.clients: set[Conversation] = set()
        self.unused_since = clock.now()
        self.live: set[ServerLine] = set()
        self.moving = Moving(self)
        self._slots: dict[Way, list[Slot]] = {}
        self._turn = 0
        self._idle: dict[Way, deque[PrivateLine]] = {}
        self._lent: set[PrivateLine] = set()
        self.rotating = Rotating(self)
        self.aliases = Aliases(self)
        upstream.counts.owed = lambda: self.owed
        self._refusing: asyncio.Task[None] | None = None
        self._watching = self.tasks.start(self._watch(), name=f"watch over {upstream.name}")

    # ---- connections

    def ready(self, way: Way) -> SharedLine | None:
        """An open shared connection, if there is one now; clients are spread over as many as are configured."""
        slots = self._ways(way)
        if slots is None:
            return None
        self._turn += 1
        line = slots[self._turn % len(slots)].line
        return line if line is not None and line.open else None

    async def shared(self, way: Way) -> SharedLine:
        """An open shared connection, waiting for it as long as is configured; raises as `Slot.get`."""
        slots = self._ways(way)
        if slots is None:
            raise UpstreamError(Reason.UPSTREAM_REJECTED, f"more than {WAYS} databases are in use")
        self._turn += 1
        return await slots[self._turn % len(slots)].get(self.options.wait)

    def idle(self, way: Way) -> PrivateLine | None:
        """A kept connection, if there is one."""
        kept = self._idle.get(way)
        while kept:
            line = kept.pop()
            if not line.gone and line.endpoint_stays and not self.is_stale(line):
                line.lease.move(State.LEASED)
                self._lent.add(line)
                return line
            line.drop()
        return None

    async def private(self, way: Way, wait: float | None = None) -> PrivateLine:
        """A connection for one client: a kept one, or a new one.

        Raises:
            UpstreamError, CredentialError: none was to be had within `wait` seconds.
        """
        kept = self.idle(way)
        if kept is not None:
            return kept
        wait = self.options.wait if wait is None else wait
        until = self.clock.now() + wait
        backoff = pauses()
        while True:
            seen = self.moving.changes
            try:
                return await self._open_private(way)
            except (UpstreamError, CredentialError) as error:
                self.not_reached(error)
                if self.clock.now() >= until or is_permanent(error):
                    raise
                await self.moving.pause(min(backoff.next(), max(0.0, until - self.clock.now())), seen)

    async def _open_private(self, way: Way) -> PrivateLine:
        line = PrivateLine(self, await self.lease(way), *way)
        self.reached()
        line.begin()
        if line.gone:  # it ended while the login's last words were on their way here
            raise UpstreamError(Reason.UPSTREAM_CLOSED, f"upstream {self.upstream.name} closed the connection at once")
        self._lent.add(line)
        return line

    def give_back(self, line: PrivateLine) -> None:
        """Its client needs it no more."""
        line.holder = None
        self._lent.discard(line)
        kept = self._idle.setdefault((line.protocol, line.database), deque())
        full = sum(map(len, self._idle.values())) >= self.options.idle
        unfit = line.gone or line.soiled or line.asked or line.owed or not line.endpoint_stays or self.is_stale(line)
        if line.is_outlived:
            self.rotating.end(line, "left")
        if unfit or full or self.closed:
            line.drop()
            return
        line.idle_since = self.clock.now()
        line.lease.move(State.IDLE)
        kept.append(line)

    async def lease(self, way: Way) -> Lease:
        """A new logged-in connection; raises as `Upstream.lease`."""
        protocol, database = way
        # One learns for all: the table is long, and until it is known ours serves.
        learns = self._commands is None and not self._learning
        self._learning = self._learning or learns
        try:
            lease = await self.reach(login_to(protocol, self.database(database), learn=learns))
        finally:
            self._learning = self._learning and not learns
        if learns:
            facts: ServerFacts = lease.connection.facts
            self._commands = facts.commands or BUILT_IN
            warn_of(facts, lease.connection.endpoint, self.options)
        if self.closed:
            lease.release()
            raise UpstreamError(Reason.UPSTREAM_CLOSED, "the connections to this upstream have been closed")
        return lease

    async def reach(self, login: Login) -> Lease:
        """A connection to whichever server will do; raises as `Upstream.lease`."""
        return await self.upstream.lease(login, read_from=self.read_from)

    def keeps(self, endpoint: Endpoint) -> bool:
        """Whether there is still what listens there."""
        return endpoint in self.upstream.endpoints

    @property
    def commands(self) -> Mapping[bytes, Command]:
        """The server's table of commands; ours before the first login, and where it will not tell."""
        return BUILT_IN if self._commands is None else self._commands

    @property
    def read_from(self) -> ReadFrom:
        """Which role of server will do."""
        return self.options.read_from or "primary"

    @property
    def username(self) -> bytes:
        """Whom we log in as; nobody's business."""
        credential = self.upstream.credential
        return b"" if credential is None or credential.username is None else credential.username.encode()

    def is_stale(self, line: ServerLine) -> bool:
        """Whether there is a newer credential than the one it has shown."""
        credential = self.upstream.credential
        return credential is not None and line.version != credential.version

    async def breathe(self) -> None:
        """Wait a moment before the next try."""
        await self.clock.sleep(LONGEST_PAUSE)

    def pinned(self, why: Pin) -> None:
        """A client has a connection of its own."""
        self.upstream.counts.pinned[why] += 1

    def unpinned(self, why: Pin) -> None:
        """It has it no more."""
        self.upstream.counts.pinned[why] -= 1

    def database(self, wanted: int) -> int:
        """The server's number of the database that a client calls `wanted`."""
        return wanted if self.options.database is None else self.options.database

    def not_reached(self, trouble: AmbassadorError) -> None:
        """A try to open a connection failed. Said once for each reason, until one succeeds."""
        before, self.trouble = self.trouble, trouble
        if before is None or before.reason is not trouble.reason:
            _log.warning("upstream not reached", upstream=self.upstream.name, reason=trouble.reason, error=str(trouble))

    def reached(self) -> None:
        """A try succeeded."""
        if self.trouble is not None:
            _log.info("upstream reached again", upstream=self.upstream.name)
            self.trouble = None

    # ---- told by lines

    def line_failed(self, line: ServerLine, failure: Exception) -> None:
        """What it received could not be followed."""
        _log.warning(
            "upstream connection failed",
            upstream=self.upstream.name,
            endpoint=str(line.lease.connection.endpoint),
            error=broken_protocol(failure),
        )

    def forget(self, way: Way) -> None:
        """Nobody can be connected that way; it does not count among those that are in use."""
        self._slots.pop(way, None)

    def line_gone(self, line: ServerLine) -> None:
        """It is closed, for whatever reason."""
        self.live.discard(line)
        if isinstance(line, PrivateLine):
            self._lent.discard(line)
            with contextlib.suppress(KeyError, ValueError):
                self._idle[line.protocol, line.database].remove(line)
            return
        for slot in self._slots.get((line.protocol, line.database), ()):
            if slot.line is line:
                slot.line = None
                if self.clients and not self.closed:
                    slot.renew(self.options.wait)

    def login_refused(self, version: int | None) -> None:
        """The server no longer takes the credential of `version`: a better one is asked for, once."""
        if self._refusing is None or self._refusing.done():
            work = self.upstream.refused(version)
            self._refusing = self.tasks.start(work, name=f"credential of {self.upstream.name}")

    def supersede(self, line: SharedLine) -> None:
        """Clients shall have another connection in its place, as soon as there is one."""
        for slot in self._slots.get((line.protocol, line.database), ()):
            if slot.line is line:
                slot.renew(self.options.wait)

    def ask_again(self, way: Way, runs: list[Run]) -> None:
        """The server went away; have `runs` asked for once more when it is back."""
        self.tasks.start(self._ask_again(way, runs), name=f"reads of {self.upstream.name} asked again")

    async def _ask_again(self, way: Way, runs: list[Run]) -> None:
        try:
            line = await self.shared(way)
        except (UpstreamError, CredentialError) as trouble:
            for run in runs:
                excuse(run, words_for(trouble))
        else:
            for run in runs:
                resume(run, line)

    def demoted(self, line: ServerLine) -> None:
        """The server says it is a replica: the next commands look for the primary."""
        self.moving.demoted(line)

    def disguise(self, error: bytes, client: Seat) -> bytes:
        """An error reply without the name of the user we log in as, which is nobody's business."""
        return redact_error(error, self.username, client.shown_name)

    # ---- life

    def join(self, client: Conversation) -> None:
        """A client is served from here."""
        self.clients.add(client)

    def part(self, client: Conversation) -> None:
        """It is gone."""
        self.clients.discard(client)
        self.unused_since = self.clock.now()

    async def close(self) -> None:
        """End everything now."""
        self.closed = True
        self.rotating.close()
        self.moving.close()
        for line in self.lines():
            line.drop()
        await self.tasks.stop(LAST_MOMENTS)

    def lines(self) -> list[ServerLine]:
        """All open connections."""
        return list(self.live)

    @property
    def owed(self) -> int:
        """Replies that servers owe at this moment."""
        return sum(line.owed for line in self.lines())

    def _ways(self, way: Way) -> list[Slot] | None:
        slots = self._slots.get(way)
        if slots is None:
            if len(self._slots) >= WAYS:
                return None
            slots = self._slots[way] = [Slot(self, way) for _ in range(self.options.connections)]
        return slots

    async def _watch(self) -> None:
        """Look after the connections: silent servers, kept ones that nobody uses, endpoints that are gone."""
        while True:
            await self.clock.sleep(self.options.probe)
            now = self.clock.now()
            for slots in tuple(self._slots.values()):
                for slot in slots:
                    self._look_at(slot, now)
            for live in tuple(self.live):
                if isinstance(live, SharedLine) and not live.open:
                    self._probe(live, now)  # who waits for its last replies shall not wait for ever
            for kept in tuple(self._idle.values()):
                for line in tuple(kept):
                    if now - line.idle_since >= self.options.idle_timeout or not line.endpoint_stays:
                        line.drop()

    def _look_at(self, slot: Slot, now: float) -> None:
        line = slot.line
        if line is None or not line.open:
            return
        if not line.endpoint_stays:
            slot.renew(self.options.wait)
        else:
            self._probe(line, now)

    def _probe(self, line: SharedLine, now: float) -> None:
        if line.probed_at is not None:
            if line.count != line.heard:
                line.heard, line.probed_at = line.count, now  # it speaks, if only to others yet
            elif now - line.probed_at >= self.options.probe_timeout:
                _log.warning("upstream does not answer", upstream=self.upstream.name, owed=line.owed)
                line.drop()
        elif line.count == line.heard:
            line.probed_at = now
            line.say("PING", then=lambda _: line.probe_answered())
        else:
            line.heard = line.count
