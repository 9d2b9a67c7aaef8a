"""The tests' own Redis client: every type of reply, whole and in pieces, and what is no reply."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.certificates import Authority
from tests.support.redis_client import Error, RedisClient, Value, command
from tests.support.sockets import reset
from tests.support.valkey import ValkeyServer, new_account


@contextmanager
def connected(patience: float = 5.0) -> Iterator[tuple[RedisClient, socket.socket]]:
    """A client, and the other end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = RedisClient(listening.getsockname(), patience=patience)
        far, _ = listening.accept()
    with client, far:
        yield client, far


REPLIES: list[tuple[bytes, Value]] = [
    (b"+OK\r\n", b"OK"),
    (b"+\r\n", b""),
    (b"-ERR no\r\n", Error("ERR no")),
    (b":-7\r\n", -7),
    (b"$0\r\n\r\n", b""),
    (b"$4\r\na\r\nb\r\n", b"a\r\nb"),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"*2\r\n*1\r\n:1\r\n$-1\r\n", [[1], None]),
    (b"_\r\n", None),
    (b"#t\r\n", True),
    (b"#f\r\n", False),
    (b",1.5\r\n", 1.5),
    (b",inf\r\n", float("inf")),
    (b"(12345678901234567890123\r\n", 12345678901234567890123),
    (b"=7\r\ntxt:abc\r\n", b"abc"),
    (b"!6\r\nERR no\r\n", Error("ERR no")),
    (b"%2\r\n+a\r\n:1\r\n:2\r\n*1\r\n+x\r\n", {b"a": 1, 2: [b"x"]}),
    (b"~2\r\n*0\r\n:2\r\n", [[], 2]),
    (b">2\r\n+message\r\n+x\r\n", [b"message", b"x"]),
    (b"|1\r\n+ttl\r\n:9\r\n$1\r\nv\r\n", b"v"),
]


@pytest.mark.parametrize(("raw", "value"), REPLIES, ids=str)
def test_a_reply_is_given_raw_and_decoded(raw: bytes, value: Value) -> None:
    with connected() as (client, far):
        far.sendall(raw)
        reply = client.reply()
    assert (reply.raw, reply.value) == (raw, value)


def test_replies_are_found_however_they_are_cut() -> None:
    with connected() as (client, far):

        def trickle() -> None:
            for raw, _ in REPLIES:
                for byte in raw:
                    far.sendall(bytes([byte]))

        thread = threading.Thread(target=trickle)
        thread.start()
        replies = client.replies(len(REPLIES))
        thread.join()
    assert [(reply.raw, reply.value) for reply in replies] == REPLIES


def test_what_comes_after_waits_for_the_next_call() -> None:
    with connected() as (client, far):
        far.sendall(b":1\r\n:2\r\n:3\r\n+half")
        assert [reply.value for reply in client.replies(2)] == [1, 2]
        assert not client.quiet()
        assert client.reply().value == 3
        far.close()
        assert client.remaining() == b"+half"


def test_a_push_is_told_from_a_reply() -> None:
    with connected() as (client, far):
        far.sendall(b">1\r\n+x\r\n*1\r\n+x\r\n")
        assert [reply.pushed for reply in client.replies(2)] == [True, False]


def test_an_error_has_a_code() -> None:
    with connected() as (client, far):
        far.sendall(b"-WRONGPASS invalid\r\n+OK\r\n")
        assert client.reply().error.code == "WRONGPASS"
        with pytest.raises(AssertionError, match="OK"):
            _ = client.reply().error


def test_silence_is_noticed_and_is_an_error_where_a_reply_was_due() -> None:
    with connected(patience=0.05) as (client, far):
        assert client.quiet(0.01)
        far.sendall(b"$5\r\nab")
        with pytest.raises(TimeoutError, match="waited too long"):
            client.reply()
        with pytest.raises(TimeoutError):
            client.remaining()


def test_an_end_within_a_reply_is_an_error() -> None:
    with connected() as (client, far):
        far.sendall(b"$5\r\nab")
        far.close()
        with pytest.raises(ConnectionResetError, match="ended"):
            client.reply()


def test_a_reset_ends_what_remains() -> None:
    with connected() as (client, far):
        reset(far)
        assert client.remaining() == b""


@pytest.mark.parametrize("raw", [b"@1\r\n", b"$1\r\nabc\r\n", b"\r\n"])
def test_what_is_no_reply_fails_the_test(raw: bytes) -> None:
    with connected() as (client, far):
        far.sendall(raw)
        with pytest.raises(AssertionError, match=r"no reply begins|not followed"):
            client.reply()


def test_words_of_every_type_make_a_command() -> None:
    assert command(b"SET", "é", 7) == b"*3\r\n$3\r\nSET\r\n$2\r\n\xc3\xa9\r\n$1\r\n7\r\n"


def test_a_real_server_answers_a_pipeline_in_both_protocols(valkey: ValkeyServer) -> None:
    account = new_account(valkey, rules="~client:* +@all")
    hash_of = {2: [b"f", b"v"], 3: {b"f": b"v"}}
    for protocol, value in hash_of.items():
        with RedisClient((valkey.host, valkey.port)) as client:
            client.ask("HELLO", protocol, "AUTH", account.name, account.password)
            told = client.pipeline([("HSET", "client:h", "f", "v"), ("HGETALL", "client:h"), ("GET", "other")])
        assert told[1].value == value
        assert told[2].error.code == "NOPERM"


def test_inline_bytes_over_the_unix_socket_are_sent_as_they_are(valkey: ValkeyServer) -> None:
    with RedisClient(valkey.socket) as client:
        client.send(b"PING\r\n")
        assert client.reply().error.code == "NOAUTH"


def test_tls_is_spoken_and_verified(redis_tls: ValkeyServer, authority: Authority) -> None:
    account = new_account(redis_tls)
    trusting = ssl.create_default_context(cafile=str(authority.file))
    with RedisClient((redis_tls.host, redis_tls.port), tls=trusting) as client:
        assert client.ask("AUTH", account.name, account.password).value == b"OK"
    with pytest.raises(ssl.SSLCertVerificationError):
        RedisClient((redis_tls.host, redis_tls.port), tls=ssl.create_default_context())
