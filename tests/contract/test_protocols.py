"""What every protocol of the registry must do, whichever language it speaks."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, TypeAlias

import pytest

from ambassador import registry
from ambassador.config.address import Address
from ambassador.config.load import load_text
from ambassador.config.model import Model
from ambassador.demo.servers import free_port
from ambassador.errors import ClientError, Reason, UpstreamError
from ambassador.kit.clock import SYSTEM
from ambassador.net.dial import dial
from ambassador.net.stream import Stream
from ambassador.protocols.base import Protocol
from ambassador.runtime.check import connect_all
from ambassador.wire.postgres import messages
from ambassador.wire.redis.messages import request
from tests.support.fake_postgres import FakePostgres
from tests.support.fake_redis import FakeRedis
from tests.support.house import House, until
from tests.support.pgclient import PgClient
from tests.support.threaded import ThreadedServer, echo

PRIVATE = "10.0.0.7:5432 refused orders_rw"


Server: TypeAlias = ThreadedServer | FakePostgres | FakeRedis


class Rig(ABC):
    """How a test speaks one protocol: a server that works, and a client."""

    joined: ClassVar[bool] = True
    """Whether a client has one server connection, from beginning to end. Otherwise it outlives any of them."""

    def __init__(self, server: Server) -> None:
        self.server = server

    @classmethod
    @abstractmethod
    def make_server(cls) -> Server:
        """A server that lets everyone in."""

    @abstractmethod
    async def come_in(self, stream: Stream) -> None:
        """Do what a client does before it can ask."""

    @abstractmethod
    async def ask(self, stream: Stream) -> None:
        """Ask something and hear the answer."""

    @abstractmethod
    def leave(self, stream: Stream) -> None:
        """Say good-bye."""


class TcpRig(Rig):
    @classmethod
    def make_server(cls) -> ThreadedServer:
        return ThreadedServer(echo)

    async def come_in(self, stream: Stream) -> None:
        await self.ask(stream)

    async def ask(self, stream: Stream) -> None:
        stream.write(b"ping")
        assert await stream.read() == b"ping"

    def leave(self, stream: Stream) -> None:
        stream.write_eof()


class PostgresRig(Rig):
    @classmethod
    def make_server(cls) -> FakePostgres:
        return FakePostgres()

    async def come_in(self, stream: Stream) -> None:
        await PgClient.over(stream).log_in()

    async def ask(self, stream: Stream) -> None:
        assert (await PgClient.over(stream).query("select 'ping'")).rows == ["ping"]

    def leave(self, stream: Stream) -> None:
        stream.write(messages.TERMINATE)


class RedisRig(Rig):
    joined = False

    @classmethod
    def make_server(cls) -> FakeRedis:
        return FakeRedis()

    async def come_in(self, stream: Stream) -> None:
        await self.ask(stream)

    async def ask(self, stream: Stream) -> None:
        stream.write(request("ECHO", "ping"))
        assert await stream.read() == b"$4\r\nping\r\n"

    def leave(self, stream: Stream) -> None:
        stream.write(request("QUIT"))


RIGS: dict[str, type[Rig]] = {"tcp": TcpRig, "postgres": PostgresRig, "redis": RedisRig}

NAMES = sorted(registry.PROTOCOLS)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Each protocol in turn."""
    found: str = request.param
    return found


@pytest.fixture
def protocol(name: str) -> type[Protocol]:
    """Its class."""
    found: type[Protocol] = registry.resolve("protocols", name)
    return found


@pytest.fixture
def rig(name: str) -> Iterator[Rig]:
    """Its rig; a protocol without one has no contract, and that is a failure."""
    with RIGS[name].make_server() as server:
        yield RIGS[name](server)


def config(name: str, address: str, **limits: Any) -> str:
    own = ", redis: {wait: 500ms}" if name == "redis" else ""
    written = ", ".join(f"{key}: {value}" for key, value in limits.items())
    return f"""
upstreams:
  behind: {{endpoints: '{address}', connect_timeout: 2s{own}}}
listeners:
  front: {{listen: 'unix:DIR/front', {name}: {{upstream: behind}}, limits: {{{written}}}}}
"""


@asynccontextmanager
async def connected(house: House) -> AsyncIterator[Stream]:
    """A client that has not said anything yet."""
    stream = await dial(Address(path=f"{house.directory}/front"), timeout=5)
    try:
        yield stream
    finally:
        stream.abort()
        await stream.wait_closed(5)


@asynccontextmanager
async def client(house: House, rig: Rig) -> AsyncIterator[Stream]:
    """A client that has come in."""
    async with connected(house) as stream:
        await rig.come_in(stream)
        yield stream


async def turned_away(house: House, rig: Rig) -> None:
    """A client that tries to come in, and cannot."""
    async with connected(house) as stream:
        with pytest.raises((UpstreamError, EOFError, ConnectionError, AssertionError)):
            await rig.come_in(stream)


async def gone(stream: Stream) -> None:
    """Wait until the other end has closed, whatever it says at the end."""
    async with asyncio.timeout(5):
        try:
            while await stream.read():
                pass
        except ConnectionError:
            return


# ---- the class


def test_a_protocol_is_a_protocol(protocol: type[Protocol]) -> None:
    assert issubclass(protocol, Protocol)
    assert not getattr(protocol, "__abstractmethods__", None)


def test_its_options_name_an_upstream_and_need_nothing_else(protocol: type[Protocol]) -> None:
    assert issubclass(protocol.ListenerOptions, Model)
    assert issubclass(protocol.UpstreamOptions, Model)
    assert protocol.ListenerOptions.model_validate({"upstream": "behind"}).model_dump()["upstream"] == "behind"
    assert protocol.UpstreamOptions() == protocol.UpstreamOptions.model_validate({})


