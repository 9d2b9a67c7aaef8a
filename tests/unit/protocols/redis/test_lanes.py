"""Requests out, on the source and on what was compiled of it: whatever way the bytes are cut."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ambassador.errors import ClientError
from ambassador.net.taker import NOWHERE
from ambassador.wire.redis.replies import Replies
from ambassador.wire.redis.requests import Requests
from tests.support.redis_lanes import (
    CLASSES,
    FAULT,
    GET,
    MULTI,
    MULTI_REQUEST,
    PING,
    READ,
    SET,
    UNKNOWN,
    WRITE,
    Bench,
    Halves,
    feed,
)
from tests.support.resp import request
from tests.support.splits import every_split, in_pieces

# ---- requests


def test_plain_requests_go_on_as_they_came_and_whole_however_they_are_cut(module: Halves) -> None:
    data = GET + SET + request(b"SET", b"k", b"x" * 40) + PING
    for pieces in every_split(data):
        bench = Bench(module)
        client = bench.client()
        feed(client, pieces)
        assert bench.asked == data
        assert client.owed == bench.line.owed == 4
        ends = itertools.accumulate(map(len, bench.sent))
        assert set(ends) <= {len(GET), len(GET + SET), len(data) - len(PING), len(data)}, "half a request has gone"
        assert client.count == len(data)


def test_a_pipeline_that_comes_in_one_piece_is_one_run(bench: Bench) -> None:
    client = bench.client()
    client.take(GET * 100)
    run = bench.line.first
    assert bench.sent == [GET * 100]
    assert (run.count, run.total, run.kinds, run.kind, run.after) == (100, 100, None, READ, None)
    assert run.client is client
    assert bench.line.last is run


def test_the_kinds_of_a_run_are_kept_apart_only_where_they_differ(bench: Bench) -> None:
    client = bench.client()
    client.take(GET + SET + GET)
    client.take(SET)
    first = bench.line.first
    assert list(first.kinds) == [READ, WRITE, READ]
    assert (first.after.kinds, first.after.kind) == (None, WRITE)
    assert bench.line.last is first.after


def test_runs_keep_their_requests_on_a_line_that_remembers(bench: Bench) -> None:
    client = bench.client()
    client.take(GET)
    bench.line.remembers = True
    client.take(SET[:5])
    client.take(SET[5:])
    assert [bench.line.first.asked, bench.line.last.asked] == [None, SET]


def test_a_special_request_is_handed_over_whole_and_goes_nowhere(module: Halves) -> None:
    data = GET + MULTI_REQUEST + SET + request(b"nosuch", b"\r\n") + b"inline command\r\n" + PING
    for pieces in every_split(data):
        bench = Bench(module)
        client = bench.client()
        feed(client, pieces)
        assert client.specials == [
            (MULTI, MULTI_REQUEST),
            (UNKNOWN, request(b"nosuch", b"\r\n")),
            (254, b"inline command\r\n"),
        ]
        assert bench.asked == GET + SET + PING


def test_what_stands_before_a_special_request_has_gone_when_it_is_served(bench: Bench) -> None:
    client = bench.client()
    seen: list[bytes] = []
    client.on_special = lambda: seen.append(bench.asked)
    client.take(GET + SET + MULTI_REQUEST + GET)
    assert seen == [GET + SET]
    assert bench.asked == GET + SET + GET


def test_a_halted_client_is_taken_nothing_of_until_it_goes_on(module: Halves) -> None:
    data = GET + MULTI_REQUEST + SET + MULTI_REQUEST + PING
    for pieces in every_split(data):
        bench = Bench(module)
        client = bench.client(halting=True)
        feed(client, pieces)
        assert (bench.asked, len(client.specials), client.halted) == (GET, 1, True)
        assert client.kept == SET + MULTI_REQUEST + PING
        assert client.count == len(data)
        client.go_on()
        assert (bench.asked, len(client.specials), client.halted) == (GET + SET, 2, True)
        client.go_on()
        assert (bench.asked, client.halted, client.kept) == (GET + SET + PING, False, b"")


def test_going_on_with_nothing_kept_only_ends_the_halt(bench: Bench) -> None:
    client = bench.client(halted=True)
    client.go_on()
    assert (client.halted, bench.sent) == (False, [])


def test_on_a_line_of_its_own_half_a_plain_request_goes_at_once(module: Halves) -> None:
    data = request(b"SET", b"key", b"v" * 30) + GET + MULTI_REQUEST + SET
    named = len(b"*3\r\n$3\r\nSET")
    for cut in range(1, len(data)):
        bench = Bench(module)
        client = bench.client(streaming=True)
        client.take(data[:cut])
        if named < cut < len(data) - len(GET + MULTI_REQUEST + SET):
            assert bench.asked == data[:cut], "what is known to be plain waits for nothing"
            assert client.owed == 0, "it is owed an answer only for a whole request"
        client.take(data[cut:])
        assert bench.asked == data.replace(MULTI_REQUEST, b"")
        assert client.specials == [(MULTI, MULTI_REQUEST)]
        assert client.owed == 3


def test_every_byte_by_itself_makes_the_same_of_it_on_a_line_of_its_own(module: Halves) -> None:
    data = SET + MULTI_REQUEST + GET + b"PING\r\n"
    for pieces in every_split(data):
        bench = Bench(module)
        client = bench.client(streaming=True)
        feed(client, pieces)
        assert bench.asked == SET + GET
        assert [code for code, _ in client.specials] == [MULTI, 254]


@pytest.mark.parametrize("lost", ["none", "closed"])
def test_without_an_open_line_it_is_homeless_and_keeps_what_comes(bench: Bench, lost: str) -> None:
    client = bench.client()
    client.take(GET[:4])
    if lost == "none":
        client.line = None
    else:
        client.line.open = False
    client.take(GET[4:] + SET)
    client.take(PING)
    assert (client.told, client.halted, bench.sent) == (["homeless"], True, [])
    client.line = bench.new_line()
    client.go_on()
    assert bench.asked == GET + SET + PING
    assert client.line.owed == 3


def test_a_line_that_is_lost_within_a_chunk_is_noticed_behind_the_request(bench: Bench) -> None:
    client = bench.client()

    def lose() -> None:
        client.line = None

    client.on_special = lose
    client.take(GET + MULTI_REQUEST + SET)
    assert (bench.asked, client.kept, client.told) == (GET, SET, ["homeless"])


def test_a_choked_line_stalls_whoever_asks_on_it(bench: Bench) -> None:
    client = bench.client(halting=True)
    client.take(GET)
    bench.line.choked = True
    client.take(GET + SET)
    assert (client.told, client.halted, bench.asked) == (["stalled"], True, GET + GET + SET)
    client.take(PING)
    assert client.kept == PING


def test_a_client_that_is_owed_too_much_is_stalled(bench: Bench) -> None:
    client = bench.client()
    most = bench.module.MOST_OWED
    client.take(PING * most)
    assert client.told == []
    client.take(PING)
    assert client.told == ["stalled"]


@pytest.mark.parametrize("name", [b"SET", b"nosuch"])
def test_a_request_that_is_getting_too_large_is_told_of_once(bench: Bench, name: bytes) -> None:
    client = bench.client()
    data = request(name, b"k", b"x" * 3000)
    for piece in in_pieces(GET + data, 100):
        client.take(piece)
    code = CLASSES.get(name, UNKNOWN)
    assert [told for told in client.told if told.startswith("large")] == [f"large {code}"]
    assert bench.asked == (GET + data if name == b"SET" else GET)


def test_who_turns_to_a_line_of_its_own_for_a_large_request_sends_all_of_it_there(module: Halves) -> None:
    data = request(b"SET", b"k", b"x" * 3000)
    for size in (1, 7, 100, 5000):
        bench = Bench(module)
        client = bench.client()
        own = bench.new_line()

        def turn(client: Any = client, own: Any = own) -> None:
            client.line, client.streaming = own, True

        client.on_large = turn
        for piece in in_pieces(data + GET, size):
            client.take(piece)
        assert bench.asked == data + GET
        assert (bench.line.owed, own.owed) == (0, 2)


def test_a_special_request_may_not_grow_for_ever(bench: Bench) -> None:
    client = bench.client()
    most = bench.module.MOST_HELD
    data = request(b"nosuch", b"x" * (2 * most))
    client.take(data[:most])
    with pytest.raises(ClientError, match="too big request"):
        client.take(data[most : most + 1])
    assert bench.sent == []


def test_what_is_no_request_is_not_passed_on(bench: Bench) -> None:
    client = bench.client()
    client.take(GET)
    with pytest.raises(ClientError, match="expected '\\$'"):
        client.take(b"*1\r\n!3\r\n")
    assert bench.asked == GET


def test_those_who_are_not_derived_from_do_nothing(module: Halves) -> None:
    line = module.Line(NOWHERE, Replies())
    assert line.on_error(None, FAULT) == FAULT
    assert line.drained() is None
    client = module.Asking(NOWHERE, Requests(CLASSES), ())
    assert [client.special(1, b""), client.large(1), client.homeless(), client.stalled()] == [None] * 4
    assert [client.emptied(), client.burdened()] == [None] * 2
    assert (client.line, client.owed, line.owed) == (None, 0, 0)
