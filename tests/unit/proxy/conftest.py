"""A listener's plan around a protocol that does what a test says: this room must not know which protocol it serves."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ambassador.access.base import Principal
from ambassador.access.trust import Trust
from ambassador.config.address import Address
from ambassador.config.schema import Limits, ListenerSettings, UpstreamSettings
from ambassador.credentials.credential import Credential
from ambassador.credentials.store import Store
from ambassador.errors import AmbassadorError, Reason
from ambassador.kit.drain import Drain
from ambassador.net.relay import End, Relay
from ambassador.net.tls import ServerContexts
from ambassador.protocols.base import Attach, Downstream, Hello, Link
from ambassador.protocols.tcp import Tcp, TcpListenerOptions, TcpUpstreamOptions
from ambassador.proxy.routes import Routes
from ambassador.proxy.session import Plan
from ambassador.telemetry import logs
from ambassador.telemetry.metrics import Metrics
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.target import Target
from ambassador.upstreams.upstream import Upstream
from tests.support.clock import ManualClock
from tests.support.threaded import ThreadedServer, echo


class NotedLink(Relay, Link):
    """A relay of bytes that notes what it is told, and ends only when expelled."""

    def __init__(self, *streams: Any) -> None:
        super().__init__(*streams)
        self.told: list[tuple[str, Reason]] = []
        self.busy = False
        self.open_transaction = False

    @property
    def waiting(self) -> bool:
        return not self.busy

    @property
    def in_transaction(self) -> bool:
        return self.open_transaction

    def leave(self, reason: Reason) -> None:
        self.told.append(("leave", reason))

    def expel(self, reason: Reason) -> None:
        self.told.append(("expel", reason))
        self.finish(reason)


class Scripted(Tcp):
    """Admits everyone and echoes, unless a test puts its own functions in place of the two verbs.

    A refusal is told as `reason: text`.
    """

    logs_in = True

    accepting: Callable[[Downstream], Awaitable[tuple[Hello, Principal]]] | None = None
    relaying: Callable[[Downstream, Hello, Target, Attach], Awaitable[End]] | None = None

    async def accept(self, downstream: Downstream) -> tuple[Hello, Principal]:
        if self.accepting is not None:
            return await self.accepting(downstream)
        downstream.admit()
        return Hello("app", "orders"), Principal("app", "trust")

    async def relay(self, downstream: Downstream, hello: Hello, target: Target, attach: Attach) -> End:
        if self.relaying is not None:
            return await self.relaying(downstream, hello, target, attach)
        lease = await target.lease(self._login)
        try:
            link = NotedLink(downstream.stream, lease.stream)
            attach(link, lease.connection)
            return await link.run()
        finally:
            lease.release()

    def refuse(self, error: AmbassadorError, *, reveal: bool) -> bytes:
        return f"{error.reason}: {error if reveal else error.public}".encode()


class Scene:
    """Everything one listener needs, and a server behind it.

    Attributes:
        plan: the plan; `change` replaces its parts.
    """

    plan: Plan

    def __init__(self, server: ThreadedServer, output: io.BytesIO, log: logs.LogHandle) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.server = server
        self.protocol = Scripted(TcpListenerOptions(upstream="behind"), None)
        self._output = output
        self._log = log
        self.store = store = Store(self.clock)
        settings = ListenerSettings(
            listen=(Address("127.0.0.1", 0),), protocol="tcp", options=TcpListenerOptions(upstream="behind")
        )
        self.plan = Plan(
            name="front",
            settings=settings,
            protocol=self.protocol,
            access=Trust(None, store, self.clock),
            routes=Routes(self._upstream(store)),
            tls=None,
            metrics=self.metrics.listener("front"),
            requests=(self.metrics.requests("front", "behind", "session"),),
            drain=Drain(),
        )

    def change(
        self, *, tls: ServerContexts | None = None, upstream: dict[str, Any] | None = None, **settings: Any
    ) -> None:
        """Other settings of the listener, its TLS, or its upstream."""
        self.plan = replace(
            self.plan, settings=self.plan.settings.model_copy(update=settings), tls=tls or self.plan.tls
        )
        if upstream is not None:
            behind = self.plan.routes.upstream
            behind.settings = behind.settings.model_copy(update=upstream)

    def secure(self) -> None:
        """Have the upstream show a credential, `db`, of which there are two versions."""
        self.store.put(Credential("db", 1, {"password": b"the first"}))
        settings = self.plan.routes.upstream.settings.model_copy(update={"credential": "db"})
        self.plan = replace(self.plan, routes=Routes(self._upstream(self.store, settings)))

    def rotate(self) -> None:
        """Have a newer version of it."""
        self.store.put(Credential("db", 2, {"password": b"the second"}))

    def limit(self, **limits: Any) -> None:
        """Other limits of the listener."""
        self.change(limits=Limits(**limits))

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What was logged of one event."""
        assert self._log.flush(5)
        found = [json.loads(line) for line in self._output.getvalue().splitlines()]
        return [line for line in found if line["event"] == event]

    def end(self) -> dict[str, Any]:
        """The log line of the one session that ended."""
        (line,) = self.lines("session ended")
        return line

    @property
    def results(self) -> dict[str, int]:
        """How sessions ended."""
        return {str(result): count for result, count in self.plan.metrics.results.items()}

    def _upstream(self, store: Store, settings: UpstreamSettings | None = None) -> Upstream:
        address = Address("127.0.0.1", self.server.port)
        settings = settings or UpstreamSettings(endpoints=(address,), protocol="tcp", options=TcpUpstreamOptions())
        return Upstream(
            "behind",
            settings,
            endpoints=(Endpoint(address),),
            tls=None,
            store=store,
            metrics=self.metrics.upstream("behind"),
            credential_metrics=self.metrics.credential("db") if settings.credential else None,
            clock=self.clock,
        )


@pytest.fixture
def output() -> Iterator[tuple[io.BytesIO, logs.LogHandle]]:
    """The log, in memory."""
    stream = io.BytesIO()
    handle = logs.setup("debug", "json", stream)
    yield stream, handle
    handle.close()


@pytest.fixture
async def scene(output: tuple[io.BytesIO, logs.LogHandle]) -> AsyncIterator[Scene]:
    """A plan whose upstream echoes."""
    with ThreadedServer(echo) as server:
        yield Scene(server, *output)
