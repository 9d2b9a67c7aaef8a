"""The requests that are not simply passed on, as the client sees them."""

from __future__ import annotations

import pytest

from ambassador.access.base import Principal, Proven
from ambassador.errors import Reason
from ambassador.protocols.redis import accept
from ambassador.wire.redis.messages import decode
from tests.support.fake_redis import FakeRedis
from tests.support.valkey import ValkeyServer
from tests.unit.protocols.redis.conftest import Asked, Guest, MakeTable, Table, pack, until

OK = b"+OK\r\n"
NULL = b"$-1\r\n"
PONG = b"+PONG\r\n"
QUEUED = b"+QUEUED\r\n"
NOAUTH = b"-NOAUTH Authentication required.\r\n"
IN_MULTI = b"-ERR Command not allowed inside a transaction\r\n"


# ---- AUTH, and who is not known any more


async def test_auth_is_checked_here_and_the_server_hears_nothing_of_it(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest(Asked(b"right"))
    answers = await guest.ask("AUTH wrong", "AUTH joe right", "AUTH right", "AUTH", "AUTH a b c")
    wrong = f"-{accept.WRONG}\r\n".encode()
    arity = b"-ERR wrong number of arguments for 'auth' command\r\n"
    assert answers == wrong + OK + OK + arity + b"-ERR syntax error\r\n"
    assert fake.asked("AUTH") == 0
    assert guest.talk.principal == Principal("joe", "password")


async def test_reset_takes_back_who_the_client_has_proven_to_be(either: Table) -> None:
    guest = await either.guest(Asked(b"right"))
    await guest.ask("WATCH k", "CLIENT SETNAME me")
    assert await guest.ask("RESET", "GET a", "CLIENT GETNAME") == b"+RESET\r\n" + NOAUTH + NOAUTH
    assert (await guest.ask("HELLO 3")).startswith(b"-NOAUTH HELLO must be called")
    assert await guest.ask("AUTH right", "CLIENT GETNAME", "GET a") == OK + NULL + NULL


async def test_reset_is_as_in_the_beginning_for_whoever_needs_no_password(either: Table, fake: FakeRedis) -> None:
    guest = await either.guest()
    await guest.ask("HELLO 3 SETNAME me", "SELECT 3", "SET a 1", "MULTI")
    assert await guest.ask("RESET", "CLIENT GETNAME", "GET a", "EXEC") == b"+RESET\r\n" + NULL * 2 + (
        b"-ERR EXEC without MULTI\r\n"
    )
    assert (guest.talk.state.protocol, guest.talk.state.database) == (2, 0)


async def test_whoever_has_been_reset_may_still_quit(table: Table) -> None:
    guest = await table.guest(Asked(b"right"))
    await guest.ask("RESET")
    guest.say("QUIT")
    assert await guest.rest_until_end() == OK


# ---- HELLO


async def test_hello_tells_of_the_server_with_a_number_of_the_client_s_own(table: Table) -> None:
    one, two = await table.guest(), await table.guest()
    numbers = []
    for guest in (one, two):
        value, _ = decode(await guest.ask("HELLO 3"))
        pairs = dict(value.pairs)  # type: ignore[union-attr]  # RESP3 has a map there
        assert (pairs[b"server"], pairs[b"proto"]) == (b"valkey", 3)
        numbers.append(pairs[b"id"])
        assert await guest.ask("CLIENT ID") == b":%d\r\n" % pairs[b"id"]
        assert await guest.ask("GET nil") == b"_\r\n"
    assert numbers[0] != numbers[1]


async def test_in_dedicated_mode_its_number_is_the_server_s(make_table: MakeTable, fake: FakeRedis) -> None:
    guest = await make_table(mode="dedicated").guest()
    value, _ = decode(await guest.ask("HELLO 3"))
    number = dict(value.pairs)[b"id"]  # type: ignore[union-attr]  # RESP3 has a map there
    assert number == fake.sessions[-1].number
    assert await guest.ask("CLIENT ID") == b":%d\r\n" % number


async def test_each_version_of_the_protocol_has_connections_of_its_own(table: Table, fake: FakeRedis) -> None:
    two, three = await table.guest(), await table.guest()
    await three.ask("HELLO 3")
    assert await two.ask("GET nil") == NULL
    assert await three.ask("GET nil") == b"_\r\n"
    assert fake.accepted == 2
    assert (await three.ask("HELLO 2")).startswith(b"*14\r\n")
    assert await three.ask("GET nil") == NULL
    assert fake.accepted == 2


@pytest.mark.parametrize("before", ["WATCH k", "PING"])
async def test_hello_without_a_version_keeps_the_one_there_is(either: Table, before: str) -> None:
    guest = await either.guest()
    await guest.ask(before, "HELLO 3")
    assert (await guest.ask("HELLO")).startswith(b"%7\r\n")


async def test_hello_logs_in_and_names_the_client(either: Table, fake: FakeRedis) -> None:
    guest = await either.guest(Asked(b"right"))
    await guest.ask("RESET")
    assert (await guest.ask("HELLO 3 AUTH joe right SETNAME me")).startswith(b"%7\r\n")
    assert await guest.ask("CLIENT GETNAME") == b"$2\r\nme\r\n"
    assert (await guest.ask("HELLO 3 AUTH joe wrong")) == f"-{accept.WRONG}\r\n".encode()
    assert fake.asked("CLIENT", "SETNAME", "me") == (1 if either.hub.options.mode == "dedicated" else 0)


@pytest.mark.parametrize("words", ["HELLO 4", "HELLO x", "HELLO 3 AUTH a", "HELLO 3 WHAT"])
async def test_what_is_no_hello_is_refused_in_the_server_s_words(guest: Guest, words: str) -> None:
    assert (await guest.ask(words)).startswith((b"-NOPROTO ", b"-ERR "))
    assert await guest.ask("PING") == PONG


async def test_hello_is_unknown_where_the_server_knows_none(make_table: MakeTable, fake: FakeRedis) -> None:
    fake.old()
    guest = await make_table().guest()
    assert await guest.ask("HELLO 2", "PING") == b"-ERR unknown command 'HELLO'\r\n" + PONG
    assert (await guest.ask("HELLO 3")).startswith(b"-ERR ")


async def test_a_version_that_the_server_does_not_speak_is_refused_and_the_old_one_stays(
    make_table: MakeTable, fake: FakeRedis
) -> None:
    fake.only_resp2()
    for mode in ("multiplex", "dedicated"):
        guest = await make_table(mode=mode).guest()
        assert (await guest.ask("HELLO 3")).startswith(b"-")
        assert await guest.ask("GET nil") == NULL


async def test_hello_on_a_connection_of_ones_own_changes_that_one(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    await guest.ask("WATCH k")
    assert (await guest.ask("HELLO 3")).startswith(b"%7\r\n")
    assert await guest.ask("GET nil", "UNWATCH", "GET nil") == b"_\r\n" + OK + b"_\r\n"
    await until("it to share again", lambda: table.pinned == {})
    old = await table.guest()
    assert await old.ask("WATCH k", "GET nil") == OK + NULL, "a kept connection has the version it was left in"


# ---- what has no place in a transaction


@pytest.mark.parametrize(
    "words",
    ["AUTH x", "HELLO 3", "ACL WHOAMI", "CONFIG GET maxmemory", "CLIENT LIST", "MONITOR", "PSYNC ? -1",
     "CLIENT SETNAME me", "SUBSCRIBE c"],
)  # fmt: skip
async def test_what_cannot_be_done_in_a_transaction_is_refused(either: Table, words: str) -> None:
    guest = await either.guest()
    assert await guest.ask("MULTI", words, "PING") == OK + IN_MULTI + QUEUED
    assert (await guest.ask("EXEC")).startswith(b"-EXECABORT")


@pytest.mark.parametrize("words", ["SELECT", "CLIENT ID", "CLIENT NO-EVICT on", "SSUBSCRIBE x", "CLIENT NOSUCH"])
async def test_whatever_is_refused_in_a_transaction_spoils_it(either: Table, words: str) -> None:
    guest = await either.guest()
    assert (await guest.ask("MULTI", "SET a 1", words)).startswith(OK + QUEUED + b"-ERR ")
    assert (await guest.ask("EXEC")).startswith(b"-EXECABORT")
    assert await guest.ask("GET a") == NULL


async def test_a_refusal_spoils_the_transaction_as_the_server_s_own_would(either: Table) -> None:
    guest = await either.guest()
    either.allow(deny=["INCR"])
    guest = await either.guest()
    refused = b"-NOPERM User default has no permissions to run the 'incr' command\r\n"
    assert await guest.ask("MULTI", "SET a 1", "INCR a") == OK + QUEUED + refused
    assert (await guest.ask("EXEC")).startswith(b"-EXECABORT")
    assert await guest.ask("GET a", "INCR a") == NULL + refused
    assert (guest.refused, "WRITE" in guest.counts) == ({"WRITE": 2}, True)
    assert guest.counts["WRITE"][1] == 0


# ---- SELECT


@pytest.mark.parametrize("mode", ["multiplex", "dedicated"])
async def test_a_database_of_ours_that_the_server_has_not_is_told_in_its_words(
    make_table: MakeTable, mode: str
) -> None:
    guest = await make_table(database=10_000, mode=mode).guest()
    assert await guest.ask("PING") == b"-ERR DB index is out of range\r\n"


async def test_databases_are_apart(either: Table) -> None:
    guest = await either.guest()
    assert await guest.ask("SET k 0", "SELECT 1", "GET k", "SET k 1", "SELECT 0", "GET k") == (
        OK + OK + NULL + OK + OK + b"$1\r\n0\r\n"
    )
    assert await guest.ask("SELECT 1", "MULTI", "GET k", "EXEC") == OK + OK + QUEUED + b"*1\r\n$1\r\n1\r\n"


@pytest.mark.parametrize("before", ["PING", "WATCH k"])
@pytest.mark.parametrize("number", ["99", "-1", "x", "1 2", ""])
async def test_a_database_that_is_none_is_refused_and_the_old_one_stays(
    either: Table, before: str, number: str
) -> None:
    guest = await either.guest()
    await guest.ask("SET k 0", before)
    assert (await guest.ask(f"SELECT {number}")).startswith(b"-ERR ")
    assert await guest.ask("GET k", "UNWATCH", "GET k") == b"$1\r\n0\r\n" + OK + b"$1\r\n0\r\n"


async def test_many_refused_databases_do_not_use_up_those_of_others(table: Table) -> None:
    guest = await table.guest()
    for number in range(100, 110):
        assert await guest.ask(f"SELECT {number}") == b"-ERR DB index is out of range\r\n"
    assert set(table.hub._slots) == {(2, 0)}


@pytest.mark.parametrize("mode", ["multiplex", "dedicated"])
async def test_with_a_configured_database_clients_see_it_as_the_first_and_only_one(
    make_table: MakeTable, fake: FakeRedis, mode: str
) -> None:
    guest = await make_table(database=5, mode=mode).guest()
    assert await guest.ask("SELECT 0", "SET k 5", "SELECT 5") == OK + OK + b"-ERR DB index is out of range\r\n"
    assert fake.data.strings == {(5, b"k"): b"5"}
    assert await guest.ask("WATCH k", "SELECT 0") == OK + OK
    assert guest.talk.line is guest.talk.pin, "it stays where its keys are watched"
    assert await guest.ask("SET k 6", "MULTI", "SELECT 0", "EXEC") == OK + OK + QUEUED + b"*-1\r\n"
    assert await guest.ask("MULTI", "SELECT 0", "EXEC") == OK + QUEUED + b"*1\r\n$2\r\nOK\r\n"


async def test_a_database_chosen_in_a_transaction_keeps_the_connection(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    assert await guest.ask("MULTI", "SELECT 1", "EXEC", "SET k 1") == OK + QUEUED + b"*1\r\n+OK\r\n" + OK
    assert fake.data.strings == {(1, b"k"): b"1"}
    assert table.pinned == {"transaction": 1}


async def test_marks_on_a_connection_stay_with_who_set_them(table: Table, fake: FakeRedis) -> None:
    guest, other = await table.guest(), await table.guest()
    fake.on("READONLY", raw=OK)
    assert await guest.ask("READONLY", "GET a") == OK + NULL
    assert await other.ask("CLIENT NO-TOUCH ON", "GET a") == OK + NULL
    assert table.pinned == {"command": 2}
    guest.far.close()
    other.far.close()
    await guest.end()
    await other.end()
    assert not table.hub._idle.get((2, 0))


# ---- a real server's secrets


async def test_what_the_server_tells_of_our_login_the_client_does_not_see(real: Table, valkey: ValkeyServer) -> None:
    guest = await real.guest()
    clients = await guest.ask("CLIENT LIST")
    assert b"name=ambassador" in clients
    assert real.user.encode() not in clients
    assert b"user=joe" in clients
    assert (await guest.ask("CONFIG GET masterauth")) == b"*2\r\n$10\r\nmasterauth\r\n$0\r\n\r\n"
    assert await guest.ask("ACL WHOAMI") == b"$3\r\njoe\r\n"
    assert (await guest.ask("ACL LIST")).startswith(b"-NOPERM")
    assert (await guest.ask("ACL CAT")).startswith(b"*")
    await guest.ask("HELLO 3")
    assert (await guest.ask("CLIENT INFO")).startswith(b"=")
    assert guest.counts["ADMIN"][0] == 4
    await until("it to share again", lambda: real.pinned == {})


async def test_an_error_that_names_our_user_names_the_client_instead(real: Table, valkey: ValkeyServer) -> None:
    valkey.set_user(real.user, real.password, "~* &* +@all -get")
    guest = await real.guest()
    assert await guest.ask("GET a") == b"-NOPERM User joe has no permissions to run the 'get' command\r\n"


async def test_so_does_one_that_answers_what_we_asked_for_it(real: Table, valkey: ValkeyServer) -> None:
    valkey.set_user(real.user, real.password, "~* &* +@all -select")
    guest = await real.guest()
    await guest.ask("WATCH k")
    refusal = b"-NOPERM User joe has no permissions to run the 'select' command\r\n"
    assert await guest.ask("SELECT 2") == refusal
    assert guest.talk.state.database == 0


# ---- MONITOR and replication


async def test_whoever_watches_the_server_says_nothing_more(either: Table, fake: FakeRedis) -> None:
    guest = await either.guest()
    assert await guest.ask("MONITOR") == OK
    assert either.pinned == {"monitor": 1}
    fake.sessions[-1].say(b'+1700000000.0 [0 127.0.0.1:1] "GET" "a"\r\n')
    assert await guest.hear() == b'+1700000000.0 [0 127.0.0.1:1] "GET" "a"\r\n'
    assert await guest.ask("PING") == PONG  # drivers see so whether it lives
    guest.say("MONITOR", "GET a")
    assert await guest.rest_until_end() == b"-ERR Protocol error: not possible on a connection for monitor\r\n"
    assert (await guest.end()).reason is Reason.BAD_MESSAGE
    assert fake.asked("GET") == 0


@pytest.mark.parametrize("mode", ["multiplex", "dedicated"])
async def test_whoever_watches_may_begin_anew(make_table: MakeTable, fake: FakeRedis, mode: str) -> None:
    table = make_table(mode=mode)
    guest = await table.guest()
    await guest.ask("MONITOR")
    watching = fake.sessions[-1]
    assert await guest.ask("RESET") == b"+RESET\r\n"
    await until("the server to be left", lambda: watching not in fake.sessions)
    assert await guest.ask("GET a", "PING") == NULL + PONG
    assert table.pinned == ({"dedicated": 1} if mode == "dedicated" else {})


@pytest.mark.parametrize("word", [b"QUIT\r\n", pack("QUIT")])
async def test_whoever_watches_may_go(table: Table, word: bytes) -> None:
    guest = await table.guest()
    await guest.ask("MONITOR")
    guest.send(word)
    assert await guest.rest_until_end() == OK
    assert (await guest.end()).reason is Reason.CLIENT_CLOSED


@pytest.mark.parametrize("words", ["MONITOR", "PSYNC ? -1"])
async def test_whoever_is_refused_it_goes_on_as_before(table: Table, fake: FakeRedis, words: str) -> None:
    fake.on(words.split(maxsplit=1)[0], raw=b"-NOPERM no\r\n")
    guest = await table.guest()
    assert await guest.ask(words) == b"-NOPERM no\r\n"
    assert await guest.ask("SET a 1") == OK
    await until("the client to share again", lambda: not any(table.pinned.values()))


async def test_a_replica_may_say_what_replicas_say(table: Table, fake: FakeRedis) -> None:
    fake.on("REPLCONF", raw=OK).on("PSYNC", raw=b"+FULLRESYNC x 0\r\n$3\r\nRDB")
    guest = await table.guest()
    assert await guest.ask("REPLCONF listening-port 1", "PSYNC ? -1") == OK + b"+FULLRESYNC x 0\r\n"
    assert table.pinned == {"replication": 1}
    guest.say("REPLCONF ACK 0")
    guest.send(b"\r\n")
    await until("the server to hear of it", lambda: fake.asked("REPLCONF", "ACK") == 1)
    guest.say("SET a 1")
    await guest.end()
    assert fake.asked("SET") == 0


# ---- inline commands, policies


async def test_inline_commands_are_served_like_others(either: Table) -> None:
    guest = await either.guest()
    guest.send(b'SET k "a b"\r\n\r\nget k\nMULTI\r\nEXEC\r\n')
    heard = b"".join([await guest.hear() for _ in range(4)])
    assert heard == OK + b"$3\r\na b\r\n" + OK + b"*0\r\n"


async def test_an_inline_command_with_open_quotes_ends_the_conversation(guest: Guest) -> None:
    guest.send(b'SET k "a\r\n')
    assert await guest.rest_until_end() == b"-ERR Protocol error: unbalanced quotes in request\r\n"


@pytest.mark.parametrize(
    "data", [b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"SET a 1\r\nHost: x\r\n", pack("post /"), pack("host: x")]
)
async def test_a_browser_that_was_misled_is_obeyed_in_nothing_behind_its_request(
    either: Table, fake: FakeRedis, data: bytes
) -> None:
    guest = await either.guest()
    guest.send(data + b"SET b 2\r\nMULTI\r\n")
    said = await guest.rest_until_end()
    assert said == (OK if b"SET" in data else b"") + b"-ERR Protocol error: no HTTP here\r\n"
    end = await guest.end()
    assert (end.reason, "HTTP" in (end.error or "")) == (Reason.BAD_MESSAGE, True)
    assert (0, b"b") not in fake.data.strings


async def test_what_the_rules_forbid_never_reaches_the_server(either: Table, fake: FakeRedis) -> None:
    either.allow(keys=["mine:"], deny=["INCR"])
    guest = await either.guest()
    answers = await guest.ask("SET mine:a 1", "SET other 1", "INCR mine:a", "GET mine:a")
    assert [line[:6] for line in answers.split(b"\r\n")] == [b"+OK", b"-NOPER", b"-NOPER", b"$1", b"1", b""]
    assert [words[0] for words in fake.heard if words[0] in {b"SET", b"INCR", b"GET"}] == [b"SET", b"GET"]


async def test_what_the_rules_let_through_after_a_look_waits_for_nothing(either: Table, fake: FakeRedis) -> None:
    either.allow(keys=["mine:"], allow=["@all"])
    guest = await either.guest()
    await guest.ask("GET mine:a")
    fake.on("INCR", act="wait", times=1)
    guest.say("INCR mine:a", "INCR mine:a", "GET other", "INCR mine:a", "CONFIG GET requirepass", "ECHO x")
    await until("two to be owed", lambda: guest.talk.owed == 2)  # behind a refusal nothing is asked before its turn
    fake.release()
    assert [await guest.hear() for _ in range(4)] == [
        b":1\r\n",
        b":2\r\n",
        b"-NOPERM No permissions to access a key\r\n",
        b":3\r\n",
    ]
    assert b"requirepass" in await guest.hear()
    assert await guest.hear() == b"$1\r\nx\r\n"
    assert guest.counts["WRITE"] == (3, 0)
    assert guest.refused == {"READ": 1}


@pytest.mark.parametrize("words", ["BLPOP other 0.01", "WATCH other", "WATCH mine:a other"])
async def test_rules_about_keys_hold_for_whoever_has_a_connection_of_its_own_at_once(
    either: Table, fake: FakeRedis, words: str
) -> None:
    either.allow(keys=["mine:"])
    guest = await either.guest()
    await guest.ask("MULTI", "DISCARD")
    assert (await guest.ask(words)).startswith(b"-NOPERM")
    await guest.ask("WATCH mine:a")
    assert (await guest.ask(words)).startswith(b"-NOPERM")
    assert fake.asked(*words.split()) == 0


async def test_in_resp2_a_subscriber_may_say_little(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    await guest.ask("SUBSCRIBE c")
    for words in ("GET a", "CLIENT LIST", "HELLO 3", "SELECT 1", "MULTI", "CLIENT SETNAME x"):
        refusal = await guest.ask(words)
        assert refusal.startswith(b"-ERR Can't execute '"), words
        assert b"only (P|S)SUBSCRIBE" in refusal
    assert await guest.ask("PING") == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
    assert await guest.ask("RESET", "GET a") == b"+RESET\r\n" + NULL
    assert fake.publish(b"c", b"x") == 0


async def test_a_connection_proves_who_the_client_is_whatever_password_it_shows(table: Table) -> None:
    guest = await table.guest(Proven(Principal("joe", "mtls")))
    assert await guest.ask("AUTH whatever", "AUTH joe whatever", "ACL WHOAMI") == OK + OK + b"$3\r\njoe\r\n"


async def test_words_of_the_server_that_tell_a_driver_what_to_do_are_passed_on(
    make_table: MakeTable, fake: FakeRedis
) -> None:
    fake.on("HELLO", raw=b"-LOADING secret words\r\n")
    guest = await make_table(wait=1.0).guest()
    assert await guest.ask("GET a") == b"-LOADING the upstream server is loading its data\r\n"
