"""What a Redis server does, asked of the real ones and of the fake.

A fake that fails here would make every test that rests on it worthless.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.fake_redis import FakeRedis
from tests.support.redis_client import RedisClient
from tests.support.secrets import canary
from tests.support.valkey import Account, ValkeyServers, new_account


@dataclass(frozen=True)
class Server:
    """A server with one user of the test's own."""

    port: int
    account: Account

    def client(self, protocol: int | None = None) -> RedisClient:
        """A client that is logged in, unless it is to begin as a stranger."""
        client = RedisClient(("127.0.0.1", self.port))
        if protocol is not None:
            assert client.ask("AUTH", self.account.name, self.account.password).raw == b"+OK\r\n"
            client.ask("HELLO", protocol)
        return client


KINDS = ["fake", "valkey9", pytest.param("redis7", marks=pytest.mark.apt)]


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, valkeys: ValkeyServers) -> Iterator[Server]:
    """Each kind of server in turn."""
    if request.param != "fake":
        real = valkeys.get(request.param)
        yield Server(real.port, new_account(real))
        return
    account = Account("user_of_the_fake", canary("password"))
    with FakeRedis().user(account.name, account.password) as fake:
        yield Server(fake.port, account)


@pytest.fixture
def client(server: Server) -> Iterator[RedisClient]:
    with server.client(2) as made:
        yield made


@pytest.fixture
def client3(server: Server) -> Iterator[RedisClient]:
    with server.client(3) as made:
        yield made


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f"key_{secrets.token_hex(6)}"


def raw(client: RedisClient, *commands: str) -> list[bytes]:
    """The replies to commands in one piece."""
    return [reply.raw for reply in client.pipeline(command.split() for command in commands)]


# ---- logins


def test_a_stranger_is_heard_on_nothing_but_who_it_is(server: Server) -> None:
    with server.client() as stranger:
        assert stranger.ask("GET", "a").error.code == "NOAUTH"
        assert stranger.ask("HELLO", 3).error.code == "NOAUTH"
        assert stranger.ask("AUTH", server.account.name, "wrong").error.code == "WRONGPASS"
        assert stranger.ask("AUTH", server.account.name, server.account.password).raw == b"+OK\r\n"
        assert stranger.ask("PING").raw == b"+PONG\r\n"


def test_hello_tells_what_the_server_is_in_the_protocol_asked_for(server: Server) -> None:
    with server.client(2) as client:
        as_list = client.ask("HELLO", 2).value
        as_map = client.ask("HELLO", 3).value
        assert isinstance(as_list, list)
        assert isinstance(as_map, dict)
        assert as_list[4:6] == [b"proto", 2]
        assert as_map[b"proto"] == 3
        assert {b"server", b"version", b"id", b"mode", b"role", b"modules"} <= as_map.keys()
        assert client.ask("HELLO", 4).error.code == "NOPROTO"


def test_databases_are_apart_and_of_a_limited_number(client: RedisClient, key: str) -> None:
    assert raw(client, f"SET {key} zero", "SELECT 1", f"GET {key}") == [b"+OK\r\n", b"+OK\r\n", b"$-1\r\n"]
    assert raw(client, "SELECT 10000000", "SELECT -1") == [b"-ERR DB index is out of range\r\n"] * 2
    assert raw(client, "SELECT x") == [b"-ERR value is not an integer or out of range\r\n"]
    assert raw(client, "SELECT 0", f"GET {key}") == [b"+OK\r\n", b"$4\r\nzero\r\n"]


def test_a_connection_has_the_name_it_was_given(client: RedisClient, client3: RedisClient) -> None:
    assert raw(client, "CLIENT GETNAME", "CLIENT SETNAME me", "CLIENT GETNAME") == [
        b"$-1\r\n",
        b"+OK\r\n",
        b"$2\r\nme\r\n",
    ]
    assert raw(client3, "CLIENT GETNAME") == [b"_\r\n"]
    assert client.ask("CLIENT", "ID").value != client3.ask("CLIENT", "ID").value


# ---- data


def test_what_was_set_is_got(client: RedisClient, client3: RedisClient, key: str) -> None:
    assert raw(client, f"GET {key}", f"SET {key} 41", f"INCR {key}", f"GET {key}") == [
        b"$-1\r\n",
        b"+OK\r\n",
        b":42\r\n",
        b"$2\r\n42\r\n",
    ]
    assert raw(client3, f"GET {key}", f"GET {key}-nil") == [b"$2\r\n42\r\n", b"_\r\n"]


def test_an_error_in_a_pipeline_is_one_reply_of_many(client: RedisClient, key: str) -> None:
    replies = raw(client, f"SET {key} word", f"INCR {key}", "NOSUCH a b", f"GET {key}", "GET")
    assert replies == [
        b"+OK\r\n",
        b"-ERR value is not an integer or out of range\r\n",
        b"-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' \r\n",
        b"$4\r\nword\r\n",
        b"-ERR wrong number of arguments for 'get' command\r\n",
    ]


def test_ping_and_echo_say_it_back(client: RedisClient) -> None:
    assert raw(client, "PING", "PING hello", "ECHO hello") == [b"+PONG\r\n", b"$5\r\nhello\r\n", b"$5\r\nhello\r\n"]


# ---- transactions


