from __future__ import annotations

import math

import pytest

from ambassador.errors import ClientError, Reason, UpstreamError
from ambassador.wire.redis import messages
from ambassador.wire.redis.messages import (
    Encodable,
    Error,
    Map,
    Protocol,
    Push,
    Set,
    Simple,
    Value,
    Verbatim,
    decode,
    encode,
    error_word,
    parse_inline,
    parse_request,
    request,
)
from tests.support.redis_client import RedisClient
from tests.support.valkey import ValkeyServer, new_account

# Requests


def test_a_request_is_an_array_of_bulk_strings() -> None:
    assert request(b"SET", "ключ", 12) == b"*3\r\n$3\r\nSET\r\n$8\r\n" + "ключ".encode() + b"\r\n$2\r\n12\r\n"


def test_a_request_is_read_as_it_was_written() -> None:
    words = [b"SET", b"", b"\r\n\0", b"x" * 70_000]
    assert parse_request(request(*words)) == words


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"*1\r\n$4\r\nPING",
        b"*1\r\n$4\r\nPINGxx",
        b"*1\r\n$4\r\nPING\r\n*",
        b"*1\r\n+PING\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n*1\r\n$1\r\nx\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b">1\r\n$4\r\nPING\r\n",
        b"PING\r\n",
        b":1\r\n",
    ],
)
def test_anything_but_one_whole_request_blames_the_client(data: bytes) -> None:
    with pytest.raises(ClientError, match="Protocol error") as caught:
        parse_request(data)
    assert caught.value.reason is Reason.BAD_MESSAGE


# Inline commands

LINES: list[tuple[bytes, list[bytes]]] = [
    (b"", []),
    (b" \t\r\n", []),
    (b"PING", [b"PING"]),
    (b"  set  k\tv \r", [b"set", b"k", b"v"]),
    (b'set "a b" ""', [b"set", b"a b", b""]),
    (rb'set "\n\r\t\b\a\x41\q\"\\"', [b"set", b'\n\r\t\b\aAq"\\']),
    (rb'"\xZZ\x4"', [b"xZZx4"]),
    (rb"set 'a\'b\n' ''", [b"set", rb"a'b\n", b""]),
    (b'a"b c" d', [b"ab c", b"d"]),
    (b"a'b c' \"d\"", [b"ab c", b"d"]),
    (b"get k\0 more", [b"get", b"k"]),
    (b'set "\xff\x80"', [b"set", b"\xff\x80"]),
    (b"a\\b", [b"a\\b"]),
    (b"a\x0bb \x0bc", [b"a\x0bb", b"c"]),
    (b'"a"\x0b"b"', [b"a", b"b"]),
]
UNBALANCED = [b'"', b"'", b'set "a', b"set 'a", b'"a"b', b"'a'b", b"\"a\"'b'", b'"a\\"', b"'a\\'", b'"\\']


@pytest.mark.parametrize(("line", "words"), LINES)
def test_a_line_is_split_with_quotes(line: bytes, words: list[bytes]) -> None:
    assert parse_inline(line) == words


@pytest.mark.parametrize("line", UNBALANCED)
def test_a_quote_that_is_not_closed_blames_the_client(line: bytes) -> None:
    with pytest.raises(ClientError, match="Protocol error: unbalanced quotes in request") as caught:
        parse_inline(line)
    assert caught.value.reason is Reason.BAD_MESSAGE


def test_redis_splits_lines_the_same_way(redis7: ValkeyServer) -> None:
    account = new_account(redis7)
    with RedisClient(("127.0.0.1", redis7.port)) as client:
        client.ask("AUTH", account.name, account.password)
        for line, words in LINES:
            tail = [word for word in words if b"\0" not in line and b"\n" not in line]
            if not tail:
                continue
            client.send(b"EVAL 'return ARGV' 0 " + line.strip(b"\r") + b"\r\n")
            assert client.reply().value == tail, line


def test_redis_refuses_the_same_lines(redis7: ValkeyServer) -> None:
    for line in UNBALANCED:
        with RedisClient(("127.0.0.1", redis7.port)) as client:
            client.send(line + b"\r\n")
            assert client.remaining() == b"-ERR Protocol error: unbalanced quotes in request\r\n", line


# Replies to write


def test_a_line_of_ours_is_one_line() -> None:
    assert messages.simple("a\r\nb") == b"+a  b\r\n"
    assert messages.error(b"ERR x\n+OK") == b"-ERR x +OK\r\n"


def test_replies_are_written_in_both_protocols() -> None:
    assert messages.bulk(None) == b"$-1\r\n"
    assert messages.bulk(None, 3) == b"_\r\n"
    assert messages.mapping([(b"+a\r\n", b":1\r\n")], 2) == b"*2\r\n+a\r\n:1\r\n"
    assert messages.mapping([(b"+a\r\n", b":1\r\n")], 3) == b"%1\r\n+a\r\n:1\r\n"
    assert messages.push([b"+a\r\n"]) == b">1\r\n+a\r\n"
    assert messages.integer(-3) == b":-3\r\n"
    assert (messages.null(2), messages.null(3)) == (b"$-1\r\n", b"_\r\n")


