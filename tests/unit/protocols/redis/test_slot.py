"""A place for one shared connection: who waits for it, and how the next one comes into it."""

from __future__ import annotations

import asyncio

import pytest

from ambassador.errors import CredentialError, Reason, UpstreamError
from ambassador.protocols.redis import slot as slot_module
from ambassador.protocols.redis.slot import FIRST_PAUSE, LONGEST_PAUSE, Slot, is_permanent, pauses
from ambassador.upstreams.pool import State
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import MakeTable, Table, until

REFUSED = b"-ERR not yet\r\n"


def slot_of(table: Table) -> Slot:
    slots = table.hub._ways((2, 0))
    assert slots is not None
    return slots[0]


async def test_whoever_comes_first_opens_it_and_all_get_the_same(table: Table, fake: FakeRedis) -> None:
    slot = slot_of(table)
    lines = await asyncio.gather(*(slot.get(5.0) for _ in range(10)))
    assert len(set(lines)) == fake.accepted == 1
    assert await slot.get(0.0) is lines[0]


async def test_it_is_tried_until_it_works(table: Table, fake: FakeRedis) -> None:
    fake.on("HELLO", raw=REFUSED, times=3)
    line = await slot_of(table).get(5.0)
    assert line.open
    assert fake.asked("HELLO") == 4
    assert table.hub.trouble is None


async def test_at_the_end_of_the_wait_the_trouble_is_told(table: Table, fake: FakeRedis) -> None:
    fake.on("HELLO", raw=REFUSED)
    slot = slot_of(table)
    slot.renew(5.0)
    await until("a try to have failed", lambda: table.hub.trouble is not None)
    with pytest.raises(UpstreamError) as caught:
        await slot.get(0.05)
    assert caught.value.reason is Reason.UPSTREAM_REJECTED


async def test_a_server_that_says_nothing_is_not_reached_in_time(table: Table, fake: FakeRedis) -> None:
    fake.on("HELLO", act="hang")
    with pytest.raises(UpstreamError, match="was not reached within") as caught:
        await slot_of(table).get(0.05)
    assert caught.value.reason is Reason.CONNECT_TIMEOUT


async def test_without_a_wait_a_first_connection_is_still_given_a_moment(table: Table) -> None:
    assert (await slot_of(table).get(0.0)).open


async def test_what_waiting_does_not_mend_is_told_to_all_at_once(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", "another")
    slot = slot_of(make_table(password=password))
    results = await asyncio.gather(slot.get(1000.0), slot.get(1000.0), return_exceptions=True)
    for result in results:
        assert isinstance(result, UpstreamError)
        assert result.reason is Reason.UPSTREAM_LOGIN_REFUSED


async def test_without_a_credential_that_is_told(make_table: MakeTable, fake: FakeRedis, password: str) -> None:
    table = make_table(password=password)
    table.store.retire("cache")
    slot = slot_of(table)
    slot.renew(5.0)
    await until("a try to have failed", lambda: table.hub.trouble is not None)
    with pytest.raises(CredentialError):
        await slot.get(0.05)


async def test_a_database_that_there_is_not_is_given_up_and_forgotten(table: Table, fake: FakeRedis) -> None:
    with pytest.raises(UpstreamError) as caught:
        await table.hub.shared((2, 99))
    assert caught.value.code == "SELECT"
    assert (2, 99) not in table.hub._slots
    assert table.hub.trouble is None, "it is nobody else's"


async def test_whoever_gives_up_waiting_is_waited_for_no_more(table: Table, fake: FakeRedis) -> None:
    fake.on("HELLO", act="wait")
    slot = slot_of(table)
    waiting = asyncio.ensure_future(slot.get(5.0))
    await until("the login to hang", lambda: fake.asked("HELLO") == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert slot._waiting == []
    fake.release()
    await until("it to be there all the same", lambda: slot.line is not None)


async def test_when_nobody_waits_it_is_given_up_after_a_while(table: Table, fake: FakeRedis) -> None:
    fake.on("HELLO", raw=REFUSED)
    slot = slot_of(table)
    slot.renew(0.0)
    opening = slot._opening
    assert opening is not None
    async with asyncio.timeout(5):
        await asyncio.wait({opening})
    assert slot.line is None


async def test_only_one_is_opened_at_a_time(table: Table, fake: FakeRedis) -> None:
    slot = slot_of(table)
    await slot.get(5.0)
    slot.renew(5.0)
    slot.renew(5.0)
    await until("the next to be there", lambda: fake.accepted == 2 and table.count(State.SHARED) == 1)
    assert slot.line is not None
    assert slot.line.open


async def test_one_that_is_superseded_retires(table: Table, fake: FakeRedis) -> None:
    slot = slot_of(table)
    first = await slot.get(5.0)
    slot.renew(5.0)
    await until("the first to be gone", lambda: first.gone)
    assert (await slot.get(0.0)) is not first


def test_some_troubles_are_for_good() -> None:
    assert is_permanent(UpstreamError(Reason.UPSTREAM_LOGIN_REFUSED, ""))
    assert is_permanent(UpstreamError(Reason.UPSTREAM_UNSUPPORTED, ""))
    assert is_permanent(UpstreamError(Reason.UPSTREAM_REJECTED, "", code="SELECT"))
    assert not is_permanent(UpstreamError(Reason.UPSTREAM_REJECTED, "", code="LOADING"))
    assert not is_permanent(UpstreamError(Reason.CONNECT_FAILED, ""))


def test_the_waits_between_tries_grow_to_a_bound() -> None:
    waits = pauses()
    every = [waits.next() for _ in range(200)]
    assert all(FIRST_PAUSE / 5 <= wait <= LONGEST_PAUSE for wait in every)
    assert every[0] <= FIRST_PAUSE
    assert slot_module.SHORTEST_WAIT > 0
