"""Requests out, replies back, on the source and on what was compiled of it: whatever way the bytes are cut."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import pytest

from ambassador.errors import ClientError, UpstreamError
from ambassador.net.taker import NOWHERE, Giving
from ambassador.protocols.redis import lanes
from ambassador.telemetry.metrics import RequestMetrics
from ambassador.wire.redis.replies import Replies
from ambassador.wire.redis.requests import Requests
from tests.support.resp import request
from tests.support.splits import every_split, in_pieces
from tests.support.twins import TWINS, twin_of

READ, WRITE, OTHER = 0, 1, 2
MULTI = 32
CLASSES = {b"GET": READ, b"SET": WRITE, b"PING": OTHER, b"MULTI": MULTI}
UNKNOWN = 255

GET, SET, PING = request(b"GET", b"a"), request(b"SET", b"a", b"1"), request(b"PING")
MULTI_REQUEST = request(b"MULTI")
ONE, OK, PONG = b"$3\r\none\r\n", b"+OK\r\n", b"+PONG\r\n"
FAULT = b"-ERR no\r\n"
MESSAGE = b">3\r\n$7\r\nmessage\r\n$1\r\nn\r\n$2\r\nhi\r\n"


class Counted:
    """What a client has got, and what was counted of it."""

    heard: list[bytes]
    metrics: tuple[RequestMetrics, ...]

    @property
    def got(self) -> bytes:
        return b"".join(self.heard)

    @property
    def counts(self) -> dict[int, tuple[int, int]]:
        each = enumerate(self.metrics)
        return {kind: (one.ok, one.error) for kind, one in each if one.ok or one.error}

    @property
    def timed(self) -> tuple[int, int]:
        good, bad = (sum(getattr(one, name).count for one in self.metrics) for name in ("seconds", "error_seconds"))
        return good, bad


@cache
def client_class(module: ModuleType) -> Any:
    """A client that writes down what it is told, derived from what the twin has."""
    base: Any = module.Asking

    class Client(Counted, base):  # type: ignore[misc]  # it is the base of the twin
        """With `halting` it halts at what it cannot do at once."""

        def __init__(self, line: Any) -> None:
            self.heard: list[bytes] = []
            self.specials: list[tuple[int, bytes]] = []
            self.told: list[str] = []
            self.halting = False
            self.on_special: Callable[[], object] = int
            self.on_large: Callable[[], object] = int
            counts = tuple(RequestMetrics() for _ in range(9))
            super().__init__(Giving(self.heard.append), Requests(CLASSES, 1000), counts)
            self.line = line

        def special(self, code: int, request: bytes) -> None:
            self.specials.append((code, request))
            self.halted = self.halting
            self.on_special()

        def large(self, code: int) -> None:
            self.told.append(f"large {code}")
            self.on_large()

        def homeless(self) -> None:
            self.told.append("homeless")

        def stalled(self) -> None:
            self.told.append("stalled")
            self.halted = self.halting

        def emptied(self) -> None:
            self.told.append(f"emptied behind {len(self.heard)}")

        def burdened(self) -> None:
            self.told.append(f"burdened at {len(self.got)}")

    return Client


class Bench:
    """A line between clients and a server, and a clock that stands still until it is moved."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.now = 100.0
        self.sent: list[bytes] = []
        self.unasked: list[bytes] = []
        self.line: Any = self.new_line()

    def new_line(self) -> Any:
        """A line to the same server."""
        return self.module.Line(Giving(self.sent.append), Replies(), Giving(self.unasked.append))

    def client(self, **attributes: Any) -> Any:
        """A client that asks on the line, and writes down what it is told."""
        made = client_class(self.module)(self.line)
        for name, value in attributes.items():
            setattr(made, name, value)
        return made

    @property
    def asked(self) -> bytes:
        """All that the server was sent."""
        return b"".join(self.sent)


