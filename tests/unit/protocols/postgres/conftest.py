"""What the verbs of the protocol are given: an upstream before a fake server, and a client's side."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from unittest import mock

import pytest

from ambassador.access.base import Authenticator, Principal, Proven, Verdict
from ambassador.config.address import Address
from ambassador.config.schema import ClientTls, ServerTls, UpstreamSettings
from ambassador.credentials.credential import Credential
from ambassador.credentials.store import Store
from ambassador.net.stream import Stream
from ambassador.net.tls import ClientContexts, ServerContexts
from ambassador.protocols.base import Downstream
from ambassador.protocols.postgres.login import ALPN
from ambassador.protocols.postgres.options import PostgresUpstreamOptions
from ambassador.telemetry.metrics import Metrics
from ambassador.telemetry.requests import RequestMetrics
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.upstream import Upstream
from tests.support.certificates import Authority
from tests.support.clock import ManualClock
from tests.support.fake_postgres import FakePostgres
from tests.support.pgclient import PgClient
from tests.support.secrets import canary
from tests.support.streams import stream_pair

CREDENTIAL = "orders-db"
EVERYONE = Proven(Principal("app", "trust"))

MakeUpstream = Callable[..., Upstream]
MakeClient = Callable[..., Awaitable["Front"]]


@pytest.fixture
def fake() -> Iterator[FakePostgres]:
    """A server that lets everyone in."""
    with FakePostgres() as server:
        yield server


@pytest.fixture
def password() -> str:
    """A password that may be shown nowhere."""
    return canary("password")


@pytest.fixture
def make_upstream(authority: Authority) -> MakeUpstream:
    """Makes an upstream before fake servers; with a password, it logs in as `real` with it."""

    def make(
        *servers: FakePostgres,
        password: str | None = None,
        tls: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Upstream:
        clock = ManualClock()
        store = Store(clock)
        if password is not None:
            fields = {"username": b"real", "password": password.encode()}
            store.put(Credential(CREDENTIAL, store.next_version(CREDENTIAL), fields))
            settings["credential"] = CREDENTIAL
        if tls is not None:
            settings["tls"] = ClientTls(ca=authority.file, **tls)
        made = UpstreamSettings(
            endpoints=tuple(Address.parse(server.address) for server in servers),
            protocol="postgres",
            options=PostgresUpstreamOptions(**(options or {})),
            **settings,
        )
        return Upstream(
            "orders",
            made,
            endpoints=tuple(map(Endpoint, made.endpoints)),
            tls=ClientContexts(made.tls, alpn=ALPN) if made.tls is not None else None,
            store=store,
            metrics=Metrics().upstream("orders"),
            credential_metrics=None,
            clock=clock,
        )

    return make


class Front:
    """A client's side, and the client.

    Attributes:
        side: as a protocol is given it.
        client: what the client says and hears.
        admitted: how often the protocol asked for a place.
    """

    def __init__(
        self, near: Stream, far: Stream, verdict: Verdict, tls: ServerContexts | None, *, required: bool
    ) -> None:
        access = mock.create_autospec(Authenticator, instance=True)
        access.identify.return_value = verdict
        self.admitted = 0
        self.client = PgClient.over(far)
        self.side = Downstream(
            stream=near,
            client=near.peer,
            access=access,
            tls=tls,
            tls_required=required,
            admit=self._admit,
            requests=(RequestMetrics(),),
        )

    def _admit(self) -> None:
        self.admitted += 1


@pytest.fixture
async def make_front() -> AsyncIterator[MakeClient]:
    """Makes a client's side; by default everyone is let in as who they say they are."""
    async with AsyncExitStack() as stack:

        async def make(
            verdict: Verdict = EVERYONE,
            *,
            tls: ServerContexts | None = None,
            required: bool = False,
        ) -> Front:
            near, far = await stack.enter_async_context(stream_pair())
            return Front(near, far, verdict, tls, required=required)

        yield make


@pytest.fixture(scope="module")
def server_tls(authority: Authority) -> ServerContexts:
    """TLS towards clients."""
    pair = authority.server("localhost")
    return ServerContexts(ServerTls(cert=pair.cert, key=pair.key), alpn=ALPN)


@pytest.fixture(scope="module")
def trusting(authority: Authority) -> ssl.SSLContext:
    """A client that trusts the CA of the run and names the protocol."""
    context = ssl.create_default_context(cafile=str(authority.file))
    context.set_alpn_protocols(list(ALPN))
    return context
