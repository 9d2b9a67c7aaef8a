"""CLIENT: what drivers say when they connect, and what a client may ask of its connection."""

from __future__ import annotations

import pytest

from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import Guest, MakeTable, Table, until

OK = b"+OK\r\n"
NULL = b"$-1\r\n"
PONG = b"+PONG\r\n"


async def test_a_name_is_kept_here_and_taken_away_again(table: Table, fake: FakeRedis) -> None:
    guest, other = await table.guest(), await table.guest()
    assert await guest.ask("CLIENT SETNAME me", "CLIENT GETNAME") == OK + b"$2\r\nme\r\n"
    assert await other.ask("CLIENT GETNAME") == NULL
    assert fake.asked("CLIENT", "SETNAME", "me") == 0
    guest.send(b"*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$0\r\n\r\n")
    assert await guest.hear() == OK
    assert await guest.ask("CLIENT GETNAME") == NULL
    guest.send(b"*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$3\r\na b\r\n")
    assert await guest.hear() == b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n"


async def test_in_dedicated_mode_the_server_is_told_the_name_too(make_table: MakeTable, fake: FakeRedis) -> None:
    guest = await make_table(mode="dedicated").guest()
    assert await guest.ask("CLIENT SETNAME me", "CLIENT GETNAME") == OK + b"$2\r\nme\r\n"
    assert fake.sessions[-1].name == b"me"


