"""Which node a request is for."""

from __future__ import annotations

import pytest

from ambassador.errors import ClientError
from ambassador.protocols.redis.cluster.routes import ANY, HOME, Routes
from ambassador.wire.redis.commands import BUILT_IN
from ambassador.wire.redis.keys import slot
from ambassador.wire.redis.split import Join

ROUTES = Routes(BUILT_IN)


@pytest.mark.parametrize("name", [b"GET", b"SET", b"INCR", b"HSET", b"ZADD", b"SPUBLISH"])
def test_commands_with_one_key_are_found_by_its_place(name: bytes) -> None:
    assert ROUTES.single[name] == 1


@pytest.mark.parametrize("name", [b"MGET", b"DEL", b"RENAME", b"SORT", b"EVAL", b"OBJECT", b"PING", b"XREAD", b"BLPOP"])
def test_others_must_be_looked_at(name: bytes) -> None:
    assert name not in ROUTES.single


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ([b"GET", b"a"], slot(b"a")),
        ([b"object", b"encoding", b"a"], slot(b"a")),
        ([b"EVAL", b"return 1", b"2", b"{a}1", b"{a}2"], slot(b"a")),
        ([b"SSUBSCRIBE", b"a"], slot(b"a")),
        ([b"PUBLISH", b"a", b"b"], HOME),
        ([b"PUBSUB", b"CHANNELS"], HOME),
        ([b"EVAL", b"return 1", b"0"], ANY),
        ([b"PING"], ANY),
        ([b"GET"], ANY),
        ([b"NOSUCH", b"a"], ANY),
        ([b"DEL", b"{a}1", b"{a}2"], slot(b"a")),
        ([b"MSET", b"a"], slot(b"a")),
    ],
)
def test_a_request_goes_to_one_node(words: list[bytes], target: int) -> None:
    route = ROUTES.find(words)
    assert (route.target, route.how, route.every) == (target, None, False)


def test_keys_of_several_slots_are_split_where_that_is_exact() -> None:
    route = ROUTES.find([b"MGET", b"a", b"b", b"{a}x"])
    assert route.how is Join.KEYED
    assert [part.words for part in route.parts] == [[b"MGET", b"a", b"{a}x"], [b"MGET", b"b"]]


@pytest.mark.parametrize(
    "words", [[b"RENAME", b"a", b"b"], [b"SDIFF", b"a", b"b"], [b"MSETNX", b"a", b"1", b"b", b"2"]]
)
def test_and_refused_where_it_is_not(words: list[bytes]) -> None:
    with pytest.raises(ClientError, match="CROSSSLOT"):
        ROUTES.find(words)


@pytest.mark.parametrize(
    ("words", "how"),
    [([b"DBSIZE"], Join.SUM), ([b"keys", b"*"], Join.CONCAT), ([b"SCRIPT", b"load", b"x"], Join.FIRST)],
)
def test_some_requests_are_for_every_node(words: list[bytes], how: Join) -> None:
    route = ROUTES.find(words)
    assert (route.every, route.how) == (True, how)
