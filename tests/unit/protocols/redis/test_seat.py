"""Where a client sits: which connection its requests go on, and what it is told on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ambassador.access.base import Principal
from ambassador.errors import Reason
from ambassador.net.relay import End
from ambassador.protocols.redis.lanes import Asking
from ambassador.protocols.redis.line import PrivateLine, Refusing
from ambassador.protocols.redis.seat import Seat
from ambassador.protocols.redis.state import Pin, Silence
from ambassador.wire.redis.commands import Code, Kind
from ambassador.wire.redis.messages import request
from ambassador.wire.redis.requests import Requests
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import EVERYONE, Guest, MakeTable, Table, pack, until

OK = b"+OK\r\n"


async def test_every_client_has_a_number_of_its_own(table: Table) -> None:
    numbers = {(await table.guest()).talk.number for _ in range(5)}
    assert len(numbers) == 5


async def test_a_client_moves_at_once_where_there_is_a_connection_and_nothing_owed(
    make_table: MakeTable, fake: FakeRedis
) -> None:
    table = make_table()
    guest = await table.guest()
    assert not guest.talk.move_now(), "nothing is known yet"
    await guest.ask("PING")
    assert guest.talk.move_now()
    guest.talk.owed = 1
    assert not guest.talk.move_now()
    guest.talk.owed = 0
    guest.talk.heavy_until = table.clock.now() + 100
    assert not guest.talk.move_now()
    dedicated = await make_table(mode="dedicated").guest()
    await dedicated.ask("PING")
    assert not dedicated.talk.move_now()


async def test_after_a_large_reply_a_client_has_a_connection_of_its_own_for_a_while(
    table: Table, fake: FakeRedis
) -> None:
    size = 3 << 20
    fake.data.strings[0, b"large"] = b"x" * size
    guest = await table.guest()
    await guest.ask("PING")
    assert len(await guest.ask("GET large")) > size
    assert guest.talk.heavy
    assert await guest.ask("PING") == b"+PONG\r\n"
    assert table.pinned == {"large": 1}
    guest.talk.heavy_until = 0.0
    assert await guest.ask("PING") == b"+PONG\r\n"
    await until("it to share again", lambda: table.pinned == {})


async def test_a_held_connection_is_the_client_s_until_it_lets_go(table: Table) -> None:
    guest = await table.guest()
    await guest.ask("PING")
    line = await table.hub.private((2, 0))
    guest.talk.hold_pin(line, Pin.WATCH)
    assert (guest.talk.pin, guest.talk.line, guest.talk.streaming, guest.talk.watched) == (line, line, True, True)
    assert line.listener is guest.talk.to
    guest.talk.let_pin_go()
    assert (guest.talk.pin, guest.talk.streaming) == (None, False)
    assert guest.talk.line is table.hub.ready((2, 0))
    assert line.listener is not guest.talk.to
    assert table.hub.idle((2, 0)) is line
    table.hub.give_back(line)
    guest.talk.let_pin_go()
    assert table.pinned == {}


async def test_what_needs_a_connection_of_the_client_s_own_has_to_have_one(table: Table) -> None:
    guest = await table.guest()
    with pytest.raises(AssertionError, match="has something sent"):
        guest.talk.forward(Code.MULTI, pack("MULTI"))
    with pytest.raises(AssertionError, match="has something asked"):
        await guest.talk.question("PING")
    with pytest.raises(AssertionError, match="becomes something else"):
        guest.talk.turn_raw(Pin.MONITOR)


def has_said_more(guest: Guest, than: int) -> Callable[[], bool]:
    """Whether more bytes have come from a client."""
    return lambda: guest.talk.bytes_in > than


async def test_half_a_request_is_midway_only_where_it_has_gone(make_table: MakeTable) -> None:
    half = request("SET", "k", "v")[:25]
    for mode, midway in (("multiplex", False), ("dedicated", True)):
        guest = await make_table(mode=mode).guest()
        await guest.ask("PING")
        assert not guest.talk.is_midway
        guest.send(half)
        await until("it to come", has_said_more(guest, len(half)))
        assert guest.talk.is_midway is midway
        guest.send(request("SET", "k", "v")[25:])
        assert await guest.hear() == OK
        assert not guest.talk.is_midway


async def test_what_we_reply_is_counted_by_its_kind_and_thrown_away_for_whoever_wants_none(table: Table) -> None:
    guest = await table.guest()
    guest.talk.reply(OK)
    guest.talk.reply(b"-ERR no\r\n", kind=Kind.OTHER)
    guest.talk.mute = True
    guest.talk.reply(b":1\r\n")
    assert await guest.hear() + await guest.hear() == OK + b"-ERR no\r\n"
    assert guest.counts == {"CONNECTION": (2, 0), "OTHER": (0, 1)}
    assert guest.talk.bytes_out == len(OK + b"-ERR no\r\n")


@pytest.mark.parametrize("watchful", ["principal", "lost", "skipping", "raw"])
async def test_some_clients_are_looked_at_more_closely(table: Table, watchful: str) -> None:
    guest = await table.guest()
    await guest.ask("PING")
    talk = guest.talk
    assert talk.walk.classes is talk.rules.classes
    if watchful == "principal":
        talk.proven(None)
    elif watchful == "lost":
        talk.state.lost = "multi"
    elif watchful == "skipping":
        talk.state.silence = Silence.NEXT
    else:
        talk.state.raw = True
    talk.look()
    assert talk.walk.classes == {}
    talk.state.silence = Silence.NOBODY
    talk.state.raw = False
    talk.found_again()
    talk.proven(EVERYONE.principal)
    assert talk.walk.classes is talk.rules.classes


@pytest.mark.parametrize(
    ("principal", "name"),
    [(None, b"default"), (Principal("", "trust"), b"default"), (Principal("jo\udcff", "trust"), b"jo\xff")],
)
async def test_what_a_client_is_told_it_is_called(table: Table, principal: Principal | None, name: bytes) -> None:
    guest = await table.guest()
    guest.talk.principal = principal
    assert guest.talk.shown_name == name


def test_in_the_place_of_a_server_every_request_is_answered() -> None:
    kinds: list[int] = []
    walk = Requests({b"GET": 0, b"SET": 1})
    line = Refusing(kinds.append)
    client = Asking(line.to, walk, ())
    client.line = line
    client.take(pack("GET a", "GET b"))
    client.take(pack("SET a 1"))
    assert kinds == [0, 0, 1]
    assert (client.owed, line.owed) == (0, 0)


def test_a_seat_by_itself_has_nobody_to_tell() -> None:
    assert Seat.pin_lost(None) is None  # type: ignore[arg-type, func-returns-value]  # it does nothing
    assert Seat.hear_again(None) is None  # type: ignore[arg-type, func-returns-value]  # nor does this


async def test_a_client_that_leaves_in_the_moment_of_an_answer_leaves_no_connection_to_others(
    table: Table, fake: FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = await table.guest()
    await guest.ask("WATCH k")
    pin = guest.talk.pin
    assert pin is not None
    asked = PrivateLine.question

    def overheard(line: PrivateLine, *words: bytes | str | int) -> asyncio.Future[bytes | None]:
        answer = asked(line, *words)
        # Before whoever waits for it: the answer has come, and the client is gone before it is heard.
        answer.add_done_callback(lambda _: guest.talk.finish(End(Reason.CLIENT_CLOSED, None, "client")))
        return answer

    monkeypatch.setattr(PrivateLine, "question", overheard)
    guest.say("UNWATCH", "SELECT 5")
    await guest.end()
    await until("it to be closed", lambda: pin.gone)
    other = await table.guest()
    assert await other.ask("WATCH k", "SET k there", "UNWATCH", "GET k") == b"+OK\r\n" * 3 + b"$5\r\nthere\r\n"
    assert fake.data.strings == {(0, b"k"): b"there"}
