"""The transport's half of a stream: how much is read, and when."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ambassador.net.engine import TlsFailed
from ambassador.net.flow import LIMIT, Flow, wake
from ambassador.net.stream import Stream
from ambassador.net.taker import NOWHERE

Connect = Callable[..., Awaitable[tuple[Stream, Stream]]]


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Flow, socket.socket]]:
    """A flow that keeps ten bytes, and its peer."""
    near, far = socket.socketpair()
    near.setblocking(False)
    with far:
        flow = Flow(near, limit=10)
        yield flow, far
        flow._transport.abort()
        await asyncio.sleep(0)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 - a flow tells nobody
            await asyncio.sleep(0.001)


async def test_no_more_is_taken_than_there_is_room_for(ends: tuple[Flow, socket.socket]) -> None:
    flow, far = ends
    far.send(b"1234567")
    await until(lambda: flow._buffer == b"1234567")
    far.send(b"89012345")
    await until(lambda: flow._full)
    await asyncio.sleep(0.01)
    assert flow._buffer == b"1234567890"
    flow._buffer = b""
    flow._more()
    await until(lambda: flow._buffer == b"12345")


async def test_no_limit_is_above_what_is_taken_at_a_time() -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    with far:
        flow = Flow(near, limit=LIMIT * 2)
        assert flow._limit == LIMIT
        flow._transport.abort()
        await asyncio.sleep(0)


async def test_an_end_keeps_the_transport_for_writing(ends: tuple[Flow, socket.socket]) -> None:
    flow, _ = ends
    assert flow.eof_received() is True
    flow._closing = True
    assert flow.eof_received() is False


async def test_what_comes_while_closing_is_thrown_away(ends: tuple[Flow, socket.socket]) -> None:
    flow, far = ends
    flow._closing = True
    flow._route()
    far.send(b"chatter" * 100)
    await asyncio.sleep(0.01)
    assert flow._buffer == b""
    assert not flow._full


async def test_after_the_end_of_the_connection_nothing_is_sent(ends: tuple[Flow, socket.socket]) -> None:
    flow, far = ends
    flow.connection_lost(None)
    flow._steer()
    flow._more()
    flow.outlet.take(b"x")
    with pytest.raises(BlockingIOError):
        far.recv(1, socket.MSG_DONTWAIT)


async def test_a_fault_of_ours_ends_the_connection_and_is_told_to_the_loop(ends: tuple[Flow, socket.socket]) -> None:
    flow, far = ends
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    fault = ZeroDivisionError()
    flow.delivery_failed(fault)
    await until(lambda: flow._closed)
    assert [one["exception"] for one in told] == [fault]
    assert far.recv(1) == b""


async def test_waking_twice_does_nothing() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    wake(future)
    wake(future)
    wake(None)
    assert future.done()


@pytest.mark.parametrize("kind", ["tls1.2", "tls1.3"])
async def test_a_broken_record_is_told_to_reader_and_sink_alike(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    near._transport.take(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(TlsFailed, match="bad record mac"):
        await far.read()
    with pytest.raises(TlsFailed, match="bad record mac"):
        await far.read()
    lost: list[BaseException | None] = []

    class Told:
        taker = NOWHERE
        patient = True

        def failed(self, error: Exception) -> None:
            raise AssertionError

        def eof(self) -> None:
            raise AssertionError

        def lost(self, error: BaseException | None) -> None:
            lost.append(error)

        def pause(self) -> None:
            raise AssertionError

        def resume(self) -> None:
            raise AssertionError

    far.pour(Told())
    await far.wait_closed(5)
    (error,) = lost
    assert isinstance(error, TlsFailed)


async def test_writing_to_broken_tls_is_told_to_who_reads(connect: Connect) -> None:
    near, _ = await connect("tls1.3")
    assert near._engine is not None
    near._engine.close()
    near.write(b"x")
    with pytest.raises(TlsFailed, match="protocol is shutdown"):
        await near.read()


async def test_truncated_tls_is_an_end_that_says_so(connect: Connect) -> None:
    near, far = await connect("tls1.3")
    near.write(b"cut o")
    near._transport.write_eof()
    assert await far.read() == b"cut o"
    assert await far.read() == b""
    assert far.truncated


async def test_a_whole_tls_end_followed_by_fin_is_no_truncation(connect: Connect) -> None:
    near, far = await connect("tls1.3")
    near.close(linger=0)
    assert await far.read() == b""
    await asyncio.sleep(0.02)
    assert far._fin
    assert not far.truncated


async def test_bytes_after_a_tls_end_are_ignored(
    connect: Connect, trusting: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    near, far = await connect("tls1.3")
    near.write_eof()
    near._transport.take(b"whatever, in the clear")
    await asyncio.sleep(0.02)
    assert await far.read() == b""
    assert await far.read() == b""
    far.write(b"still fine")
    assert await near.read() == b"still fine"
