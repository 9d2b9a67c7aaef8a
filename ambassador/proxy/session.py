"""The life of one client connection, told straight down."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ambassador.access.base import Authenticator, Principal
from ambassador.config.schema import ListenerSettings
from ambassador.errors import AmbassadorError, ClientError, Overloaded, Reason
from ambassador.kit.clock import Clock
from ambassador.kit.drain import Drain
from ambassador.net.relay import End
from ambassador.net.stream import Peer, Stream, TlsFailed
from ambassador.net.tls import ServerContexts
from ambassador.protocols.base import Downstream, Hello, Link, Protocol
from ambassador.proxy import limits, proxied
from ambassador.proxy.routes import Routes
from ambassador.telemetry import logs
from ambassador.telemetry.metrics import ListenerMetrics
from ambassador.telemetry.requests import RequestMetrics
from ambassador.upstreams.ledger import How
from ambassador.upstreams.pool import ServerConnection
from ambassador.upstreams.target import Target

_log = logs.logger(__name__)

_RUN = secrets.token_hex(3)
_NUMBERS = itertools.count(1)

HANDSHAKE = b"\x16"
"""The type of the record that a TLS connection begins with (RFC 8446, section 5.1)."""

_NOT_ANSWERED = {Reason.CLIENT_CLOSED, Reason.CANCEL_REQUEST}
"""Ends after which nobody waits for an answer."""

_QUIET_ENDS = _NOT_ANSWERED | {Reason.UPSTREAM_CLOSED, Reason.DRAINED, Reason.CREDENTIAL_ENDED}
"""Ends that are nobody's fault: logged at info; all others at warning, and so is an end that the upstream made
without a word, or that was no safe point."""


class Phase(StrEnum):
    """Where a session is in its life."""

    OPEN = "open"
    ACCEPT = "accept"
    RELAY = "relay"
    DRAIN = "drain"
    CLOSED = "closed"


_MOVES = {
    Phase.OPEN: {Phase.ACCEPT, Phase.CLOSED},
    Phase.ACCEPT: {Phase.RELAY, Phase.CLOSED},
    Phase.RELAY: {Phase.DRAIN, Phase.CLOSED},
    Phase.DRAIN: {Phase.CLOSED},
    Phase.CLOSED: set[Phase](),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a listener does with its clients. A reload replaces it; sessions keep the one they began with."""

    name: str
    settings: ListenerSettings
    protocol: Protocol
    access: Authenticator
    routes: Routes
    tls: ServerContexts | None
    metrics: ListenerMetrics
    requests: tuple[RequestMetrics, ...]
    drain: Drain


