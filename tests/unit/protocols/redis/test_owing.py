"""Replies back, on the source and on what was compiled of it: whatever way the bytes are cut."""

from __future__ import annotations

from typing import Any

import pytest

from ambassador.errors import UpstreamError
from ambassador.net.taker import NOWHERE, Giving
from ambassador.wire.redis.replies import Replies
from tests.support.redis_lanes import (
    FAULT,
    GET,
    MESSAGE,
    MULTI_REQUEST,
    OK,
    ONE,
    OTHER,
    PING,
    PONG,
    READ,
    SET,
    WRITE,
    Bench,
    Halves,
    Note,
    feed,
)
from tests.support.splits import every_split, in_pieces

# ---- replies


def test_replies_go_to_who_asked_in_the_order_of_asking_however_they_are_cut(module: Halves) -> None:
    parts = [ONE, OK, b"*2\r\n$1\r\nx\r\n:1\r\n", b"$-1\r\n", PONG, b"$0\r\n\r\n"]
    for pieces in every_split(b"".join(parts)):
        bench = Bench(module)
        a, b, c = (bench.client() for _ in range(3))
        a.take(GET)
        b.take(SET + GET)
        a.take(GET)
        c.take(PING + GET)
        feed(bench.line, pieces)
        assert a.got == parts[0] + parts[3]
        assert b.got == parts[1] + parts[2]
        assert c.got == parts[4] + parts[5]
        assert (a.owed, b.owed, c.owed, bench.line.owed) == (0, 0, 0, 0)
        assert bench.line.first is bench.line.last is None
        assert (a.sent, b.sent, c.sent) == (len(a.got), len(b.got), len(c.got))
        assert bench.line.count == sum(map(len, parts))


def test_the_replies_of_one_run_come_in_one_piece_when_they_came_so(bench: Bench) -> None:
    a, b = bench.client(), bench.client()
    a.take(GET * 3)
    b.take(GET)
    bench.line.take(ONE * 4)
    assert (a.heard, b.heard) == ([ONE * 3], [ONE])


def test_a_reply_is_delivered_whole_as_long_as_it_is_short(bench: Bench) -> None:
    client = bench.client()
    client.take(GET * 3)
    bench.line.take(ONE + ONE[:4])
    assert (client.heard, bench.line.cut_short) == ([ONE], False)
    bench.line.take(ONE[4:] + ONE)
    assert client.heard == [ONE, ONE * 2]


def test_a_long_reply_goes_on_as_it_comes(bench: Bench) -> None:
    held = bench.module.HELD
    client, next_one = bench.client(), bench.client()
    client.take(GET)
    next_one.take(PING)
    whole = b"$%d\r\n%s\r\n" % (2 * held, b"x" * (2 * held))
    bench.line.take(whole[:held])
    assert (client.heard, bench.line.cut_short) == ([], False)
    bench.line.take(whole[held : held + 1])
    assert (client.heard, bench.line.cut_short) == ([whole[: held + 1]], True)
    bench.line.take(whole[held + 1 : held + 9])
    assert (client.got, bench.line.cut_short) == (whole[: held + 9], True)
    bench.line.take(whole[held + 9 :] + PONG)
    assert (client.got, next_one.got, bench.line.cut_short) == (whole, PONG, False)
    assert client.sent == len(whole)


def test_a_very_long_reply_burdens_its_client_and_is_told_of_once(bench: Bench) -> None:
    client = bench.client()
    client.take(GET + PING)
    large = bench.module.LARGE_REPLY
    bench.line.take(b"$%d\r\n" % (3 * large))
    for piece in in_pieces(b"x" * (3 * large), 1 << 18):
        bench.line.take(piece)
    bench.line.take(b"\r\n" + PONG)
    (told,) = client.told
    assert told.startswith("burdened at ")
    assert int(told.rpartition(" ")[2]) > large
    assert client.owed == 0


@pytest.mark.parametrize("reply", [FAULT, b"!6\r\nERR no\r\n"])
def test_errors_in_the_middle_of_a_pipeline_are_counted_as_what_failed(module: Halves, reply: bytes) -> None:
    data = ONE + reply + reply + OK
    for pieces in every_split(data):
        bench = Bench(module)
        client = bench.client()
        client.take(GET + SET + GET + PING)
        feed(bench.line, pieces)
        assert client.got == data
        assert client.counts == {READ: (1, 1), WRITE: (0, 1), OTHER: (1, 0)}
        assert client.timed == (0, 1)


def test_errors_of_a_run_of_one_kind_are_counted_and_the_rest_is_good(module: Halves) -> None:
    for pieces in every_split(ONE + FAULT + ONE + ONE):
        bench = Bench(module)
        client = bench.client()
        client.take(GET * 4)
        feed(bench.line, pieces)
        assert client.counts == {READ: (3, 1)}
        assert client.timed == (0, 1)


