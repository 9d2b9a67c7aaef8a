"""One server connection: what we ask on it ourselves, what it says of our login, and how those it owes are told."""

from __future__ import annotations

import pytest

from ambassador.errors import CredentialError, Reason, UpstreamError
from ambassador.net.taker import NOWHERE, Giving
from ambassador.protocols.redis.line import (
    LOGGED_OUT,
    LOST,
    Answer,
    PrivateLine,
    ServerLine,
    broken_protocol,
    excuse,
    words_for,
)
from ambassador.protocols.redis.owing import FAILED, Creditor, Run
from ambassador.telemetry.requests import RequestMetrics
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import MakeTable, Table, until

OK = b"+OK\r\n"


class Client(Creditor):
    """A client that writes down what it gets."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        super().__init__(Giving(self.heard.append), tuple(RequestMetrics() for _ in range(3)))
        self.emptied_at: list[int] = []

    def emptied(self) -> None:
        self.emptied_at.append(len(self.heard))

    @property
    def counts(self) -> list[tuple[int, int]]:
        return [(one.ok, one.error) for one in self.metrics]


# ---- answers


def test_an_answer_keeps_as_much_as_it_may_and_passes_all_on() -> None:
    told: list[bytes | None] = []
    passed: list[bytes] = []
    answer = Answer(told.append, Giving(passed.append), most=4)
    for chunk in (b"abc", b"def", b"ghi"):
        answer.take(chunk)
    answer.answered()
    answer.lost()
    assert told == [b"abcd", None]
    assert passed == [b"abc", b"def", b"ghi"]


async def test_what_we_ask_ourselves_nobody_else_hears(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    await guest.ask("PING")
    line = table.hub.ready((2, 0))
    assert line is not None
    told: list[bytes | None] = []
    guest.say("PING")
    line.say("ECHO", "ours", then=told.append)
    assert await guest.ask("PING") == b"+PONG\r\n"
    await guest.hear()
    await until("the answer", lambda: told == [b"$4\r\nours\r\n"])
    fake.on("ECHO", act="close")
    line.say("ECHO", "ours", then=told.append)
    await until("the loss", lambda: told == [b"$4\r\nours\r\n", None])


# ---- excuses


@pytest.mark.parametrize(
    ("kinds", "done", "errors", "counts"),
    [
        (None, 0, 0, [(0, 0), (0, 3), (0, 0)]),
        (None, 2, 0, [(0, 0), (2, 1), (0, 0)]),
        (None, 2, 1, [(0, 0), (1, 1), (0, 0)]),
        ([0, 2, 1], 0, 0, [(0, 1), (0, 1), (0, 1)]),
        ([0, 2, 1], 1, 0, [(1, 0), (0, 1), (0, 1)]),
        ([FAILED, 2, 1], 2, 1, [(0, 0), (0, 1), (1, 0)]),
    ],
)
def test_what_is_excused_is_counted_as_failed_and_what_came_before_as_it_went(
    kinds: list[int] | None, done: int, errors: int, counts: list[tuple[int, int]]
) -> None:
    client = Client()
    run = Run(client, client.to, 3)
    run.kind, run.kinds = 1, None if kinds is None else bytearray(kinds)
    run.count, run.errors = 3 - done, errors
    client.owed = run.count + 1
    excuse(run, LOST)
    assert b"".join(client.heard) == LOST * (3 - done)
    assert client.counts == counts
    assert (client.owed, client.sent) == (1, len(LOST) * (3 - done))


@pytest.mark.parametrize(("watched", "owed", "told"), [(True, 1, [1]), (False, 1, []), (True, 2, [])])
def test_whoever_is_watched_hears_that_it_is_owed_nothing_more(watched: bool, owed: int, told: list[int]) -> None:
    client = Client()
    client.watched, client.owed = watched, owed
    excuse(Run(client, client.to, 1), LOST)
    assert client.emptied_at == told


def test_what_nobody_waits_for_needs_no_excuse() -> None:
    heard: list[bytes] = []
    excuse(Run(None, Giving(heard.append), 2), LOST)
    assert heard == []


async def test_a_lost_connection_is_lost_once(table: Table) -> None:
    line = await table.hub.private((2, 0))
    told: list[str] = []
    line.holder = lambda: told.append("holder")
    line.when_free(lambda: told.append("free"))
    line.drop()
    line.eof()
    line.lost(None)
    assert (told, line.gone, line.open) == (["free", "holder"], True, False)


async def test_whoever_was_given_back_on_the_way_is_not_told(table: Table) -> None:
    line = await table.hub.private((2, 0))
    told: list[str] = []

    class Note:
        def answered(self) -> None:
            told.append("answered")

        def lost(self) -> None:
            told.append("lost")
            table.hub.give_back(line)

    run = Run(None, NOWHERE, 1)
    run.note = Note()
    line.append(run)
    line.holder = lambda: told.append("holder")
    line.drop()
    assert told == ["lost"]


# ---- the server does not read


async def test_those_who_stalled_go_on_when_the_server_reads_again(table: Table) -> None:
    line = await table.hub.shared((2, 0))
    told: list[int] = []
    line.pause()
    assert line.choked
    line.when_free(lambda: told.append(1))
    line.when_free(lambda: told.append(2))
    line.resume()
    line.resume()
    assert (line.choked, told) == (False, [1, 2])


# ---- our login


async def test_the_current_credential_is_not_shown_twice(make_table: MakeTable, fake: FakeRedis, password: str) -> None:
    fake.user("app", password)
    table = make_table(password=password)
    line = await table.hub.private((2, 0))
    credential = table.upstream.credential
    assert credential is not None
    line.reauthenticate(credential)
    assert (line.owed, line.version) == (0, 1)
    table.hub.give_back(line)


async def test_a_new_credential_is_counted_once_it_is_taken(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", password)
    table = make_table(password=password)
    line = await table.hub.private((2, 0))
    fake.user("app", "second")
    table.rotate("second")
    credential = table.upstream.credential
    assert credential is not None
    line.reauthenticate(credential)
    assert line.version == 1
    await until("it to be taken", lambda: line.version == 2)
    assert line.lease.connection.credential_version == 2
    assert dict(table.metrics.credential("cache").connections) == {2: 1}
    table.hub.give_back(line)


async def test_an_error_about_our_login_is_told_in_words_of_ours_and_soils_the_connection(
    table: Table, fake: FakeRedis
) -> None:
    guest = await table.guest()
    await guest.ask("WATCH k")
    fake.on("GET", raw=b"-NOAUTH Authentication required.\r\n", times=1)
    assert await guest.ask("GET k") == LOGGED_OUT
    pin = guest.talk.pin
    assert isinstance(pin, PrivateLine)
    assert pin.soiled
    await guest.ask("UNWATCH")
    assert pin.gone, "nobody gets it after this client"


async def test_errors_that_concern_others_pass_as_they_are(table: Table, fake: FakeRedis) -> None:
    guest = await table.guest()
    fake.on("GET", raw=b"-LOADING Redis is loading the dataset in memory\r\n", times=1)
    assert await guest.ask("GET k") == b"-LOADING Redis is loading the dataset in memory\r\n"


async def test_an_error_in_answer_to_ourselves_is_ours(table: Table) -> None:
    line = await table.hub.private((2, 0))
    assert line.on_error(Run(None, NOWHERE, 1), b"-NOAUTH x\r\n") == b"-NOAUTH x\r\n"
    assert not line.soiled
    line.drop()


async def test_a_line_of_neither_kind_does_not_know_how_to_retire(table: Table) -> None:
    line = await table.hub.private((2, 0))
    with pytest.raises(NotImplementedError):
        ServerLine.retire(line)
    line.drop()


# ---- words


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (UpstreamError(Reason.CONNECT_FAILED, "10.0.0.1"), b"-ERR the upstream service is not available\r\n"),
        (
            UpstreamError(Reason.UPSTREAM_REJECTED, "x", code="LOADING"),
            b"-LOADING the upstream server is loading its data\r\n",
        ),
        (UpstreamError(Reason.UPSTREAM_REJECTED, "x", code="OOM"), b"-ERR the upstream service is not available\r\n"),
        (
            CredentialError(Reason.NO_CREDENTIAL, "x"),
            b"-ERR the proxy has no valid credential for the upstream service\r\n",
        ),
    ],
)
def test_a_client_is_told_of_trouble_in_words_that_give_nothing_away(
    trouble: UpstreamError | CredentialError, words: bytes
) -> None:
    assert words_for(trouble) == words


def test_the_log_names_what_cannot_be_followed() -> None:
    assert broken_protocol(UpstreamError(Reason.UPSTREAM_BAD_MESSAGE, "what")) == "what"
    assert broken_protocol(KeyError("secret")) == "internal: KeyError"
