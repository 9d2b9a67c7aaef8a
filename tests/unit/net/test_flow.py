"""The transport's half of a stream: how much is read, and when."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest

from ambassador.net.engine import TlsFailed
from ambassador.net.flow import HIGH_WATER, LIMIT, LOW_WATER, Flow, discard, wake
from ambassador.net.stream import Stream

Connect = Callable[..., Awaitable[tuple[Stream, Stream]]]


class Transport(asyncio.Transport):
    """Writes down what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[object] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.asked.append((high, low))

    def pause_reading(self) -> None:
        self.asked.append("pause")

    def resume_reading(self) -> None:
        self.asked.append("resume")

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.asked.append(bytes(data))


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def flow(transport: Transport) -> Flow:
    near, far = socket.socketpair()
    with near, far:
        made = Flow(near, limit=10)
        made.connection_made(transport)
        return made


def give(flow: Flow, data: bytes) -> int:
    """Do as a transport does when bytes come; returns how many it could put."""
    room = flow.get_buffer(-1)
    taken = data[: len(room)]
    room[: len(taken)] = taken
    flow.buffer_updated(len(taken))
    return len(taken)


def test_a_new_connection_gets_its_marks_of_high_and_low_water(flow: Flow, transport: Transport) -> None:
    assert transport.asked == [(HIGH_WATER, LOW_WATER)]
    flow.write(b"x")
    assert transport.asked[-1] == b"x"


def test_a_transport_is_offered_only_the_room_there_is(flow: Flow, transport: Transport) -> None:
    assert give(flow, b"1234567") == 7
    assert "pause" not in transport.asked
    assert give(flow, b"89012345") == 3
    assert transport.asked[-1] == "pause"


def test_no_limit_is_above_the_size_of_the_one_receive_buffer() -> None:
    near, far = socket.socketpair()
    with near, far:
        flow = Flow(near, limit=LIMIT * 2)
        flow.connection_made(Transport())
        assert len(flow.get_buffer(-1)) == LIMIT


def test_the_receive_buffer_is_shared_by_the_streams_of_a_thread() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert Flow(near)._scratch is Flow(far)._scratch


async def test_each_thread_has_a_receive_buffer_of_its_own() -> None:
    near, far = socket.socketpair()
    with near, far:
        elsewhere = await asyncio.to_thread(Flow, near)
        assert elsewhere._scratch is not Flow(far)._scratch


def test_an_end_keeps_the_transport_for_writing(flow: Flow) -> None:
    assert flow.eof_received() is True
    flow._closing = True
    assert flow.eof_received() is False


def test_what_comes_while_closing_is_thrown_away(flow: Flow) -> None:
    flow._closing = True
    assert len(flow.get_buffer(-1)) == LIMIT
    give(flow, b"chatter")
    assert flow._buffer == b""


def test_after_the_end_of_the_connection_its_transport_is_left_alone(flow: Flow, transport: Transport) -> None:
    flow.connection_lost(None)
    before = list(transport.asked)
    flow._steer()
    flow._more()
    flow.write(b"x")
    assert transport.asked == before


async def test_waking_twice_does_nothing() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    wake(future)
    wake(future)
    wake(None)
    assert future.done()
    assert discard(b"") is None  # type: ignore[func-returns-value]  # that it returns nothing is its contract


@pytest.mark.parametrize("kind", ["tls1.2", "tls1.3"])
async def test_a_broken_record_is_told_to_reader_and_sink_alike(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    assert near._transport is not None
    near._transport.write(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(TlsFailed, match="bad record mac"):
        await far.read()
    with pytest.raises(TlsFailed, match="bad record mac"):
        await far.read()
    lost: list[BaseException | None] = []

    class Told:
        def data(self, chunk: bytes) -> None:
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
    assert near._transport is not None
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
    assert near._transport is not None
    near._transport.write(b"whatever, in the clear")
    await asyncio.sleep(0.02)
    assert await far.read() == b""
    assert await far.read() == b""
    far.write(b"still fine")
    assert await near.read() == b"still fine"
