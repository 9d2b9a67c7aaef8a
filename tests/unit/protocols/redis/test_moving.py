"""When servers change their roles, come and go: who leaves which connection, and how soon."""

from __future__ import annotations

import asyncio

from ambassador.config.address import Address
from ambassador.protocols.redis.line import LOST
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.pool import State
from tests.support.clock import ManualClock
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import MakeTable, Table, until

READONLY = b"-READONLY You can't write against a read only replica.\r\n"
NULL = b"$-1\r\n"


def at(server: FakeRedis, *, role: str | None = None) -> Endpoint:
    """Where a server is, and what it is."""
    address = Address("127.0.0.1", server.port)
    return Endpoint(address) if role is None else Endpoint(address, role=role)  # type: ignore[arg-type]  # a word


async def test_whoever_waits_for_a_server_is_woken_when_there_are_others(
    make_table: MakeTable, fake: FakeRedis
) -> None:
    with FakeRedis() as other:
        clock = ManualClock()
        table = make_table(clock=clock)
        fake.refuse_connections()
        waiting = asyncio.ensure_future(table.hub.private((2, 0), wait=1000.0))
        await until("a try to have failed", lambda: table.hub.trouble is not None)
        table.upstream.replace((at(other),))
        async with asyncio.timeout(5):
            line = await waiting
        assert line.endpoint == at(other)
        table.hub.give_back(line)
        await table.hub.close()
        await line.stream.wait_closed(5)


async def test_a_pause_is_none_when_they_have_changed_meanwhile(table: Table) -> None:
    seen = table.hub.moving.changes
    table.upstream.replace(table.upstream.endpoints)
    async with asyncio.timeout(5):
        await table.hub.moving.pause(1000.0, seen - 1)


async def test_a_primary_that_is_none_any_more_is_left_at_once(table: Table, fake: FakeRedis) -> None:
    with FakeRedis() as successor:
        table.upstream.replace((at(fake, role="primary"),))
        fake.on("SET", act="hang")
        guest = await table.guest()
        guest.say("SET a 1")
        await until("the server to hear of it", lambda: fake.asked("SET") == 1)
        table.upstream.replace((at(successor, role="primary"),))
        assert await guest.hear() == LOST, "its yes would be worth nothing"
        assert await guest.ask("SET a 2", "GET a") == b"+OK\r\n$1\r\n2\r\n"
        assert successor.asked("SET") == 1
        guest.far.abort()
        await guest.end()
        await table.hub.close()
        await until("it to be left", lambda: not table.hub.live)


async def test_another_server_that_goes_is_left_when_that_costs_nobody_anything(table: Table, fake: FakeRedis) -> None:
    with FakeRedis() as other:
        fake.on("GET", "slow", act="wait")
        guest, watching = await table.guest(), await table.guest()
        await watching.ask("WATCH k")
        guest.say("GET slow")
        await until("the server to hear of it", lambda: fake.asked("GET") == 1)
        table.hub.give_back(await table.hub.private((2, 0)))
        table.upstream.replace((at(other),))
        assert table.count(State.IDLE) == 0
        await until("the next to be there", lambda: getattr(table.hub.ready((2, 0)), "endpoint", None) == at(other))
        fake.release()
        assert await guest.hear() == NULL
        assert await guest.ask("PING") == b"+PONG\r\n"
        assert other.asked("PING") == 1
        for one in (guest, watching):
            one.far.abort()
            await one.end()
        await table.hub.close()


async def test_whoever_writes_to_a_replica_looks_for_the_primary(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    await guest.ask("PING")
    first = table.hub.ready((2, 0))
    assert first is not None
    fake.on("SET", raw=READONLY, times=1)
    assert await guest.ask("SET a 1") == READONLY
    assert first.misplaced
    await until("it to be left", lambda: first.gone)
    assert await guest.ask("SET a 1") == b"+OK\r\n"
