"""What a new credential does to each connection, and what the end of an old one does to those that still show it."""

from __future__ import annotations

import asyncio
import random
from functools import partial

import pytest

from ambassador.errors import Reason
from ambassador.protocols.redis.line import ENDED
from ambassador.upstreams.pool import State
from tests.support.fake_redis import FakeRedis
from tests.support.valkey import ValkeyServer, new_account
from tests.unit.protocols.redis.conftest import CREDENTIAL, Guest, MakeTable, Table, until

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
PONG = b"+PONG\r\n"
NULL = b"$-1\r\n"


def versions(table: Table) -> dict[int, int]:
    """Open connections by the version of the credential they showed last, as counted."""
    return {version: count for version, count in table.metrics.credential("cache").connections.items() if count}


# ---- a new credential


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
    await until("the shared one to be replaced", lambda: versions(secured) == {1: 1, 2: 1})
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


# ---- the end of an old one


def end(table: Table, *, final: bool, version: int = 1) -> None:
    """Say that a version ends."""
    table.store.ending(CREDENTIAL, version, final)


async def replace(table: Table, fake: FakeRedis) -> None:
    """Rotate, and wait until but one connection shows the old version."""
    rotate(table, fake)
    await until("the shared one to be replaced", lambda: users(table) == 1)


def users(table: Table, version: int = 1) -> int:
    """How many connections show a version."""
    return table.store.in_use(CREDENTIAL, version)


def ended(table: Table) -> tuple[int, int]:
    """Connections that ended because their credential did: left, and cut."""
    counts = table.metrics.credential(CREDENTIAL).ended
    return counts["left"], counts["cut"]


async def test_who_shares_does_not_notice_that_the_old_one_ends(secured: Table, fake: FakeRedis) -> None:
    guests = [await secured.guest() for _ in range(3)]
    for guest in guests:
        await guest.ask("PING")
    rotate(secured, fake)
    await until("another to be there", lambda: users(secured) == 0)
    end(secured, final=False)
    end(secured, final=True)
    assert [await guest.ask("INCR a") for guest in guests] == [b":1\r\n", b":2\r\n", b":3\r\n"]
    assert ended(secured) == (0, 0)


