"""All connections to one upstream: who gets which, and who is looked after."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator

import pytest

from ambassador.config.address import Address
from ambassador.errors import Reason, UpstreamError
from ambassador.protocols.redis import hub as hub_module
from ambassador.protocols.redis.hub import Hub
from ambassador.protocols.redis.line import LOGGED_OUT, UNFOLLOWED, ServerLine
from ambassador.protocols.redis.state import Pin
from ambassador.telemetry import logs
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.pool import State
from ambassador.wire.redis.commands import BUILT_IN
from tests.support.clock import ManualClock
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import MakeTable, Table, until

OK = b"+OK\r\n"
WAY = (2, 0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def told() -> Iterator[Callable[[], str]]:
    """What was logged so far."""
    output = io.BytesIO()
    handle = logs.setup("debug", "json", output)

    def read() -> str:
        handle.flush(5.0)
        return output.getvalue().decode()

    yield read
    handle.close()


# ---- shared connections


async def test_clients_are_spread_over_as_many_connections_as_are_configured(
    make_table: MakeTable, fake: FakeRedis
) -> None:
    table = make_table(connections=3)
    assert table.hub.ready((2, 0)) is None
    lines = {await table.hub.shared((2, 0)) for _ in range(6)}
    assert len(lines) == fake.accepted == table.count(State.SHARED) == 3
    assert {table.hub.ready((2, 0)) for _ in range(6)} == lines


async def test_each_version_and_database_has_its_own(table: Table, fake: FakeRedis) -> None:
    one = await table.hub.shared((2, 0))
    assert await table.hub.shared((2, 0)) is one
    assert await table.hub.shared((3, 0)) is not one
    assert await table.hub.shared((2, 1)) is not one
    assert fake.accepted == 3


async def test_there_are_not_databases_without_end(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "WAYS", 2)
    await table.hub.shared((2, 0))
    await table.hub.shared((2, 1))
    assert table.hub.ready((2, 2)) is None
    with pytest.raises(UpstreamError, match="more than 2 databases"):
        await table.hub.shared((2, 2))


async def test_a_connection_that_is_lost_is_replaced_while_there_are_clients(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    await guest.ask("PING")
    fake.hang_up()
    await until("another to be there", lambda: fake.accepted == 2 and table.hub.ready((2, 0)) is not None)
    guest.far.abort()
    await guest.end()
    fake.hang_up()
    await until("it to be gone", lambda: table.count(State.SHARED) == 0)
    assert fake.accepted == 2, "nobody is there to need another"


async def test_the_table_of_commands_is_asked_for_once(table: Table, fake: FakeRedis) -> None:
    assert table.hub.commands is BUILT_IN
    await table.hub.shared((2, 0))
    await table.hub.shared((3, 0))
    assert fake.asked("COMMAND") == 1
    assert table.hub.commands is BUILT_IN, "the fake does not tell"


async def test_a_server_that_is_not_what_it_is_taken_for_is_said_once(
    table: Table, fake: FakeRedis, told: Callable[[], str]
) -> None:
    fake.mode = b"cluster"
    for way in ((2, 0), (3, 0)):
        await table.hub.shared(way)
    assert told().count("set redis: {cluster: true}") == 1


async def test_of_many_who_come_at_once_one_learns_the_commands_for_all(table: Table, fake: FakeRedis) -> None:
    lines = await asyncio.gather(*(table.hub.private((2, 0)) for _ in range(20)))
    assert fake.asked("COMMAND") == 1
    for line in lines:
        table.hub.give_back(line)


# ---- connections for one


async def test_a_connection_that_was_given_back_is_lent_again(table: Table, fake: FakeRedis) -> None:
    line = await table.hub.private((2, 0))
    assert table.count(State.LEASED) == 1
    table.hub.give_back(line)
    assert (table.count(State.LEASED), table.count(State.IDLE)) == (0, 1)
    assert table.hub.idle((3, 0)) is None
    assert table.hub.idle((2, 0)) is line
    assert table.count(State.LEASED) == 1
    assert table.hub.idle((2, 0)) is None
    table.hub.give_back(line)
    assert await table.hub.private((2, 0)) is line
    assert fake.accepted == 1


@pytest.mark.parametrize("why", ["soiled", "owed", "gone", "full", "endpoint", "closed"])
async def test_some_are_not_fit_for_others(make_table: MakeTable, why: str) -> None:
    table = make_table(idle=0 if why == "full" else 1)
    line = await table.hub.private((2, 0))
    if why == "soiled":
        line.soiled = True
    elif why == "owed":
        line.say("PING", then=lambda _: None)
    elif why == "gone":
        line.drop()
    elif why == "endpoint":
        table.upstream.replace((Endpoint(Address("10.0.0.1", 1)),))
    elif why == "closed":
        table.hub.closed = True
    table.hub.give_back(line)
    assert line.gone
    assert (table.count(State.IDLE), table.hub.idle((2, 0))) == (0, None)


async def test_a_kept_connection_that_the_server_ends_is_kept_no_more(table: Table, fake: FakeRedis) -> None:
    table.hub.give_back(await table.hub.private((2, 0)))
    fake.hang_up()
    await until("it to be noticed", lambda: table.count(State.IDLE) == 0)
    assert table.hub.idle((2, 0)) is None


async def test_of_kept_ones_those_at_endpoints_that_are_gone_are_not_lent(table: Table) -> None:
    line = await table.hub.private((2, 0))
    table.hub.give_back(line)
    table.upstream.health = {}
    assert table.hub.idle((2, 0)) is None
    assert line.gone


async def test_a_connection_is_tried_for_until_the_wait_is_over(make_table: MakeTable, fake: FakeRedis) -> None:
    fake.on("HELLO", raw=b"-ERR not yet\r\n", times=2)
    table = make_table()
    assert not (await table.hub.private((2, 0))).gone
    assert fake.asked("HELLO") == 3
    fake.on("HELLO", raw=b"-ERR not yet\r\n")
    with pytest.raises(UpstreamError):
        await table.hub.private((2, 0), wait=0.0)
    assert isinstance(table.hub.trouble, UpstreamError)


async def test_what_waiting_does_not_mend_is_told_at_once(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", "another")
    table = make_table(password=password)
    with pytest.raises(UpstreamError) as caught:
        await table.hub.private((2, 0), wait=1000.0)
    assert caught.value.reason is Reason.UPSTREAM_LOGIN_REFUSED


async def test_once_closed_there_are_no_more(table: Table, fake: FakeRedis) -> None:
    lines = [await table.hub.shared((2, 0)), await table.hub.private((2, 0))]
    await table.hub.close()
    assert all(line.gone for line in lines)
    with pytest.raises(UpstreamError) as caught:
        await table.hub.lease((2, 0))
    assert caught.value.reason is Reason.UPSTREAM_CLOSED
    await until("the server to see it", lambda: fake.connections == 0)


# ---- what servers tell of themselves


async def test_when_the_server_refuses_our_login_later_on_the_client_is_told_and_moved(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", password)
    secured = make_table(password=password)
    asked: list[int | None] = []
    secured.store.attach("cache", "tests", asked.append, 0.1)
    guest = await secured.guest()
    await guest.ask("PING")
    fake.on("GET", raw=b"-NOAUTH Authentication required.\r\n", times=1)
    assert await guest.ask("GET a") == LOGGED_OUT
    assert await guest.ask("GET a") == b"$-1\r\n"
    assert asked == [1], "the source is asked for a better one"
    assert fake.accepted == 2


async def test_a_server_that_was_demoted_is_left(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    await guest.ask("PING")
    first = table.hub.ready((2, 0))
    fake.on("SET", raw=b"-READONLY You can't write against a read only replica.\r\n", times=1)
    assert (await guest.ask("SET a 1")).startswith(b"-READONLY")
    await until("it to be left", lambda: first is not None and first.gone)
    assert await guest.ask("SET a 1") == OK


# ---- the watch


async def test_a_silent_server_is_asked_for_a_sign_of_life_and_given_up(
    make_table: MakeTable, fake: FakeRedis, clock: ManualClock, told: Callable[[], str]
) -> None:
    table = make_table(clock=clock, probe=5, probe_timeout=10)
    fake.on("PING", act="hang")
    line = await table.hub.shared((2, 0))
    await clock.advance(5)
    await clock.advance(5)
    assert line.probed_at is not None
    assert line.owed == 1
    await clock.advance(10)
    assert line.gone
    assert "upstream does not answer" in told()


def has_answered(fake: FakeRedis, line: ServerLine, times: int) -> Callable[[], bool]:
    """Whether the server has been asked for a sign of life so often, and none is missing."""
    return lambda: fake.asked("PING") >= times and line.probed_at is None


async def test_a_server_that_gives_a_sign_of_life_is_kept(
    make_table: MakeTable, fake: FakeRedis, clock: ManualClock
) -> None:
    table = make_table(clock=clock, probe=5, probe_timeout=10)
    line = await table.hub.shared((2, 0))
    for turn in range(1, 4):
        await clock.advance(5)
        await until("the sign to come", has_answered(fake, line, turn))
        assert line.owed == 0
    assert not line.gone


async def test_a_server_that_speaks_to_others_is_not_asked(
    make_table: MakeTable, fake: FakeRedis, clock: ManualClock
) -> None:
    table = make_table(clock=clock, probe=5, probe_timeout=10)
    guest = await table.guest()
    for _ in range(4):
        await guest.ask("GET a")
        await clock.advance(5)
    assert fake.asked("PING") == 0


async def test_a_server_at_work_that_still_delivers_is_given_time(
    make_table: MakeTable, fake: FakeRedis, clock: ManualClock
) -> None:
    table = make_table(clock=clock, probe=5, probe_timeout=10)
    fake.on("PING", act="hang")
    line = await table.hub.shared((2, 0))
    await clock.advance(5)
    await clock.advance(5)
    for _ in range(4):
        line.count += 1  # as if a long reply were coming
        await clock.advance(5)
    assert not line.gone
    await clock.advance(15)
    assert line.gone


async def test_whoever_waits_for_a_connection_s_last_replies_does_not_wait_for_ever(
    make_table: MakeTable, fake: FakeRedis, clock: ManualClock
) -> None:
    table = make_table(clock=clock, probe=5, probe_timeout=10)
    fake.on("GET", act="hang")
    guest = await table.guest()
    guest.say("GET a")
    await until("the server to hear of it", lambda: fake.asked("GET") == 1)
    line = table.hub.ready((2, 0))
    assert line is not None
    line.retire()
    for _ in range(6):
        await clock.advance(5)
    assert line not in table.hub.live
    assert (await guest.hear()).startswith(b"-ERR the connection to the upstream server was lost")


async def test_connections_that_nobody_used_for_long_are_closed(make_table: MakeTable, clock: ManualClock) -> None:
    table = make_table(clock=clock, probe=5, idle_timeout=12)
    table.hub.give_back(await table.hub.private((2, 0)))
    await clock.advance(10)
    assert table.count(State.IDLE) == 1
    await clock.advance(5)
    assert table.count(State.IDLE) == 0


# ---- what is told of it


async def test_who_has_a_connection_of_its_own_and_what_is_owed_is_counted(table: Table, fake: FakeRedis) -> None:
    table.hub.pinned(Pin.WATCH)
    assert table.upstream.counts.pinned[Pin.WATCH] == 1
    table.hub.unpinned(Pin.WATCH)
    assert table.pinned == {}
    fake.on("GET", act="wait")
    guest = await table.guest()
    guest.say("GET a", "GET b")
    await until("the server to hear of it", lambda: fake.asked("GET") == 1)
    assert table.upstream.counts.owed is not None
    assert table.upstream.counts.owed() == 2
    fake.release()
    await guest.hear()


async def test_a_server_that_breaks_the_protocol_is_left_and_told_of(
    table: Table, fake: FakeRedis, told: Callable[[], str]
) -> None:
    fake.on("GET", raw=b"?what\r\n")
    guest = await table.guest()
    assert (await guest.ask("GET a")) == UNFOLLOWED
    assert "upstream connection failed" in told()
    assert "a value of an unknown type" in told()


def test_a_hub_needs_an_upstream_of_its_protocol() -> None:
    class Settings:
        options = None

    class Upstream:
        settings = Settings()

    with pytest.raises(TypeError, match="redis upstream"):
        Hub(Upstream())  # type: ignore[arg-type]  # that is the point


def test_a_line_is_one_of_two_kinds() -> None:
    assert {kind.__name__ for kind in ServerLine.__subclasses__()} == {"PrivateLine", "SharedLine"}


async def test_a_server_that_cannot_be_reached_is_said_once_and_so_is_that_it_is_back(
    make_table: MakeTable, told: Callable[[], str]
) -> None:
    with FakeRedis() as server:
        port = server.port
        server.refuse_connections()
        table = make_table(port=port, wait=0.2)
        for _ in range(2):
            with pytest.raises(UpstreamError):
                await table.hub.shared((2, 0))
            with pytest.raises(UpstreamError):
                await table.hub.private((2, 0))
    assert told().count('"event":"upstream not reached"') == 1
    assert '"reason":"connect_failed"' in told()
    table.hub.reached()
    table.hub.reached()
    assert told().count('"event":"upstream reached again"') == 1
