"""A named service: its endpoints and their health, its credential, and the connections we hold to it.

`lease` is the one verb. It tries the endpoints in the order `balance` gives until one lets us in, and carries the
two rules of credentials: the value is read at the moment of use, and a refused login is tried once more if the
store has a newer value by then.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from ambassador.config.schema import UpstreamSettings
from ambassador.credentials.credential import Credential
from ambassador.credentials.rotation import TrialResult
from ambassador.credentials.store import Store
from ambassador.credentials.users import EndingTold
from ambassador.errors import Reason, UpstreamError
from ambassador.kit.clock import Clock
from ambassador.net.dial import dial
from ambassador.net.stream import Stream, TlsFailed
from ambassador.net.tls import ClientContexts
from ambassador.telemetry.metrics import CredentialMetrics, UpstreamMetrics
from ambassador.upstreams import balance
from ambassador.upstreams.balance import ReadFrom
from ambassador.upstreams.endpoint import Endpoint, EndpointSet
from ambassador.upstreams.health import Health, Standing
from ambassador.upstreams.ledger import How, Ledger
from ambassador.upstreams.pool import Pool, ServerConnection, State
from ambassador.upstreams.withdrawal import Withdrawal
from ambassador.wire.proxy_header import build_v1, build_v2

_ENDPOINT_AT_FAULT = {
    Reason.CONNECT_FAILED,
    Reason.CONNECT_TIMEOUT,
    Reason.UPSTREAM_TLS_FAILED,
    Reason.UPSTREAM_LOGIN_TIMEOUT,
    Reason.UPSTREAM_BAD_MESSAGE,
    Reason.UPSTREAM_CLOSED,
}
"""Reasons that speak against an endpoint's health; and after which the next endpoint is tried."""

_TRY_NEXT = _ENDPOINT_AT_FAULT | {Reason.WRONG_ROLE, Reason.UPSTREAM_TLS_REFUSED}

_BUSY_CLASSES = ("53", "57P")
"""SQLSTATE classes of a server that answers but takes nobody just now: no resources, starting up, shutting down."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a protocol's login is given: an open socket to one endpoint, and what to show there."""

    stream: Stream
    endpoint: Endpoint
    credential: Credential | None
    settings: UpstreamSettings
    tls: ClientContexts | None

    async def start_tls(self) -> None:
        """Begin TLS on the stream, verifying as configured.

        Raises:
            UpstreamError: the handshake failed, or the certificate is not to be trusted.
        """
        if self.tls is None:
            raise AssertionError("start_tls without TLS settings")
        name = self.tls.server_name or self.endpoint.address.host
        try:
            await self.stream.start_tls(self.tls.current, server_side=False, server_hostname=name)
        except (TlsFailed, OSError) as error:
            raise UpstreamError(Reason.UPSTREAM_TLS_FAILED, f"TLS with {self.endpoint} failed: {error}") from error


Login: TypeAlias = Callable[[Attempt], Awaitable[Any]]
"""A protocol's login: speaks on the attempt's stream, returns the facts it learned, or raises UpstreamError."""

Preamble: TypeAlias = bytes
"""Bytes to send before anything else: a PROXY protocol header."""


class Lease:
    """The right to use one server connection until `release`."""

    __slots__ = ("_pool", "connection")

    def __init__(self, pool: Pool, connection: ServerConnection) -> None:
        self._pool = pool
        self.connection = connection

    @property
    def stream(self) -> Stream:
        """The logged-in socket."""
        if self.connection.stream is None:
            raise AssertionError("a lease is given only for an open connection")
        return self.connection.stream

    def release(self) -> None:
        """It has served: it is closed. Releasing twice does nothing."""
        self._pool.move(self.connection, State.CLOSED)
        self.stream.close()

    def move(self, state: State) -> None:
        """Put the connection to another use: shared by many clients, idle until the next one, or leased again."""
        self._pool.move(self.connection, state)

    def restamp(self, version: int) -> None:
        """The connection has shown a newer credential, of `version`, without a new login."""
        self._pool.restamp(self.connection, version)