def test_what_it_counts_is_fit_for_a_metric_label(protocol: type[Protocol]) -> None:
    assert protocol.request_kinds
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", kind) for kind in protocol.request_kinds)


def test_its_names_for_tls_fit_into_a_handshake(protocol: type[Protocol]) -> None:
    assert all(0 < len(word.encode("ascii")) < 256 for word in protocol.alpn)


@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_keeps_what_is_private_unless_it_may_tell(protocol: type[Protocol], reason: Reason) -> None:
    spoken = protocol(protocol.ListenerOptions.model_validate({"upstream": "behind"}), protocol.make_shared())
    for error in (
        UpstreamError(reason, PRIVATE, code="XX000"),
        UpstreamError(reason, PRIVATE, code="53300"),
        ClientError(reason, PRIVATE, public="no"),
    ):
        said = spoken.refuse(error, reveal=False)
        assert b"10.0.0.7" not in said
        assert b"orders_rw" not in said
        revealed = spoken.refuse(error, reveal=True)
        assert bool(revealed) == bool(said), "whether there are words does not depend on who may hear them"
        assert not revealed or PRIVATE.encode() in revealed


# ---- a session


async def test_a_client_is_joined_to_the_server_and_counted(name: str, rig: Rig) -> None:
    async with House(config(name, rig.server.address)) as house:
        async with client(house, rig) as stream:
            await rig.ask(stream)
            await rig.ask(stream)
            (session,) = house.status()["sessions"]
            assert session["phase"] == "relay"
            assert session["endpoint"] == (rig.server.address if rig.joined else None)
            assert min(session["bytes_in"], session["bytes_out"]) >= 8
            rig.leave(stream)
            await gone(stream)
        await until("the session to end", lambda: bool(house.ends()))
        (end,) = house.ends()
        assert end.items() >= {"reason": "client_closed", "listener": "front", "upstream": "behind"}.items()
        if rig.joined:
            await until("the server's side to end", lambda: rig.server.connections == 0)
    await until("the server to be left", lambda: rig.server.connections == 0)


async def test_a_client_that_vanishes_takes_its_server_connection_along(name: str, rig: Rig) -> None:
    if not rig.joined:
        pytest.skip("here it has none of its own")
    async with House(config(name, rig.server.address)) as house:
        async with client(house, rig) as stream:
            await rig.ask(stream)
        await until("the session to end", lambda: bool(house.ends()))
        assert house.ends()[0]["reason"] == "client_closed"
        await until("the server's side to end", lambda: rig.server.connections == 0)


async def test_a_server_that_ends_ends_the_session_or_is_found_again(name: str, rig: Rig) -> None:
    async with House(config(name, rig.server.address)) as house, client(house, rig) as stream:
        await rig.ask(stream)
        rig.server.hang_up()
        if not rig.joined:
            ok = f'upstream_connects_total{{endpoint="{rig.server.address}",result="ok",upstream="behind"}} 2'
            await until("another connection", lambda: ok in house.metrics())
            await rig.ask(stream)
            assert not house.ends()
            return
        await gone(stream)
        stream.abort()
        await until("the session to end", lambda: bool(house.ends()))
        assert house.ends()[0]["reason"] == "upstream_closed"


async def test_a_server_that_cannot_be_reached_is_the_upstream_s_fault(name: str, rig: Rig) -> None:
    async with House(config(name, f"127.0.0.1:{free_port()}")) as house:
        await turned_away(house, rig)
        await until("the session to end", lambda: bool(house.ends()))
        assert house.ends()[0]["reason"] == ("connect_failed" if rig.joined else "client_closed")
        assert 'result="connect_failed"' in house.metrics()


async def test_one_client_too_many_is_turned_away_and_the_others_go_on(name: str, rig: Rig) -> None:
    async with House(config(name, rig.server.address, connections=1)) as house, client(house, rig) as first:
        await rig.ask(first)
        await turned_away(house, rig)
        await until("the second to be turned away", lambda: bool(house.ends()))
        assert house.ends()[0]["reason"] == "too_many_connections"
        await rig.ask(first)


async def test_a_silent_client_is_let_go_where_silence_is_limited(name: str, rig: Rig) -> None:
    async with House(config(name, rig.server.address, idle_timeout="200ms")) as house, client(house, rig) as stream:
        await rig.ask(stream)
        await gone(stream)
        await until("the session to end", lambda: bool(house.ends()))
        assert house.ends()[0]["reason"] == "idle_timeout"


async def test_a_session_that_has_lived_long_enough_is_ended(name: str, rig: Rig) -> None:
    async with House(config(name, rig.server.address, session_timeout="200ms")) as house, client(house, rig) as stream:
        await rig.ask(stream)
        await gone(stream)
        await until("the session to end", lambda: bool(house.ends()))
        assert house.ends()[0]["reason"] == "session_timeout"


async def test_a_cut_ends_every_session_at_once(name: str, rig: Rig) -> None:
    async with House(config(name, rig.server.address)) as house, client(house, rig) as stream:
        await rig.ask(stream)
        house.daemon.drain()
        house.daemon.drain()
        await gone(stream)
        await house.stop()
        assert house.ends()[0]["reason"] in {"cut", "drained"}


# ---- trying a credential


async def test_a_login_for_nobody_in_particular_works_where_the_server_does(name: str, rig: Rig) -> None:
    for address, good in ((rig.server.address, True), (f"127.0.0.1:{free_port()}", False)):
        loaded = load_text(config(name, address).replace("DIR", "/tmp"))
        findings = await connect_all(loaded.config, SYSTEM)
        assert [finding.good for finding in findings] == [good]