async def test_a_shared_connection_that_could_not_be_replaced_is_replaced_when_its_credential_ends(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", password)
    table = make_table(password=password, wait=0)
    guest = await table.guest()
    await guest.ask("PING")
    connects = table.upstream.counts.endpoint(str(table.upstream.endpoints[0])).connects
    table.rotate("second")
    await until("it to be refused", lambda: connects[Reason.UPSTREAM_LOGIN_REFUSED] == 1)
    await asyncio.sleep(0.1)
    fake.user("app", "second")
    await asyncio.sleep(0.1)
    assert users(table) == 1, "nobody has waited for another"
    end(table, final=False)
    await until("another to be there", lambda: versions(table) == {2: 1})
    assert await guest.ask("PING") == PONG


async def test_at_the_very_end_a_shared_connection_is_cut_and_who_waits_is_told(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", password)
    table = make_table(password=password)
    guest, other = await table.guest(), await table.guest()
    fake.on("SET", act="hang")
    guest.say("SET a 1")
    await until("the server to have it", lambda: fake.asked("SET") == 1)
    rotate(table, fake)
    await until("another to be there", lambda: versions(table) == {1: 1, 2: 1})
    end(table, final=False)
    await asyncio.sleep(0.01)
    assert users(table) == 1, "its server still owes something"
    end(table, final=True)
    assert await guest.hear() == ENDED
    assert (users(table), ended(table)) == (0, (0, 1))
    assert await other.ask("PING") == PONG
    assert await guest.ask("PING") == PONG


async def test_what_only_reads_is_asked_once_more_if_that_is_configured(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", password)
    secured = make_table(password=password, retry_reads=True)
    guest = await secured.guest()
    fake.on("GET", act="hang", times=1)
    guest.say("GET a")
    await until("the server to have it", lambda: fake.asked("GET") == 1)
    rotate(secured, fake)
    await until("another to be there", lambda: versions(secured) == {1: 1, 2: 1})
    end(secured, final=True)
    assert await guest.hear() == NULL


async def test_a_shared_connection_that_owes_nothing_is_not_cut_at_the_end_but_left(secured: Table) -> None:
    guest = await secured.guest()
    await guest.ask("PING")
    end(secured, final=True)
    assert (users(secured), ended(secured)) == (0, (1, 0))


@pytest.mark.parametrize("final", [False, True])
async def test_kept_connections_are_left(secured: Table, final: bool) -> None:
    line = await secured.hub.private((2, 0))
    secured.hub.give_back(line)
    # As if the store had told of it before the hub.
    line.version = 0
    secured.store.taken(CREDENTIAL, 0)
    end(secured, final=final, version=0)
    secured.store.left(CREDENTIAL, 0)
    assert (line.gone, ended(secured)) == (True, (1, 0))


async def test_without_a_newer_one_nobody_leaves_before_the_end(secured: Table, fake: FakeRedis) -> None:
    guest = await secured.guest()
    await guest.ask("WATCH k")
    secured.hub.give_back(await secured.hub.private((2, 0)))
    end(secured, final=False)
    assert await guest.ask("MULTI", "EXEC", "PING") == OK + b"*0\r\n" + PONG
    assert ended(secured) == (0, 0)
    rotate(secured, fake)
    await until("the old one to be used no more", lambda: users(secured) == 0)


@pytest.mark.parametrize("ends", ["EXEC", "DISCARD"])
async def test_a_transaction_is_finished_before_its_connection_is_left(
    secured: Table, fake: FakeRedis, ends: str
) -> None:
    guest = await secured.guest()
    await guest.ask("MULTI", "SET a 1")
    await replace(secured, fake)
    end(secured, final=False)
    assert await guest.ask("INCR a") == QUEUED
    assert users(secured) == 1
    assert await guest.ask(ends) == (b"*2\r\n+OK\r\n:2\r\n" if ends == "EXEC" else OK)
    await until("the old one to be left", lambda: users(secured) == 0)
    assert ended(secured) == (1, 0)


async def test_a_transaction_that_is_cut_is_told_at_its_end_and_others_do_not_notice(
    secured: Table, fake: FakeRedis
) -> None:
    guest, other = await secured.guest(), await secured.guest()
    await guest.ask("MULTI", "SET a 1")
    await other.ask("PING")
    rotate(secured, fake)
    await until("the shared one to be replaced", lambda: users(secured) == 1)
    end(secured, final=False)
    end(secured, final=True)
    assert users(secured) == 0
    assert (await guest.ask("EXEC")).startswith(b"-EXECABORT")
    assert await guest.ask("MULTI", "INCR a", "EXEC") == OK + QUEUED + b"*1\r\n:1\r\n"
    assert await other.ask("INCR a") == b":2\r\n"
    assert ended(secured) == (0, 1)


async def test_watched_keys_are_kept_since_the_new_one_can_be_shown_meanwhile(secured: Table, fake: FakeRedis) -> None:
    guest = await secured.guest()
    await guest.ask("WATCH k")
    rotate(secured, fake)
    await until("it to be shown", lambda: users(secured) == 0)
    end(secured, final=False)
    end(secured, final=True)
    other = await secured.guest()
    await other.ask("SET k 1")
    assert await guest.ask("MULTI", "EXEC") == OK + b"*-1\r\n"


async def test_a_blocked_client_is_told_when_it_is_cut_and_may_block_again(secured: Table, fake: FakeRedis) -> None:
    guest, other = await secured.guest(), await secured.guest()
    guest.say("BLPOP l 0")
    await until("it to block", lambda: fake.asked("BLPOP") == 1)
    await replace(secured, fake)
    end(secured, final=False)
    await asyncio.sleep(0.01)
    assert users(secured) == 1, "who waits is not disturbed"
    end(secured, final=True)
    assert await guest.hear() == ENDED
    assert users(secured) == 0
    guest.say("BLPOP m 0")
    await until("it to block again", lambda: fake.asked("BLPOP") == 2)
    await other.ask("RPUSH m x")
    assert await guest.hear() == b"*2\r\n$1\r\nm\r\n$1\r\nx\r\n"


async def test_a_blocked_client_that_is_answered_in_time_is_not_told(secured: Table, fake: FakeRedis) -> None:
    guest, other = await secured.guest(), await secured.guest()
    guest.say("BLPOP l 0")
    await until("it to block", lambda: fake.asked("BLPOP") == 1)
    await replace(secured, fake)
    end(secured, final=False)
    await other.ask("RPUSH l x")
    assert await guest.hear() == b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n"
    await until("the old one to be used no more", lambda: users(secured) == 0)
    end(secured, final=True)
    assert await guest.ask("PING") == PONG
    assert ended(secured)[1] == 0


async def test_a_subscriber_in_resp2_is_subscribed_anew_at_the_very_end(secured: Table, fake: FakeRedis) -> None:
    guest = await secured.guest()
    await guest.ask("SUBSCRIBE c")
    await replace(secured, fake)
    end(secured, final=False)
    fake.publish(b"c", b"x")
    assert (await guest.hear()).startswith(b"*3\r\n$7\r\nmessage"), "it keeps its connection as long as it can"
    assert users(secured) == 1
    end(secured, final=True)
    assert users(secured) == 0
    await until("it to be subscribed anew", lambda: fake.asked("SUBSCRIBE", "c") == 2)
    await until("it to be heard", lambda: fake.publish(b"c", b"y") == 1)
    assert await guest.hear() == b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\ny\r\n"


async def test_a_subscriber_in_resp2_that_unsubscribes_in_time_leaves_with_that(
    secured: Table, fake: FakeRedis
) -> None:
    guest = await secured.guest()
    await guest.ask("SUBSCRIBE c")
    await replace(secured, fake)
    end(secured, final=False)
    await guest.ask("UNSUBSCRIBE c")
    await until("the old one to be left", lambda: users(secured) == 0)
    assert await guest.ask("PING") == PONG
    assert fake.asked("SUBSCRIBE") == 1


async def test_who_only_watches_is_seen_off_at_the_very_end(secured: Table, fake: FakeRedis) -> None:
    guest = await secured.guest()
    assert await guest.ask("MONITOR") == OK
    await replace(secured, fake)
    end(secured, final=False)
    await asyncio.sleep(0.01)
    assert not guest.ended.done()
    end(secured, final=True)
    assert (await guest.end()).reason is Reason.CREDENTIAL_ENDED
    assert (users(secured), ended(secured)) == (0, (0, 1))


async def test_half_a_reply_cannot_be_made_good(secured: Table, fake: FakeRedis) -> None:
    guest = await secured.guest()
    fake.on("GET", raw=b"$200000\r\n" + b"x" * 100_000, act="hang")
    guest.say("GET a")
    await until("a part to have come", lambda: guest.talk.bytes_out > 65536)
    rotate(secured, fake)
    end(secured, final=True)
    assert (await guest.end()).reason is Reason.CREDENTIAL_ENDED


async def test_half_a_request_is_answered_by_an_error(make_table: MakeTable, fake: FakeRedis, password: str) -> None:
    fake.user("app", password)
    table = make_table(password=password, mode="dedicated")
    guest = await table.guest()
    await guest.ask("PING")
    guest.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\na")
    await until("it to be midway", lambda: guest.talk.is_midway)
    rotate(table, fake)
    end(table, final=False)
    assert users(table) == 1
    end(table, final=True)
    guest.send(b"bc\r\n")
    assert await guest.hear() == ENDED
    assert await guest.ask("PING") == PONG


async def test_who_wants_no_replies_shows_the_new_one_all_the_same(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", password)
    table = make_table(password=password, mode="dedicated")
    guest = await table.guest()
    guest.say("CLIENT REPLY OFF", "SET a 1")
    await until("it to be muted", lambda: fake.asked("SET") == 1)
    rotate(table, fake)
    await until("it to be shown", lambda: users(table) == 0)
    end(table, final=False)
    end(table, final=True)
    assert await guest.ask("CLIENT REPLY ON") == OK
    assert await guest.ask("GET a") == b"$1\r\n1\r\n"
    assert fake.accepted == 1


async def test_a_connection_whose_new_login_was_refused_is_left_when_the_old_one_ends(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", password)
    table = make_table(password=password, mode="dedicated")
    guest = await table.guest()
    await guest.ask("PING")
    table.rotate("second")
    await until("it to be refused", lambda: fake.asked("AUTH", "app", "second") == 1)
    fake.user("app", "second")
    await asyncio.sleep(0.01)
    end(table, final=False)
    assert (users(table), ended(table)) == (0, (1, 0))
    assert await guest.ask("PING") == PONG
    assert versions(table) == {2: 1}


async def test_a_login_under_way_on_an_open_connection_is_waited_for(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", password)
    table = make_table(password=password, mode="dedicated")
    guest = await table.guest()
    await guest.ask("PING")
    fake.on("AUTH", act="wait", times=1)
    rotate(table, fake)
    await until("it to be shown", lambda: fake.asked("AUTH", "app", "second") == 1)
    end(table, final=False)
    assert users(table) == 1
    fake.release()
    await until("it to be taken", lambda: users(table) == 0)
    assert (fake.accepted, ended(table)) == (1, (0, 0))
    assert await guest.ask("PING") == PONG


async def test_one_that_is_refused_meanwhile_is_left_then(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", password)
    table = make_table(password=password, mode="dedicated")
    guest = await table.guest()
    await guest.ask("PING")
    fake.on("AUTH", raw=b"-WRONGPASS invalid\r\n", times=1)
    fake.on("GET", act="wait", times=1)
    guest.say("GET a")
    await until("it to be busy", lambda: fake.asked("GET") == 1)
    rotate(table, fake)
    end(table, final=False)
    assert users(table) == 1
    fake.release()
    assert await guest.hear() == NULL
    await until("it to be left", lambda: users(table) == 0)
    assert ended(table) == (1, 0)
    assert await guest.ask("PING") == PONG


async def test_a_job_of_a_client_s_own_is_finished_first(make_table: MakeTable, fake: FakeRedis, password: str) -> None:
    fake.user("app", password)
    table = make_table(password=password, mode="dedicated")
    guest = await table.guest()
    await guest.ask("PING")
    table.rotate("wrong")
    await until("it to be refused", lambda: fake.asked("AUTH", "app", "wrong") == 1)
    fake.user("app", "wrong")
    fake.on("SELECT", act="wait", times=1)
    guest.say("SELECT 1")
    await until("it to be asked", lambda: fake.asked("SELECT") == 1)
    end(table, final=False)
    await asyncio.sleep(0.01)
    assert users(table) == 1
    fake.release()
    assert await guest.hear() == OK
    await until("it to be left", lambda: users(table) == 0)
    assert await guest.ask("PING") == PONG


async def test_a_client_s_database_is_the_same_on_the_next_connection(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", password)
    table = make_table(password=password, mode="dedicated")
    guest = await table.guest()
    await guest.ask("SELECT 3", "SET a 1")
    rotate(table, fake)
    await until("it to be shown", lambda: users(table) == 0)
    end(table, final=True, version=2)
    await until("it to be closed", lambda: users(table, 2) == 0)
    assert await guest.ask("GET a") == b"$1\r\n1\r\n"


async def test_a_connection_of_a_client_that_goes_meanwhile_is_not_kept(secured: Table, fake: FakeRedis) -> None:
    guest = await secured.guest()
    await guest.ask("MULTI")
    await replace(secured, fake)
    end(secured, final=False)
    guest.far.close()
    await guest.end()
    assert users(secured) == 0


async def test_a_login_that_is_overtaken_is_made_anew(secured: Table, fake: FakeRedis, password: str) -> None:
    fake.on("CLIENT", act="wait", times=1)
    guest = await secured.guest()
    guest.say("PING")
    await until("the login to hang", lambda: fake.asked("CLIENT") == 1)
    assert users(secured) == 1, "it counts before it is in"
    rotate(secured, fake)
    end(secured, final=False)
    fake.release()
    assert await guest.hear() == PONG
    assert (users(secured), versions(secured)) == (0, {2: 1})


async def test_once_closed_nothing_is_seen_to(secured: Table, fake: FakeRedis) -> None:
    line = await secured.hub.private((2, 0))
    secured.hub.rotating.close()
    rotate(secured, fake)
    end(secured, final=True)
    assert not line.gone
    assert line.version == 1
    secured.hub.rotating.end(line, "cut")
    secured.hub.rotating.end(line, "cut")
    assert ended(secured) == (0, 1), "a connection ends once"


async def test_with_a_real_server_old_users_are_gone_and_nobody_has_lost_anything(
    real: Table, valkey: ValkeyServer
) -> None:
    """Each version is another user, as with Vault's database engines; the server closes what shows a deleted one."""
    store, key = real.store, f"n:{real.user}"
    guests = [await real.guest() for _ in range(8)]
    await guests[0].ask("SUBSCRIBE news")
    kinds = [[f"INCR {key}"], ["MULTI", f"INCR {key}", "EXEC"], ["WATCH w", f"INCR {key}", "UNWATCH"]]
    done = asyncio.Event()

    def few(version: int) -> bool:
        return users(real, version) <= 1

    async def count(guest: Guest, rng: random.Random) -> int:
        number = 0
        while not done.is_set():
            replies = await guest.ask(*rng.choice(kinds))
            assert b"-" not in replies, replies
            number += 1
        return number

    counting = [asyncio.ensure_future(count(guest, random.Random(at))) for at, guest in enumerate(guests[1:])]
    for version in range(1, 6):
        old = real.user
        account = new_account(valkey)
        real.user = account.name
        await asyncio.sleep(0.05)
        real.rotate(account.password)
        await asyncio.sleep(0.02)
        store.ending(CREDENTIAL, version, final=False)
        await until("all but the subscriber to have left", partial(few, version))
        store.ending(CREDENTIAL, version, final=True)
        async with asyncio.timeout(5):
            await store.unused(CREDENTIAL, version)
        valkey.remove_user(old)
        await until("the subscriber to hear again", lambda: int(str(valkey.ask("PUBLISH", "news", "x"))) == 1)
        assert await guests[0].hear() == b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n"
    done.set()
    numbers = await asyncio.gather(*counting)
    assert min(numbers) > 0
    total = str(sum(numbers)).encode()
    assert await guests[1].ask(f"GET {key}") == b"$%d\r\n%s\r\n" % (len(total), total)
    assert set(versions(real)) == {6}


async def test_a_renewal_replaces_nothing(secured: Table, fake: FakeRedis) -> None:
    guest = await secured.guest()
    await guest.ask("PING")
    current = secured.store.current(CREDENTIAL)
    assert current is not None
    secured.store.put(current.renewed(current))
    await asyncio.sleep(0.01)
    assert await guest.ask("PING") == PONG
    assert (fake.accepted, users(secured)) == (1, 1)