def test_an_error_too_long_to_be_held_is_counted_once(bench: Bench) -> None:
    client = bench.client()
    client.take(GET * 2)
    words = b"-ERR %s\r\n" % (b"x" * 2 * bench.module.HELD)
    feed(bench.line, in_pieces(words + ONE, 9999))
    assert client.got == words + ONE
    assert client.counts == {READ: (1, 1)}
    assert client.timed == (0, 1)


def test_an_error_is_shown_to_the_line_whole_and_goes_on_as_it_says(module: Halves) -> None:
    for pieces in every_split(ONE + FAULT + ONE):
        bench = Bench(module)
        seen: list[bytes] = []

        class Line(module.Line):  # type: ignore[misc, name-defined]  # the base of the twin
            def on_error(self, run: Any, error: bytes, seen: list[bytes] = seen) -> bytes:
                seen.append(error)
                return b"-OTHER\r\n"

        bench.line = Line(NOWHERE, Replies())
        client = bench.client()
        client.take(GET * 3)
        feed(bench.line, pieces)
        assert seen == [FAULT]
        assert client.got == ONE + b"-OTHER\r\n" + ONE
        assert client.sent == len(client.got)


def test_a_run_is_timed_from_its_asking_to_its_last_reply(bench: Bench) -> None:
    client = bench.client()
    client.take(GET * 2)
    bench.now += 1
    bench.line.take(ONE)
    assert client.timed == (0, 0)
    bench.now += 2
    bench.line.take(ONE)
    assert (client.timed, client.metrics[READ].seconds.sum) == ((1, 0), 3.0)


def test_clients_without_counts_are_served_all_the_same(bench: Bench) -> None:
    client = bench.client(metrics=())
    client.take(GET + SET)
    bench.line.take(FAULT + OK)
    assert client.got == FAULT + OK


def test_a_client_that_wants_no_replies_gets_none_and_is_owed_them(bench: Bench) -> None:
    quiet, other = bench.client(mute=True), bench.client()
    quiet.take(GET * 2)
    other.take(PING)
    quiet.mute = False
    quiet.take(SET)
    assert quiet.owed == 3
    bench.line.take(ONE + FAULT + PONG + OK)
    assert (quiet.got, other.got, quiet.owed) == (OK, PONG, 0)
    assert quiet.counts == {READ: (1, 1), WRITE: (1, 0)}


def test_a_note_is_told_behind_the_last_reply_only(bench: Bench) -> None:
    note = Note()
    heard: list[bytes] = []
    run = bench.module.Run(None, Giving(heard.append), 2)
    run.note = note
    bench.line.append(run)
    bench.line.take(ONE)
    assert (heard, note.told) == ([ONE], [])
    bench.line.take(FAULT)
    assert (heard, note.told) == ([ONE, FAULT], ["answered"])


def test_whoever_is_watched_is_told_when_it_is_owed_nothing_any_more(bench: Bench) -> None:
    client = bench.client(watched=True)
    other = bench.client()
    client.take(GET)
    other.take(GET)
    client.take(GET + MULTI_REQUEST)
    bench.line.take(ONE * 2)
    assert "emptied behind 1" not in client.told
    bench.line.take(ONE)
    assert [told for told in client.told if told.startswith("emptied")] == ["emptied behind 2"]
    assert other.told == []


def test_a_reply_that_nobody_asked_for_is_the_server_s_fault(bench: Bench) -> None:
    client = bench.client()
    client.take(GET)
    with pytest.raises(UpstreamError, match="nobody asked"):
        bench.line.take(ONE + ONE)
    assert client.got == ONE


def test_what_is_no_reply_is_the_server_s_fault(bench: Bench) -> None:
    client = bench.client()
    client.take(GET)
    with pytest.raises(UpstreamError):
        bench.line.take(b"?what\r\n")
    assert client.got == b""


# ---- what the server says unasked


def test_what_comes_unasked_while_nothing_is_owed_goes_to_the_listener(module: Halves) -> None:
    for pieces in every_split(MESSAGE + MESSAGE):
        bench = Bench(module)
        feed(bench.line, pieces)
        assert b"".join(bench.unasked) == MESSAGE * 2


def test_what_comes_unasked_between_replies_comes_in_its_place(module: Halves) -> None:
    data = ONE + MESSAGE + ONE + MESSAGE
    for pieces in every_split(data):
        bench = Bench(module)
        client = bench.client()
        bench.line.listener = Giving(client.heard.append)
        client.take(GET * 2)
        feed(bench.line, pieces)
        assert client.got == data
        assert (client.owed, bench.line.owed) == (0, 0)


def test_what_comes_unasked_is_kept_apart_from_replies_that_are_ours(module: Halves) -> None:
    for pieces in every_split(MESSAGE + OK + MESSAGE + ONE):
        bench = Bench(module)
        client = bench.client()
        heard: list[bytes] = []
        run = bench.module.Run(None, Giving(heard.append), 1)
        run.apart = True
        bench.line.append(run)
        client.take(GET)
        bench.line.listener = Giving(client.heard.append)
        feed(bench.line, pieces)
        assert b"".join(heard) == OK
        assert client.got == MESSAGE + MESSAGE + ONE


