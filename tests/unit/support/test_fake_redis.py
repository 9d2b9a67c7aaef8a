"""What the fake does wrong when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.fake_redis import FakeRedis
from tests.support.redis_client import RedisClient, command


@pytest.fixture
def fake() -> Iterator[FakeRedis]:
    with FakeRedis() as server:
        yield server


@pytest.fixture
def client(fake: FakeRedis) -> Iterator[RedisClient]:
    with connected(fake) as made:
        yield made


def connected(fake: FakeRedis, patience: float = 5.0) -> RedisClient:
    return RedisClient(("127.0.0.1", fake.port), patience=patience)


def test_without_users_everyone_is_let_in_and_heard(fake: FakeRedis, client: RedisClient) -> None:
    assert client.ask("set", "a", 1).raw == b"+OK\r\n"
    assert client.ask("get", "a").raw == b"$1\r\n1\r\n"
    assert fake.heard == [[b"SET", b"a", b"1"], [b"GET", b"a"]]
    assert (fake.asked("GET"), fake.asked("GET", "a"), fake.asked("GET", "b")) == (1, 1, 0)


def test_a_password_may_change_while_it_runs(fake: FakeRedis) -> None:
    fake.user("app", "one")
    with connected(fake) as client:
        assert client.ask("AUTH", "app", "one").raw == b"+OK\r\n"
        fake.user("app", "two")
        assert client.ask("AUTH", "app", "one").error.code == "WRONGPASS"
        assert client.ask("AUTH", "app", "two").raw == b"+OK\r\n"


def test_it_loses_a_connection_after_as_many_answers_as_told_and_then_works_again(
    fake: FakeRedis, client: RedisClient
) -> None:
    fake.lose_after(2)
    client.send(command("HELLO", 3) + command("SET", "a", 1) + command("GET", "a") + command("GET", "a"))
    assert client.replies(3)[2].raw == b"$1\r\n1\r\n"
    assert client.remaining() == b""
    with connected(fake) as another:
        assert [reply.raw for reply in another.pipeline([["GET", "a"]] * 5)] == [b"$1\r\n1\r\n"] * 5


@pytest.mark.parametrize("act", ["close", "reset"])
def test_a_command_may_be_the_last(fake: FakeRedis, client: RedisClient, act: str) -> None:
    fake.on("GET", "half", raw=b"$5\r\nab", act=act)  # type: ignore[arg-type]  # one of the words
    assert client.ask("GET", "whole").raw == b"$-1\r\n"
    client.send(command("GET", "half"))
    assert client.remaining() in {b"$5\r\nab", b""}


def test_it_falls_silent_where_it_is_told_to(fake: FakeRedis) -> None:
    fake.on("PING", act="hang")
    with connected(fake, 0.1) as client:
        client.send(command("PING"))
        with pytest.raises(TimeoutError):
            client.reply()


def test_other_words_may_stand_for_an_answer_a_few_times_or_always(fake: FakeRedis, client: RedisClient) -> None:
    fake.on("GET", raw=b"-LOADING\r\n").on("GET", "a", raw=b":1\r\n", times=2)
    answers = [reply.raw for reply in client.pipeline([["GET", "a"]] * 3)]
    assert answers == [b":1\r\n", b":1\r\n", b"-LOADING\r\n"]
    fake.as_usual()
    assert client.ask("GET", "a").raw == b"$-1\r\n"


def test_who_waits_is_answered_as_usual_once_released(fake: FakeRedis, client: RedisClient) -> None:
    fake.on("GET", act="wait")
    client.send(command("GET", "a"))
    assert client.quiet(0.05)
    fake.release()
    assert client.reply().raw == b"$-1\r\n"


def test_nobody_waits_for_a_client_that_has_gone(fake: FakeRedis) -> None:
    with connected(fake) as client:
        client.send(command("BLPOP", "a", 0))
    with connected(fake) as client:
        client.send(command("GET", "a"))
        fake.on("GET", act="wait")


def test_it_may_know_no_hello_or_no_resp3(fake: FakeRedis, client: RedisClient) -> None:
    assert client.ask("HELLO", 3).raw.startswith(b"%7\r\n")
    fake.only_resp2()
    assert client.ask("HELLO", 3).error.code == "NOPROTO"
    fake.old()
    assert client.ask("HELLO", 2).error.text.startswith("ERR unknown command 'HELLO'")


@pytest.mark.parametrize("end", [FakeRedis.hang_up, FakeRedis.reset])
def test_all_connections_may_end_at_once(
    fake: FakeRedis, client: RedisClient, end: Callable[[FakeRedis], None]
) -> None:
    client.ask("PING")
    assert (fake.accepted, fake.connections, len(fake.sessions)) == (1, 1, 1)
    end(fake)
    assert client.remaining() == b""


def test_from_some_moment_on_nobody_listens(fake: FakeRedis) -> None:
    assert fake.address == f"127.0.0.1:{fake.port}"
    fake.refuse_connections()
    with pytest.raises(ConnectionRefusedError):
        connected(fake)


def test_it_says_what_it_is_told_and_publishes_to_whoever_listens(fake: FakeRedis, client: RedisClient) -> None:
    client.ask("PSUBSCRIBE", "n*")
    assert fake.publish(b"news", b"hello") == 1
    assert client.reply().value == [b"pmessage", b"n*", b"news", b"hello"]
    assert fake.publish(b"other", b"hello") == 0
    fake.sessions[0].say(b"+UNASKED\r\n")
    assert client.reply().raw == b"+UNASKED\r\n"
