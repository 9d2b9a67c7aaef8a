"""All connections to one upstream: who gets which, what rotation does to each, and who is looked after."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator

import pytest

from ambassador.config.address import Address
from ambassador.errors import Reason, UpstreamError
from ambassador.protocols.redis import hub as hub_module
from ambassador.protocols.redis.hub import Hub, Hubs
from ambassador.protocols.redis.line import LOGGED_OUT, ServerLine
from ambassador.protocols.redis.state import Pin
from ambassador.telemetry import logs
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.pool import State
from ambassador.wire.redis.commands import BUILT_IN
from tests.support.clock import ManualClock
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import MakeTable, Table, until

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
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


def versions(table: Table) -> dict[int, int]:
    """Open connections by the version of the credential they showed last, as counted."""
    return {version: count for version, count in table.metrics.credential("cache").connections.items() if count}


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


# ---- rotation


@pytest.fixture
async def secured(make_table: MakeTable, fake: FakeRedis, password: str) -> Table:
    """A hub that logs in."""
    fake.user("app", password)
    return make_table(password=password)


def rotate(table: Table, fake: FakeRedis) -> None:
    fake.user("app", "second")
    table.rotate("second")


async def test_a_shared_connection_is_replaced_and_delivers_what_it_owes(secured: Table, fake: FakeRedis) -> None:
    fake.on("GET", "slow", act="wait")
    guest, other = await secured.guest(), await secured.guest()
    await other.ask("PING")
    guest.say("GET slow", "SET a 1")
    await until("the server to hear of it", lambda: fake.asked("GET") == 1)
    rotate(secured, fake)
    await until("another to be there", lambda: versions(secured) == {1: 1, 2: 1})
    assert await other.ask("PING") == b"+PONG\r\n", "nobody waits for it"
    assert secured.hub.owed == 2
    fake.release()
    assert await guest.hear() + await guest.hear() == b"$-1\r\n" + OK
    await until("the old one to be gone", lambda: versions(secured) == {2: 1})
    assert await guest.ask("GET a") == b"$1\r\n1\r\n"


async def test_kept_connections_are_closed(secured: Table, fake: FakeRedis) -> None:
    secured.hub.give_back(await secured.hub.private((2, 0)))
    rotate(secured, fake)
    assert secured.count(State.IDLE) == 0
    assert versions(secured) == {}


@pytest.mark.parametrize(
    ("before", "after", "replies"),
    [
        (["WATCH k"], ["MULTI", "EXEC"], OK + b"*0\r\n"),
        (["HELLO 3", "SUBSCRIBE c"], ["UNSUBSCRIBE c"], b">3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n"),
    ],
)
async def test_a_connection_of_a_client_s_own_shows_the_new_credential_at_once(
    secured: Table, fake: FakeRedis, before: list[str], after: list[str], replies: bytes
) -> None:
    guest = await secured.guest()
    await guest.ask(*before)
    rotate(secured, fake)
    await until("it to be shown", lambda: fake.asked("AUTH", "app", "second") >= 1)
    await until("it to be counted", lambda: 1 not in versions(secured))
    assert await guest.ask(*after) == replies
    pinned = secured.hub.idle((2, 0)) or secured.hub.idle((3, 0))
    assert pinned is not None, "it is as good as a new one"
    secured.hub.give_back(pinned)


async def test_a_blocked_client_s_connection_shows_it_behind_the_answer(secured: Table, fake: FakeRedis) -> None:
    guest, other = await secured.guest(), await secured.guest()
    guest.say("BLPOP l 0")
    await until("it to block", lambda: fake.asked("BLPOP") == 1)
    rotate(secured, fake)
    assert await other.ask("RPUSH l x") == b":1\r\n"
    assert await guest.hear() == b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n"
    await until("the old one to be used no more", lambda: 1 not in versions(secured))


@pytest.mark.parametrize("end", ["EXEC", "DISCARD"])
async def test_in_a_transaction_it_is_shown_when_that_is_over_or_the_connection_closed(
    secured: Table, fake: FakeRedis, end: str
) -> None:
    guest = await secured.guest()
    await guest.ask("MULTI", "SET a 1")
    rotate(secured, fake)
    await until("the shared one to be replaced", lambda: versions(secured) == {1: 1, 2: 1})
    assert await guest.ask("INCR a") == QUEUED
    assert fake.asked("AUTH", "app", "second") == 1, "by the shared one"
    assert await guest.ask(end) == (b"*2\r\n+OK\r\n:2\r\n" if end == "EXEC" else OK)
    await until("the old one to be used no more", lambda: 1 not in versions(secured))


async def test_in_dedicated_mode_too_it_is_shown_behind_the_transaction(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", password)
    table = make_table(password=password, mode="dedicated")
    guest = await table.guest()
    await guest.ask("MULTI")
    rotate(table, fake)
    assert await guest.ask("PING", "EXEC", "PING") == QUEUED + b"*1\r\n+PONG\r\n" + b"+PONG\r\n"
    await until("it to be shown", lambda: versions(table) == {2: 1})


async def test_a_subscriber_in_resp2_keeps_its_connection_until_it_is_free(secured: Table, fake: FakeRedis) -> None:
    guest = await secured.guest()
    await guest.ask("SUBSCRIBE c")
    rotate(secured, fake)
    await asyncio.sleep(0.01)
    assert versions(secured)[1] == 1
    fake.publish(b"c", b"x")
    assert (await guest.hear()).startswith(b"*3\r\n$7\r\nmessage")
    await guest.ask("UNSUBSCRIBE c")
    await until("the old one to be used no more", lambda: 1 not in versions(secured))


async def test_half_a_request_is_not_cut_in_two_by_it(make_table: MakeTable, fake: FakeRedis, password: str) -> None:
    fake.user("app", password)
    table = make_table(password=password, mode="dedicated")
    guest = await table.guest()
    await guest.ask("PING")
    guest.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\na")
    await until("it to be midway", lambda: guest.talk.is_midway)
    rotate(table, fake)
    guest.send(b"bc\r\n")
    assert await guest.hear() == OK
    await until("it to be shown", lambda: versions(table) == {2: 1})
    assert fake.data.strings == {(0, b"k"): b"abc"}


async def test_a_new_credential_that_the_server_does_not_take_changes_nothing_for_the_client(
    secured: Table, fake: FakeRedis
) -> None:
    guest = await secured.guest()
    await guest.ask("WATCH k")
    secured.rotate("wrong")
    await until("it to be refused", lambda: fake.asked("AUTH", "app", "wrong") >= 1)
    assert await guest.ask("GET k", "MULTI", "EXEC") == b"$-1\r\n" + OK + b"*0\r\n"
    assert 2 not in versions(secured)


async def test_a_credential_that_came_while_another_was_shown_is_shown_too(
    secured: Table, fake: FakeRedis, password: str
) -> None:
    fake.on("CLIENT", act="wait", times=1)
    guest = await secured.guest()
    guest.say("PING")
    await until("the login to hang", lambda: fake.asked("CLIENT") == 1)
    rotate(secured, fake)
    fake.release()
    assert await guest.hear() == b"+PONG\r\n"
    await until("the newer one to be in use", lambda: versions(secured) == {2: 1})


async def test_when_the_server_refuses_our_login_later_on_the_client_is_told_and_moved(
    secured: Table, fake: FakeRedis
) -> None:
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
    assert (await guest.ask("GET a")).startswith(b"-ERR the connection to the upstream server was lost")
    assert "upstream connection failed" in told()
    assert "a value of an unknown type" in told()


def test_a_hub_needs_an_upstream_of_its_protocol() -> None:
    class Settings:
        options = None

    class Upstream:
        settings = Settings()

    with pytest.raises(TypeError, match="redis upstream"):
        Hub(Upstream())  # type: ignore[arg-type]  # that is the point


# ---- hubs


async def test_each_upstream_has_one_hub(make_table: MakeTable) -> None:
    one, two = make_table(), make_table()
    hubs = Hubs()
    try:
        assert hubs.of(one.upstream) is hubs.of(one.upstream)
        assert hubs.of(two.upstream).upstream is two.upstream
    finally:
        await hubs.close()
        await asyncio.sleep(0.01)


async def test_the_hub_of_an_upstream_that_was_replaced_is_closed_when_nobody_needs_it(make_table: MakeTable) -> None:
    before, after = make_table(), make_table()
    hubs = Hubs()
    old = hubs.of(before.upstream)
    line = await old.shared((2, 0))
    new = hubs.of(after.upstream)
    await until("the old one to be closed", lambda: old.closed and line.gone)
    assert (old.closed, new.closed) == (True, False)
    await hubs.close()
    assert (old.closed, new.closed) == (True, True)
    await until("it to be over", lambda: not len(old.tasks) and not len(new.tasks))


def test_a_line_is_one_of_two_kinds() -> None:
    assert {kind.__name__ for kind in ServerLine.__subclasses__()} == {"PrivateLine", "SharedLine"}