def test_a_client_that_wants_no_replies_still_hears_what_comes_unasked(bench: Bench) -> None:
    client = bench.client(mute=True)
    bench.line.listener = client.to
    client.take(GET * 2)
    bench.line.take(ONE + MESSAGE + ONE)
    assert client.got == MESSAGE


def test_a_long_message_between_our_own_replies_goes_to_the_listener(bench: Bench) -> None:
    heard: list[bytes] = []
    run = bench.module.Run(None, Giving(heard.append), 1)
    run.apart = True
    bench.line.append(run)
    size = 3 * bench.module.HELD
    message = b">3\r\n$7\r\nmessage\r\n$1\r\nn\r\n$%d\r\n%s\r\n" % (size, b"x" * size)
    feed(bench.line, in_pieces(message + OK, 9999))
    assert b"".join(heard) == OK
    assert b"".join(bench.unasked) == message


CONFIRMATIONS = b"".join(
    b"%%c3\r\n$9\r\nsubscribe\r\n$1\r\n%s\r\n:%d\r\n" % (name, n) for name, n in ((b"a", 1), (b"b", 2))
)
CONFIRMED = {2: CONFIRMATIONS.replace(b"%c", b"*"), 3: CONFIRMATIONS.replace(b"%c", b">")}


@pytest.mark.parametrize("protocol", [2, 3])
def test_each_name_of_a_subscription_is_confirmed_by_itself(module: Halves, protocol: int) -> None:
    message = MESSAGE if protocol == 3 else b"*" + MESSAGE[1:]
    data = message + CONFIRMED[protocol]
    for pieces in every_split(data):
        bench = Bench(module)
        client, note = bench.client(), Note()
        bench.line.listener = client.to
        bench.line.walk.subscribed = protocol == 2
        run = bench.module.Run(client, client.to, 2)
        run.confirms, run.apart, run.note = True, True, note
        bench.line.append(run)
        feed(bench.line, pieces)
        assert client.got == data
        assert (note.told, client.owed, bench.line.owed) == (["answered"], 0, 0)


def test_one_error_answers_a_subscription_of_many_names(module: Halves) -> None:
    for pieces in every_split(FAULT + PONG):
        bench = Bench(module)
        client, note = bench.client(), Note()
        run = bench.module.Run(client, client.to, 3)
        run.confirms, run.apart, run.note, run.kind = True, True, note, 6
        bench.line.append(run)
        client.take(PING)
        feed(bench.line, pieces)
        assert client.got == FAULT + PONG
        assert (note.told, client.owed, bench.line.owed) == (["answered"], 0, 0)


def test_a_confirmation_that_nobody_asked_for_answers_nobody(module: Halves) -> None:
    """As when a cluster moves a slot, and ends the subscriptions to its sharded channels."""
    ended = b">3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n"
    for data in (ended + ONE + ONE, ONE + ended + ONE, ONE + ONE + ended):
        for pieces in every_split(data):
            bench = Bench(module)
            client = bench.client()
            bench.line.listener = client.to
            client.take(GET * 2)
            feed(bench.line, pieces)
            assert client.got == data
            assert (client.owed, bench.line.owed) == (0, 0)


def test_a_confirmation_among_our_own_replies_is_the_listener_s(bench: Bench) -> None:
    ended = b">3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n"
    heard: list[bytes] = []
    run = bench.module.Run(None, Giving(heard.append), 1)
    run.apart = True
    bench.line.append(run)
    bench.line.take(ended + OK)
    assert (heard, bench.unasked) == ([OK], [ended])


# ---- ends


def test_on_a_raw_line_nothing_is_looked_at(bench: Bench) -> None:
    bench.line.raw = True
    bench.line.take(b"anything")
    assert (bench.unasked, bench.line.count) == ([b"anything"], 8)


def test_a_closed_line_is_drained_when_nothing_is_owed(module: Halves) -> None:
    drained: list[int] = []

    class Line(module.Line):  # type: ignore[misc, name-defined]  # the base of the twin
        def drained(self) -> None:
            drained.append(self.owed)

    bench = Bench(module)
    bench.line = Line(NOWHERE, Replies())
    client = bench.client()
    client.take(GET * 2)
    bench.line.open = False
    bench.line.take(ONE)
    assert drained == []
    bench.line.take(ONE)
    assert drained == [0]


def test_what_comes_behind_the_reply_that_makes_a_line_raw_is_not_looked_at(bench: Bench) -> None:
    client = bench.client()
    client.take(PING)

    class Turning:
        """Makes the line raw."""

        def answered(self) -> None:
            bench.line.raw = True

        def lost(self) -> None:
            raise AssertionError("it is not")

    bench.line.last.note = Turning()
    bench.line.take(PONG + b"no reply at all")
    assert client.got == PONG
    assert b"".join(bench.unasked) == b"no reply at all"
