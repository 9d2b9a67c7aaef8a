from __future__ import annotations

import pytest

from ambassador.errors import ClientError, Reason
from ambassador.wire.redis import requests as module
from ambassador.wire.redis.requests import EMPTY, INLINE, UNKNOWN, Requests
from tests.support.redis_walks import BOUNDARY, INSIDE, LARGE, SPECIAL, Event, request_events
from tests.support.resp import request
from tests.support.splits import every_split
from tests.support.twins import TWINS, source_of, twin_of

READ, WRITE, OTHER, MULTI = 0, 1, 15, 16
CLASSES = {b"GET": READ, b"SET": WRITE, b"PING": OTHER, b"MULTI": MULTI, b"N" * 64: READ}

GET = request(b"GET", b"key")
SET = request(b"SET", b"key", b"value")


@pytest.fixture(params=TWINS)
def requests(request: pytest.FixtureRequest) -> Requests:
    return twin_of(module, request.param).Requests(CLASSES)  # type: ignore[no-any-return]  # loaded by hand


def events(requests: Requests, data: bytes, large: int | None = None) -> list[Event]:
    """What is told of `data`, the same however it is cut."""
    large = requests.large if large is None else large
    told = [request_events(type(requests)(requests.classes, large), pieces) for pieces in every_split(data)]
    assert all(one == told[0] for one in told)
    return told[0]


def complaint(requests: Requests, data: bytes) -> str:
    """What it says of faulty bytes, which begin with a good request."""
    told = events(requests, GET + data)
    assert told[0] == ("plain", READ)
    assert told[-1][0] == "fault", told
    return str(told[-1][1]).removeprefix("Protocol error: ")


# Plain requests


def test_nothing_has_happened_at_first(requests: Requests) -> None:
    assert (requests.count, requests.mixed, requests.stop, requests.code, requests.inline) == (0, False, 0, -1, False)


def test_constants_are_seen_from_outside_though_they_are_typed() -> None:
    source = source_of(module)
    for name in ("BOUNDARY", "INSIDE", "SPECIAL", "LARGE", "PLAIN", "EMPTY", "INLINE", "UNKNOWN", "NEVER"):
        assert getattr(module, name) == getattr(source, name)


def test_requests_of_one_kind_are_counted(requests: Requests) -> None:
    assert requests.advance(GET * 3, 0) == len(GET) * 3
    assert (requests.stop, requests.count, requests.mixed, requests.kind) == (BOUNDARY, 3, False, READ)


def test_requests_of_several_kinds_are_counted_in_order(requests: Requests) -> None:
    data = SET + GET + request(b"PING") + GET
    assert requests.advance(data, 0) == len(data)
    assert (requests.stop, requests.count, requests.mixed, requests.kind) == (BOUNDARY, 4, True, READ)
    assert requests.kinds == bytes([WRITE, READ, OTHER, READ])


def test_each_walk_counts_anew(requests: Requests) -> None:
    requests.advance(SET + GET, 0)
    requests.advance(GET, 0)
    assert (requests.count, requests.mixed) == (1, False)
    requests.advance(b"*", 0)
    assert (requests.count, requests.mixed, requests.kind, requests.stop) == (0, False, READ, INSIDE)


def test_there_is_room_for_the_kinds_of_any_chunk_and_they_are_not_used_again(requests: Requests) -> None:
    data = (request(b"PING") + request(b"GET")) * 500
    requests.advance(SET + GET, 0)
    kept = requests.kinds
    requests.advance(data, 0)
    assert kept == bytes([WRITE, READ])
    assert requests.count == 1000
    assert requests.kinds == bytes([OTHER, READ]) * 500


@pytest.mark.parametrize("words", [(b"GET",), (b"GET", b"key"), (b"SET", b"k" * 100, b"v" * 999_999), (b"x" * 65,)])
def test_a_whole_request_is_passed_in_one_go_which_is_what_makes_it_cheap(words: tuple[bytes, ...]) -> None:
    """Seen from inside, because it makes no other difference."""
    walk = source_of(module).Requests(CLASSES)
    data = b"xx" + request(*words)
    assert walk._pass_whole(data, 2, len(data)) == len(data)
    assert walk._pass_whole(data + b"*", 2, len(data) + 1) == len(data)
    assert walk._pass_whole(data[:-1], 2, len(data) - 1) == 2
    walk.large = len(data) - 2
    assert walk._pass_whole(data, 2, len(data)) == len(data)
    walk.large -= 1
    assert walk._pass_whole(data, 2, len(data)) == 2