async def test_what_the_driver_is_called_is_heard_and_forgotten(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    assert await guest.ask("CLIENT SETINFO LIB-NAME x", "client setinfo lib-ver 1") == OK + OK
    assert await guest.ask("CLIENT SETINFO WHAT x") == b"-ERR Unrecognized option 'WHAT'\r\n"
    guest.send(b"*4\r\n$6\r\nCLIENT\r\n$7\r\nSETINFO\r\n$8\r\nLIB-NAME\r\n$3\r\na b\r\n")
    assert await guest.hear() == b"-ERR lib-name cannot contain spaces, newlines or special characters.\r\n"
    assert fake.asked("CLIENT", "SETINFO") == 0


@pytest.mark.parametrize("words", ["CLIENT SETINFO LIB-NAME x", "CLIENT ID", "CLIENT NO-EVICT ON"])
async def test_in_dedicated_mode_the_server_itself_is_asked(make_table: MakeTable, fake: FakeRedis, words: str) -> None:
    guest = await make_table(mode="dedicated").guest()
    assert (await guest.ask(words)).startswith((b"+OK", b":"))
    assert fake.asked(*words.split()) == 1


async def test_shared_connections_are_not_a_client_s_to_mark(guest: Guest) -> None:
    assert await guest.ask("CLIENT NO-EVICT ON", "CLIENT NO-EVICT x") == OK + b"-ERR syntax error\r\n"


async def test_what_is_not_known_here_is_the_server_s_to_answer(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    assert await guest.ask("CLIENT UNPAUSE", "CLIENT SETNAME", "CLIENT GETNAME x") != b""
    assert fake.asked("CLIENT", "UNPAUSE") == fake.asked("CLIENT", "GETNAME", "x") == 1
    await until("it to share again", lambda: table.pinned == {})


# ---- REPLY


async def test_a_client_that_wants_no_replies_gets_none_until_it_does(either: Table, fake: FakeRedis) -> None:
    guest = await either.guest()
    guest.say("CLIENT REPLY OFF", "SET a 1", "NOSUCH", "CLIENT ID", "MULTI", "INCR a", "EXEC", "BLPOP l 0.01")
    guest.say("CLIENT REPLY SKIP", "HELLO 2", "CLIENT REPLY x", "CLIENT REPLY ON", "GET a")
    assert await guest.hear() == OK
    assert await guest.hear() == b"$1\r\n2\r\n"
    assert fake.asked("CLIENT", "REPLY") == 0


@pytest.mark.parametrize(
    "skipped", ["SET a 1", "CLIENT ID", "NOSUCH", "AUTH x", "MULTI", "CLIENT REPLY x", "BLPOP l 0.01"]
)
async def test_the_reply_to_one_request_is_skipped(either: Table, skipped: str) -> None:
    guest = await either.guest()
    guest.say("PING", "CLIENT REPLY SKIP", skipped, "DISCARD", "PING")
    assert await guest.hear() == PONG
    assert (await guest.hear()) in {OK, b"-ERR DISCARD without MULTI\r\n"}
    assert await guest.hear() == PONG


@pytest.mark.parametrize(
    ("words", "heard"),
    [
        (("SKIP", "SKIP", "PING", "ECHO"), b"$1\r\na\r\n"),
        (("SKIP", "ON", "PING"), OK + PONG),
        (("SKIP", "OFF", "PING", "ON", "ECHO"), OK + b"$1\r\na\r\n"),
        (("OFF", "SKIP", "PING", "PING", "ON"), OK),
        (("SKIP", "SUBSCRIBE", "PING"), b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
        (("SKIP", "RESET", "PING"), PONG),
        (("OFF", "RESET", "PING"), b"+RESET\r\n" + PONG),
    ],
    ids=lambda value: "-".join(value).lower() if isinstance(value, tuple) else "",
)
async def test_what_is_said_of_replies_adds_up_as_at_a_server(
    real: Table, words: tuple[str, ...], heard: bytes
) -> None:
    whole = {"PING": "PING", "ECHO": "ECHO a", "SUBSCRIBE": "SUBSCRIBE a", "RESET": "RESET"}
    guest = await real.guest()
    guest.say(*(whole.get(word, f"CLIENT REPLY {word}") for word in words))
    found = b""
    while len(found) < len(heard):
        found += await guest.hear()
    assert found == heard
    assert await guest.ask("RESET") == b"+RESET\r\n", "nothing came behind it"


async def test_an_error_is_no_confirmation_for_whoever_wants_no_replies(guest: Guest, fake: FakeRedis) -> None:
    fake.on("SUBSCRIBE", raw=b"-NOPERM no\r\n")
    guest.say("CLIENT REPLY OFF", "SUBSCRIBE a", "CLIENT REPLY ON")
    assert await guest.hear() == OK


async def test_words_about_replies_that_make_no_sense_are_refused(guest: Guest) -> None:
    assert await guest.ask("CLIENT REPLY ON", "CLIENT REPLY MAYBE") == OK + b"-ERR syntax error\r\n"
    guest.say("CLIENT REPLY OFF", "RESET")
    assert await guest.hear() == b"+RESET\r\n", "RESET wants replies again"


# ---- TRACKING


async def test_tracking_keeps_a_connection_from_on_to_off(real: Table) -> None:
    guest, other = await real.guest(), await real.guest()
    await guest.ask("HELLO 3")
    assert await guest.ask("CLIENT TRACKING ON", "GET tracked") == OK + b"_\r\n"
    assert real.pinned == {"tracking": 1}
    await other.ask("SET tracked 1", "DEL tracked")
    assert await guest.hear() == b">2\r\n$10\r\ninvalidate\r\n*1\r\n$7\r\ntracked\r\n"
    assert await guest.ask("CLIENT TRACKING OFF") == OK
    await until("it to share again", lambda: real.pinned == {})


async def test_tracking_that_is_refused_keeps_nothing(real: Table) -> None:
    guest = await real.guest()
    assert (await guest.ask("CLIENT TRACKING")).startswith(b"-ERR")
    assert (await guest.ask("CLIENT TRACKING MAYBE")).startswith(b"-ERR")
    await until("it to share again", lambda: real.pinned == {})


async def test_whoever_tracked_keys_is_cut_with_its_server(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    assert await guest.ask("HELLO 3", "CLIENT TRACKING ON") != b""
    fake.hang_up()
    assert (await guest.end()).by == "upstream"
