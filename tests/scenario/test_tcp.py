"""Protocol `tcp`: any bytes, either side's end by itself, TLS where wanted, and never more memory than a buffer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ambassador.config.address import Address
from ambassador.net.dial import dial
from ambassador.net.stream import Stream
from tests.scenario.plan import Plan
from tests.support.certificates import Pair
from tests.support.clock import ManualClock
from tests.support.house import House, until
from tests.support.sockets import reset
from tests.support.threaded import ThreadedServer, echo

TCP = {"protocol": "tcp"}
MIB = 2**20


@asynccontextmanager
async def client(at: str) -> AsyncIterator[Stream]:
    stream = await dial(Address.parse(at), timeout=5)
    try:
        yield stream
    finally:
        stream.abort()
        await stream.wait_closed(5)


async def everything(stream: Stream) -> bytes:
    parts = []
    async with asyncio.timeout(10):
        while part := await stream.read():
            parts.append(part)
    return b"".join(parts)


def serving_tls(pair: Pair) -> ThreadedServer:
    """An echo behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)

    def serve(sock: socket.socket) -> None:
        with context.wrap_socket(sock.dup(), server_side=True) as sealed:
            sealed.settimeout(10)
            while data := sealed.recv(65536):
                sealed.sendall(data)
            sealed.unwrap()

    return ThreadedServer(serve)


async def test_bytes_pass_as_they_are_in_both_directions(plan: Plan) -> None:
    sent = bytes(range(256)) * 4096
    with ThreadedServer(echo) as server:
        async with House(plan.text(server, listener=TCP)) as house, client(plan.at) as stream:
            stream.write(sent)
            stream.write_eof()
            assert await everything(stream) == sent
            await until("the session to end", lambda: bool(house.ends()))
            (end,) = house.ends()
            assert (end["bytes_in"], end["bytes_out"]) == (len(sent), len(sent))
            assert end["reason"] == "client_closed"


async def test_a_server_that_speaks_first_is_heard(plan: Plan) -> None:
    with ThreadedServer(lambda sock: sock.sendall(b"220 ready\r\n")) as server:
        async with House(plan.text(server, listener=TCP)), client(plan.at) as stream:
            assert await everything(stream) == b"220 ready\r\n"


async def test_a_client_that_ended_its_side_still_gets_its_answer(plan: Plan) -> None:
    def answer_at_the_end(sock: socket.socket) -> None:
        size = 0
        while data := sock.recv(65536):
            size += len(data)
        sock.sendall(b"I got %d" % size)

    with ThreadedServer(answer_at_the_end) as server:
        async with House(plan.text(server, listener=TCP)), client(plan.at) as stream:
            stream.write(b"x" * 100_000)
            stream.write_eof()
            assert await everything(stream) == b"I got 100000"


async def test_a_server_that_ended_its_side_still_hears_the_client(plan: Plan) -> None:
    heard: list[bytes] = []

    def say_and_listen(sock: socket.socket) -> None:
        sock.sendall(b"only this")
        sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(65536):
            heard.append(data)

    with ThreadedServer(say_and_listen) as server:
        async with House(plan.text(server, listener=TCP)) as house, client(plan.at) as stream:
            assert await everything(stream) == b"only this"
            stream.write(b"heard")
            stream.write_eof()
            await until("the session to end", lambda: bool(house.ends()))
            await until("the server to have heard", lambda: b"".join(heard) == b"heard")


async def test_a_reset_by_the_client_reaches_the_server(plan: Plan) -> None:
    ends: list[type[Exception] | None] = []

    def wait(sock: socket.socket) -> None:
        sock.sendall(b"go")
        try:
            ends.append(None if sock.recv(1) == b"" else AssertionError)
        except ConnectionError as error:
            ends.append(type(error))

    with ThreadedServer(wait) as server:
        async with House(plan.text(server, listener=TCP)) as house:
            host, _, port = plan.at.rpartition(":")
            raw = await asyncio.to_thread(socket.create_connection, (host, int(port)))
            assert await asyncio.to_thread(raw.recv, 2) == b"go"
            reset(raw)
            await until("the server to notice", lambda: bool(ends))
            assert ends == [ConnectionResetError], "a reset must not look like a clean end"
            await until("the session to end", lambda: bool(house.ends()))


async def test_a_reset_by_the_server_reaches_the_client(plan: Plan) -> None:
    def wait(sock: socket.socket) -> None:
        sock.sendall(b"go")
        sock.recv(1)

    with ThreadedServer(wait) as server:
        async with House(plan.text(server, listener=TCP)) as house, client(plan.at) as stream:
            assert await stream.read() == b"go"
            server.reset()
            with pytest.raises(ConnectionResetError):
                await stream.read()
            await until("the session to end", lambda: bool(house.ends()))
            assert house.ends()[0]["reason"] == "upstream_closed"