@pytest.mark.parametrize("number", [b"0", b"01", b"1000000", b"", b"x", b"1", b"1\r", b"1\n\n", b"1\rx", b"-1"])
def test_what_is_rare_in_a_request_is_left_to_the_steps(number: bytes) -> None:
    data = b"*" + number + (b"\r\n" if number not in {b"1", b"1\r"} else b"")
    assert source_of(module).Requests(CLASSES)._read_short(data, 1, len(data)) == 0


LOOKALIKES = [
    request(b"GET", b"key"),
    request(b"GET", b"other key"),
    request(b"GEX", b"key"),
    request(b"GETX", b"key"),
    request(b"GET"),
    request(b"GET", b"a", b"b"),
    request(b"SET", b"key", b"v" * 20),
    request(b"PING"),
]


@pytest.mark.parametrize("first", LOOKALIKES)
def test_requests_that_begin_alike_are_told_apart(requests: Requests, first: bytes) -> None:
    for second in LOOKALIKES:
        assert codes(requests, first, second, first) == [
            *codes(requests, first),
            *codes(requests, second),
            *codes(requests, first),
        ]


def codes(requests: Requests, *data: bytes) -> list[object]:
    """The code of each request."""
    told = events(requests, b"".join(data))
    return [event[3] if event[0] == "special" else event[1] for event in told if event[0] != "boundary"]


def test_classes_may_change_between_two_walks(requests: Requests) -> None:
    requests.advance(GET * 2, 0)
    requests.classes = {b"GET": OTHER}
    requests.advance(GET * 2, 0)
    assert (requests.count, requests.kind) == (2, OTHER)


def test_a_walk_begins_where_it_is_told_to(requests: Requests) -> None:
    assert requests.advance(b"xx" + GET, 2) == 2 + len(GET)
    assert (requests.stop, requests.count) == (BOUNDARY, 1)
    assert requests.advance(GET, len(GET)) == len(GET)
    assert (requests.stop, requests.count) == (BOUNDARY, 0)


@pytest.mark.parametrize("name", [b"GET", b"get", b"gEt"])
def test_a_name_is_known_in_any_spelling(requests: Requests, name: bytes) -> None:
    assert events(requests, request(name, b"k") * 2) == [("plain", READ)] * 2 + [("boundary",)]


def test_names_are_told_apart_to_the_last_byte(requests: Requests) -> None:
    names = b"PING PXNG PING GXT GET WET GEX GET GETX XET GET\0 G\0T GET get GE  EGT GET".split(b" ")
    codes = [CLASSES.get(name.upper(), UNKNOWN) for name in names]
    told = events(requests, b"".join(map(request, names)))
    assert [event[3] if event[0] == "special" else event[1] for event in told[:-1]] == codes


def test_new_classes_serve_from_the_next_name_on(requests: Requests) -> None:
    requests.advance(GET, 0)
    requests.classes = {b"GET": OTHER}
    requests.advance(GET, 0)
    assert requests.kind == OTHER


def test_arguments_hold_any_bytes(requests: Requests) -> None:
    nasty = request(b"SET", b"\r\n*1\r\n$4\r\nPING\r\n", b"", bytes(range(256)))
    assert events(requests, nasty + GET) == [("plain", WRITE), ("plain", READ), ("boundary",)]


# Special requests


def test_it_stops_behind_each_special_request(requests: Requests) -> None:
    data = GET + request(b"MULTI") + GET + request(b"multi") + request(b"NOSUCH", b"x")
    assert events(requests, data) == [
        ("plain", READ),
        ("special", 22, 37, MULTI, False),
        ("plain", READ),
        ("special", 59, 74, MULTI, False),
        ("special", 74, 97, UNKNOWN, False),
        ("boundary",),
    ]


def test_what_is_in_front_of_a_special_request_is_counted_before_it(requests: Requests) -> None:
    stop = requests.advance(GET + SET + request(b"MULTI") + GET, 0)
    assert (requests.stop, requests.count, requests.kind, requests.code) == (SPECIAL, 2, WRITE, MULTI)
    assert (requests.begun, stop) == (len(GET + SET), len(GET + SET + request(b"MULTI")))


def test_the_longest_name_is_looked_up_and_a_longer_one_or_none_is_unknown(requests: Requests) -> None:
    assert events(requests, request(b"")) == [("special", 0, 10, UNKNOWN, False), ("boundary",)]
    assert events(requests, request(b"n" * 64)) == [("plain", READ), ("boundary",)]
    assert events(requests, request(b"n" * 65)) == [("special", 0, 76, UNKNOWN, False), ("boundary",)]


