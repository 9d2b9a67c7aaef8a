from __future__ import annotations

import pytest

from ambassador.errors import Reason, UpstreamError
from ambassador.wire.redis import replies as module
from ambassador.wire.redis.replies import Replies
from tests.support.redis_walks import CONFIRMED, ERROR, PUSHED, SPENT, WANTED, Event, reply_events
from tests.support.splits import every_split
from tests.support.twins import TWINS, source_of, twin_of


@pytest.fixture(params=TWINS)
def replies(request: pytest.FixtureRequest) -> Replies:
    return twin_of(module, request.param).Replies()  # type: ignore[no-any-return]  # loaded by hand


def events(replies: Replies, data: bytes, *, each_push: bool = True, subscribed: bool = False) -> list[Event]:
    """What is told of `data`, the same however it is cut, when each reply is waited for by itself."""
    told = []
    for pieces in every_split(data):
        fresh = type(replies)()
        fresh.each_push, fresh.subscribed = each_push, subscribed
        told.append(reply_events(fresh, pieces, want=1))
    assert all(one == told[0] for one in told)
    return told[0]


def complaint(replies: Replies, data: bytes) -> str:
    """What it says of faulty bytes, which come behind a good reply."""
    *before, (fault, whole, text) = events(replies, b"+OK\r\n" + data)
    assert (before, fault, whole) == ([("reply", 5)], "fault", 5)
    return str(text).removeprefix("the server sent ")


WHOLE = [
    b"+OK\r\n", b"+\r\n", b"+a\nb\r\n", b":-12\r\n", b"_\r\n", b"#t\r\n", b",inf\r\n", b"(123456789012345678901\r\n",
    b"$0\r\n\r\n", b"$-1\r\n", b"$3\r\nabc\r\n", b"$2\r\n\r\n\r\n", b"$11\r\n$3\r\nabc\r\n+x\r\n", b"=7\r\ntxt:abc\r\n",
    b"*0\r\n", b"*-1\r\n", b"*1\r\n$-1\r\n", b"*2\r\n:1\r\n$1\r\nx\r\n", b"~2\r\n+a\r\n+b\r\n", b"~0\r\n", b"%0\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n*0\r\n", b"*2\r\n*2\r\n+a\r\n*1\r\n*0\r\n*-1\r\n", b"*1\r\n*1\r\n*1\r\n*1\r\n_\r\n",
    b"*3\r\n-ERR within\r\n!2\r\nno\r\n+OK\r\n", b"|1\r\n+ttl\r\n:3600\r\n$1\r\nx\r\n", b"|0\r\n+OK\r\n",
    b"|1\r\n*1\r\n:1\r\n_\r\n|1\r\n_\r\n_\r\n*1\r\n_\r\n",
    b"*2\r\n|1\r\n+k\r\n|1\r\n-x\r\n+b\r\n*0\r\n+a\r\n|0\r\n+b\r\n",
]  # fmt: skip


# Replies


def test_nothing_has_happened_at_first(replies: Replies) -> None:
    assert (replies.done, replies.whole, replies.begun, replies.inside) == (0, 0, 0, False)
    assert not replies.subscribed
    assert not replies.each_push


def test_constants_are_seen_from_outside_though_they_are_typed() -> None:
    source = source_of(module)
    for name in ("WANTED", "SPENT", "ERROR", "CONFIRMED", "PUSHED"):
        assert getattr(module, name) == getattr(source, name)


@pytest.mark.parametrize("value", WHOLE)
@pytest.mark.parametrize("subscribed", [False, True])
def test_each_value_is_one_reply(replies: Replies, value: bytes, subscribed: bool) -> None:
    size = len(value)
    assert events(replies, value * 2, subscribed=subscribed) == [
        ("reply", size),
        ("reply", size * 2),
        ("spent", size * 2, False),
    ]


@pytest.mark.parametrize("value", WHOLE)
def test_every_beginning_of_a_reply_is_waited_with(replies: Replies, value: bytes) -> None:
    for stop in range(1, len(value)):
        fresh = type(replies)()
        assert reply_events(fresh, [b"+OK\r\n" + value[:stop]]) == [("reply",), ("spent", 5, True)]
        assert reply_events(fresh, [value[stop:]]) == [("reply",), ("spent", len(value) - stop, False)]