def test_a_transaction_is_queued_and_executed_at_once(client: RedisClient, key: str) -> None:
    assert raw(client, "MULTI", f"SET {key} 1", f"INCR {key}", "EXEC") == [
        b"+OK\r\n",
        b"+QUEUED\r\n",
        b"+QUEUED\r\n",
        b"*2\r\n+OK\r\n:2\r\n",
    ]


def test_a_transaction_with_a_command_that_is_none_is_discarded(client: RedisClient, key: str) -> None:
    replies = client.pipeline([["MULTI"], ["SET", key, 1], ["ECHO"], ["EXEC"], ["GET", key]])
    assert [reply.raw[:9] for reply in replies] == [b"+OK\r\n", b"+QUEUED\r\n", b"-ERR wron", b"-EXECABOR", b"$-1\r\n"]


def test_what_ends_a_transaction_that_was_not_begun_is_an_error(client: RedisClient) -> None:
    assert raw(client, "EXEC", "DISCARD") == [b"-ERR EXEC without MULTI\r\n", b"-ERR DISCARD without MULTI\r\n"]
    replies = client.pipeline([["MULTI"], ["MULTI"], ["DISCARD"], ["UNWATCH"]])
    assert [reply.raw for reply in replies if not reply.raw.startswith(b"-ERR")] == [b"+OK\r\n"] * 3
    assert replies[1].error.code == "ERR"


def test_a_watched_key_that_changes_spoils_the_transaction(client: RedisClient, client3: RedisClient, key: str) -> None:
    assert raw(client, f"WATCH {key}") == raw(client3, f"WATCH {key}") == [b"+OK\r\n"]
    assert raw(client, f"SET {key} 1", "MULTI", "PING", "EXEC")[-1] == b"*-1\r\n"
    assert raw(client3, "MULTI", "PING", "EXEC")[-1] == b"_\r\n"
    assert raw(client, f"WATCH {key}", "UNWATCH", f"SET {key} 2", "MULTI", "PING", "EXEC")[-1] == b"*1\r\n+PONG\r\n"


# ---- waiting and listening


def test_a_blocked_client_gets_what_another_pushes(client: RedisClient, client3: RedisClient, key: str) -> None:
    client.send(b"*3\r\n$5\r\nBLPOP\r\n$%d\r\n%s\r\n$1\r\n5\r\n" % (len(key), key.encode()))
    assert client3.ask("RPUSH", key, "x").value == 1
    assert client.reply().value == [key.encode(), b"x"]


def test_a_blocked_client_is_told_when_its_time_is_over(client: RedisClient, client3: RedisClient, key: str) -> None:
    assert client.ask("BLPOP", key, "0.05").raw == b"*-1\r\n"
    assert client3.ask("BLPOP", key, "0.05").raw == b"_\r\n"
    assert raw(client, "MULTI", f"BLPOP {key} 0", "EXEC")[-1] == b"*1\r\n*-1\r\n"


def test_in_resp2_a_subscriber_is_confined_to_what_concerns_subscriptions(client: RedisClient, key: str) -> None:
    assert client.ask("SUBSCRIBE", key).value == [b"subscribe", key.encode(), 1]
    assert client.ask("PSUBSCRIBE", f"{key}*").value == [b"psubscribe", f"{key}*".encode(), 2]
    refusal = client.ask("GET", key).error.text
    assert refusal.startswith("ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET")
    assert raw(client, "PING") == [b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"]
    assert client.ask("PUNSUBSCRIBE").value == [b"punsubscribe", f"{key}*".encode(), 1]
    assert client.ask("UNSUBSCRIBE", key).value == [b"unsubscribe", key.encode(), 0]
    assert client.ask("UNSUBSCRIBE").value == [b"unsubscribe", None, 0]
    assert raw(client, "PING") == [b"+PONG\r\n"]


def test_what_is_published_comes_to_subscribers_of_channels_and_patterns(
    client: RedisClient, client3: RedisClient, key: str
) -> None:
    channel = key.encode()
    client.ask("SUBSCRIBE", key)
    client3.ask("PSUBSCRIBE", f"{key}*")
    assert client3.pipeline([["PING"], ["PUBLISH", key, "hello"]])[0].raw == b"+PONG\r\n"
    assert client.reply().raw == b"*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$5\r\nhello\r\n" % (len(channel), channel)


def test_in_resp3_messages_are_pushes(server: Server, client: RedisClient, client3: RedisClient, key: str) -> None:
    confirmed = client3.ask("SUBSCRIBE", key)
    assert (confirmed.pushed, confirmed.value) == (True, [b"subscribe", key.encode(), 1])
    assert client.ask("PUBLISH", key, "hello").value == 1
    message = client3.reply()
    assert (message.pushed, message.value) == (True, [b"message", key.encode(), b"hello"])
    assert client3.ask("PING").raw == b"+PONG\r\n"


# ---- ends


def test_reset_begins_anew_and_forgets_who_the_client_is(client3: RedisClient, key: str) -> None:
    client3.ask("SUBSCRIBE", key)
    assert raw(client3, "RESET") == [b"+RESET\r\n"]
    assert client3.ask("GET", key).error.code == "NOAUTH"


def test_whoever_quits_is_told_so_and_seen_off(client: RedisClient) -> None:
    assert raw(client, "QUIT") == [b"+OK\r\n"]
    assert client.remaining() == b""