@pytest.mark.parametrize("empty", [b"*0\r\n", b"*-1\r\n"])
def test_a_request_of_no_arguments_is_told_of(requests: Requests, empty: bytes) -> None:
    assert events(requests, GET + empty + GET) == [
        ("plain", READ),
        ("special", 22, 22 + len(empty), EMPTY, False),
        ("plain", READ),
        ("boundary",),
    ]


@pytest.mark.parametrize("line", [b"PING\r\n", b"get key\n", b"\r\n", b"\n", b'set k "a\0b"\r\n', b"$1\r\n"])
def test_a_line_is_an_inline_command(requests: Requests, line: bytes) -> None:
    assert events(requests, GET + line + GET) == [
        ("plain", READ),
        ("special", 22, 22 + len(line), INLINE, True),
        ("plain", READ),
        ("boundary",),
    ]


def test_what_follows_a_line_is_none(requests: Requests) -> None:
    requests.advance(b"PING\r\n", 0)
    assert requests.inline
    requests.advance(request(b"MULTI"), 0)
    assert not requests.inline


# Within a request


@pytest.mark.parametrize(
    ("beginning", "code"),
    [
        (b"*", -1), (b"*2", -1), (b"*2\r", -1), (b"*2\r\n", -1), (b"*2\r\n$3", -1), (b"*2\r\n$3\r\n", -1),
        (b"*2\r\n$3\r\nGE", -1), (b"*2\r\n$3\r\nGET", READ), (b"*2\r\n$3\r\nGET\r", READ),
        (b"*2\r\n$3\r\nGET\r\n$5\r\nabc", READ), (b"*1\r\n$5\r\nMULTI", MULTI), (b"*1\r\n$65\r\n", UNKNOWN),
        (b"PIN", INLINE), (b"PING\r", INLINE),
    ],
)  # fmt: skip
def test_it_tells_what_the_chunk_ended_within(requests: Requests, beginning: bytes, code: int) -> None:
    assert events(requests, GET + beginning) == [("plain", READ), ("inside", 22, code)]


def test_where_a_request_began_is_told_while_that_chunk_is_here(requests: Requests) -> None:
    requests.advance(GET + b"*1\r\n$5\r\nMU", 0)
    assert (requests.stop, requests.begun, requests.code) == (INSIDE, 22, -1)
    requests.advance(b"LTI", 0)
    assert (requests.stop, requests.begun, requests.code) == (INSIDE, 0, MULTI)
    assert requests.advance(b"\r\n" + GET, 0) == 2
    assert (requests.stop, requests.begun, requests.code) == (SPECIAL, 0, MULTI)


# Large requests


def test_a_large_request_is_told_of_once_and_then_counted(requests: Requests) -> None:
    large = request(b"SET", b"key", b"x" * 500)
    assert events(requests, GET + large + GET, large=100) == [
        ("plain", READ),
        ("large", 22, 22 + large.index(b"x"), WRITE),
        ("plain", WRITE),
        ("plain", READ),
        ("boundary",),
    ]


def test_a_large_special_request_is_told_of_at_its_end_again(requests: Requests) -> None:
    large = request(b"NOSUCH", b"x" * 500)
    assert events(requests, large, large=100) == [
        ("large", 0, large.index(b"x"), UNKNOWN),
        ("special", 0, len(large), UNKNOWN, False),
        ("boundary",),
    ]


def test_many_arguments_make_a_request_large_as_soon_as_it_has_a_name(requests: Requests) -> None:
    assert events(requests, b"*1000\r\n$3\r\nSET", large=6000) == [("large", 0, 14, WRITE), ("inside", 0, WRITE)]
    assert events(requests, b"*1000\r\n$65\r\n", large=6000) == [("large", 0, 12, UNKNOWN), ("inside", 0, UNKNOWN)]


@pytest.mark.parametrize(
    "words", [(b"GET",), (b"GET", b"key"), (b"SET", b"k" * 30, b"v" * 40), (b"SET", b"", b"", b"")]
)
def test_a_request_is_large_when_it_is_longer_than_that_and_not_when_it_is_as_long(
    requests: Requests, words: tuple[bytes, ...]
) -> None:
    size = len(request(*words))
    assert "large" not in [event[0] for event in events(requests, request(*words) * 2, large=size)]
    assert [event[0] for event in events(requests, request(*words) * 2, large=size - 1)].count("large") == 2


