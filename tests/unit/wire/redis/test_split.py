from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambassador.errors import ClientError, UpstreamError
from ambassador.wire.redis.keys import slot
from ambassador.wire.redis.messages import encode, request
from ambassador.wire.redis.split import (
    BY_KEY,
    BY_NODE,
    TURNS,
    Join,
    items_of,
    join,
    parse_cursor,
    scan_reply,
    split,
    words_of,
)

WORD = st.binary(max_size=12) | st.sampled_from([b"\r\n", b"a\r\nb", b"$1\r\n", b"*2\r\n", b""])


@given(st.lists(WORD, min_size=1, max_size=8))
def test_words_come_apart_as_they_were_put_together(words: list[bytes]) -> None:
    assert words_of(request(*words)) == words


def test_what_is_no_request_is_refused() -> None:
    with pytest.raises(ClientError):
        words_of(b"*1\r\n$3\r\nGET")


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=20))
def test_every_key_goes_to_the_part_of_its_slot_and_its_value_comes_back_to_its_place(keys: list[bytes]) -> None:
    parts = split([b"MGET", *keys], 1)
    assert len({part.slot for part in parts}) == len(parts)
    for part in parts:
        assert part.words == [b"MGET", *(keys[number] for number in part.numbers)]
        assert {slot(key) for key in part.words[1:]} == {part.slot}
    replies = [encode(part.words[1:], 2) for part in parts]
    assert join(Join.KEYED, replies, parts) == encode(keys, 2)


def test_values_stay_with_their_keys() -> None:
    parts = split([b"MSET", b"a", b"1", b"b", b"2", b"{a}x", b"3"], 2)
    assert [part.words for part in parts] == [[b"MSET", b"a", b"1", b"{a}x", b"3"], [b"MSET", b"b", b"2"]]


@pytest.mark.parametrize(
    ("how", "replies", "joined"),
    [
        (Join.SUM, [b":1\r\n", b":2\r\n"], b":3\r\n"),
        (Join.CONCAT, [b"*1\r\n$1\r\na\r\n", b"*0\r\n", b"*1\r\n$1\r\nb\r\n"], b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        (Join.FIRST, [b"+OK\r\n", b"+OK\r\n"], b"+OK\r\n"),
        (Join.ALL, [b"*2\r\n:1\r\n:1\r\n", b"*2\r\n:1\r\n:0\r\n"], b"*2\r\n:1\r\n:0\r\n"),
        (Join.ANY, [b"-NOTBUSY no\r\n", b"+OK\r\n"], b"+OK\r\n"),
        (Join.ANY, [b"-NOTBUSY no\r\n", b"-NOTBUSY not\r\n"], b"-NOTBUSY no\r\n"),
        (Join.PICK, [b"$-1\r\n", b"$1\r\na\r\n"], b"$1\r\na\r\n"),
        (Join.PICK, [b"_\r\n", b"_\r\n"], b"_\r\n"),
        (Join.SUM, [b":1\r\n", b"-ERR no\r\n"], b"-ERR no\r\n"),
        (
            Join.COUNTS,
            [b"*2\r\n$1\r\na\r\n:1\r\n", b"*4\r\n$1\r\nb\r\n:5\r\n$1\r\na\r\n:2\r\n"],
            b"*4\r\n$1\r\na\r\n:3\r\n$1\r\nb\r\n:5\r\n",
        ),
    ],
)
def test_replies_become_one(how: Join, replies: list[bytes], joined: bytes) -> None:
    assert join(how, replies) == joined


def test_any_of_the_replies_that_say_something_may_be_picked() -> None:
    assert join(Join.PICK, [b"$1\r\na\r\n", b"$-1\r\n", b"$1\r\nb\r\n"], pick=lambda most: most - 1) == b"$1\r\nb\r\n"


@pytest.mark.parametrize(
    ("how", "reply"), [(Join.SUM, b"+OK\r\n"), (Join.SUM, b":x\r\n"), (Join.CONCAT, b":1\r\n"), (Join.ALL, b"$-1\r\n")]
)
def test_a_reply_of_another_kind_is_refused(how: Join, reply: bytes) -> None:
    with pytest.raises(UpstreamError):
        join(how, [reply])


def test_a_node_must_answer_for_each_key() -> None:
    with pytest.raises(UpstreamError, match="number of keys"):
        join(Join.KEYED, [b"*0\r\n"], split([b"MGET", b"a"], 1))


@pytest.mark.parametrize("reply", [b"*1\r\n", b"*1\r\n:1\r\n:2\r\n", b"*-1\r\n", b"x"])
def test_items_are_those_of_one_whole_array(reply: bytes) -> None:
    with pytest.raises(UpstreamError):
        items_of(reply)


def test_what_is_split_by_keys_is_not_asked_of_all() -> None:
    assert not BY_KEY.keys() & BY_NODE.keys()


def test_a_cursor_carries_the_turn_of_a_node() -> None:
    reply = scan_reply(encode([b"17", [b"a"]], 2), 3, 4)
    cursor = items_of(reply)[0].split(b"\r\n")[1]
    assert items_of(reply)[1] == encode([b"a"], 2)
    assert parse_cursor(cursor) == (3, 17)


def test_the_scan_goes_on_at_the_next_node_and_ends_with_the_last() -> None:
    assert items_of(scan_reply(encode([b"0", []], 2), 3, 4))[0] == b"$1\r\n4\r\n"
    assert parse_cursor(b"4") == (4, 0)
    assert items_of(scan_reply(encode([b"0", []], 2), 4, 0))[0] == b"$1\r\n0\r\n"


def test_a_scan_begins_with_nobody_s_turn() -> None:
    assert parse_cursor(b"0") == (0, 0)
    assert TURNS == 65536


@pytest.mark.parametrize("word", [b"", b"-1", b"x", b"1" * 21])
def test_other_words_are_no_cursors(word: bytes) -> None:
    assert parse_cursor(word) is None


def test_an_error_of_a_scan_stays_one() -> None:
    assert scan_reply(b"-ERR syntax error\r\n", 1, 2) == b"-ERR syntax error\r\n"


@pytest.mark.parametrize("reply", [b"*0\r\n", encode([b"x", []], 2), encode([b"1"], 2), encode([1, []], 2)])
def test_a_scan_is_answered_by_a_cursor_and_keys(reply: bytes) -> None:
    with pytest.raises(UpstreamError):
        scan_reply(reply, 1, 2)
