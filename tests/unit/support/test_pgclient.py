"""The client of the tests: what it hears it tells, and what it does not hear it does not wait for without end."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from ambassador.errors import UpstreamError
from ambassador.wire.postgres import messages
from tests.support.fake_postgres import FakePostgres
from tests.support.pgclient import PgClient, Result
from tests.support.streams import stream_pair
from tests.support.threaded import ThreadedServer


def says(raw: bytes) -> Callable[[socket.socket], None]:
    def serve(sock: socket.socket) -> None:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)

    return serve


FATAL = messages.error_response("FATAL", "57P01", "going down")


async def test_messages_are_told_one_by_one_and_up_to_a_tag() -> None:
    with ThreadedServer(
        says(messages.message(b"1") + messages.message(b"2", b"x") + messages.message(b"Z", b"I"))
    ) as server:
        async with PgClient(server.address) as client:
            assert await client.message() == (b"1", b"")
            assert await client.until(b"Z") == [(b"2", b"x"), (b"Z", b"I")]


async def test_exactly_so_many_bytes_are_received_and_the_rest_is_kept() -> None:
    with ThreadedServer(says(b"abcdef")) as server:
        async with PgClient(server.address) as client:
            assert await client.receive(2) == b"ab"
            assert await client.rest() == b"cdef"


async def test_an_early_end_is_told_with_what_came() -> None:
    with ThreadedServer(says(b"abc")) as server:
        async with PgClient(server.address) as client:
            with pytest.raises(EOFError, match="abc"):
                await client.receive(4)


async def test_an_error_is_read_and_nothing_else_is_taken_for_one() -> None:
    with ThreadedServer(says(FATAL + messages.ready_for_query())) as server:
        async with PgClient(server.address) as client:
            assert (await client.error()).code == "57P01"
            with pytest.raises(AssertionError):
                await client.error()


async def test_last_words_are_the_last() -> None:
    with ThreadedServer(says(FATAL)) as server:
        async with PgClient(server.address) as client:
            error = await client.last_words()
            assert error is not None
            assert error.message == "going down"
    with ThreadedServer(says(FATAL + b"more")) as server:
        async with PgClient(server.address) as client:
            with pytest.raises(AssertionError, match="follows"):
                await client.last_words()
    with ThreadedServer(says(b"")) as server:
        async with PgClient(server.address) as client:
            assert await client.last_words() is None


async def test_a_result_holds_everything_up_to_ready() -> None:
    answer = (
        messages.message(b"D", b"\0\1\0\0\0\1a")
        + messages.message(b"D", b"\0\1\xff\xff\xff\xff")
        + messages.message(b"C", b"SELECT 2\0")
        + messages.error_response("ERROR", "22012", "division by zero")
        + messages.ready_for_query(b"E")
    )
    with ThreadedServer(says(answer)) as server:
        async with PgClient(server.address) as client:
            result = await client.result()
    assert (result.rows, result.tags, result.status, result.code) == (["a", ""], ["SELECT 2"], b"E", "22012")


def test_a_code_is_that_of_the_one_error() -> None:
    with pytest.raises(AssertionError):
        _ = Result().code


async def test_a_login_is_refused_with_its_error() -> None:
    with FakePostgres().refuse("53300", "too many") as server:
        async with PgClient(server.address) as client:
            with pytest.raises(UpstreamError) as caught:
                await client.log_in()
            assert caught.value.code == "53300"


async def test_a_stream_there_is_already_may_be_spoken_over() -> None:
    async with stream_pair() as (near, far):
        client = PgClient.over(near)
        client.start("app", database="x")
        startup = await far.read()
        assert startup == messages.startup_message({"user": "app", "database": "x"})
        far.write(messages.ready_for_query())
        assert await client.message() == (b"Z", b"I")


async def test_outside_its_context_it_is_not_connected() -> None:
    with pytest.raises(AssertionError, match="context manager"):
        _ = PgClient("127.0.0.1:1").stream


async def test_an_answer_to_a_cancel_request_is_a_fault() -> None:
    with ThreadedServer(says(b"answer")) as server:
        async with PgClient(server.address) as client:
            with pytest.raises(AssertionError, match="no answer"):
                await client.cancel(b"key!")