def test_it_stops_behind_as_many_as_are_wanted(replies: Replies) -> None:
    data = b"".join(WHOLE)
    assert replies.advance(data, 0, len(WHOLE)) == len(data)
    assert (replies.stop, replies.done, replies.whole) == (WANTED, len(WHOLE), len(data))
    assert replies.advance(data, 0, 3) == len(b"".join(WHOLE[:3]))
    assert (replies.stop, replies.done, replies.whole) == (WANTED, 3, len(b"".join(WHOLE[:3])))


def test_it_tells_how_many_were_there_and_where_the_next_begins(replies: Replies) -> None:
    assert replies.advance(b"+OK\r\n:1\r\n$5\r\nab", 0, 9) == 15
    assert (replies.stop, replies.done, replies.whole, replies.inside) == (SPENT, 2, 9, True)
    assert replies.advance(b"cd", 0, 7) == 2
    assert (replies.stop, replies.done, replies.whole, replies.inside) == (SPENT, 0, 0, True)
    assert replies.advance(b"e\r\n:2\r\n", 0, 7) == 7
    assert (replies.stop, replies.done, replies.whole, replies.inside) == (SPENT, 2, 7, False)


def test_nothing_is_walked_when_nothing_is_wanted(replies: Replies) -> None:
    assert replies.advance(b"+OK\r\n", 0, 0) == 0
    assert (replies.stop, replies.done, replies.whole, replies.inside) == (WANTED, 0, 0, False)
    assert replies.advance(b"+OK\r\n+OK\r\n", 5, 0) == 5
    assert replies.whole == 5


def test_a_walk_begins_where_it_is_told_to(replies: Replies) -> None:
    assert replies.advance(b"xx+OK\r\n+", 2, 5) == 8
    assert (replies.stop, replies.done, replies.whole, replies.inside) == (SPENT, 1, 7, True)


# Errors


@pytest.mark.parametrize(
    "error", [b"-ERR no\r\n", b"-\r\n", b"!6\r\nERR no\r\n", b"!0\r\n\r\n", b"|1\r\n_\r\n_\r\n-E\r\n"]
)
def test_it_stops_behind_an_error(replies: Replies, error: bytes) -> None:
    size = len(error)
    assert events(replies, b"+OK\r\n" + error + b"+OK\r\n") == [
        ("reply", 5),
        ("error", 5, 5 + size),
        ("reply", 10 + size),
        ("spent", 10 + size, False),
    ]


def test_an_error_counts_as_a_reply_even_as_the_last_one_wanted(replies: Replies) -> None:
    assert replies.advance(b"+OK\r\n-ERR\r\n+OK\r\n", 0, 2) == 11
    assert (replies.stop, replies.done, replies.whole, replies.begun) == (ERROR, 2, 11, 5)
    assert replies.advance(b"-E", 0, 1) == 2
    assert replies.advance(b"RR\r\n", 0, 1) == 4
    assert (replies.stop, replies.done, replies.whole, replies.begun) == (ERROR, 1, 4, 0)


# What comes unasked


PUSHES = [
    b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nx\r\n", b">2\r\n+invalidate\r\n_\r\n", b">0\r\n", b">1\r\n:1\r\n",
    b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n", b">1\r\n*1\r\n+subscribe\r\n", b">1\r\n$-1\r\n",
    b">2\r\n$-1\r\n+subscribe\r\n", b">2\r\n+x\r\n+subscribe\r\n", b">1\r\n$13\r\nxpunsubscribe\r\n",
    b">2\r\n+punsubscribepunsubscribe\r\n+subscribe\r\n", b">1\r\n$9\r\nSubscribe\r\n", b">1\r\n+subscrib\r\n",
    b">2\r\n|1\r\n+subscribe\r\n$30\r\n" + b"x" * 30 + b"\r\n+message\r\n:1\r\n", b"|1\r\n_\r\n_\r\n>1\r\n+x\r\n",
]  # fmt: skip


@pytest.mark.parametrize("push", PUSHES)
def test_a_push_is_no_reply(replies: Replies, push: bytes) -> None:
    size = len(push)
    data = b"+a\r\n" + push + b"+b\r\n"
    last = [("reply", 8 + size), ("spent", 8 + size, False)]
    assert events(replies, data) == [("reply", 4), ("pushed", 4, 4 + size), *last]
    assert events(replies, data, each_push=False) == [("reply", 4), *last]


