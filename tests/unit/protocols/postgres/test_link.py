"""The relay of a PostgreSQL session: what it counts, and how it ends politely."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from unittest import mock

import pytest

from ambassador.errors import Reason
from ambassador.net.relay import End
from ambassador.net.stream import Stream
from ambassador.protocols.postgres import link as link_module
from ambassador.protocols.postgres.link import PostgresLink
from ambassador.telemetry.requests import RequestMetrics
from ambassador.wire.postgres.messages import (
    TERMINATE,
    ErrorFields,
    error_response,
    message,
    parse_error,
    query,
    ready_for_query,
)
from ambassador.wire.postgres.tracker import Tracker
from tests.support.shorthand import from_client, from_server
from tests.support.streams import stream_pair


class Joined:
    """A session that has just become ready: the client, our link, the server."""

    def __init__(self, client: Stream, near: Stream, far: Stream, server: Stream) -> None:
        self.client = client
        self.server = server
        self.requests = RequestMetrics()
        self.link = PostgresLink(near, far, self.requests)
        self.running = asyncio.create_task(self.link.run())

    async def say(self, words: bytes) -> None:
        """Let the client say something, and the server hear it."""
        self.client.write(words)
        assert await _take(self.server, len(words)) == words

    async def answer(self, words: bytes) -> None:
        """Let the server say something, and the client hear it."""
        self.server.write(words)
        assert await _take(self.client, len(words)) == words

    async def end(self) -> End:
        async with asyncio.timeout(5):
            return await self.running

    async def last_words(self, after: bytes = b"") -> ErrorFields:
        """What the client is told at the end, `after` this."""
        self.link.downstream.write_eof()
        said = await _everything(self.client)
        assert said.startswith(after)
        said = said[len(after) :]
        assert said[:1] == b"E", said
        assert int.from_bytes(said[1:5]) == len(said) - 1
        return parse_error(said[5:])

    async def silence(self) -> None:
        """The client is told nothing at the end."""
        self.link.downstream.write_eof()
        assert await _everything(self.client) == b""

    async def goodbye(self) -> bytes:
        """What the server is told at the end."""
        self.link.upstream.write_eof()
        return await _everything(self.server)


async def _take(stream: Stream, size: int) -> bytes:
    taken = b""
    async with asyncio.timeout(5):
        while len(taken) < size:
            data = await stream.read()
            assert data, taken
            taken += data
    return taken


async def _everything(stream: Stream) -> bytes:
    taken = b""
    async with asyncio.timeout(5):
        while data := await stream.read():
            taken += data
    return taken


@pytest.fixture
async def joined() -> AsyncIterator[Joined]:
    async with stream_pair() as (near, client), stream_pair() as (far, server):
        made = Joined(client, near, far, server)
        await asyncio.sleep(0)
        yield made
        made.link.finish(Reason.CUT)
        await asyncio.wait({made.running})


# ---- counting


async def test_bytes_and_transactions_are_counted(joined: Joined) -> None:
    await joined.say(from_client("Q"))
    await joined.answer(from_server("T D C ZI"))
    assert (joined.link.bytes_in, joined.link.bytes_out) == (len(from_client("Q")), len(from_server("T D C ZI")))
    assert (joined.requests.ok, joined.requests.error) == (1, 0)
    assert joined.requests.seconds.count == 1


async def test_a_failed_transaction_is_counted_as_one(joined: Joined) -> None:
    await joined.say(from_client("Q"))
    await joined.answer(from_server("E ZI"))
    assert (joined.requests.ok, joined.requests.error) == (0, 1)
    assert (joined.requests.seconds.count, joined.requests.error_seconds.count) == (0, 1)


async def test_a_transaction_of_several_statements_is_one(joined: Joined) -> None:
    for answer in ("C ZT", "E ZE", "C ZI"):
        await joined.say(from_client("Q"))
        await joined.answer(from_server(answer))
    assert (joined.requests.ok, joined.requests.error) == (0, 1)


async def test_several_errors_of_one_transaction_make_one_failed_one(joined: Joined) -> None:
    await joined.say(from_client("Q Q"))
    await joined.answer(from_server("E ZE E ZI"))
    assert (joined.requests.ok, joined.requests.error) == (0, 1)


async def test_a_pipeline_s_transactions_count_one_by_one_and_are_timed_once(joined: Joined) -> None:
    await joined.say(from_client("Q Q Q"))
    await joined.answer(from_server("C ZI C ZI E ZI"))
    assert (joined.requests.ok, joined.requests.error) == (2, 1)
    assert joined.requests.seconds.count + joined.requests.error_seconds.count == 1


async def test_a_server_that_is_ready_unasked_has_done_nothing_to_be_timed(joined: Joined) -> None:
    await joined.answer(from_server("ZI"))
    assert joined.requests.ok == 1
    assert joined.requests.seconds.sum < 1


async def test_it_is_the_client_s_turn_until_it_has_asked(joined: Joined) -> None:
    seen = [(joined.link.waiting, joined.link.in_transaction)]
    await joined.say(from_client("Q"))
    seen.append((joined.link.waiting, joined.link.in_transaction))
    await joined.answer(from_server("C ZT"))
    seen.append((joined.link.waiting, joined.link.in_transaction))
    assert seen == [(True, False), (False, False), (True, True)]


# ---- leaving


async def test_an_idle_session_leaves_at_once_and_both_sides_are_told(joined: Joined) -> None:
    joined.link.leave(Reason.DRAINED)
    assert await joined.end() == End(Reason.DRAINED, None, "self")
    assert (await joined.last_words()).code == "57P01"
    assert await joined.goodbye() == TERMINATE


async def test_a_busy_session_leaves_when_its_transaction_is_over(joined: Joined) -> None:
    await joined.say(from_client("Q"))
    joined.link.leave(Reason.DRAINED)
    await joined.answer(from_server("C ZT"))
    await joined.say(from_client("Q"))
    assert not joined.running.done()
    joined.server.write(from_server("C ZI"))
    assert (await joined.end()).reason is Reason.DRAINED
    assert (await joined.last_words(after=from_server("C ZI"))).code == "57P01"


async def test_one_with_more_in_its_pipeline_leaves_when_all_is_answered(joined: Joined) -> None:
    await joined.say(from_client("Q Q"))
    joined.link.leave(Reason.SESSION_TIMEOUT)
    await joined.answer(from_server("C ZI"))
    assert not joined.running.done()
    joined.server.write(from_server("C ZI"))
    assert (await joined.end()).reason is Reason.SESSION_TIMEOUT


async def test_the_farewell_does_not_come_in_one_piece_with_the_last_answer(joined: Joined) -> None:
    await joined.say(from_client("Q"))
    joined.link.leave(Reason.DRAINED)
    await joined.answer(from_server("C ZI"))
    assert not joined.running.done()
    assert (await joined.end()).reason is Reason.DRAINED
    assert (await joined.last_words()).code == "57P01"
    assert await joined.goodbye() == TERMINATE


async def test_who_speaks_meanwhile_is_answered_by_the_farewell_and_the_server_hears_nothing_of_it(
    joined: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "REST", 60.0)
    joined.link.leave(Reason.CREDENTIAL_ENDED)
    joined.link.leave(Reason.DRAINED)  # it leaves already
    joined.client.write(from_client("Q"))
    assert (await joined.end()).reason is Reason.CREDENTIAL_ENDED
    assert (await joined.last_words()).code == "57P01"
    assert await joined.goodbye() == TERMINATE


async def test_one_told_to_leave_before_it_runs_leaves_as_soon_as_it_does() -> None:
    async with stream_pair() as (near, client), stream_pair() as (far, server):
        link = PostgresLink(near, far, RequestMetrics())
        link.leave(Reason.DRAINED)
        async with asyncio.timeout(5):
            assert await link.run() == End(Reason.DRAINED, None, "self")
        near.write_eof()
        said = await _everything(client)
        assert parse_error(said[5:]).code == "57P01"
        assert int.from_bytes(said[1:5]) == len(said) - 1, "it is told once"
        far.write_eof()
        assert await _everything(server) == TERMINATE


# ---- being expelled


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.IDLE_TIMEOUT, "57P05"),
        (Reason.IDLE_IN_TRANSACTION_TIMEOUT, "25P03"),
        (Reason.CUT, "57P01"),
        (Reason.CREDENTIAL_ENDED, "57P01"),
    ],
)
async def test_one_that_is_expelled_is_told_why(joined: Joined, reason: Reason, code: str) -> None:
    joined.link.expel(reason)
    assert (await joined.end()).reason is reason
    assert (await joined.last_words()).code == code
    assert await joined.goodbye() == TERMINATE


async def test_a_client_in_the_middle_of_a_message_of_the_server_s_is_told_nothing(joined: Joined) -> None:
    await joined.say(from_client("Q"))
    await joined.answer(message(b"D", b"x" * 100)[:50])
    joined.link.expel(Reason.CUT)
    assert (await joined.end()).reason is Reason.CUT
    await joined.silence()


async def test_a_server_in_the_middle_of_a_message_of_the_client_s_is_told_nothing(joined: Joined) -> None:
    await joined.say(query("select 'a long text'")[:10])
    joined.link.expel(Reason.CUT)
    assert (await joined.last_words()).code == "57P01"
    assert await joined.goodbye() == b""


async def test_a_server_that_the_client_has_left_is_not_told_so_twice(joined: Joined) -> None:
    await joined.say(TERMINATE)
    joined.link.expel(Reason.CUT)
    assert await joined.goodbye() == b""


# ---- ends of the two sides


async def test_a_client_that_says_goodbye_has_closed(joined: Joined) -> None:
    await joined.say(TERMINATE)
    joined.server.write_eof()
    assert (await joined.end()).reason is Reason.CLIENT_CLOSED
    await joined.silence()


async def test_a_client_that_ends_its_side_still_hears_its_answer(joined: Joined) -> None:
    await joined.say(from_client("Q"))
    joined.client.write_eof()
    assert await joined.server.read() == b""
    await joined.answer(from_server("C ZI"))
    joined.server.write_eof()
    assert (await joined.end()).reason is Reason.CLIENT_CLOSED
    await joined.silence()


async def test_a_client_that_just_vanishes_has_closed(joined: Joined) -> None:
    joined.client.write_eof()
    assert await joined.server.read() == b""
    joined.server.write_eof()
    end = await joined.end()
    assert (end.reason, end.error) == (Reason.CLIENT_CLOSED, None)


async def test_a_server_that_closes_with_an_answer_outstanding_is_explained_to_one_who_may_still_read(
    joined: Joined,
) -> None:
    await joined.say(from_client("Q"))
    joined.client.write_eof()
    assert await joined.server.read() == b""
    joined.server.write_eof()
    assert (await joined.end()).reason is Reason.UPSTREAM_CLOSED
    assert (await joined.last_words()).code == "08006"


async def test_a_client_that_resets_has_closed(joined: Joined) -> None:
    joined.client.abort()
    end = await joined.end()
    assert (end.reason, end.by) == (Reason.CLIENT_CLOSED, "client")


async def test_a_server_that_closes_without_a_word_is_explained(joined: Joined) -> None:
    await joined.say(from_client("Q"))
    joined.server.write_eof()
    end = await joined.end()
    assert end.reason is Reason.UPSTREAM_CLOSED
    assert end.error == "the server closed the connection without a word"
    assert (await joined.last_words()).code == "08006"


async def test_a_server_that_resets_is_explained(joined: Joined) -> None:
    await joined.say(from_client("Q"))
    joined.server.abort()
    assert (await joined.end()).reason is Reason.UPSTREAM_CLOSED
    assert (await joined.last_words()).code == "08006"


async def test_a_server_that_resets_after_the_client_s_goodbye_needs_no_explanation(joined: Joined) -> None:
    await joined.say(TERMINATE)
    joined.server.abort()
    assert (await joined.end()).reason is Reason.CLIENT_CLOSED
    await joined.silence()


async def test_a_server_that_said_why_needs_no_explanation(joined: Joined) -> None:
    await joined.answer(error_response("FATAL", "57P01", "terminating connection due to administrator command"))
    joined.server.write_eof()
    end = await joined.end()
    assert (end.reason, end.error) == (Reason.UPSTREAM_CLOSED, None)
    await joined.silence()


async def test_a_server_that_closes_in_the_middle_of_a_message_cannot_be_explained(joined: Joined) -> None:
    await joined.answer(message(b"D", b"x" * 100)[:50])
    joined.server.write_eof()
    assert (await joined.end()).reason is Reason.UPSTREAM_CLOSED
    await joined.silence()


# ---- broken messages


async def test_a_client_that_breaks_the_protocol_is_told_so(joined: Joined) -> None:
    joined.client.write(b"Q\0\0\0\x01")
    end = await joined.end()
    assert (end.reason, end.by) == (Reason.BAD_MESSAGE, "self")
    assert (await joined.last_words()).code == "08P01"
    assert await joined.goodbye() == TERMINATE


async def test_a_server_that_breaks_the_protocol_is_not_passed_on(joined: Joined) -> None:
    joined.server.write(ready_for_query(b"?"))
    end = await joined.end()
    assert (end.reason, end.by) == (Reason.UPSTREAM_BAD_MESSAGE, "self")
    assert (await joined.last_words()).code == "08P01"


async def test_a_fault_of_ours_comes_out_as_it_is(joined: Joined) -> None:
    with mock.patch.object(Tracker, "on_error", side_effect=ZeroDivisionError):
        joined.server.write(from_server("E"))
        with pytest.raises(ZeroDivisionError):
            await joined.end()