def test_the_chunk_may_end_where_a_large_request_is_told_of(requests: Requests) -> None:
    requests.large = 100
    beginning = b"*2\r\n$3\r\nGET\r\n$500\r\n"
    assert requests.advance(GET + beginning, 0) == 22 + len(beginning)
    assert (requests.stop, requests.count, requests.begun, requests.code) == (LARGE, 1, 22, READ)
    assert requests.advance(GET + beginning, 22 + len(beginning)) == 22 + len(beginning)
    assert (requests.stop, requests.count, requests.begun, requests.code) == (INSIDE, 0, 22, READ)
    assert requests.advance(b"x" * 500 + b"\r\n", 0) == 502
    assert (requests.stop, requests.count, requests.kind) == (BOUNDARY, 1, READ)


def test_what_is_large_is_settled_when_a_request_begins(requests: Requests) -> None:
    requests.advance(b"*2\r\n$3\r\nGET\r\n", 0)
    requests.large = 10
    requests.advance(b"$3\r\nkey\r\n", 0)
    assert (requests.stop, requests.count) == (BOUNDARY, 1)
    requests.advance(GET, 0)
    assert requests.stop == LARGE


# What no server would understand


@pytest.mark.parametrize(
    "count",
    [b"", b"+1", b"-", b"-0", b"-2", b"-11", b"01", b"00", b" 1", b"1 ", b"x", b"1048577", b"9" * 30, b"1\r1", b"1\n"],
)
def test_a_count_that_servers_may_read_otherwise_is_refused(requests: Requests, count: bytes) -> None:
    assert complaint(requests, b"*" + count + b"\r\n") == "invalid multibulk length"


@pytest.mark.parametrize(
    "length",
    [b"", b"+1", b"-1", b"-2", b"01", b"00", b" 1", b"1 ", b"x", b"536870913", b"9" * 30, b"1\r1", b"1\n", b"\r"],
)
@pytest.mark.parametrize("before", [b"*2\r\n$", b"*2\r\n$3\r\nGET\r\n$"])
def test_a_length_that_servers_may_read_otherwise_is_refused(requests: Requests, before: bytes, length: bytes) -> None:
    assert complaint(requests, before + length + b"\r\n") == "invalid bulk length"


def test_the_greatest_count_and_length_are_taken(requests: Requests) -> None:
    beginning = b"*1048576\r\n$3\r\nGET\r\n$536870912\r\n"
    assert events(requests, beginning) == [("inside", 0, READ)]


@pytest.mark.parametrize(("byte", "shown"), [(b"x", "'x'"), (b"*", "'*'"), (b"\n", r"'\n'"), (b"\xff", r"'\xff'")])
def test_an_argument_begins_with_a_dollar(requests: Requests, byte: bytes, shown: str) -> None:
    assert complaint(requests, b"*1\r\n" + byte) == f"expected '$', got {shown}"
    assert complaint(requests, b"*2\r\n$3\r\nGET\r\n" + byte) == f"expected '$', got {shown}"


@pytest.mark.parametrize("behind", [b"\n\r", b"\rx", b"x\n", b"xx", b"\r\r", b"\n\n"])
@pytest.mark.parametrize("before", [b"*2\r\n$3\r\nGET", b"*2\r\n$3\r\nGET\r\n$3\r\nkey", b"*1\r\n$0\r\n"])
def test_an_argument_ends_with_crlf(requests: Requests, before: bytes, behind: bytes) -> None:
    assert complaint(requests, before + behind) == "expected CRLF behind an argument"


def test_a_line_has_its_bounds(requests: Requests) -> None:
    longest = b"x" * 65534 + b"\r\n"
    assert request_events(requests, [longest[:50], longest[50:]]) == [
        ("special", 0, 65536, INLINE, True),
        ("boundary",),
    ]
    for pieces in ([b"x" + longest], [b"x" * 65536, b"x"], [b"x", longest]):
        fresh = type(requests)({})
        assert request_events(fresh, pieces) == [("fault", "Protocol error: too big inline request")]


def test_a_fault_is_the_client_s_and_tells_what_was_in_front(requests: Requests) -> None:
    with pytest.raises(ClientError) as caught:
        requests.advance(GET + SET + b"*x", 0)
    assert caught.value.reason is Reason.BAD_MESSAGE
    assert caught.value.public == "Protocol error: invalid multibulk length"
    assert (requests.count, requests.mixed, requests.begun) == (2, True, len(GET + SET))
    assert requests.kinds == bytes([READ, WRITE])