@pytest.mark.parametrize(
    ("value", "resp2", "resp3"),
    [
        (None, b"$-1\r\n", b"_\r\n"),
        ("é", b"$2\r\n\xc3\xa9\r\n", b"$2\r\n\xc3\xa9\r\n"),
        (b"x", b"$1\r\nx\r\n", b"$1\r\nx\r\n"),
        (Simple(b"OK"), b"+OK\r\n", b"+OK\r\n"),
        (Error(b"ERR x"), b"-ERR x\r\n", b"-ERR x\r\n"),
        (Verbatim(b"txt", b"hi"), b"$2\r\nhi\r\n", b"=6\r\ntxt:hi\r\n"),
        (7, b":7\r\n", b":7\r\n"),
        (True, b":1\r\n", b"#t\r\n"),
        (False, b":0\r\n", b"#f\r\n"),
        (1 << 70, b"$22\r\n1180591620717411303424\r\n", b"(1180591620717411303424\r\n"),
        (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
        (math.inf, b"$3\r\ninf\r\n", b",inf\r\n"),
        ([1, [b"x"]], b"*2\r\n:1\r\n*1\r\n$1\r\nx\r\n", b"*2\r\n:1\r\n*1\r\n$1\r\nx\r\n"),
        ((1, 2), b"*2\r\n:1\r\n:2\r\n", b"*2\r\n:1\r\n:2\r\n"),
        (Set([1]), b"*1\r\n:1\r\n", b"~1\r\n:1\r\n"),
        (Push([1]), b"*1\r\n:1\r\n", b">1\r\n:1\r\n"),
        (Map([(b"a", None)]), b"*2\r\n$1\r\na\r\n$-1\r\n", b"%1\r\n$1\r\na\r\n_\r\n"),
        ({"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
    ],
)
def test_any_value_is_written_in_both_protocols(value: Encodable, resp2: bytes, resp3: bytes) -> None:
    assert encode(value, 2) == resp2
    assert encode(value, 3) == resp3


# Replies to read

VALUES: list[tuple[bytes, Value]] = [
    (b"+OK\r\n", Simple(b"OK")),
    (b"-ERR x y\r\n", Error(b"ERR x y")),
    (b":-12\r\n", -12),
    (b"$0\r\n\r\n", b""),
    (b"$4\r\n\r\n\r\n\r\n", b"\r\n\r\n"),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"_\r\n", None),
    (b"#t\r\n", True),
    (b"#f\r\n", False),
    (b",3\r\n", 3.0),
    (b",-1.5e3\r\n", -1500.0),
    (b",inf\r\n", math.inf),
    (b"(-123\r\n", -123),
    (b"!5\r\nERR x\r\n", Error(b"ERR x")),
    (b"=6\r\ntxt:hi\r\n", Verbatim(b"txt", b"hi")),
    (b"*2\r\n:1\r\n*1\r\n+a\r\n", [1, [b"a"]]),
    (b"~1\r\n:1\r\n", Set([1])),
    (b">1\r\n:1\r\n", Push([1])),
    (b"%1\r\n*1\r\n:1\r\n:2\r\n", Map([([1], 2)])),
    (b"|1\r\n+ttl\r\n:9\r\n:5\r\n", 5),
    (b"*1\r\n|1\r\n+ttl\r\n:9\r\n:5\r\n", [5]),
]


@pytest.mark.parametrize(("data", "value"), VALUES)
def test_a_value_is_read_and_where_it_ends(data: bytes, value: Value) -> None:
    assert decode(b"..." + data + b"+more\r\n", 3) == (value, 3 + len(data))


@pytest.mark.parametrize("data", [data for data, _ in VALUES])
def test_a_value_that_is_not_whole_blames_the_server(data: bytes) -> None:
    for cut in range(len(data)):
        with pytest.raises(UpstreamError) as caught:
            decode(data[:cut])
        assert caught.value.reason is Reason.UPSTREAM_BAD_MESSAGE


@pytest.mark.parametrize(("data", "value"), [pair for pair in VALUES if pair[0][:1] not in b"*|!"])
def test_what_was_read_is_written_as_it_was(data: bytes, value: Value) -> None:
    protocol: Protocol = 2 if data.startswith(b"$-1") else 3
    written = encode(decode(data)[0], protocol)
    assert written == data.replace(b",-1.5e3", b",-1500").replace(b"(-123", b":-123")


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"?\r\n",
        b"$?\r\n",
        b"$+1\r\nx\r\n",
        b"$01\r\nx\r\n",
        b"$-2\r\n",
        b"$1\r\nxyz",
        b"*?\r\n",
        b"*-2\r\n",
        b"%-1\r\n",
        b"=-1\r\n",
        b"=2\r\nhi\r\n",
        b":\r\n",
        b":+1\r\n",
        b":1_0\r\n",
        b"_x\r\n",
        b"#x\r\n",
        b",1_0\r\n",
        b",\r\n",
        b"(1.5\r\n",
        b"(" + b"9" * 5000 + b"\r\n",
        b"+" + b"x" * (messages.MAX_LINE + 10),
        b"*1\r\n" * (messages.MAX_DEPTH + 1) + b":1\r\n",
        b"|0\r\n" * 10_000 + b":1\r\n",
    ],
)
def test_what_is_no_value_blames_the_server(data: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        decode(data)
    assert caught.value.reason is Reason.UPSTREAM_BAD_MESSAGE


def test_values_may_be_nested_as_deep_as_the_walk_allows() -> None:
    value, end = decode(b"*1\r\n" * messages.MAX_DEPTH + b":1\r\n")
    assert end == 4 * messages.MAX_DEPTH + 4
    assert str(value).count("[") == messages.MAX_DEPTH


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b"WRONGPASS invalid", "WRONGPASS"),
        (b"-MOVED 1 h:1", "MOVED"),
        (b"ERR", "ERR"),
        (b"", "ERR"),
        (b"-", "ERR"),
        (b"lower case", "ERR"),
        (b"X1 y", "ERR"),
        (b"A" * 33, "ERR"),
        (b"A" * 32 + b" x", "A" * 32),
    ],
)
def test_the_word_of_an_error_is_one_that_fits_a_label(line: bytes, word: str) -> None:
    assert error_word(line) == word