class Note:
    """Writes down how a run ends."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def answered(self) -> None:
        self.told.append("answered")

    def lost(self) -> None:
        self.told.append("lost")


@pytest.fixture(params=TWINS)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return twin_of(lanes, request.param)


@pytest.fixture
def bench(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(module)
    monkeypatch.setattr(module, "ticks", lambda: made.now)
    return made


def feed(taker: Any, pieces: list[bytes]) -> None:
    for piece in pieces:
        if piece:
            taker.take(piece)


# ---- requests


def test_plain_requests_go_on_as_they_came_and_whole_however_they_are_cut(module: ModuleType) -> None:
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


def test_a_special_request_is_handed_over_whole_and_goes_nowhere(module: ModuleType) -> None:
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


def test_a_halted_client_is_taken_nothing_of_until_it_goes_on(module: ModuleType) -> None:
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


def test_on_a_line_of_its_own_half_a_plain_request_goes_at_once(module: ModuleType) -> None:
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


def test_every_byte_by_itself_makes_the_same_of_it_on_a_line_of_its_own(module: ModuleType) -> None:
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


def test_who_turns_to_a_line_of_its_own_for_a_large_request_sends_all_of_it_there(module: ModuleType) -> None:
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


# ---- replies


def test_replies_go_to_who_asked_in_the_order_of_asking_however_they_are_cut(module: ModuleType) -> None:
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
def test_errors_in_the_middle_of_a_pipeline_are_counted_as_what_failed(module: ModuleType, reply: bytes) -> None:
    data = ONE + reply + reply + OK
    for pieces in every_split(data):
        bench = Bench(module)
        client = bench.client()
        client.take(GET + SET + GET + PING)
        feed(bench.line, pieces)
        assert client.got == data
        assert client.counts == {READ: (1, 1), WRITE: (0, 1), OTHER: (1, 0)}
        assert client.timed == (0, 1)


def test_errors_of_a_run_of_one_kind_are_counted_and_the_rest_is_good(module: ModuleType) -> None:
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


def test_an_error_is_shown_to_the_line_whole_and_goes_on_as_it_says(module: ModuleType) -> None:
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


def test_what_comes_unasked_while_nothing_is_owed_goes_to_the_listener(module: ModuleType) -> None:
    for pieces in every_split(MESSAGE + MESSAGE):
        bench = Bench(module)
        feed(bench.line, pieces)
        assert b"".join(bench.unasked) == MESSAGE * 2


def test_what_comes_unasked_between_replies_comes_in_its_place(module: ModuleType) -> None:
    data = ONE + MESSAGE + ONE + MESSAGE
    for pieces in every_split(data):
        bench = Bench(module)
        client = bench.client()
        bench.line.listener = Giving(client.heard.append)
        client.take(GET * 2)
        feed(bench.line, pieces)
        assert client.got == data
        assert (client.owed, bench.line.owed) == (0, 0)


def test_what_comes_unasked_is_kept_apart_from_replies_that_are_ours(module: ModuleType) -> None:
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
def test_each_name_of_a_subscription_is_confirmed_by_itself(module: ModuleType, protocol: int) -> None:
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


def test_one_error_answers_a_subscription_of_many_names(module: ModuleType) -> None:
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


def test_a_confirmation_that_nobody_asked_for_answers_nobody(module: ModuleType) -> None:
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


def test_a_closed_line_is_drained_when_nothing_is_owed(module: ModuleType) -> None:
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


def test_those_who_are_not_derived_from_do_nothing(module: ModuleType) -> None:
    line = module.Line(NOWHERE, Replies())
    assert line.on_error(None, FAULT) == FAULT
    assert line.drained() is None
    client = module.Asking(NOWHERE, Requests(CLASSES), ())
    assert [client.special(1, b""), client.large(1), client.homeless(), client.stalled()] == [None] * 4
    assert [client.emptied(), client.burdened()] == [None] * 2
    assert (client.line, client.owed, line.owed) == (None, 0, 0)
