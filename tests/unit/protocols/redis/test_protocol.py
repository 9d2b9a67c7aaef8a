"""The verbs of the protocol, in the order in which a session uses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ambassador.access.base import Principal, Refused
from ambassador.credentials.rotation import TrialResult
from ambassador.errors import AmbassadorError, ClientError, Overloaded, Reason, UpstreamError
from ambassador.net.relay import End
from ambassador.protocols.base import Hello, Link
from ambassador.protocols.redis.client import Conversation
from ambassador.protocols.redis.hubs import Hubs
from ambassador.protocols.redis.options import RedisListenerOptions
from ambassador.protocols.redis.protocol import Redis
from ambassador.upstreams.pool import ServerConnection
from ambassador.upstreams.target import Target
from ambassador.wire.redis.messages import encode
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import EVERYONE, PATIENCE, Asked, Guest, MakeTable, Table, until


@pytest.fixture
async def redis(table: Table) -> AsyncIterator[Redis]:
    # Made behind the table, and so ended before it is cleared.
    made = Redis(RedisListenerOptions(upstream="cache"), Redis.make_shared())
    yield made
    await Redis.stop_shared(made.shared)
    await asyncio.sleep(0.01)


class Attached:
    """What a session is shown."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.connection: ServerConnection | None = None

    def __call__(self, link: Link, connection: ServerConnection | None) -> None:
        self.link, self.connection = link, connection


async def serve(redis: Redis, guest: Guest, target: Target, attached: Attached) -> End:
    async with asyncio.timeout(PATIENCE):
        hello, _ = await redis.accept(guest.side)
        return await redis.relay(guest.side, hello, target, attached)


async def test_a_client_is_admitted_before_it_is_asked_who_it_is(redis: Redis, table: Table) -> None:
    def full() -> None:
        raise Overloaded(Reason.TOO_MANY_CONNECTIONS, "full")

    guest = await table.stranger(EVERYONE)
    guest.side.admit = full
    with pytest.raises(Overloaded):
        await redis.accept(guest.side)
    guest.access.identify.assert_not_called()


async def test_whoever_is_refused_is_not_let_in(redis: Redis, table: Table) -> None:
    with pytest.raises(ClientError):
        await redis.accept((await table.stranger(Refused("no"))).side)


async def test_a_hello_says_who_the_client_is(redis: Redis, table: Table) -> None:
    guest = await table.stranger(Asked(b"right", name="eve"))
    guest.say("AUTH eve right")
    assert await redis.accept(guest.side) == (Hello("eve"), Principal("eve", "password"))


async def test_a_session_from_the_password_to_the_end(redis: Redis, table: Table, fake: FakeRedis) -> None:
    guest, attached = await table.stranger(Asked(b"right")), Attached()
    serving = asyncio.ensure_future(serve(redis, guest, Target(table.upstream), attached))
    assert (await guest.ask("HELLO 3 AUTH joe right", "PING")).endswith(b"+PONG\r\n")
    assert await guest.ask("ACL WHOAMI") == b"$3\r\njoe\r\n"
    assert isinstance(attached.link, Conversation)
    assert attached.connection is None, "it has none of its own"
    guest.say("QUIT")
    assert (await serving).reason is Reason.CLIENT_CLOSED


async def test_one_hub_serves_all_listeners(redis: Redis, table: Table, fake: FakeRedis) -> None:
    other = Redis(RedisListenerOptions(upstream="cache", read_only=True), redis.shared)
    guests = [await table.stranger(EVERYONE) for _ in range(2)]
    serving = [
        asyncio.ensure_future(serve(protocol, guest, Target(table.upstream), Attached()))
        for protocol, guest in zip((redis, other), guests, strict=True)
    ]
    assert await guests[0].ask("SET a 1") == b"+OK\r\n"
    assert (await guests[1].ask("SET a 2")).startswith(b"-NOPERM")
    assert await guests[1].ask("GET a") == b"$1\r\n1\r\n"
    assert fake.accepted == 1
    for guest in guests:
        guest.far.abort()
    await asyncio.gather(*serving)


async def test_the_end_of_the_daemon_ends_the_connections(table: Table, fake: FakeRedis) -> None:
    shared = Redis.make_shared()
    assert isinstance(shared, Hubs)
    redis = Redis(RedisListenerOptions(upstream="cache"), shared)
    guest = await table.stranger(EVERYONE)
    serving = asyncio.ensure_future(serve(redis, guest, Target(table.upstream), Attached()))
    await guest.ask("PING")
    guest.far.abort()
    await serving
    await Redis.stop_shared(shared)
    await until("the server to see it", lambda: fake.connections == 0)


