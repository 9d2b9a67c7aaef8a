"""The two walkers of `wire.redis` against real, random and spoilt traffic, in every split; both twins side by side.

What must hold, whatever arrives: nothing is raised but the fault of the side that sent it, what is kept stays within
its bounds, how bytes are cut makes no difference, and what another reader makes of them, we do.

`FUZZ` is the number of mutations in all, as in `test_wire`; number N is always the same one, and a failure names it.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import hiredis
import pytest

from ambassador.wire.redis import replies as replies_module
from ambassador.wire.redis import requests as requests_module
from ambassador.wire.redis.replies import Replies
from ambassador.wire.redis.requests import EMPTY, INLINE, UNKNOWN, Requests
from tests.support import resp
from tests.support.mutations import cut
from tests.support.recordings import of_side, recorded
from tests.support.redis_walks import Event, reply_events, request_events
from tests.support.splits import every_split, in_pieces
from tests.support.twins import TWINS, source_of, twin_of

FUZZ = int(os.environ.get("FUZZ", "100000"))

# Each a part of the numbers, so that no single test takes long.
BATCHES = pytest.mark.parametrize("batch", range(4))

RECORDED = recorded("redis")
SENT = {name: of_side(chunks, sent=True) for name, chunks in RECORDED.items()}
SAID = {name: of_side(chunks, sent=False) for name, chunks in RECORDED.items()}

# Some plain, some special, most unknown.
CLASSES = {b"GET": 0, b"SET": 1, b"PING": 2, b"HSET": 1, b"LRANGE": 0, b"INCR": 1, b"MULTI": 16, b"HELLO": 17}

PURE_REQUESTS = source_of(requests_module).Requests
PURE_REPLIES = source_of(replies_module).Replies


@pytest.fixture(params=TWINS)
def requests_class(request: pytest.FixtureRequest) -> type[Requests]:
    return twin_of(requests_module, request.param).Requests  # type: ignore[no-any-return]  # loaded by hand


@pytest.fixture(params=TWINS)
def replies_class(request: pytest.FixtureRequest) -> type[Replies]:
    return twin_of(replies_module, request.param).Replies  # type: ignore[no-any-return]  # loaded by hand


def sent_events(twin: type[Requests], pieces: Iterable[bytes], large: int = 200) -> list[Event]:
    return request_events(twin(CLASSES, large), pieces)


def said_events(twin: type[Replies], pieces: Iterable[bytes], *, subscribed: bool, want: int = 1) -> list[Event]:
    replies = twin()
    replies.each_push, replies.subscribed = True, subscribed
    return reply_events(replies, pieces, want)


# A reader of requests of another kind, for whole bytes only


def reference(data: bytes, large: int) -> list[Event]:
    """What is to be told of good requests, the last of which may be broken off."""
    events: list[Event] = []
    at = 0
    while at < len(data):
        if not data.startswith(b"*", at):
            end = data.find(b"\n", at) + 1
            if not end:
                return [*events, ("inside", at, INLINE)]
            events.append(("special", at, end, INLINE, True))
            at = end
            continue
        told, end = _multibulk(data, at, large)
        events += told
        if end < 0:
            return events
        at = end
    return [*events, ("boundary",)]


def _multibulk(data: bytes, begin: int, large: int) -> tuple[list[Event], int]:
    """What is to be told of one request, and its end, or -1."""
    code = -1
    told: list[Event] = []
    header = re.compile(rb"\*(\d+)\r\n").match(data, begin)
    if not header:
        return [("inside", begin, -1)], -1
    at = header.end()
    for left in range(int(header[1]), 0, -1):
        length = re.compile(rb"\$(\d+)\r\n").match(data, at)
        if not length:
            return [*told, ("inside", begin, code)], -1
        seen, end = length.end(), length.end() + int(length[1])
        if code < 0 and int(length[1]) > 64:
            code = UNKNOWN
        elif code < 0:
            if end > len(data):
                return [*told, ("inside", begin, -1)], -1
            code = CLASSES.get(data[seen:end].upper(), UNKNOWN)
            seen = end
        if end + 2 - begin + 6 * (left - 1) > large and not told:
            told.append(("large", begin, seen, code))
        at = end + 2
        if at > len(data):
            return [*told, ("inside", begin, code)], -1
    if header[1] == b"0":
        code = EMPTY
    return [*told, ("plain", code) if code < 16 else ("special", begin, at, code, False)], at


# As it was


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_requests_are_found_however_they_are_cut(name: str, requests_class: type[Requests]) -> None:
    sent = SENT[name]
    expected = reference(sent, 200)
    assert expected[-1] == ("boundary",)
    assert sent_events(requests_class, [sent]) == expected
    for size in (1, 2, 3, 5, 7, 16, 100):
        assert sent_events(requests_class, in_pieces(sent, size)) == expected
    assert sent_events(requests_class, [chunk.data for chunk in RECORDED[name] if chunk.sent]) == expected


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_replies_are_found_however_they_are_cut(name: str, replies_class: type[Replies]) -> None:
    said, subscribed = SAID[name], "pubsub_resp2" in name
    expected = said_events(replies_class, [said], subscribed=subscribed)
    assert expected[-1] == ("spent", len(said), False)
    for size in (1, 2, 3, 5, 7, 16, 100):
        assert said_events(replies_class, in_pieces(said, size), subscribed=subscribed) == expected
    assert said_events(replies_class, [c.data for c in RECORDED[name] if not c.sent], subscribed=subscribed) == expected


@pytest.mark.parametrize("name", RECORDED)
def test_every_cut_in_two_and_every_prefix_makes_no_difference(name: str) -> None:
    """On the twin that serves; the other is compared with it below."""
    sent, said, subscribed = SENT[name][:3000], SAID[name][:3000], "pubsub_resp2" in name
    asked = sent_events(Requests, [sent])
    answered = said_events(Replies, [said], subscribed=subscribed)
    for split in every_split(sent):
        assert sent_events(Requests, split) == asked
    for split in every_split(said):
        assert said_events(Replies, split, subscribed=subscribed) == answered
    for stop in range(len(sent)):
        assert sent_events(Requests, [sent[:stop]]) == reference(sent[:stop], 200)
    ends = [0, *(int(str(event[-1])) for event in answered[:-1])]
    for stop in range(len(said)):
        *before, last = said_events(Replies, [said[:stop]], subscribed=subscribed)
        whole = max(end for end in ends if end <= stop)
        assert before == answered[: len(before)]
        assert last == ("spent", whole, whole < stop)


# What another reader makes of it


def read_by_another(data: bytes) -> tuple[int, int, int]:
    """How many replies, errors and pushes hiredis finds; it knows no attributes."""
    reader = hiredis.Reader()
    reader.feed(data)
    found: list[object] = []
    while reader.has_data():
        found.append(reader.gets())
        assert found[-1] is not False, "bytes are left over"
    errors = sum(isinstance(one, hiredis.ReplyError) for one in found)
    pushes = sum(isinstance(one, hiredis.PushNotification) for one in found)
    return len(found) - errors - pushes, errors, pushes


def counted(events: Sequence[Event]) -> tuple[int, int, int]:
    names = [event[0] for event in events]
    return names.count("reply"), names.count("error"), names.count("pushed") + names.count("confirmed")


@pytest.mark.parametrize("name", sorted(set(RECORDED) - {"redis_raw_resp3"}))  # there is an attribute in it
def test_recorded_replies_are_as_many_as_another_reader_finds(name: str, replies_class: type[Replies]) -> None:
    found = counted(said_events(replies_class, [SAID[name]], subscribed=False))
    assert found == read_by_another(SAID[name])
    assert found[0] > 0


@pytest.mark.parametrize("name", sorted(name for name in RECORDED if "pubsub" not in name))
def test_each_recorded_request_got_a_reply(name: str, replies_class: type[Replies]) -> None:
    """Where nobody subscribed; and an empty line, of which there is one, gets none."""
    asked = [event for event in sent_events(Requests, [SENT[name]], 1 << 40) if event[0] in {"plain", "special"}]
    replies, errors, _ = counted(said_events(replies_class, [SAID[name]], subscribed=False))
    assert replies + errors == len(asked) - (name == "redis_raw_resp3")


# At random


MAKERS: Sequence[tuple[str, Callable[[random.Random], bytes]]] = (
    ("reply", resp.value),
    ("reply", resp.value),
    ("reply", resp.value),
    ("error", resp.error),
    ("pushed", lambda rng: resp.push(rng, rng.choice((b"message", b"invalidate", b"x", b"subscribes")))),
    ("confirmed", lambda rng: resp.push(rng, rng.choice((b"subscribe", b"punsubscribe", b"sunsubscribe")))),
    ("pushed", lambda rng: resp.array(rng, rng.choice((b"message", b"pmessage", b"smessage")))),
    ("confirmed", lambda rng: resp.array(rng, rng.choice((b"unsubscribe", b"psubscribe", b"ssubscribe")))),
)


def conversation(rng: random.Random) -> tuple[bytes, list[Event]]:
    """What a server may say, and what is to be told of it, one reply at a time."""
    said, events = b"", []
    for _ in range(rng.randrange(1, 9)):
        kind, make = rng.choice(MAKERS)
        one = make(rng)
        begin, said = len(said), said + one
        events.append((kind, len(said)) if kind == "reply" else (kind, begin, len(said)))
    return said, [*events, ("spent", len(said), False)]


@BATCHES
def test_random_replies_are_told_of_exactly(batch: int) -> None:
    for number in range(batch, FUZZ // 10, 4):
        rng = random.Random(number)
        said, expected = conversation(rng)
        for twin in {PURE_REPLIES, Replies}:
            assert said_events(twin, [said], subscribed=True) == expected, f"conversation {number}: {said!r}"
            pieces = cut(said, rng)
            assert said_events(twin, pieces, subscribed=True) == expected, f"conversation {number}: {pieces!r}"


def test_random_replies_are_as_many_as_another_reader_finds() -> None:
    for number in range(FUZZ // 20):
        rng = random.Random(number)
        said = b"".join(maker(rng) for _, maker in rng.choices(MAKERS, k=rng.randrange(1, 9)))
        if b"|" not in said and b"!" not in said:
            assert counted(said_events(Replies, [said], subscribed=False)) == read_by_another(said), number


@BATCHES
def test_random_requests_are_told_of_exactly(batch: int) -> None:
    names = [*CLASSES, b"get", b"Ping", b"NOSUCH", b"", b"x" * 65]
    for number in range(batch, FUZZ // 10, 4):
        rng = random.Random(number)
        sent = b""
        for _ in range(rng.randrange(1, 12)):
            words = [rng.randbytes(rng.choice((0, 1, 3, 9, 70))) for _ in range(rng.choice((0, 0, 1, 2, 2, 3, 9)))]
            sent += rng.choice((resp.request(rng.choice(names), *words), b"*0\r\n", b"ping\r\n", resp.request(b"GET")))
        large = rng.choice((0, 20, 64, 100, 300, 1 << 40))
        sent = sent[: rng.randrange(len(sent))] if rng.random() < 0.5 else sent
        for twin in {PURE_REQUESTS, Requests}:
            assert sent_events(twin, [sent], large) == reference(sent, large), f"requests {number}: {sent!r}"
            pieces = cut(sent, rng)
            assert sent_events(twin, pieces, large) == reference(sent, large), f"requests {number}: {pieces!r}"


# Spoilt


def excerpt(data: bytes, rng: random.Random, mark: re.Pattern[bytes]) -> bytes:
    """A stretch of it that begins with a request or reply."""
    start = rng.choice([0, *(match.start() for match in mark.finditer(data))])
    return data[start : start + rng.choice((40, 200, 600))]


A_REQUEST, A_REPLY = re.compile(rb"(?<=\n)\*"), re.compile(rb"(?<=\n)[+*$:%>]")


@BATCHES
def test_spoilt_requests_are_refused_or_waited_for_and_both_twins_agree(batch: int) -> None:
    names = sorted(SENT)
    faults = 0
    for number in range(batch, FUZZ // 2, 4):
        rng = random.Random(number)
        spoilt = resp.spoil(excerpt(SENT[rng.choice(names)], rng, A_REQUEST), rng)
        large = rng.choice((20, 100, 1 << 40))
        pieces = cut(spoilt, rng)
        try:
            pure, serving = PURE_REQUESTS(CLASSES, large), Requests(CLASSES, large)
            told = request_events(pure, pieces)
            assert told == request_events(serving, pieces)
            assert told == sent_events(Requests, [spoilt], large)
            assert len(pure._name) <= 64
            assert len(pure.kinds) <= 512
        except Exception as error:
            raise AssertionError(f"mutation {number}: {pieces!r}") from error
        faults += told[-1][0] == "fault"
    assert faults > FUZZ // 40


@BATCHES
def test_spoilt_replies_are_refused_or_waited_for_and_both_twins_agree(batch: int) -> None:
    names = sorted(SAID)
    faults = 0
    for number in range(batch, FUZZ // 2, 4):
        rng = random.Random(number)
        said = resp.value(rng) + conversation(rng)[0] if rng.random() < 0.5 else SAID[rng.choice(names)]
        spoilt = resp.spoil(excerpt(said, rng, A_REPLY), rng)
        subscribed, want = rng.random() < 0.5, rng.choice((1, 2, 1000))
        pieces = cut(spoilt, rng)
        try:
            pure = PURE_REPLIES()
            pure.each_push, pure.subscribed = True, subscribed
            told = reply_events(pure, pieces, want)
            assert told == said_events(Replies, pieces, subscribed=subscribed, want=want)
            assert told == said_events(Replies, [spoilt], subscribed=subscribed, want=want)
            assert len(pure._word) <= 12
            assert pure._depth <= 128
        except Exception as error:
            raise AssertionError(f"mutation {number}: {pieces!r}") from error
        faults += told[-1][0] == "fault"
    assert faults > FUZZ // 40


def test_collections_that_open_without_end_take_no_memory_and_no_time() -> None:
    for opening, (one, other) in (
        (kind, sizes) for kind in b"*~%|>" for sizes in pairwise((b"1", b"2", b"4294967296"))
    ):
        bomb = bytes((opening,)) + one + b"\r\n" + (b"*" + other + b"\r\n") * 100_000
        for twin in {PURE_REPLIES, Replies}:
            assert said_events(twin, [bomb], subscribed=False)[-1][0] == "fault"
