"""Servers change their roles and go: who is moved at once, who when it costs nothing, and what the clients are told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from ambassador.config.address import Address
from ambassador.protocols.redis import moving
from ambassador.protocols.redis.line import LOST
from ambassador.upstreams.endpoint import Endpoint, Role
from ambassador.upstreams.pool import State
from ambassador.wire.redis.messages import encode
from tests.support.clock import ManualClock
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import PATIENCE, Guest, MakeTable, Table, until

OK = b"+OK\r\n"
NULL = b"$-1\r\n"
READONLY = b"-READONLY You can't write against a read only replica.\r\n"


@pytest.fixture
def other() -> Iterator[FakeRedis]:
    """A second server."""
    with FakeRedis() as server:
        yield server


def at(server: FakeRedis, role: Role | None = None) -> Endpoint:
    """Where a server is, and what it is."""
    return Endpoint(Address.parse(server.address), role)


def now_is(server: FakeRedis, role: str) -> None:
    """What the server says it is, to those who come from now on."""
    server.on("HELLO", raw=encode(["server", "redis", "proto", 2, "role", role], 2))


def switch(table: Table, fake: FakeRedis, other: FakeRedis) -> None:
    """The other one takes over."""
    now_is(fake, "replica")
    table.upstream.replace((at(other, "primary"), at(fake, "replica")))


@pytest.fixture
async def watched(make_table: MakeTable, fake: FakeRedis, other: FakeRedis) -> Table:
    """A hub whose primary is `fake`, as discovery told."""
    table = make_table()
    table.upstream.replace((at(fake, "primary"),))
    return table


@pytest.fixture
async def dedicated(make_table: MakeTable, fake: FakeRedis) -> Table:
    """The same, with a connection for each client."""
    table = make_table(mode="dedicated")
    table.upstream.replace((at(fake, "primary"),))
    return table


async def began(guest: Guest, fake: FakeRedis, command: str) -> None:
    """Say a command, and wait until the server has it."""
    guest.say(command)
    await until("the server to have it", lambda: fake.asked(*command.split()) == 1)


# ---- a primary that is one no longer


async def test_what_it_still_answers_is_worth_nothing(watched: Table, fake: FakeRedis, other: FakeRedis) -> None:
    guest = await watched.guest()
    fake.on("SET", act="wait")
    await began(guest, fake, "SET a 1")
    switch(watched, fake, other)
    assert await guest.hear() == LOST
    fake.release()
    assert await guest.ask("SET a 2", "GET a") == OK + b"$1\r\n2\r\n"
    assert other.asked("SET") == 1


async def test_clients_stay_and_go_on_at_the_new_one(watched: Table, fake: FakeRedis, other: FakeRedis) -> None:
    guests = [await watched.guest() for _ in range(3)]
    for guest in guests:
        assert await guest.ask("PING") == b"+PONG\r\n"
    switch(watched, fake, other)
    for guest in guests:
        assert await guest.ask("SET a 1") == OK
    assert (fake.asked("SET"), other.asked("SET")) == (0, 3)
    await until("the old one to be left", lambda: fake.connections == 0)


async def test_a_transaction_is_told_at_its_end(watched: Table, fake: FakeRedis, other: FakeRedis) -> None:
    guest = await watched.guest()
    assert await guest.ask("MULTI", "SET a 1") == OK + b"+QUEUED\r\n"
    switch(watched, fake, other)
    assert (await guest.ask("EXEC")).startswith(b"-EXECABORT")
    assert await guest.ask("MULTI", "SET a 1", "EXEC") == OK + b"+QUEUED\r\n*1\r\n+OK\r\n"
    assert other.asked("EXEC") == 1


async def test_a_blocked_client_is_told_and_may_block_again(watched: Table, fake: FakeRedis, other: FakeRedis) -> None:
    guest = await watched.guest()
    await began(guest, fake, "BLPOP q 0")
    switch(watched, fake, other)
    assert await guest.hear() == LOST
    await began(guest, other, "BLPOP q 0")
    pusher = await watched.guest()
    await pusher.ask("RPUSH q x")
    assert await guest.hear() == b"*2\r\n$1\r\nq\r\n$1\r\nx\r\n"


async def test_a_subscriber_hears_from_the_new_one(watched: Table, fake: FakeRedis, other: FakeRedis) -> None:
    guest = await watched.guest()
    await guest.ask("SUBSCRIBE news")
    switch(watched, fake, other)
    await until("it to be subscribed there", lambda: other.asked("SUBSCRIBE", "news") == 1)
    await until("it to be heard", lambda: other.publish(b"news", b"x") == 1)
    assert await guest.hear() == b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n"


async def test_a_client_with_a_connection_of_its_own_is_moved_without_a_word(
    dedicated: Table, fake: FakeRedis, other: FakeRedis
) -> None:
    guest = await dedicated.guest()
    assert await guest.ask("SET a 1") == OK
    switch(dedicated, fake, other)
    assert await guest.ask("SET a 2") == OK
    assert (fake.asked("SET"), other.asked("SET")) == (1, 1)


async def test_kept_connections_are_let_go(watched: Table, fake: FakeRedis, other: FakeRedis) -> None:
    watched.hub.give_back(await watched.hub.private((2, 0)))
    assert watched.count(State.IDLE) == 1
    switch(watched, fake, other)
    assert watched.count(State.IDLE) == 0


async def test_a_connection_that_is_on_its_way_out_delivers_nothing_more_either(
    watched: Table, fake: FakeRedis, other: FakeRedis
) -> None:
    guest = await watched.guest()
    fake.on("SET", act="wait")
    await began(guest, fake, "SET a 1")
    line = await watched.hub.shared((2, 0))
    line.retire()
    switch(watched, fake, other)
    assert await guest.hear() == LOST


async def test_the_server_is_asked_what_it_is_before_anybody_writes_there(
    watched: Table, fake: FakeRedis, other: FakeRedis
) -> None:
    now_is(fake, "replica")
    guest = await watched.guest()
    guest.say("SET a 1")
    await until("it to be tried in vain", lambda: fake.accepted > 1)
    switch(watched, fake, other)
    assert await guest.hear() == OK
    assert (fake.asked("SET"), other.asked("SET")) == (0, 1)


# ---- others that go


@pytest.fixture
async def reading(make_table: MakeTable, fake: FakeRedis) -> Table:
    """A hub that reads from the replica `fake`."""
    now_is(fake, "replica")
    table = make_table(read_from="replica", probe_timeout=0.3)
    table.upstream.replace((at(fake, "replica"),))
    return table


async def test_a_replica_that_goes_still_delivers_what_it_owes(
    reading: Table, fake: FakeRedis, other: FakeRedis
) -> None:
    now_is(other, "replica")
    guest = await reading.guest()
    fake.on("GET", act="wait")
    await began(guest, fake, "GET a")
    reading.upstream.replace((at(other, "replica"),))
    await until("another to be there", lambda: at(other, "replica") in {line.endpoint for line in reading.hub.live})
    fake.release()
    assert await guest.hear() == b"$-1\r\n"
    assert await guest.ask("GET b") == b"$-1\r\n"
    assert other.asked("GET", "b") == 1


async def test_who_waits_there_does_not_wait_for_ever(reading: Table, fake: FakeRedis, other: FakeRedis) -> None:
    now_is(other, "replica")
    guest = await reading.guest()
    fake.on("GET", act="hang")
    await began(guest, fake, "GET a")
    reading.upstream.replace((at(other, "replica"),))
    assert await guest.hear() == LOST


async def test_a_connection_of_one_s_own_is_left_when_nothing_is_lost_by_it(
    make_table: MakeTable, fake: FakeRedis, other: FakeRedis
) -> None:
    table = make_table(mode="dedicated")
    idle, busy = [await table.guest() for _ in range(2)]
    await idle.ask("PING")
    await busy.ask("MULTI", "PING")
    table.upstream.replace((at(other, None),))
    assert await busy.ask("EXEC") == b"*1\r\n+PONG\r\n", "it is brought to its end where it began"
    await until("both to be gone", lambda: fake.connections == 0)
    assert await idle.ask("GET a") + await busy.ask("GET a") == b"$-1\r\n" * 2
    assert (fake.asked("GET"), other.asked("GET")) == (0, 2)


async def test_one_that_comes_back_in_time_is_not_left(reading: Table, fake: FakeRedis, other: FakeRedis) -> None:
    guest = await reading.guest()
    await guest.ask("MULTI", "PING")
    here = reading.upstream.endpoints
    reading.upstream.replace((at(other, "replica"),))
    reading.upstream.replace(here)
    await asyncio.sleep(0.5)
    assert await guest.ask("EXEC") == b"*1\r\n+PONG\r\n"


async def test_a_primary_that_only_had_to_do_is_left_for_a_replica(
    make_table: MakeTable, fake: FakeRedis, other: FakeRedis
) -> None:
    now_is(other, "replica")
    table = make_table(read_from="prefer-replica")
    table.upstream.replace((at(fake, "primary"),))
    guest = await table.guest()
    await guest.ask("GET a")
    table.upstream.replace((at(fake, "primary"), at(other, "replica")))
    await until("the replica to be used", lambda: other.accepted == 1 and fake.connections == 0)
    await guest.ask("GET a")
    assert (fake.asked("GET"), other.asked("GET")) == (1, 1)


async def test_a_change_elsewhere_moves_nobody(watched: Table, fake: FakeRedis, other: FakeRedis) -> None:
    guest = await watched.guest()
    await guest.ask("PING")
    watched.upstream.replace((at(fake, "primary"), at(other, "replica")))
    await guest.ask("PING")
    assert (fake.accepted, other.accepted) == (1, 0)


# ---- a server that says it is a replica


async def test_a_primary_that_refuses_writes_is_looked_for_anew(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    fake.on("SET", raw=READONLY, times=1)
    assert await guest.ask("SET a 1") == READONLY
    assert await guest.ask("SET a 1") == OK
    assert fake.accepted == 2


async def test_so_it_is_for_a_connection_of_one_s_own(make_table: MakeTable, fake: FakeRedis) -> None:
    table = make_table(mode="dedicated")
    guest = await table.guest()
    fake.on("SET", raw=READONLY, times=1)
    assert await guest.ask("PING", "SET a 1", "PING") == b"+PONG\r\n" + READONLY + b"+PONG\r\n"
    assert await guest.ask("SET a 1") == OK
    assert fake.accepted == 2


async def test_one_that_was_a_replica_all_the_time_is_not_left_at_each_write(
    table: Table, fake: FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_is(fake, "replica")
    guest = await table.guest()
    fake.on("SET", raw=READONLY)
    assert await guest.ask("SET a 1", "SET a 1") == READONLY * 2
    assert fake.accepted == 1
    monkeypatch.setattr(moving, "ONCE_IN", 0.0)
    assert await guest.ask("SET a 1") == READONLY
    await until("it to be looked for", lambda: fake.accepted == 2)


async def test_who_reads_from_replicas_is_not_moved_by_them(make_table: MakeTable, fake: FakeRedis) -> None:
    table = make_table(read_from="prefer-replica")
    guest = await table.guest()
    fake.on("SET", raw=READONLY)
    assert await guest.ask("SET a 1") == READONLY
    assert await guest.ask("PING") == b"+PONG\r\n"
    assert fake.accepted == 1


# ---- waits


async def test_a_wait_for_the_next_try_ends_when_there_are_other_servers(table: Table, other: FakeRedis) -> None:
    moves = table.hub.moving
    waiting = asyncio.ensure_future(moves.pause(3600, moves.changes))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    seen = moves.changes
    table.upstream.replace((at(other, None),))
    async with asyncio.timeout(PATIENCE):
        await waiting
        await moves.pause(3600, seen)
        await moves.pause(0.01, moves.changes)


async def test_once_closed_nobody_is_moved(table: Table, other: FakeRedis) -> None:
    seen = table.hub.moving.changes
    await table.hub.close()
    table.upstream.replace((at(other, None),))
    assert table.hub.moving.changes == seen


# ---- the hub's connections, one by one


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
