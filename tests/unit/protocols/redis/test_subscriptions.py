"""Subscriptions: who gets what, and what is left of them when they end or are lost."""

from __future__ import annotations

import pytest

from ambassador.protocols.redis import subscriptions
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import Guest, Table, until

OK = b"+OK\r\n"


def said(sign: bytes, word: str, name: str, count: int) -> bytes:
    """A confirmation."""
    return sign + b"3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n:%d\r\n" % (
        len(word),
        word.encode(),
        len(name),
        name.encode(),
        count,
    )


def message(sign: bytes, channel: str, text: str) -> bytes:
    return sign + b"3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (
        len(channel),
        channel.encode(),
        len(text),
        text.encode(),
    )


@pytest.fixture(params=[2, 3])
async def listener(request: pytest.FixtureRequest, either: Table) -> Guest:
    """A client that speaks each version in turn."""
    guest = await either.guest()
    await guest.ask(f"HELLO {request.param}")
    return guest


def sign(guest: Guest) -> bytes:
    return b"*" if guest.talk.state.protocol == 2 else b">"


async def hear(guest: Guest, count: int) -> bytes:
    return b"".join([await guest.hear() for _ in range(count)])


async def test_each_name_is_confirmed_and_what_is_published_comes(listener: Guest, fake: FakeRedis) -> None:
    listener.say("SUBSCRIBE a b", "PSUBSCRIBE c*")
    each = sign(listener)
    assert await hear(listener, 3) == (
        said(each, "subscribe", "a", 1) + said(each, "subscribe", "b", 2) + said(each, "psubscribe", "c*", 3)
    )
    assert listener.talk.state.channels == {"channel": {b"a", b"b"}, "pattern": {b"c*"}, "shard": set()}
    for channel in (b"a", b"nobody", b"b"):
        fake.publish(channel, b"x")
    assert await hear(listener, 2) == message(each, "a", "x") + message(each, "b", "x")


async def test_the_last_one_that_ends_lets_the_connection_go(listener: Guest, either: Table, fake: FakeRedis) -> None:
    listener.say("SUBSCRIBE a b", "UNSUBSCRIBE a", "UNSUBSCRIBE")
    each = sign(listener)
    assert (await hear(listener, 4)).endswith(said(each, "unsubscribe", "a", 1) + said(each, "unsubscribe", "b", 0))
    assert not listener.talk.state.listening
    dedicated = either.hub.options.mode == "dedicated"
    await until("it to share again", lambda: either.pinned == ({"dedicated": 1} if dedicated else {}))
    assert await listener.ask("PING") == b"+PONG\r\n"


async def test_messages_between_replies_do_not_disturb_their_order(listener: Guest, fake: FakeRedis) -> None:
    if listener.talk.state.protocol == 2:
        await listener.ask("SUBSCRIBE a")
        listener.say("PING x", "PING y")
        fake.publish(b"a", b"m")
        heard = [await listener.hear() for _ in range(3)]
        assert heard.count(message(b"*", "a", "m")) == 1
        assert [item[-4:] for item in heard if b"pong" in item] == [b"\nx\r\n"[-4:], b"\ny\r\n"[-4:]]
        return
    await listener.ask("SUBSCRIBE a")
    listener.say("MULTI", "PUBLISH a one", "EXEC", "CLIENT ID", "GET nil")
    heard = [await listener.hear() for _ in range(6)]
    assert message(b">", "a", "one") in heard
    rest = [item for item in heard if not item.startswith(b">")]
    assert rest[:3] == [OK, b"+QUEUED\r\n", b"*1\r\n:1\r\n"]
    assert rest[3].startswith(b":")
    assert rest[4] == b"_\r\n"


async def test_an_error_answers_the_whole_request_and_adds_nothing(table: Table, fake: FakeRedis) -> None:
    fake.on("SUBSCRIBE", "secret", raw=b"-NOPERM no\r\n")
    guest = await table.guest()
    assert await guest.ask("SUBSCRIBE secret other", "PING") == b"-NOPERM no\r\n+PONG\r\n"
    assert table.pinned == {}
    assert guest.counts["PUBSUB"] == (0, 1) or guest.counts["PUBSUB"][1] == 1


async def test_a_subscription_under_way_when_the_server_goes_is_excused(table: Table, fake: FakeRedis) -> None:
    fake.on("SUBSCRIBE", act="close", times=1)
    guest = await table.guest()
    assert (await guest.ask("SUBSCRIBE a")).startswith(b"-ERR the connection to the upstream server was lost")
    assert not guest.talk.state.listening
    assert await guest.ask("SUBSCRIBE a") == said(b"*", "subscribe", "a", 1)


async def test_not_everything_may_be_listened_to(
    table: Table, fake: FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "MOST_CHANNELS", 3)
    guest = await table.guest()
    guest.say("SUBSCRIBE a b", "SUBSCRIBE c d", "SUBSCRIBE c", "UNSUBSCRIBE a", "SUBSCRIBE d")
    heard = [await guest.hear() for _ in range(6)]
    assert heard[2] == b"-ERR more than 3 subscriptions\r\n"
    assert guest.talk.state.channels["channel"] == {b"b", b"c", b"d"}


async def test_a_client_without_replies_still_hears_messages(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    guest.say("HELLO 3", "CLIENT REPLY OFF", "SUBSCRIBE a", "GET x")
    await guest.hear()
    assert await guest.hear() == said(b">", "subscribe", "a", 1)
    await until("it to listen", lambda: guest.talk.state.listening and guest.talk.owed == 0)
    fake.publish(b"a", b"m")
    assert await guest.hear() == message(b">", "a", "m")


async def test_it_listens_again_as_soon_as_there_is_a_server(
    table: Table, fake: FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ambassador.protocols.redis.hub.LONGEST_PAUSE", 0.01)
    guest = await table.guest()
    await guest.ask("SUBSCRIBE a")
    fake.on("HELLO", raw=b"-NOPERM not yet\r\n", times=3)
    table.hub.options = table.hub.options.model_copy(update={"wait": 0.0})
    fake.hang_up()
    await until("it to listen again", lambda: fake.asked("SUBSCRIBE", "a") == 2)
    await until("the server to know", lambda: fake.publish(b"a", b"m") == 1)
    assert await guest.hear() == message(b"*", "a", "m")
    assert fake.asked("HELLO") >= 5


async def test_sharded_channels_are_listened_to_and_left(real: Table) -> None:
    guest, other = await real.guest(), await real.guest()
    assert await guest.ask("SSUBSCRIBE s") == said(b"*", "ssubscribe", "s", 1)
    assert await other.ask("SPUBLISH s hi") == b":1\r\n"
    assert (await guest.hear()).startswith(b"*3\r\n$8\r\nsmessage")
    assert await guest.ask("SUNSUBSCRIBE s") == said(b"*", "sunsubscribe", "s", 0)
    await until("it to share again", lambda: real.pinned == {})