async def test_when_no_server_answers_the_client_is_closed_without_a_word(plan: Plan) -> None:
    with ThreadedServer(echo) as server:
        server.refuse_connections()
        async with House(plan.text(server, listener=TCP)) as house, client(plan.at) as stream:
            assert await everything(stream) == b""
            await until("the session to end", lambda: bool(house.ends()))
            assert house.ends()[0]["reason"] == "connect_failed"


# ---- memory


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "tls"])
async def test_a_client_that_does_not_read_stops_the_server_from_sending(
    plan: Plan, trusting: ssl.SSLContext, sealed: bool
) -> None:
    sent = threading.Event()
    total = 0

    def pour(sock: socket.socket) -> None:
        nonlocal total
        chunk = b"x" * 65536
        while total < 64 * MIB:
            sock.sendall(chunk)
            total += len(chunk)
        sent.set()

    listener: dict[str, Any] = {**TCP, "tls": plan.server_tls()} if sealed else TCP
    with ThreadedServer(pour) as server:
        async with House(plan.text(server, listener=listener)) as house, client(plan.at) as stream:
            if sealed:
                await stream.start_tls(trusting, server_side=False, server_hostname="localhost")
            stream.pause_reading()

            async def stands() -> int:
                before = -1
                while before != total:
                    before = total
                    await asyncio.sleep(0.3)
                return before

            stood_at = await stands()
            # What the kernel's own buffers hold on both connections, and little more.
            assert stood_at < 24 * MIB
            (session,) = house.daemon.running.listeners["front"].sessions
            transport = session.stream._transport
            assert transport is not None
            assert transport.unsent < MIB, "it gathers in the proxy"
            assert not sent.is_set()
            stream.resume_reading()
            read = 0
            async with asyncio.timeout(20):
                while part := await stream.read():
                    read += len(part)
            assert read == 64 * MIB


# ---- TLS


@pytest.mark.parametrize(("near", "far"), [(True, False), (False, True), (True, True)], ids=["near", "far", "both"])
async def test_tls_on_either_side_is_ours(plan: Plan, trusting: ssl.SSLContext, near: bool, far: bool) -> None:
    listener = {**TCP, "tls": plan.server_tls()} if near else TCP
    upstream = {"tls": plan.client_tls()} if far else {}
    server = serving_tls(plan.authority.server("127.0.0.1")) if far else ThreadedServer(echo)
    with server:
        async with House(plan.text(server, listener=listener, upstream=upstream)), client(plan.at) as stream:
            if near:
                await stream.start_tls(trusting, server_side=False, server_hostname="localhost")
            stream.write(b"ping")
            async with asyncio.timeout(5):
                assert await stream.read() == b"ping"
            stream.write_eof()
            assert await everything(stream) == b""
            assert not stream.truncated


async def test_where_tls_is_configured_anything_else_is_closed(plan: Plan) -> None:
    with ThreadedServer(echo) as server:
        async with House(plan.text(server, listener={**TCP, "tls": plan.server_tls()})) as house:
            async with client(plan.at) as stream:
                stream.write(b"GET / HTTP/1.1\r\n\r\n")
                with contextlib.suppress(ConnectionError):
                    assert (await everything(stream))[:1] in {b"", b"\x15"}, "at most a TLS alert"
            await until("the session to end", lambda: bool(house.ends()))
            assert house.ends()[0]["reason"] == "tls_failed"
        assert server.accepted == 0


# ---- life


async def test_limits_count_for_tcp_too(plan: Plan) -> None:
    limits, clock = {"limits": {"connections": 1, "idle_timeout": "60s"}}, ManualClock()
    with ThreadedServer(echo) as server:
        async with House(plan.text(server, listener={**TCP, **limits}), clock=clock) as house, client(plan.at) as first:
            first.write(b"here")
            assert await first.read() == b"here"
            async with client(plan.at) as second:
                assert await everything(second) == b""
            assert house.ends()[0]["reason"] == "too_many_connections"
            await clock.advance(70)
            assert await everything(first) == b""
            assert house.lines("session ended", reason="idle_timeout")


async def test_a_drain_waits_for_the_end_of_a_session_and_cuts_it_at_the_deadline(plan: Plan) -> None:
    with ThreadedServer(echo) as server:
        drain = {"delay": "0s", "timeout": "2s"}
        async with House(plan.text(server, listener=TCP, drain=drain)) as house:
            async with client(plan.at) as ends, client(plan.at) as stays:
                for stream in (ends, stays):
                    stream.write(b"here")
                    assert await stream.read() == b"here"
                house.daemon.drain()
                ends.write(b"still")
                assert await ends.read() == b"still"
                ends.write_eof()
                assert await everything(ends) == b""
                assert await everything(stays) == b""
                async with asyncio.timeout(5):
                    await house.serving
            assert [line["reason"] for line in house.ends()] == ["client_closed", "cut"]