class Session:
    """One client, from accept to close.

    Args:
        take_place: takes a place under the listener's limit, or raises Overloaded.
    """

    __slots__ = (
        "_clock", "_folded_in", "_folded_out", "_how", "_moved", "_quiet_since", "_take_place", "admitted", "client",
        "connection", "hello", "id", "link", "phase", "plan", "principal", "reached", "started", "stream", "target",
        "task",
    )  # fmt: skip

    def __init__(self, stream: Stream, plan: Plan, clock: Clock, take_place: Callable[[], None]) -> None:
        self.id = f"{_RUN}-{next(_NUMBERS):x}"
        self.stream = stream
        self.plan = plan
        self.client: Peer = stream.peer
        self.phase = Phase.OPEN
        self.started = clock.now()
        self.admitted = False
        self.hello = Hello()
        self.principal: Principal | None = None
        self.target: Target | None = None
        self.link: Link | None = None
        self.connection: ServerConnection | None = None
        self.reached = Phase.OPEN
        self.task: asyncio.Task[Any] | None = None
        self._clock = clock
        self._take_place = take_place
        self._how: How = "left"
        self._quiet_since = self.started
        self._moved = 0
        self._folded_in = 0
        self._folded_out = 0

    async def run(self) -> None:
        """Serve the client to its end. Raises nothing: the end is logged, counted, and told to the client."""
        end = End(Reason.INTERNAL, None, "self")
        try:
            self._enter(Phase.ACCEPT)
            await self._accept()
            self._enter(Phase.RELAY)
            end = await self._relay()
        except AmbassadorError as error:
            end = End(error.reason, str(error), "self")
            self._refuse(error)
        except asyncio.CancelledError:
            end = End(Reason.CUT, None, "self")
            self._refuse(Overloaded(Reason.SHUTTING_DOWN, "the daemon's drain deadline has passed"))
        except (OSError, EOFError) as error:
            end = End(Reason.CLIENT_CLOSED, str(error), "client")
        except Exception as error:  # noqa: BLE001 - the one edge of this task: a fault ends the session, not the process
            end = End(Reason.INTERNAL, type(error).__name__, "self")
            _log.exception("session failed", error, session=self.id, listener=self.plan.name)
            self._refuse(AmbassadorError(Reason.INTERNAL, "internal error"))
        finally:
            self._enter(Phase.CLOSED)
            self.stream.close()
            self._report(end)
        # Until its client has the last bytes a session counts: what a drain does not wait for is lost.
        await self.stream.sent(acknowledged=self.plan.drain.started)

    def leave(self, reason: Reason = Reason.DRAINED) -> None:
        """End at the next safe point: a drain has started, or the credential of the server connection ends soon."""
        if self.link is not None and self.phase is Phase.RELAY:
            self._enter(Phase.DRAIN)
            self.link.leave(reason)

    def cut(self, reason: Reason = Reason.CUT) -> None:
        """End now: a deadline has passed, the drain's or the credential's."""
        self._how = "cut"
        if self.link is not None:
            self.link.expel(reason)
        elif self.task is not None:
            self.task.cancel()

    def shows(self, credential: str, version: int) -> bool:
        """Whether it is served on a connection of its own that has logged in with `version` of a credential."""
        if self.connection is None or self.phase is Phase.CLOSED or not self.plan.protocol.logs_in:
            return False
        name = self.plan.routes.upstream.settings.credential
        return name == credential and self.connection.credential_version == version

    def sweep(self, now: float) -> None:
        """Judge the session by its listener's limits."""
        link = self.link
        if link is None:
            return
        self._look(now)
        reason = limits.overdue(
            self.plan.settings.limits,
            age=now - self.started,
            quiet=now - self._quiet_since,
            waiting=link.waiting,
            in_transaction=link.in_transaction,
        )
        if reason is Reason.SESSION_TIMEOUT:
            link.leave(reason)
        elif reason is not None:
            link.expel(reason)

    def idle(self, now: float) -> float:
        """Seconds since bytes last passed, as far as sweeps and looks at the status have seen."""
        self._look(now)
        return now - self._quiet_since

    def _look(self, now: float) -> None:
        moved = 0 if self.link is None else self.link.bytes_in + self.link.bytes_out
        if moved != self._moved:
            self._moved, self._quiet_since = moved, now

    async def _accept(self) -> None:
        span = self.plan.settings.limits.login_timeout
        try:
            async with asyncio.timeout(span):
                self.client = await proxied.client_of(self.stream, self.plan.settings.proxy_protocol)
                await self._begin_tls()
                self.hello, self.principal = await self.plan.protocol.accept(self._downstream())
        except TimeoutError as error:
            raise ClientError(Reason.LOGIN_TIMEOUT, f"the login was not finished within {span:g} s") from error

    async def _relay(self) -> End:
        if self.principal is None:
            raise AssertionError("accept gives a principal or raises")
        upstream = self.plan.routes.upstream
        preamble = proxied.header_for(upstream.settings.send_proxy_protocol, self.client, self.stream.local)
        self.target = self.plan.routes.select(self.principal, self.hello, preamble)
        return await self.plan.protocol.relay(self._downstream(), self.hello, self.target, self._attach)

    async def _begin_tls(self) -> None:
        tls = self.plan.tls
        if tls is None or self.plan.protocol.negotiates_tls:
            return
        settings = self.plan.settings.tls
        if settings is not None and settings.mode == "allow" and not await self._speaks_tls():
            return
        try:
            await self.stream.start_tls(tls.current, server_side=True)
        except (TlsFailed, OSError) as error:
            raise ClientError(Reason.TLS_FAILED, f"TLS with the client failed: {error}", public="") from error

    async def _speaks_tls(self) -> bool:
        """Whether the client begins a handshake; it is asked where clients speak first, and never begin so else."""
        begun = await self.stream.read()
        self.stream.unread(begun)
        return begun.startswith(HANDSHAKE)

    def _downstream(self) -> Downstream:
        settings = self.plan.settings
        return Downstream(
            stream=self.stream,
            client=self.client,
            access=self.plan.access,
            tls=self.plan.tls,
            tls_required=settings.tls is not None and settings.tls.mode == "require",
            admit=self._admit,
            requests=self.plan.requests,
            introduce=self._introduce,
        )

    def _introduce(self, hello: Hello) -> None:
        self.hello = hello

    def _admit(self) -> None:
        if self.plan.drain.started:
            raise Overloaded(Reason.SHUTTING_DOWN, "the listener is draining", public="the proxy is shutting down")
        self._take_place()
        self.admitted = True

    def _attach(self, link: Link, connection: ServerConnection | None) -> None:
        self.link, self.connection = link, connection
        self._quiet_since = self._clock.now()
        if self._is_stranded(connection) or self.plan.drain.started:
            self.leave()
        if connection is not None and self.plan.protocol.logs_in:
            self._part_from(connection.credential_version)

    def _part_from(self, version: int | None) -> None:
        """Go if what was shown while the client was being logged in has ended meanwhile."""
        upstream = self.plan.routes.upstream
        if upstream.has_ended(version):
            self.cut(Reason.CREDENTIAL_ENDED)
        elif upstream.is_outlived(version):
            self.leave(Reason.CREDENTIAL_ENDED)

    def _is_stranded(self, connection: ServerConnection | None) -> bool:
        """Whether a reload took the endpoint out while the client was being logged in there."""
        if self.target is None or connection is None:
            return False
        return connection.endpoint not in self.target.upstream.endpoints

    def _refuse(self, error: AmbassadorError) -> None:
        if error.reason in _NOT_ANSWERED or self.stream.closed:
            return
        reveal = self.target is not None and self.target.upstream.settings.reveal_errors
        if words := self.plan.protocol.refuse(error, reveal=reveal):
            self.stream.write(words)

    def _enter(self, phase: Phase) -> None:
        if phase not in _MOVES[self.phase]:
            raise AssertionError(f"a session cannot go from {self.phase} to {phase}")
        if phase is not Phase.CLOSED:
            self.reached = phase
        self.phase = phase

    def fold(self) -> None:
        """Add the bytes that passed since the last time to the listener's totals."""
        if self.link is not None:
            bytes_in, bytes_out = self.link.bytes_in, self.link.bytes_out
            self.plan.metrics.bytes_in += bytes_in - self._folded_in
            self.plan.metrics.bytes_out += bytes_out - self._folded_out
            self._folded_in, self._folded_out = bytes_in, bytes_out

    def _report(self, end: End) -> None:
        """One log line and one set of metrics for the whole life."""
        seconds = self._clock.now() - self.started
        self.fold()
        self.plan.metrics.finished(end.reason)
        self.plan.metrics.session_seconds.observe(seconds)
        probe = self.link is None and end.reason is Reason.CLIENT_CLOSED  # opens a port and closes it again
        quiet = end.reason in _QUIET_ENDS and (end.error is None or end.reason is not Reason.UPSTREAM_CLOSED)
        if end.reason is Reason.CREDENTIAL_ENDED and self.connection is not None:
            self.plan.routes.upstream.ended(self._how)
            quiet = self._how == "left"
        say = _log.debug if probe else _log.info if quiet else _log.warning
        say("session ended", **self._fields(end, seconds))

    def _fields(self, end: End, seconds: float) -> dict[str, object]:
        fields: dict[str, object] = {
            "session": self.id,
            "listener": self.plan.name,
            "client": self.client.address,
            "reason": end.reason,
            "duration_ms": round(seconds * 1000, 3),
            "user": self.hello.user,
            "database": self.hello.database,
            "upstream": self.plan.routes.upstream.name,
            "phase": self.reached,
            "error": end.error,
        }
        if self.link is not None:
            fields |= {"bytes_in": self.link.bytes_in, "bytes_out": self.link.bytes_out}
        if self.connection is not None:
            fields |= {"endpoint": str(self.connection.endpoint), "version": self.connection.credential_version}
            fields["credential"] = self.plan.routes.upstream.settings.credential
        return {key: value for key, value in fields.items() if value is not None}