@pytest.mark.parametrize("word", [b"message", b"pmessage", b"smessage"])
def test_a_subscriber_s_messages_are_no_replies(replies: Replies, word: bytes) -> None:
    message = b"*3\r\n$%d\r\n%s\r\n$1\r\nc\r\n$7\r\nmessage\r\n" % (len(word), word)
    size = len(message)
    assert events(replies, message + b"+OK\r\n", subscribed=True) == [
        ("pushed", 0, size),
        ("reply", size + 5),
        ("spent", size + 5, False),
    ]
    assert events(replies, message, subscribed=False) == [("reply", size), ("spent", size, False)]


@pytest.mark.parametrize(
    "array",
    [b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", b"*2\r\n$1\r\nx\r\n$7\r\nmessage\r\n", b"*1\r\n*1\r\n$7\r\nmessage\r\n"],
)
def test_a_subscriber_gets_replies_too(replies: Replies, array: bytes) -> None:
    assert events(replies, array, subscribed=True) == [("reply", len(array)), ("spent", len(array), False)]


def test_what_has_been_passed_over_is_whole(replies: Replies) -> None:
    push = PUSHES[0]
    assert replies.advance(push + b"+O", 0, 1) == len(push) + 2
    assert (replies.stop, replies.done, replies.whole, replies.inside) == (SPENT, 0, len(push), True)
    assert replies.advance(b"K\r\n" + push, 0, 1) == 3
    assert (replies.stop, replies.done, replies.whole, replies.inside) == (WANTED, 1, 3, False)


def test_where_a_push_began_is_told_while_that_chunk_is_here(replies: Replies) -> None:
    replies.each_push = True
    replies.advance(b"+OK\r\n>1\r\n+x\r\n", 0, 9)
    assert (replies.stop, replies.done, replies.begun, replies.whole) == (PUSHED, 1, 5, 13)
    replies.advance(b">1\r\n", 0, 9)
    replies.advance(b"+x\r\n", 0, 9)
    assert (replies.stop, replies.done, replies.begun, replies.whole) == (PUSHED, 0, 0, 4)


# Confirmations


WORDS = [b"subscribe", b"unsubscribe", b"psubscribe", b"punsubscribe", b"ssubscribe", b"sunsubscribe"]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("form", [b"$%d\r\n%s\r\n", b"+%s\r\n"], ids=["bulk", "simple"])
def test_it_stops_behind_a_confirmation(replies: Replies, word: bytes, form: bytes) -> None:
    first = form % ((len(word), word) if form[:1] == b"$" else word)
    pushed = b">3\r\n" + first + b"$1\r\nc\r\n:1\r\n"
    size = len(pushed)
    expected = [("confirmed", 0, size), ("reply", size + 4), ("spent", size + 4, False)]
    assert events(replies, pushed + b"+a\r\n") == expected
    array = b"*" + pushed[1:]
    assert events(replies, array + b"+a\r\n", subscribed=True) == expected
    assert events(replies, array)[0] == ("reply", size)


def test_a_confirmation_counts_as_a_reply(replies: Replies) -> None:
    confirmation = b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
    assert replies.advance(b"+OK\r\n" + confirmation * 2, 0, 2) == 5 + len(confirmation)
    assert (replies.stop, replies.done, replies.begun) == (CONFIRMED, 2, 5)


def test_a_subscriber_is_one_from_the_next_reply_on(replies: Replies) -> None:
    message = b"*1\r\n+message\r\n"
    replies.advance(message[:1], 0, 1)
    replies.subscribed = True
    replies.advance(message[1:], 0, 1)
    assert (replies.stop, replies.done) == (WANTED, 1)
    replies.advance(message, 0, 1)
    assert (replies.stop, replies.done) == (SPENT, 0)


# What leaves a doubt


@pytest.mark.parametrize("byte", [b"?", b";", b".", b"\r", b"\n", b"\0", b"a", b"1", b"\xff"])
@pytest.mark.parametrize("before", [b"", b"*1\r\n", b"|1\r\n"])
def test_an_unknown_type_is_refused(replies: Replies, before: bytes, byte: bytes) -> None:
    assert complaint(replies, before + byte) == f"a value of an unknown type, {chr(byte[0])!a}"


@pytest.mark.parametrize(
    "number",
    [b"", b"+1", b"-", b"-0", b"-2", b"-11", b"01", b"00", b" 1", b"1 ", b"x", b"?", b"1\r1", b"1\n", b"\r", b"1.0"],
)
@pytest.mark.parametrize("kind", [b"$", b"*", b"!", b"=", b"%", b"~", b">", b"|"])
def test_a_length_or_count_that_may_be_read_otherwise_is_refused(replies: Replies, kind: bytes, number: bytes) -> None:
    assert complaint(replies, kind + number + b"\r\n") == "a length or count that is not a number"


@pytest.mark.parametrize("kind", [b"!", b"=", b"%", b"~", b">", b"|"])
def test_only_strings_and_arrays_can_be_null(replies: Replies, kind: bytes) -> None:
    assert complaint(replies, kind + b"-1\r\n") == "a length or count that is not a number"


@pytest.mark.parametrize("kind", [b"$", b"*", b"!", b"=", b"%", b"~", b">", b"|"])
def test_lengths_and_counts_have_a_bound(replies: Replies, kind: bytes) -> None:
    assert events(replies, kind + b"4294967296\r\n") == [("spent", 0, True)]
    for beyond in (b"4294967297", b"9" * 30):
        assert complaint(replies, kind + beyond) == "a length or count above 4294967296"


@pytest.mark.parametrize("behind", [b"\n\r", b"\rx", b"x\n", b"xx", b"\r\r", b"\n\n"])
@pytest.mark.parametrize("before", [b"$3\r\nabc", b"$0\r\n", b"=5\r\ntxt:a", b"!1\r\nx", b">1\r\n$9\r\nsubscribe"])
def test_a_value_ends_with_crlf(replies: Replies, before: bytes, behind: bytes) -> None:
    assert complaint(replies, before + behind) == "a value without CRLF behind it"


@pytest.mark.parametrize("line", [b"+a\rb\r\n", b"-a\r\r\n", b":1\r_\r\n", b">1\r\n+subscribe\r\r"])
def test_a_line_ends_with_crlf(replies: Replies, line: bytes) -> None:
    assert complaint(replies, line) == "a line with CR but no LF"


def test_a_line_has_its_bounds(replies: Replies) -> None:
    longest = b"+" + b"x" * (1 << 20)
    assert reply_events(replies, [longest[:9], longest[9:], b"\r\n"]) == [("reply",), ("spent", 1048579, False)]
    for pieces in ([longest + b"x"], [longest, b"x\r\n"]):
        fault = ("fault", 0, "the server sent a line longer than 1048576")
        assert reply_events(type(replies)(), pieces) == [fault]


@pytest.mark.parametrize("kind", [b"*1\r\n", b"~2\r\n", b"%1\r\n", b"|1\r\n"])
def test_values_nest_to_a_depth_and_no_deeper(replies: Replies, kind: bytes) -> None:
    assert reply_events(replies, [kind * 128]) == [("spent", 0, True)]
    fault = ("fault", 0, "the server sent values nested deeper than 128")
    assert reply_events(type(replies)(), [kind * 129]) == [fault]


def test_the_deepest_reply_comes_to_its_end(replies: Replies) -> None:
    data = b"*1\r\n" * 128 + b"*0\r\n"
    assert replies.advance(data, 0, 1) == len(data)
    assert (replies.stop, replies.done) == (WANTED, 1)


@pytest.mark.parametrize("around", [b"*1\r\n", b">1\r\n", b"|1\r\n"])
def test_a_push_within_a_value_is_refused(replies: Replies, around: bytes) -> None:
    assert complaint(replies, around + b">1\r\n") == "a push within another value"


def test_a_fault_is_the_server_s_and_tells_what_was_in_front(replies: Replies) -> None:
    with pytest.raises(UpstreamError) as caught:
        replies.advance(b"+OK\r\n$-1\r\n$-2\r\n", 0, 9)
    assert caught.value.reason is Reason.UPSTREAM_BAD_MESSAGE
    assert caught.value.public == "the upstream service is not available"
    assert (replies.done, replies.whole) == (2, 10)
