"""What the room is given: an upstream before a fake server or a real one, and clients that sit at a hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from unittest import mock

import pytest

from ambassador.access.base import Authenticator, Check, Principal, Proven, Verdict
from ambassador.config.address import Address
from ambassador.config.schema import UpstreamSettings
from ambassador.credentials.credential import Credential
from ambassador.credentials.store import Store
from ambassador.errors import Reason
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.net.relay import End
from ambassador.net.stream import Stream
from ambassador.protocols.base import Downstream, Hello
from ambassador.protocols.redis.client import Conversation
from ambassador.protocols.redis.hub import Hub
from ambassador.protocols.redis.options import RedisListenerOptions, RedisUpstreamOptions
from ambassador.protocols.redis.rules import Rules
from ambassador.telemetry.metrics import Metrics
from ambassador.telemetry.requests import RequestMetrics
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.pool import State
from ambassador.upstreams.upstream import Upstream
from ambassador.wire.redis.commands import Kind
from ambassador.wire.redis.messages import Decoder, Short, request
from tests.support.fake_redis import FakeRedis
from tests.support.house import until
from tests.support.redis_lanes import Bench, Halves, halves
from tests.support.secrets import canary
from tests.support.streams import stream_pair
from tests.support.twins import TWINS
from tests.support.valkey import ValkeyServer, new_account

CREDENTIAL = "cache"
USER = "app"
EVERYONE = Proven(Principal("joe", "trust"))
PATIENCE = 5.0

Word = bytes | str | int


class Guest:
    """A client's side, and the client.

    Attributes:
        side: as a protocol is given it.
        talk: the conversation, once it sits at a hub.
        ended: how the conversation ended.
    """

    talk: Conversation
    ended: asyncio.Task[End]

    def __init__(self, near: Stream, far: Stream, verdict: Verdict = EVERYONE) -> None:
        self.near = near
        self.far = far
        self.access = mock.create_autospec(Authenticator, instance=True)
        self.access.identify.return_value = verdict
        self.metrics = tuple(RequestMetrics() for _ in Kind)
        self.introduced: list[Hello] = []
        self._buffer = b""
        self.side = Downstream(
            stream=near,
            client=near.peer,
            access=self.access,
            tls=None,
            tls_required=False,
            admit=lambda: None,
            requests=self.metrics,
            introduce=self.introduced.append,
        )

    def sit(self, hub: Hub, rules: Rules, principal: Principal) -> None:
        """Begin a conversation."""
        self.talk = Conversation(self.side, hub, rules, principal)
        self.ended = asyncio.ensure_future(self.talk.run())

    # ---- the client's part

    def send(self, raw: bytes) -> None:
        """Send bytes as they are."""
        self.far.write(raw)

    def say(self, *commands: str) -> None:
        """Commands in one piece, their words parted by spaces."""
        self.send(pack(*commands))

    async def hear(self) -> bytes:
        """The next reply or push, as it came."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    _, end = Decoder(self._buffer).value(0, 0)
                except Short:
                    data = await self.far.read()
                    if not data:
                        raise EOFError(f"the end came behind {self._buffer[:200]!r}") from None
                    self._buffer += data
                else:
                    item, self._buffer = self._buffer[:end], self._buffer[end:]
                    return item

    async def ask(self, *commands: str) -> bytes:
        """Commands in one piece, and their replies in one."""
        self.say(*commands)
        return b"".join([await self.hear() for _ in commands])

    async def rest(self) -> bytes:
        """All that comes up to the end, however the connection ends."""
        data, self._buffer = self._buffer, b""
        async with asyncio.timeout(PATIENCE):
            try:
                while more := await self.far.read():
                    data += more
            except ConnectionError:
                pass
        return data

    async def rest_until_end(self) -> bytes:
        """All that came until the conversation ended; the session, which would close the stream, is not there."""
        await self.end()
        self.near.close()
        return await self.rest()

    async def end(self) -> End:
        """How the conversation ends."""
        async with asyncio.timeout(PATIENCE):
            return await asyncio.shield(self.ended)

    @property
    def refused(self) -> dict[str, int]:
        """How much the listener's policy has refused, by kind."""
        return {kind.name: one.refused for kind, one in zip(Kind, self.metrics, strict=True) if one.refused}

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """What was counted: good and bad replies, by kind."""
        pairs = zip(Kind, self.metrics, strict=True)
        return {kind.name: (one.ok, one.error) for kind, one in pairs if one.ok or one.error}


def pack(*commands: str) -> bytes:
    """Commands in one piece, their words parted by spaces."""
    return b"".join(request(*command.split()) for command in commands)