class Upstream:
    """One configured upstream at work.

    Args:
        settings: its part of the configuration.
        endpoints: where its servers are, at first; see `replace`.
        tls: contexts for TLS to it, or None when it is off.
        store: where its credential's current value lies.
    """

    def __init__(
        self,
        name: str,
        settings: UpstreamSettings,
        *,
        endpoints: EndpointSet,
        tls: ClientContexts | None,
        store: Store,
        metrics: UpstreamMetrics,
        credential_metrics: CredentialMetrics | None,
        clock: Clock,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.tls = tls
        self.health: dict[Endpoint, Health] = {}
        self._ledger = Ledger(settings.credential, store, credential_metrics)
        self.pool = Pool(self._ledger.moved, self._ledger.restamped)
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, protects nothing
        self._listeners: list[Callable[[], None]] = []
        self._withdrawal = Withdrawal()
        self.replace(endpoints)

    @property
    def endpoints(self) -> EndpointSet:
        """Where its servers are now."""
        return tuple(self.health)

    @property
    def counts(self) -> UpstreamMetrics:
        """Its counts, for what a protocol counts of an upstream."""
        return self._metrics

    @property
    def credential(self) -> Credential | None:
        """What a login would show now; None without a credential, or before its first value."""
        name = self.settings.credential
        return None if name is None else self._store.current(name)

    def on_rotation(self, callback: Callable[[Credential], None]) -> Callable[[], None]:
        """Call `callback` with each value of the credential that becomes current; see `Store.subscribe`."""
        name = self.settings.credential
        return _nothing if name is None else self._store.subscribe(name, callback)

    def on_ending(self, callback: EndingTold) -> Callable[[], None]:
        """Call `callback` with each version of the credential that ends; see `Store.on_ending`."""
        name = self.settings.credential
        return _nothing if name is None else self._store.on_ending(name, callback)

    def has_ended(self, version: int | None) -> bool:
        """Whether what a connection has shown, the credential of `version`, has ended."""
        name = self.settings.credential
        return name is not None and version is not None and self._store.has_ended(name, version)

    def is_outlived(self, version: int | None) -> bool:
        """Whether the credential of `version` ends, soon or now, and there is a newer one to go on with."""
        name, current = self.settings.credential, self.credential
        if name is None or version is None or current is None or current.version <= version:
            return False
        return self._store.is_ending(name, version)

    def ended(self, how: How) -> None:
        """Count a connection that has ended because its credential did."""
        self._ledger.ended(how)

    async def refused(self, version: int | None) -> None:
        """The server no longer takes the credential of `version`: have its source asked for a better one."""
        name = self.settings.credential
        if name is not None and version is not None:
            await self._store.refused(name, version)

    def replace(self, endpoints: EndpointSet) -> None:
        """Take a new endpoint set; what is known of the endpoints that stay is kept.

        Whoever is just being logged in at one that does not stay looks elsewhere.
        """
        before = self.endpoints
        self.health = {endpoint: self.health.get(endpoint) or Health() for endpoint in endpoints}
        if self.endpoints == before:
            return
        self._withdrawal.withdraw(self.health)
        for callback in tuple(self._listeners):
            callback()

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever the endpoint set has changed. Returns what ends that; callbacks must not raise."""
        self._listeners.append(callback)

        def unsubscribe() -> None:
            if callback in self._listeners:
                self._listeners.remove(callback)

        return unsubscribe

    async def lease(self, login: Login, preamble: Preamble | None = None, *, read_from: ReadFrom = "primary") -> Lease:
        """Open and log in a connection for one client; without a preamble, for ourselves.

        Args:
            read_from: which role of endpoint will do, where discovery tells them apart.

        Raises:
            UpstreamError: no endpoint let us in; carries the reason of the most telling failure.
            CredentialError: there is no valid credential to show.
        """
        failures: list[UpstreamError] = []
        tried: set[Endpoint] = set()
        ahead = self._own_preamble() if preamble is None else preamble
        while (endpoint := self._next(read_from, tried)) is not None:
            tried.add(endpoint)
            try:
                return await self.lease_at(endpoint, login, ahead)
            except UpstreamError as error:
                failures.append(error)
                if not _worth_trying_next(error):
                    break
        raise _most_telling(failures)

    async def lease_at(self, endpoint: Endpoint, login: Login, preamble: Preamble | None = None) -> Lease:
        """Open and log in a connection to this one, which need not be among our endpoints; raises as `lease`."""
        name = self.settings.credential
        preamble = self._own_preamble() if preamble is None else preamble
        if name is None:
            return await self._open(endpoint, None, login, preamble)
        credential = await self._store.usable(name)
        try:
            return await self._show(endpoint, credential, login, preamble)
        except UpstreamError as error:
            if error.reason is not Reason.UPSTREAM_LOGIN_REFUSED:
                raise
            newer = await self._store.refused(name, credential.version)
            if newer is None:
                raise
        return await self._open(endpoint, newer, login, preamble)

    async def _show(self, endpoint: Endpoint, credential: Credential, login: Login, preamble: Preamble) -> Lease:
        """As `_open`. Whoever has shown what meanwhile ends would have to leave at once: it shows what has followed."""
        lease = await self._open(endpoint, credential, login, preamble)
        if not self.is_outlived(credential.version):
            return lease
        lease.release()
        return await self._open(endpoint, self.credential, login, preamble)

    def _next(self, read_from: ReadFrom, tried: set[Endpoint]) -> Endpoint | None:
        """Which endpoint to try after `tried`; chosen anew each time, since the set may have changed meanwhile."""
        return next((endpoint for endpoint in self._order(read_from) if endpoint not in tried), None)

    async def connect(self, endpoint: Endpoint, preamble: Preamble = b"") -> Attempt:
        """Open a socket to `endpoint` without logging in: for messages that go ahead of a login, as a cancel does.

        Raises:
            UpstreamError: it could not be reached.
        """
        address = endpoint.address
        stream = await dial(address, timeout=self.settings.connect_timeout, keepalive=self.settings.keepalive)
        if preamble:
            stream.write(preamble)
        return Attempt(stream, endpoint, None, self.settings, self.tls)

    async def trial(self, credential: Credential, login: Login) -> TrialResult:
        """Try `credential` with a real login, and close again: whether a server accepts it.

        UNKNOWN when no server could say: unreachable, busy, TLS trouble.
        """
        for endpoint in dict.fromkeys((*self._order("primary"), *self._order("replica"))):
            try:
                lease = await self._open(endpoint, credential, login, self._own_preamble())
            except UpstreamError as error:
                if error.reason is Reason.UPSTREAM_LOGIN_REFUSED:
                    return TrialResult.REFUSED
                if _let_us_in(error):
                    return TrialResult.ACCEPTED
                continue
            lease.release()
            return TrialResult.ACCEPTED
        return TrialResult.UNKNOWN

    def _own_preamble(self) -> Preamble:
        """The PROXY header of a connection that is not made for a client: a server that expects one must get one."""
        version = self.settings.send_proxy_protocol
        if version is None:
            return b""
        return (build_v1 if version == "v1" else build_v2)(None, None)

    def _order(self, read_from: ReadFrom) -> list[Endpoint]:
        now = self._clock.now()
        return balance.order(self.endpoints, self.health, self.settings.balance, now, self._rng, read_from=read_from)

    async def _open(self, endpoint: Endpoint, credential: Credential | None, login: Login, preamble: Preamble) -> Lease:
        if endpoint in self.health:
            self.health[endpoint].chosen(self._clock.now())
        version = None if credential is None else credential.version
        connection = ServerConnection(endpoint, version, self._metrics.endpoint(str(endpoint)))
        self.pool.add(connection)
        started = self._clock.now()
        result: str = "cancelled"
        try:
            async with self._withdrawal.watch(endpoint):
                attempt = replace(await self.connect(endpoint, preamble), credential=credential)
                connection.stream = attempt.stream
                async with asyncio.timeout(self.settings.login_timeout):
                    connection.facts = await login(attempt)
            result = "ok"
        except TimeoutError as error:
            result = Reason.UPSTREAM_LOGIN_TIMEOUT
            shaking = connection.stream is not None and connection.stream.shaking
            what = "answer the TLS handshake" if shaking else "finish the login"
            words = f"{endpoint} did not {what} in {self.settings.login_timeout:g} s"
            words += ": does it speak TLS at this port?" if shaking else ""
            raise UpstreamError(Reason.UPSTREAM_LOGIN_TIMEOUT, words) from error
        except UpstreamError as error:
            result = error.reason
            raise
        except (OSError, EOFError) as error:
            result = Reason.UPSTREAM_CLOSED
            raise UpstreamError(
                Reason.UPSTREAM_CLOSED, f"{endpoint} closed the connection during login: {error}"
            ) from error
        finally:
            self._opened(connection, result, self._clock.now() - started)
        return Lease(self.pool, connection)

    def _opened(self, connection: ServerConnection, result: str, seconds: float) -> None:
        """Note how an attempt to open ended: state, health, metrics."""
        health = self.health.get(connection.endpoint)
        connection.counts.connected(result, seconds)
        if result == "ok":
            self.pool.move(connection, State.LEASED)
        else:
            self.pool.move(connection, State.CLOSED)
            if connection.stream is not None:
                connection.stream.abort()
        if health is not None:
            if result == "cancelled":
                health.abandoned()
            elif result in _ENDPOINT_AT_FAULT:
                health.failed(result, self._clock.now())
            else:
                health.answered()
            connection.counts.healthy = health.standing in {Standing.HEALTHY, Standing.UNKNOWN}


def _nothing() -> None:
    """Ends a subscription to what never changes."""


def _worth_trying_next(error: UpstreamError) -> bool:
    if error.reason is Reason.UPSTREAM_REJECTED:
        return error.code is not None and error.code.startswith(_BUSY_CLASSES)
    return error.reason in _TRY_NEXT


def _let_us_in(error: UpstreamError) -> bool:
    """Whether the server refused for something it looks at only after the credential was found good.

    An unknown database (3D000) or no right to connect to it (42501) are checked after authentication.
    """
    return error.reason is Reason.WRONG_ROLE or (
        error.reason is Reason.UPSTREAM_REJECTED and error.code in {"3D000", "42501"}
    )


def _most_telling(failures: list[UpstreamError]) -> UpstreamError:
    """The failure to report when all endpoints failed: the last, with the words of all when they are several."""
    if not failures:
        return UpstreamError(Reason.CONNECT_FAILED, "the upstream has no endpoints")
    last = failures[-1]
    if len(failures) == 1:
        return last
    words = "; ".join(str(failure) for failure in failures)
    return UpstreamError(last.reason, words, public=last.public, code=last.code)
