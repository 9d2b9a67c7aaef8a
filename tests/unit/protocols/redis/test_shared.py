"""A shared connection: one that does not read holds up nobody, and what only reads may be asked once more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ambassador.errors import Reason
from ambassador.protocols.redis import shared
from ambassador.protocols.redis.line import LOST
from ambassador.protocols.redis.shared import SharedLine
from ambassador.upstreams.pool import State
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import Guest, MakeTable, Table, until

OK = b"+OK\r\n"
NULL = b"$-1\r\n"
PONG = b"+PONG\r\n"


@pytest.fixture
async def slow(table: Table, fake: FakeRedis, monkeypatch: pytest.MonkeyPatch) -> Guest:
    """A client that has asked for something and does not read the answer, which is on its way."""
    monkeypatch.setattr(shared, "MOMENT", 0.01)
    fake.on("GET", "large", act="wait")
    guest = await table.guest()
    guest.say("GET large")
    await until("the server to hear of it", lambda: fake.asked("GET", "large") == 1)
    guest.talk.pause()
    return guest


def line_of(guest: Guest) -> SharedLine:
    """Where it shares a connection."""
    line = guest.talk.line
    assert isinstance(line, SharedLine)
    return line


async def behind(table: Table, slow: Guest, patience: float) -> Guest:
    """Another client, who has asked for what is not asked twice, and must wait as long as `patience` lasts."""
    line_of(slow)._patience = patience
    other = await table.guest()
    other.say("SET a 1")
    return other


async def test_a_new_one_is_shared_and_goes_when_it_owes_nothing(table: Table, fake: FakeRedis) -> None:
    line = await table.hub.shared((2, 0))
    assert (table.count(State.SHARED), line.open, line.remembers) == (1, True, True)
    line.retire()
    assert (line.open, line.gone) == (False, False)
    await until("it to be gone", lambda: line.gone)


async def test_whoever_is_behind_a_slow_client_is_moved_and_answered(
    table: Table, fake: FakeRedis, slow: Guest
) -> None:
    other, third = await table.guest(), await table.guest()
    other.say("GET a", "GET b")
    third.say("GET c")
    await until("both to have asked", lambda: table.hub.owed >= 4)
    line = line_of(slow)
    # The first connection is stuck at the slow client's answer, as if it were too long to be sent.
    assert await other.hear() + await other.hear() + await third.hear() == NULL * 3
    assert fake.accepted == 2
    assert line.owed == 4, "what was asked there first comes for nobody"
    slow.talk.resume()
    fake.release()
    assert await slow.hear() == NULL
    await until("the first one to be gone", lambda: line.gone)
    assert await other.ask("PING") == PONG
    assert other.counts == {"READ": (2, 0), "OTHER": (1, 0)}


async def test_whoever_may_have_changed_something_is_not_made_to_wait(
    table: Table, fake: FakeRedis, slow: Guest
) -> None:
    other = await table.guest()
    other.say("SET a 1", "GET a")
    fake.release()
    assert [await other.hear() for _ in range(2)] == [OK, b"$1\r\n1\r\n"]
    assert not slow.ended.done()
    slow.talk.resume()
    assert await slow.hear() == NULL
    assert fake.asked("SET") == 1, "it is never asked twice"


async def test_where_there_is_no_room_it_waits_but_not_for_long(
    table: Table, fake: FakeRedis, slow: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "ROOM", 0)
    monkeypatch.setattr(shared, "PATIENCE", 0.02)
    other = await table.guest()
    other.say("GET a", "SET a 1", "GET a")
    fake.release()
    end = await slow.end()
    assert (end.reason, end.by) == (Reason.SLOW_CLIENT, "client")
    assert [await other.hear() for _ in range(3)] == [NULL, OK, b"$1\r\n1\r\n"]
    assert fake.asked("SET") == 1, "it is never asked twice"


async def test_a_slow_client_that_holds_up_nobody_is_left_alone(
    table: Table, fake: FakeRedis, slow: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "PATIENCE", 0.01)
    await until("another connection to be there", lambda: fake.accepted == 2)
    line = line_of(slow)
    await until("its time to be over", lambda: line._timer is None)
    assert not slow.ended.done()
    slow.talk.resume()
    fake.release()
    assert await slow.hear() == NULL


async def test_a_slow_client_is_cut_for_what_others_wait_in_all(
    table: Table, fake: FakeRedis, slow: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "ROOM", 0)
    monkeypatch.setattr(shared, "PATIENCE", 0.1)
    other = await behind(table, slow, 0.1)
    while not slow.ended.done():
        await asyncio.sleep(0.002)  # it reads on for a moment again and again
        slow.talk.resume()
        slow.talk.pause()
    assert (await slow.end()).reason is Reason.SLOW_CLIENT
    fake.release()
    assert await other.hear() == OK


async def test_one_that_reads_fast_is_not_cut_however_much_it_has_asked_for(
    table: Table, fake: FakeRedis, slow: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "ROOM", 0)
    monkeypatch.setattr(shared, "BRISK", 0)
    other = await behind(table, slow, 0.01)
    await asyncio.sleep(0.1)
    assert not slow.ended.done()
    slow.talk.resume()
    fake.release()
    assert (await other.hear(), await slow.hear()) == (OK, NULL)


async def test_behind_a_long_reply_nobody_waits_who_can_be_moved(table: Table, fake: FakeRedis) -> None:
    guest, other, writer = [await table.guest() for _ in range(3)]
    await guest.ask("PING")
    fake.on("GET", "long", raw=b"$4000000\r\n" + b"x" * 3_000_000)
    guest.say("GET long")
    await until("the server to hear of it", lambda: fake.asked("GET", "long") == 1)
    other.say("GET a", "PING")
    assert await other.hear() + await other.hear() == NULL + PONG
    assert fake.accepted == 2
    writer.say("SET a 1")
    assert await writer.hear() == OK
    assert not guest.ended.done()


async def test_alone_a_client_gets_a_long_reply_where_it_is(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    fake.on("GET", "long", raw=b"$4000000\r\n" + b"x" * 4_000_000 + b"\r\n")
    assert len(await guest.ask("GET long")) == 4_000_012
    assert fake.accepted == 1


async def test_a_real_reply_that_is_read_slowly_is_kept_for_its_client(real: Table) -> None:
    slow, other = await real.guest(), await real.guest()
    await slow.ask("SET {} {}".format("large", "x" * 12_000_000), "DEL n")
    slow.talk.heavy_until = 0.0
    await until("it to share", lambda: isinstance(slow.talk.line, SharedLine) or slow.talk.line is None)
    slow.far.pause_reading()
    slow.say("GET large")
    await until("it not to read", lambda: slow.talk.choked)
    for number in range(20):
        assert await other.ask("INCR n") == b":%d\r\n" % (number + 1)
    slow.far.resume_reading()
    assert await slow.hear() == b"$12000000\r\n" + b"x" * 12_000_000 + b"\r\n"


async def test_a_client_that_only_paused_moves_nobody(table: Table, fake: FakeRedis, slow: Guest) -> None:
    slow.talk.resume()
    fake.release()
    assert await slow.hear() == NULL
    assert fake.accepted == 1


async def test_a_slow_client_that_goes_holds_up_nobody(table: Table, fake: FakeRedis, slow: Guest) -> None:
    other = await table.guest()
    other.say("SET a 1")
    slow.talk.lost(None)
    await slow.end()
    fake.release()
    assert await other.hear() == OK


async def test_who_is_owed_nothing_is_not_waited_for(table: Table) -> None:
    guest = await table.guest()
    await guest.ask("PING")
    line = guest.talk.line
    assert isinstance(line, SharedLine)
    line.wait_for(guest.talk)
    line.wait_no_more(guest.talk)
    assert line._timer is None
    assert await guest.ask("PING") == PONG


# ---- asking again


async def test_what_only_reads_is_asked_once_more_where_that_is_configured(
    make_table: MakeTable, fake: FakeRedis
) -> None:
    table = make_table(retry_reads=True)
    reader, writer, both = [await table.guest() for _ in range(3)]
    assert await writer.ask("SET a 1") == OK
    fake.on("GET", "first", act="hang", times=1)
    reader.say("GET first", "GET a")
    await until("the server to hear of it", lambda: fake.asked("GET", "first") == 1)
    writer.say("SET a 2")
    both.say("GET a", "SET b 1")
    await until("all to have asked", lambda: table.hub.owed == 5)
    fake.hang_up()
    assert await reader.hear() + await reader.hear() == NULL + b"$1\r\n1\r\n"
    assert await writer.hear() == LOST
    assert await both.hear() + await both.hear() == LOST * 2
    assert fake.asked("SET", "b") == 0
    assert reader.counts == {"READ": (2, 0)}
    assert await reader.ask("GET a") == b"$1\r\n1\r\n"


async def test_it_is_not_asked_a_third_time(make_table: MakeTable, fake: FakeRedis) -> None:
    table = make_table(retry_reads=True)
    guest = await table.guest()
    fake.on("GET", act="close", times=2)
    assert await guest.ask("GET a", "PING") != b""
    assert fake.asked("GET") <= 2
    await until("it to be owed nothing", lambda: guest.talk.owed == 0)


async def test_without_a_server_to_ask_again_it_is_excused(make_table: MakeTable, fake: FakeRedis) -> None:
    table = make_table(retry_reads=True, wait=1.0)
    guest = await table.guest()
    await guest.ask("PING")
    fake.on("GET", act="hang")
    guest.say("GET a")
    await until("the server to hear of it", lambda: fake.asked("GET") == 1)
    fake.refuse_connections()
    fake.hang_up()
    assert await guest.hear() == b"-ERR the upstream service is not available\r\n"


async def test_that_a_server_closed_it_is_said_with_what_it_owed(
    table: Table, fake: FakeRedis, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    guest = await table.guest()
    await guest.ask("PING")
    fake.on("GET", act="hang")
    guest.say("GET a", "GET b")
    await until("the server to hear of it", lambda: fake.asked("GET") >= 1)
    fake.hang_up()
    assert await guest.hear() + await guest.hear() == LOST * 2
    lost = [line for line in logged() if line["event"] == "upstream connection lost"]
    assert [(line["level"], line["owed"], line["error"]) for line in lost] == [("warning", 2, "the server closed it")]


async def test_what_was_half_answered_is_not_asked_again(make_table: MakeTable, fake: FakeRedis) -> None:
    table = make_table(retry_reads=True)
    guest = await table.guest()
    fake.lose_after(1)
    assert await guest.ask("GET a", "GET b") == NULL + LOST
    assert fake.asked("GET", "a") == 1


async def test_who_was_moved_is_waited_for_where_its_replies_come_from_now(
    table: Table, fake: FakeRedis, slow: Guest
) -> None:
    first = slow.talk.line
    other = await table.guest()
    fake.on("GET", "a", act="wait")
    other.say("GET a")
    await until("it to be asked elsewhere", lambda: fake.asked("GET", "a") == 1)
    second = other.talk.line
    assert isinstance(second, SharedLine)
    assert second is not first
    other.talk.pause()
    assert set(second.slow) == {other.talk}, "nothing more is taken from a server whose replies it does not take"
    other.talk.resume()
    slow.talk.resume()
    fake.release()
    assert (await other.hear(), await slow.hear()) == (NULL, NULL)