@pytest.mark.parametrize("result", [TrialResult.ACCEPTED, TrialResult.REFUSED])
@pytest.mark.parametrize("options", [{}, {"database": 3}])
async def test_a_credential_is_tried_with_a_real_login(
    make_table: MakeTable, fake: FakeRedis, password: str, result: TrialResult, options: dict[str, int]
) -> None:
    fake.user("app", password if result is TrialResult.ACCEPTED else "another")
    table = make_table(password=password, **options)
    credential = table.upstream.credential
    assert credential is not None
    assert await table.upstream.trial(credential, Redis.try_login) is result
    if result is TrialResult.ACCEPTED:
        assert fake.asked("SELECT", "3") == len(options)


async def test_where_a_cluster_is_meant_a_trial_asks_for_its_slots(make_table: MakeTable, fake: FakeRedis) -> None:
    fake.on("CLUSTER", raw=b"-ERR This instance has cluster support disabled\r\n")
    table = make_table(cluster=True)
    with pytest.raises(UpstreamError, match="does not tell the slots of a cluster: ERR This instance has") as caught:
        await table.upstream.lease(Redis.try_login)
    assert caught.value.reason is Reason.UPSTREAM_UNSUPPORTED
    fake.on("CLUSTER", raw=b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:7000\r\n")
    (await table.upstream.lease(Redis.try_login)).release()
    assert fake.asked("CLUSTER", "SLOTS") == 2


@pytest.mark.parametrize("reason", [Reason.CLIENT_CLOSED, Reason.DRAINED, Reason.CUT])
def test_some_ends_need_no_words(reason: Reason) -> None:
    redis = Redis(RedisListenerOptions(upstream="cache"), None)
    assert redis.refuse(AmbassadorError(reason, "x"), reveal=True) == b""


def test_a_refusal_is_an_error_of_redis() -> None:
    redis = Redis(RedisListenerOptions(upstream="cache"), None)
    error = UpstreamError(Reason.CONNECT_FAILED, "10.0.0.7 is down")
    assert redis.refuse(error, reveal=False) == b"-ERR the upstream service is not available\r\n"
    assert redis.refuse(error, reveal=True) == b"-ERR 10.0.0.7 is down\r\n"
    wrong = ClientError(Reason.AUTH_FAILED, "no", public="WRONGPASS no")
    assert redis.refuse(wrong, reveal=False) == b"-WRONGPASS no\r\n"


def test_what_the_session_needs_to_know_of_it() -> None:
    assert Redis.asks_for_passwords
    assert Redis.logs_in
    assert not Redis.negotiates_tls
    assert Redis.client_speaks_first
    assert Redis.request_kinds[:3] == ("read", "write", "other")


@pytest.mark.parametrize(
    ("read_from", "allowed"), [(None, True), ("primary", True), ("replica", False), ("prefer-replica", False)]
)
async def test_who_reads_from_replicas_may_not_write_whichever_server_there_is(
    make_table: MakeTable, redis: Redis, fake: FakeRedis, read_from: str | None, allowed: bool
) -> None:
    role = "replica" if read_from == "replica" else "master"
    fake.on("HELLO", raw=encode(["server", "redis", "proto", 2, "role", role], 2))
    table = make_table(read_from=read_from)
    guest = await table.stranger(EVERYONE)
    serving = asyncio.ensure_future(serve(redis, guest, Target(table.upstream), Attached()))
    assert (await guest.ask("SET a 1")).startswith(b"+OK" if allowed else b"-NOPERM")
    assert fake.asked("SET") == allowed
    assert (await guest.ask("GET a")).startswith(b"$")
    guest.say("QUIT")
    await serving
    await Redis.stop_shared(redis.shared)


async def test_before_a_cluster_every_client_sees_one_server(
    make_table: MakeTable, redis: Redis, fake: FakeRedis
) -> None:
    fake.on("CLUSTER", "SLOTS", raw=encode([[0, 16383, [b"127.0.0.1", fake.port, b"id"]]], 2))
    table = make_table(cluster=True)
    guest = await table.stranger(EVERYONE)
    serving = asyncio.ensure_future(serve(redis, guest, Target(table.upstream), Attached()))
    assert await guest.ask("SET a 1", "SELECT 1") == b"+OK\r\n-ERR SELECT is not allowed in cluster mode\r\n"
    guest.say("QUIT")
    await serving
    await Redis.stop_shared(redis.shared)
