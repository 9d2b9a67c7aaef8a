"""A client's conversation: the order of its replies, what it is told of a server that is lost, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ambassador.errors import Reason
from ambassador.net.relay import End
from ambassador.protocols.redis import client as client_module
from ambassador.protocols.redis.line import LOST
from ambassador.upstreams.pool import State
from ambassador.wire.redis.messages import request
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import Guest, MakeTable, Table, pack, until

OK = b"+OK\r\n"
NULL = b"$-1\r\n"
QUEUED = b"+QUEUED\r\n"
LOST_MULTI = b"-ERR the connection to the upstream server was lost, and the transaction with it\r\n"


# ---- order


async def test_replies_come_in_the_order_of_the_requests_whatever_serves_them(either: Table) -> None:
    guest = await either.guest()
    replies = await guest.ask(
        "SET a 1", "GET a", "CLIENT SETNAME me", "INCR a", "MULTI", "INCR a", "EXEC", "CLIENT GETNAME", "GET a",
        "BLPOP l 0.01", "ECHO x", "HELLO 3", "GET nil", "HELLO 2", "GET nil",
    )  # fmt: skip
    before, _, after = replies.partition(b"%7\r\n")
    assert before == (
        OK + b"$1\r\n1\r\n" + OK + b":2\r\n" + OK + QUEUED + b"*1\r\n:3\r\n" + b"$2\r\nme\r\n" + b"$1\r\n3\r\n"
        b"*-1\r\n" + b"$1\r\nx\r\n"
    )  # fmt: skip
    middle, _, last = after.partition(b"*14\r\n")
    assert middle.endswith(b"*0\r\n_\r\n")
    assert last.endswith(NULL)


async def test_clients_that_share_a_connection_each_get_their_own(table: Table, fake: FakeRedis) -> None:
    guests = [await table.guest() for _ in range(8)]
    for number, guest in enumerate(guests):
        guest.say(*(f"ECHO {number}-{turn}" for turn in range(20)))
    for number, guest in enumerate(guests):
        for turn in range(20):
            assert await guest.hear() == b"$%d\r\n%d-%d\r\n" % (len(f"{number}-{turn}"), number, turn)
    assert fake.accepted == 1
    assert table.count(State.SHARED) == 1


async def test_a_special_request_waits_for_what_the_client_is_owed(table: Table, fake: FakeRedis) -> None:
    fake.on("GET", "slow", act="wait")
    guest = await table.guest()
    guest.say("GET slow", "CLIENT ID", "PING")
    await until("the server to hear of it", lambda: fake.asked("GET", "slow") == 1)
    assert guest.talk.owed == 1
    assert guest.talk.halted
    fake.release()
    assert await guest.hear() == NULL
    assert (await guest.hear()).startswith(b":")
    assert await guest.hear() == b"+PONG\r\n"


async def test_errors_in_the_middle_of_a_pipeline_come_in_their_place_and_are_counted(either: Table) -> None:
    guest = await either.guest()
    replies = await guest.ask("SET a word", "INCR a", "GET a", "NOSUCH x", "GET a")
    assert [line[:5] for line in replies.split(b"\r\n")] == [
        b"+OK", b"-ERR ", b"$4", b"word", b"-ERR ", b"$4", b"word", b"",
    ]  # fmt: skip
    assert guest.counts == {"READ": (2, 0), "WRITE": (1, 1), "OTHER": (0, 1)}


async def test_whatever_the_cuts_a_conversation_is_the_same(either: Table) -> None:
    data = pack("SET k 1", "MULTI", "INCR k", "EXEC", "CLIENT GETNAME") + b"PING\r\n" + pack("GET k")
    for size in (1, 2, 7, 30):
        guest = await either.guest()
        for start in range(0, len(data), size):
            guest.send(data[start : start + size])
            await asyncio.sleep(0)
        heard = b"".join([await guest.hear() for _ in range(7)])
        assert heard == OK + OK + QUEUED + b"*1\r\n:2\r\n" + NULL + b"+PONG\r\n" + b"$1\r\n2\r\n"
        assert guest.talk.bytes_in == len(data)


async def test_empty_requests_are_passed_over(guest: Guest) -> None:
    guest.send(b"*0\r\n\r\n*-1\r\n" + pack("PING"))
    assert await guest.hear() == b"+PONG\r\n"


# ---- who has a connection of its own, and for how long


@pytest.mark.parametrize(
    ("commands", "why"),
    [
        (["MULTI"], "transaction"),
        (["WATCH k"], "watch"),
        (["SUBSCRIBE c"], "subscribe"),
        (["HELLO 3", "SUBSCRIBE c"], "subscribe"),
    ],
)
async def test_what_keeps_something_at_the_server_pins_the_client(table: Table, commands: list[str], why: str) -> None:
    guest = await table.guest()
    await guest.ask(*commands)
    assert table.pinned == {why: 1}
    assert table.count(State.LEASED) == 1


@pytest.mark.parametrize(
    "commands",
    [
        ["MULTI", "INCR k", "EXEC"],
        ["MULTI", "DISCARD"],
        ["WATCH k", "UNWATCH"],
        ["WATCH k", "MULTI", "EXEC"],
        ["WATCH k", "MULTI", "NOSUCH", "EXEC"],
        ["BLPOP k 0.01"],
        ["SUBSCRIBE c", "UNSUBSCRIBE c"],
        ["SUBSCRIBE c d", "PSUBSCRIBE e*", "UNSUBSCRIBE d c", "PUNSUBSCRIBE"],
        ["UNSUBSCRIBE"],
        ["NOSUCH"],
        ["CLIENT LIST"],
        ["EXEC"],
    ],
)
async def test_when_nothing_is_left_at_the_server_the_client_shares_again(
    table: Table, fake: FakeRedis, commands: list[str]
) -> None:
    guest = await table.guest()
    for command in commands:
        names = max(1, len(command.split()) - 1) if "SUBSCRIBE" in command else 1
        guest.say(command)
        for _ in range(names):
            await guest.hear()
    await until("the client to share again", lambda: not table.pinned)
    assert table.count(State.IDLE) == 1
    assert await guest.ask("PING") == b"+PONG\r\n"
    assert guest.talk.line is table.hub.ready((2, 0))
    # The kept connection serves the next one.
    another = await table.guest()
    assert await another.ask("MULTI", "EXEC") == OK + b"*0\r\n"
    assert fake.accepted == 2


async def test_a_transaction_that_goes_on_keeps_its_connection(table: Table) -> None:
    guest = await table.guest()
    assert await guest.ask("MULTI", "INCR k", "NOSUCH") != b""
    assert await guest.ask("WATCH k") == b"-ERR WATCH inside MULTI is not allowed\r\n"
    assert table.pinned == {"transaction": 1}
    assert (await guest.ask("EXEC")).startswith(b"-EXECABORT")
    assert table.pinned == {}


async def test_in_dedicated_mode_a_client_has_one_connection_from_beginning_to_end(
    make_table: MakeTable, fake: FakeRedis
) -> None:
    table = make_table(mode="dedicated")
    one, two = await table.guest(), await table.guest()
    for guest in (one, two):
        assert await guest.ask("WATCH a", "UNWATCH", "MULTI", "EXEC", "PING") == OK * 3 + b"*0\r\n" + b"+PONG\r\n"
    assert table.pinned == {"dedicated": 2}
    assert table.count(State.LEASED) == fake.accepted == 2
    one.say("QUIT")
    assert await one.rest_until_end() == OK
    await until("it to be counted no more", lambda: table.pinned == {"dedicated": 1})


async def test_whoever_leaves_something_behind_leaves_no_connection_to_others(table: Table) -> None:
    guest = await table.guest()
    await guest.ask("WATCH k")
    guest.far.close()
    assert (await guest.end()).reason is Reason.CLIENT_CLOSED
    assert (table.count(State.LEASED), table.count(State.IDLE), table.pinned) == (0, 0, {})


async def test_a_connection_of_a_client_that_did_not_read_is_read_again_for_the_next(table: Table) -> None:
    guest = await table.guest()
    guest.talk.heavy_until = table.clock.now() + 100
    await guest.ask("MULTI", "EXEC")
    assert table.pinned
    guest.talk.pause()
    guest.far.abort()
    await guest.end()
    assert table.count(State.IDLE) == 1
    another = await table.guest()
    assert await another.ask("WATCH k", "GET k") == OK + NULL


# ---- a server that goes away


async def test_whoever_is_owed_something_is_told_and_goes_on_with_the_next_connection(
    table: Table, fake: FakeRedis
) -> None:
    guest, other = await table.guest(), await table.guest()
    await other.ask("PING")
    fake.lose_after(2)
    assert await guest.ask("SET a 1", "GET a", "GET b", "INCR c") == OK + b"$1\r\n1\r\n" + LOST + LOST
    assert await guest.ask("GET a") == await other.ask("GET a") == b"$1\r\n1\r\n"
    assert guest.counts == {"READ": (2, 1), "WRITE": (1, 1)}
    assert fake.accepted == 2


async def test_half_a_reply_that_was_held_is_excused(either: Table, fake: FakeRedis) -> None:
    fake.on("GET", "half", raw=b"$9\r\nab", act="close")
    guest = await either.guest()
    assert await guest.ask("GET whole", "GET half", "PING") == NULL + LOST + LOST
    assert await guest.ask("PING") == b"+PONG\r\n"


async def test_half_a_reply_that_has_gone_is_cut_and_nothing_is_put_behind_it(either: Table, fake: FakeRedis) -> None:
    half = b"$200000\r\n" + b"x" * 199_990
    fake.on("GET", "half", raw=half, act="hang")
    guest = await either.guest()
    guest.say("GET half", "PING", "GET b")
    await until("half of it to be on its way", lambda: guest.talk.bytes_out == len(half))
    fake.hang_up()
    assert await guest.rest() in {half, b""}
    end = await guest.end()
    assert (end.reason, end.by) == (Reason.UPSTREAM_CLOSED, "upstream")


async def test_half_a_message_that_has_gone_is_cut(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    await guest.ask("SUBSCRIBE c")
    half = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$200000\r\n" + b"x" * 100_000
    await until("it to be pinned", lambda: table.pinned == {"subscribe": 1})
    fake.sessions[-1].say(half)
    await until("half of it to be on its way", lambda: guest.talk.pin is not None and guest.talk.pin.broken_off)
    fake.hang_up()
    assert (await guest.end()).reason is Reason.UPSTREAM_CLOSED


async def test_a_transaction_is_lost_as_a_whole(either: Table, fake: FakeRedis) -> None:
    guest = await either.guest()
    assert await guest.ask("MULTI", "SET a 1") == OK + QUEUED
    fake.hang_up()
    await until("it to be noticed", lambda: guest.talk.pin is None)
    assert await guest.ask("SET b 1", "GET b") == LOST_MULTI * 2
    assert (await guest.ask("EXEC")).startswith(b"-EXECABORT Transaction discarded because the connection")
    assert await guest.ask("GET a", "GET b") == NULL * 2
    assert guest.counts["TRANSACTION"][1] == 3


@pytest.mark.parametrize(("word", "answer"), [("DISCARD", OK), ("RESET", b"+RESET\r\n")])
async def test_a_lost_transaction_can_be_given_up(table: Table, fake: FakeRedis, word: str, answer: bytes) -> None:
    guest = await table.guest()
    await guest.ask("MULTI")
    fake.hang_up()
    await until("it to be noticed", lambda: guest.talk.pin is None)
    assert await guest.ask("PING") == LOST_MULTI
    assert await guest.ask(word, "PING") == answer + b"+PONG\r\n"


async def test_a_transaction_in_one_piece_that_is_lost_leaves_nothing_to_mourn(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    fake.lose_after(2)
    assert await guest.ask("MULTI", "SET a 1", "EXEC") == OK + QUEUED + LOST
    assert await guest.ask("PING") == b"+PONG\r\n"
    assert table.pinned == {}


async def test_whoever_watched_keys_finds_that_they_changed(either: Table, fake: FakeRedis) -> None:
    guest = await either.guest()
    assert await guest.ask("WATCH a") == OK
    fake.hang_up()
    await until("it to be noticed", lambda: guest.talk.pin is None)
    assert await guest.ask("GET a", "MULTI", "SET a 1", "EXEC", "GET a") == NULL + OK + QUEUED + b"*-1\r\n" + NULL
    assert await guest.ask("MULTI", "SET a 1", "EXEC") == OK + QUEUED + b"*1\r\n" + OK


async def test_in_resp3_a_spoilt_transaction_is_its_null(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    await guest.ask("HELLO 3")
    await guest.ask("WATCH a")
    fake.hang_up()
    await until("it to be noticed", lambda: guest.talk.pin is None)
    assert await guest.ask("MULTI", "EXEC") == OK + b"_\r\n"


@pytest.mark.parametrize("word", ["UNWATCH", "DISCARD", "RESET"])
async def test_lost_watches_are_forgotten_when_the_client_gives_them_up(
    table: Table, fake: FakeRedis, word: str
) -> None:
    guest = await table.guest()
    await guest.ask("WATCH a")
    fake.hang_up()
    await until("it to be noticed", lambda: guest.talk.pin is None)
    await guest.ask(word)
    assert await guest.ask("MULTI", "EXEC") == OK + b"*0\r\n"


async def test_a_blocked_client_is_excused_and_its_pin_counted_once(either: Table, fake: FakeRedis) -> None:
    guest = await either.guest()
    guest.say("BLPOP l 0", "PING")
    await until("it to block", lambda: fake.asked("BLPOP") == 1)
    assert sum(either.pinned.values()) == 1
    fake.hang_up()
    assert await guest.hear() == LOST
    assert await guest.hear() in {LOST, b"+PONG\r\n"}
    assert await guest.ask("PING") == b"+PONG\r\n"
    assert all(count >= 0 for count in either.upstream.counts.pinned.values())
    assert either.pinned == ({"dedicated": 1} if either.hub.options.mode == "dedicated" else {})


@pytest.mark.parametrize("protocol", [2, 3])
async def test_subscriptions_are_renewed_without_the_client_s_knowing(
    table: Table, fake: FakeRedis, protocol: int
) -> None:
    guest = await table.guest()
    await guest.ask(f"HELLO {protocol}", "SUBSCRIBE a", "PSUBSCRIBE b*")
    fake.hang_up()
    await until("it to listen again", lambda: fake.asked("PSUBSCRIBE", "b*") == 2 and not guest.talk.halted)
    await until("the server to know", lambda: fake.publish(b"a", b"one") == 1)
    assert fake.publish(b"bc", b"two") == 1
    sign = b"*" if protocol == 2 else b">"
    assert await guest.hear() == sign + b"3\r\n$7\r\nmessage\r\n$1\r\na\r\n$3\r\none\r\n"
    assert await guest.hear() == sign + b"4\r\n$8\r\npmessage\r\n$2\r\nb*\r\n$2\r\nbc\r\n$3\r\ntwo\r\n"
    assert (await guest.ask("UNSUBSCRIBE", "PUNSUBSCRIBE")).count(b"unsubscribe") == 2
    assert await guest.ask("GET a") == (NULL if protocol == 2 else b"_\r\n")
    assert table.pinned == {}


async def test_subscriptions_are_renewed_also_when_they_were_lost_during_a_job(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    await guest.ask("HELLO 3", "SUBSCRIBE a")
    fake.on("CLIENT", "LIST", act="close", times=1)
    assert (await guest.ask("CLIENT LIST")).startswith(b"-ERR")
    await until("it to listen again", lambda: fake.asked("SUBSCRIBE", "a") == 2)
    await until("the server to know", lambda: fake.publish(b"a", b"one") == 1)
    assert (await guest.hear()).startswith(b">3\r\n$7\r\nmessage")


async def test_subscriptions_are_renewed_behind_half_a_request_that_was_lost(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    await guest.ask("HELLO 3", "SUBSCRIBE a")
    data = request("SET", "k", "x" * 30)
    guest.send(data[:40])
    await until("it to be midway", lambda: guest.talk.is_midway)
    fake.hang_up()
    await until("it to be noticed", lambda: guest.talk.pin is None)
    guest.send(data[40:])
    assert await guest.hear() == LOST
    assert await guest.ask("PING") == b"+PONG\r\n"
    await until("it to listen again", lambda: fake.asked("SUBSCRIBE", "a") == 2)
    assert await guest.ask("GET k") == b"_\r\n"


async def test_a_client_that_watches_the_server_is_cut_with_it(either: Table, fake: FakeRedis) -> None:
    guest = await either.guest()
    assert await guest.ask("MONITOR") == OK
    fake.hang_up()
    assert (await guest.end()).reason is Reason.UPSTREAM_CLOSED
    assert await guest.rest() == b""


async def test_half_a_request_that_went_with_the_server_is_answered_when_it_is_whole(
    make_table: MakeTable, fake: FakeRedis
) -> None:
    table = make_table(mode="dedicated")
    guest = await table.guest()
    await guest.ask("PING")
    data = request("SET", "k", "x" * 3000)
    guest.send(data[:1000])
    await until("it to be midway", lambda: guest.talk.is_midway)
    fake.hang_up()
    await until("it to be noticed", lambda: guest.talk.pin is None)
    guest.send(data[1000:2000])
    await asyncio.sleep(0)
    guest.send(data[2000:])
    assert await guest.hear() == LOST
    assert await guest.ask("GET k") == NULL


# ---- large requests


async def test_a_large_request_goes_as_it_comes_on_a_connection_of_its_own(table: Table, fake: FakeRedis) -> None:
    guest, other = await table.guest(), await table.guest()
    data = request("SET", "k", "x" * 300_000)
    guest.send(pack("PING") + data[:100_000])
    assert await guest.hear() == b"+PONG\r\n"
    await until("it to be pinned", lambda: table.pinned == {"large": 1})
    assert await other.ask("PING") == b"+PONG\r\n"
    guest.send(data[100_000:] + pack("PING"))
    assert await guest.hear() == OK
    assert await guest.hear() == b"+PONG\r\n"
    await until("it to share again", lambda: table.pinned == {})
    assert len(fake.data.strings[0, b"k"]) == 300_000


async def test_a_large_request_without_a_server_is_swallowed_and_answered(
    make_table: MakeTable, fake: FakeRedis
) -> None:
    table = make_table(wait=1.0)
    guest = await table.guest()
    await guest.ask("PING")
    fake.refuse_connections()
    guest.send(request("SET", "k", "x" * 300_000))
    assert await guest.hear() == b"-ERR the upstream service is not available\r\n"
    assert await guest.ask("PING") == b"+PONG\r\n"


async def test_a_special_request_that_is_too_large_is_refused(guest: Guest) -> None:
    guest.send(b"*2\r\n$6\r\nNOSUCH\r\n$2000000\r\n" + b"x" * 1_500_000)
    assert (await guest.rest_until_end()).startswith(b"-ERR Protocol error: too big request")
    assert (await guest.end()).reason is Reason.BAD_MESSAGE


# ---- a server that is not to be had


async def test_requests_are_answered_by_errors_while_there_is_no_server(make_table: MakeTable, fake: FakeRedis) -> None:
    for mode in ("multiplex", "dedicated"):
        table = make_table(mode=mode, wait=0.1, port=1)
        guest = await table.guest()
        answers = await guest.ask("GET a", "SET b 1", "MULTI", "PING")
        assert answers == b"-ERR the upstream service is not available\r\n" * 4
        assert guest.talk.line is None


async def test_what_came_before_there_was_a_server_is_asked_once_there_is_one(
    make_table: MakeTable, fake: FakeRedis
) -> None:
    table = make_table()
    fake.on("HELLO", act="wait", times=1)
    guest = await table.guest()
    guest.say("SET a 1", "GET a")
    await until("the login to hang", lambda: fake.asked("HELLO") == 1)
    guest.say("PING")
    fake.release()
    assert b"".join([await guest.hear() for _ in range(3)]) == OK + b"$1\r\n1\r\n+PONG\r\n"


# ---- ends


async def test_what_breaks_the_protocol_is_answered_behind_all_that_was_owed(guest: Guest) -> None:
    guest.send(pack("SET a 1", "GET a") + b"*1\r\n!\r\n")
    assert await guest.rest_until_end() == OK + b"$1\r\n1\r\n-ERR Protocol error: expected '$', got '!'\r\n"
    end = await guest.end()
    assert (end.reason, end.by) == (Reason.BAD_MESSAGE, "self")


async def test_a_session_goes_on_undisturbed_behind_quit(guest: Guest) -> None:
    guest.say("PING", "QUIT", "PING")
    assert await guest.hear() == b"+PONG\r\n"
    assert await guest.hear() == OK
    end = await guest.end()
    assert (end.reason, end.by) == (Reason.CLIENT_CLOSED, "client")
    assert guest.ended.done()
    assert not guest.ended.cancelled()


async def test_a_client_that_has_ended_its_side_still_gets_what_it_is_owed(either: Table, fake: FakeRedis) -> None:
    fake.on("GET", "slow", act="wait")
    guest = await either.guest()
    guest.say("GET slow", "PING")
    guest.far.write_eof()
    await until("the end to be seen", lambda: guest.talk._ended)
    fake.release()
    assert await guest.rest_until_end() == NULL + b"+PONG\r\n"
    assert (await guest.end()).reason is Reason.CLIENT_CLOSED


async def test_it_does_not_get_it_for_ever(table: Table, fake: FakeRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "GOODBYE", 0.05)
    fake.on("GET", act="hang")
    guest = await table.guest()
    guest.say("GET a")
    guest.far.write_eof()
    assert (await guest.end()).reason is Reason.CLIENT_CLOSED


@pytest.mark.parametrize("command", ["BLPOP l 0", "SUBSCRIBE c", "MONITOR"])
async def test_whoever_waits_for_what_may_never_come_goes_at_once(either: Table, fake: FakeRedis, command: str) -> None:
    guest = await either.guest()
    guest.say(command)
    await until("the server to hear of it", lambda: fake.asked(*command.split()[:1]) == 1)
    await until("the state to be known", lambda: bool(guest.talk.state.blocking or guest.talk.owed == 0))
    guest.far.write_eof()
    assert (await guest.end()).reason is Reason.CLIENT_CLOSED


async def test_a_client_that_is_gone_is_owed_nothing_more(table: Table, fake: FakeRedis) -> None:
    fake.on("GET", "slow", act="wait")
    guest, other = await table.guest(), await table.guest()
    guest.say("GET slow", "SET a 1")
    other.say("PING")
    await until("the server to hear of it", lambda: fake.asked("GET") == 1)
    guest.far.abort()
    assert (await guest.end()).reason is Reason.CLIENT_CLOSED
    fake.release()
    assert await other.hear() == b"+PONG\r\n"
    assert await other.ask("GET a") == b"$1\r\n1\r\n"


async def test_a_client_that_goes_while_a_job_is_under_way_ends_it(make_table: MakeTable, fake: FakeRedis) -> None:
    table = make_table()
    fake.on("HELLO", act="hang")
    guest = await table.guest()
    guest.say("GET a")
    await until("the login to hang", lambda: fake.asked("HELLO") == 1)
    guest.far.abort()
    assert (await guest.end()).reason is Reason.CLIENT_CLOSED


async def test_a_conversation_that_is_cancelled_is_cancelled(guest: Guest) -> None:
    await guest.ask("PING")
    guest.ended.cancel()
    with pytest.raises(asyncio.CancelledError):
        await guest.end()


async def test_a_conversation_may_be_over_before_it_begins(table: Table) -> None:
    guest = await table.guest()
    guest.talk.finish(End(Reason.CUT, None, "self"))
    guest.talk.finish(End(Reason.DRAINED, None, "self"))
    assert (await guest.end()).reason is Reason.CUT
    assert table.hub.clients == set()


async def test_a_fault_of_ours_ends_the_conversation(guest: Guest) -> None:
    guest.talk.failed(ZeroDivisionError("oops"))
    end = await guest.end()
    assert (end.reason, end.error) == (Reason.INTERNAL, "ZeroDivisionError")


# ---- drain


async def test_an_idle_client_leaves_at_once(either: Table) -> None:
    guest = await either.guest()
    await guest.ask("PING")
    guest.talk.leave(Reason.DRAINED)
    assert (await guest.end()).reason is Reason.DRAINED


async def test_a_client_leaves_when_it_is_owed_nothing(either: Table, fake: FakeRedis) -> None:
    fake.on("GET", "slow", act="wait")
    guest = await either.guest()
    guest.say("GET slow", "PING")
    await until("the server to hear of it", lambda: fake.asked("GET") == 1)
    guest.talk.leave(Reason.DRAINED)
    assert not guest.ended.done()
    fake.release()
    assert await guest.hear() == NULL
    assert (await guest.end()).reason is Reason.DRAINED


async def test_a_client_leaves_behind_its_transaction(either: Table) -> None:
    guest = await either.guest()
    await guest.ask("MULTI")
    guest.talk.leave(Reason.DRAINED)
    assert guest.talk.in_transaction
    assert await guest.ask("SET a 1", "INCR a") == QUEUED * 2
    assert not guest.ended.done()
    assert await guest.ask("EXEC") == b"*2\r\n+OK\r\n:2\r\n"
    assert (await guest.end()).reason is Reason.DRAINED


@pytest.mark.parametrize("command", ["SUBSCRIBE c", "WATCH k"])
async def test_subscribers_and_those_who_watch_leave_at_once(either: Table, command: str) -> None:
    guest = await either.guest()
    await guest.ask(command)
    guest.talk.leave(Reason.DRAINED)
    assert (await guest.end()).reason is Reason.DRAINED


async def test_a_blocked_client_is_not_sent_away_but_may_be_expelled(either: Table, fake: FakeRedis) -> None:
    guest = await either.guest()
    guest.say("BLPOP l 0")
    await until("it to block", lambda: fake.asked("BLPOP") == 1)
    guest.talk.leave(Reason.DRAINED)
    await asyncio.sleep(0)
    assert not guest.ended.done()
    guest.talk.expel(Reason.CUT)
    assert (await guest.end()).reason is Reason.CUT


async def test_a_leaving_client_begins_no_transaction_that_would_hold_it(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    await guest.ask("MULTI", "EXEC")  # a connection is kept, which it would have got without waiting
    fake.on("GET", "slow", act="wait")
    guest.say("GET slow")
    await until("the server to hear of it", lambda: fake.asked("GET") == 1)
    guest.talk.leave(Reason.DRAINED)
    guest.say("MULTI", "PING")
    await until("it to wait", lambda: guest.talk.halted)
    fake.release()
    assert await guest.hear() == NULL
    assert (await guest.end()).reason is Reason.DRAINED
    assert fake.asked("MULTI") == 1


# ---- what the session sees


async def test_the_session_sees_how_much_went_and_whose_turn_it_is(table: Table, fake: FakeRedis) -> None:
    fake.on("GET", "slow", act="wait")
    guest = await table.guest()
    guest.say("GET slow")
    await until("the server to hear of it", lambda: fake.asked("GET") == 1)
    assert (guest.talk.owed, guest.talk.waiting) == (1, False)
    fake.release()
    await guest.hear()
    assert (guest.talk.bytes_in, guest.talk.bytes_out) == (len(pack("GET slow")), len(NULL))
    assert (guest.talk.owed, guest.talk.waiting) == (0, True)
    await guest.ask("SUBSCRIBE a")
    assert (guest.talk.owed, guest.talk.waiting) == (0, False), "a subscriber is not idle"


# ---- flow


async def test_a_server_that_does_not_read_stalls_whoever_asks(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    await guest.ask("PING")
    line = guest.talk.line
    assert line is not None
    line.choked = True
    guest.say("PING")
    assert await guest.hear() == b"+PONG\r\n"
    await until("it to be stalled", lambda: guest.talk.halted)
    guest.say("PING")
    await asyncio.sleep(0.01)
    assert guest.talk.owed == 0
    line.resume()  # type: ignore[attr-defined]  # it is a server's line
    assert await guest.hear() == b"+PONG\r\n"


async def test_a_client_that_asks_faster_than_it_is_answered_is_stalled(table: Table, fake: FakeRedis) -> None:
    fake.on("GET", "slow", act="wait")
    guest = await table.guest()
    guest.say("GET slow")
    await until("the server to hear of it", lambda: fake.asked("GET") == 1)
    guest.send(pack("PING") * 17_000)
    await until("it to be stalled", lambda: guest.talk.halted)
    fake.release()
    heard = await guest.hear()
    count = 0
    while count < 17_000:
        assert await guest.hear() == b"+PONG\r\n"
        count += 1
    assert heard == NULL


async def test_nothing_more_is_taken_from_a_client_that_does_not_read(guest: Guest) -> None:
    await guest.ask("PING")
    guest.talk.pause()
    guest.say("PING")
    await asyncio.sleep(0.01)
    assert guest.talk.bytes_in == len(pack("PING"))
    guest.talk.resume()
    assert await guest.hear() == b"+PONG\r\n"


# ---- no server


@pytest.fixture(params=["multiplex", "dedicated"])
async def deserted(request: pytest.FixtureRequest, make_table: MakeTable, fake: FakeRedis) -> Table:
    """A hub whose server is not there, in each mode in turn."""
    fake.refuse_connections()
    return make_table(mode=request.param, wait=0.1)


async def test_one_wait_for_a_server_is_for_all_that_the_client_has_said(
    deserted: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[str] = []

    def counted(name: str) -> Callable[..., Awaitable[object]]:
        really = getattr(deserted.hub, name)

        async def wait(*way: object) -> object:
            waits.append(name)
            return await really(*way)

        return wait

    for name in ("shared", "private"):
        monkeypatch.setattr(deserted.hub, name, counted(name))
    guest = await deserted.guest()
    replies = await guest.ask("GET a", "EVAL x 0", "SELECT 1", "WATCH k", "GET b", "SET a 1")
    assert replies == b"-ERR the upstream service is not available\r\n" * 6
    assert len(waits) == 1
    await guest.ask("GET a", "EVAL x 0", "GET b")
    assert len(waits) == 2, "what is said later is worth another"


async def test_who_loses_its_patience_meanwhile_does_not_keep_its_place(
    deserted: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "BRIEF_GOODBYE", 0.01)
    deserted.hub.options = deserted.hub.options.model_copy(update={"wait": 60.0})
    guest = await deserted.guest()
    guest.say("GET a")
    await until("a server to be looked for", lambda: guest.talk.waits_for_server)
    guest.far.close()
    assert (await guest.end()).reason is Reason.CLIENT_CLOSED


async def test_a_client_that_talks_on_meanwhile_is_not_listened_to_without_end(deserted: Table) -> None:
    deserted.hub.options = deserted.hub.options.model_copy(update={"wait": 60.0})
    guest = await deserted.guest()
    guest.say("GET a")
    await until("a server to be looked for", lambda: guest.talk.waits_for_server)
    for _ in range(40):
        guest.send(pack("SET a " + "x" * 60000))
    await until("it to be heard", lambda: len(guest.talk.kept) >= client_module.MOST_OVERHEARD)
    await asyncio.sleep(0.05)
    assert len(guest.talk.kept) < 40 * 60000 / 2