class Table:
    """An upstream with its hub, and whoever sits at it."""

    def __init__(self, stack: AsyncExitStack, port: int, *, clock: Clock = SYSTEM, user: str = USER) -> None:
        self.clock = clock
        self.user = user
        self.port = port
        self.store = Store(SYSTEM)
        self.metrics = Metrics()
        self.rules = Rules(RedisListenerOptions(upstream="cache"))
        self.upstream: Upstream
        self.password = ""
        self.hub: Hub
        self.guests: list[Guest] = []
        self._stack = stack

    def lay(self, *, password: str | None = None, endpoints: tuple[str, ...] = (), **options: Any) -> Table:
        """Make the upstream; with a password, it logs in as `user` with it."""
        addresses = endpoints or (f"127.0.0.1:{self.port}",)
        settings: dict[str, Any] = {"endpoints": tuple(map(Address.parse, addresses)), "protocol": "redis"}
        if password is not None:
            self.password = password
            self.rotate(password)
            settings["credential"] = CREDENTIAL
        made = UpstreamSettings(**settings, options=RedisUpstreamOptions(**{"wait": PATIENCE, **options}))
        self.upstream = Upstream(
            "cache",
            made,
            endpoints=tuple(map(Endpoint, made.endpoints)),
            tls=None,
            store=self.store,
            metrics=self.metrics.upstream("cache"),
            credential_metrics=self.metrics.credential(CREDENTIAL) if password is not None else None,
            clock=SYSTEM,
        )
        self.hub = Hub(self.upstream, self.clock)
        self._stack.push_async_callback(self._clear)
        return self

    def allow(self, **options: Any) -> None:
        """Have rules for the guests that come from now on."""
        self.rules = Rules(RedisListenerOptions(upstream="cache", **options))

    def rotate(self, password: str) -> None:
        """Make a new value of the credential current."""
        fields = {"username": self.user.encode(), "password": password.encode()}
        self.store.put(Credential(CREDENTIAL, self.store.next_version(CREDENTIAL), fields))

    async def guest(self, verdict: Verdict = EVERYONE) -> Guest:
        """A client that sits here."""
        near, far = await self._stack.enter_async_context(stream_pair())
        guest = Guest(near, far, verdict)
        guest.sit(self.hub, self.rules, EVERYONE.principal)
        self.guests.append(guest)
        return guest

    async def stranger(self, verdict: Verdict) -> Guest:
        """A client that has not been let in."""
        near, far = await self._stack.enter_async_context(stream_pair())
        return Guest(near, far, verdict)

    @property
    def pinned(self) -> dict[str, int]:
        """How many guests have a connection of their own, by the reason."""
        return {str(why): count for why, count in self.upstream.counts.pinned.items() if count}

    def count(self, state: State) -> int:
        """How many server connections are in a state."""
        return self.upstream.pool.count(state)

    async def _clear(self) -> None:
        for guest in self.guests:
            guest.talk.finish(End(Reason.CUT, None, "self"))
            await asyncio.wait({guest.ended}, timeout=PATIENCE)
        lines = self.hub.lines()
        await self.hub.close()
        for line in lines:
            await line.stream.wait_closed(PATIENCE)
        assert not self.pinned, "somebody is gone and still counted"
        assert not self.hub.owed
        for state in State:
            assert state is State.CLOSED or not self.count(state), f"a connection is left in {state}"


MakeTable = Callable[..., Table]
Seat = Callable[..., Awaitable[Guest]]


@pytest.fixture
def fake() -> Iterator[FakeRedis]:
    """A server that lets everyone in."""
    with FakeRedis() as server:
        yield server


@pytest.fixture
def password() -> str:
    """A password that may be shown nowhere."""
    return canary("password")


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Whatever is entered here ends with the test."""
    async with AsyncExitStack() as entered:
        yield entered


@pytest.fixture
def make_table(fake: FakeRedis, stack: AsyncExitStack) -> MakeTable:
    """Makes an upstream before the fake, and its hub; the words are the upstream's options."""

    def make(*, port: int = 0, clock: Clock = SYSTEM, **options: Any) -> Table:
        return Table(stack, port or fake.port, clock=clock).lay(**options)

    return make


@pytest.fixture
async def table(make_table: MakeTable) -> Table:
    """A hub before the fake, with the usual options."""
    return make_table()


@pytest.fixture
async def real(valkey: ValkeyServer, stack: AsyncExitStack) -> Table:
    """A hub before a real Valkey, where it is a user of the test's own."""
    account = new_account(valkey)
    return Table(stack, valkey.port, user=account.name).lay(password=account.password)


@pytest.fixture(params=["multiplex", "dedicated"])
async def either(request: pytest.FixtureRequest, make_table: MakeTable) -> Table:
    """A hub before the fake, in each mode in turn."""
    return make_table(mode=request.param)


@pytest.fixture
async def guest(table: Table) -> Guest:
    """A client that shares connections."""
    return await table.guest()


class Asked(Check):
    """Asks for a password."""

    def __init__(self, *good: bytes, name: str = "joe") -> None:
        super().__init__(Principal(name, "password"), "cleartext")
        self._good = good

    def scram_verifier(self) -> Any:
        raise NotImplementedError

    def md5_matches(self, user: str, salt: bytes, digest: bytes) -> bool:
        raise NotImplementedError

    def password_matches(self, password: bytes) -> bool:
        return password in self._good


__all__ = ["EVERYONE", "PATIENCE", "USER", "Asked", "Guest", "MakeTable", "Table", "pack", "until"]


@pytest.fixture(params=TWINS)
def module(request: pytest.FixtureRequest) -> Halves:
    """Both halves of the hot path, as they are written and as they are compiled."""
    return halves(request.param)


@pytest.fixture
def bench(module: Halves, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A line with a clock that the test moves."""
    made = Bench(module)
    monkeypatch.setattr(module.owing, "ticks", lambda: made.now)
    return made
