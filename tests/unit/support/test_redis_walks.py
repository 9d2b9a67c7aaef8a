from __future__ import annotations

import pytest

from ambassador.wire.redis.replies import Replies
from ambassador.wire.redis.requests import Requests
from tests.support.redis_walks import reply_events, request_events
from tests.support.resp import request
from tests.support.splits import in_pieces

SENT = request(b"GET", b"k") + request(b"SET", b"k", b"a long value") + b"PING\r\n" + request(b"GET", b"k")[:-3]
SAID = b"+OK\r\n-ERR\r\n>1\r\n+x\r\n>1\r\n+subscribe\r\n:1\r\n$3\r\nab"


@pytest.mark.parametrize("size", [1, 2, 7, len(SENT)])
def test_what_a_client_sent_is_told_alike_in_any_pieces(size: int) -> None:
    requests = Requests({b"GET": 0, b"SET": 1}, large=35)
    assert request_events(requests, in_pieces(SENT, size)) == [
        ("plain", 0),
        ("large", 20, 45, 1),
        ("plain", 1),
        ("special", 59, 65, 254, True),
        ("inside", 65, 0),
    ]


@pytest.mark.parametrize("size", [1, 2, 7, len(SAID)])
def test_what_a_server_said_is_told_alike_in_any_pieces(size: int) -> None:
    replies = Replies()
    replies.each_push = True
    assert reply_events(replies, in_pieces(SAID, size), want=2) == [
        ("reply",),
        ("error", 5, 11),
        ("pushed", 11, 19),
        ("confirmed", 19, 35),
        ("reply", 39),
        ("spent", 39, True),
    ]


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_a_fault_is_the_last_that_is_told(size: int) -> None:
    sent = in_pieces(request(b"GET", b"k") + b"*x\r\n", size)
    assert request_events(Requests({b"GET": 0}), sent) == [
        ("plain", 0),
        ("fault", "Protocol error: invalid multibulk length"),
    ]
    said = in_pieces(b"+OK\r\n:1\r\n@", size)
    assert reply_events(Replies(), said) == [
        ("reply",),
        ("reply",),
        ("fault", 9, "the server sent a value of an unknown type, '@'"),
    ]


def test_what_ends_with_a_request_is_told_too() -> None:
    assert request_events(Requests({}), [b""]) == [("boundary",)]
    assert request_events(Requests({b"GET": 0}), [request(b"GET")]) == [("plain", 0), ("boundary",)]
