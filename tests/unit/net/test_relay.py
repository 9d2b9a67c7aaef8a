"""Two streams joined: every kind on either side, and every way to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from ambassador.errors import ClientError, Reason
from ambassador.net.lane import Lane
from ambassador.net.relay import End, Relay, Who
from ambassador.net.stream import Stream, TlsFailed
from ambassador.net.taker import Taker

Pair = tuple[Stream, Stream]
Connect = Callable[..., Awaitable[Pair]]

MIXES = [("tcp", "tcp"), ("unix", "tcp"), ("tls1.3", "tcp"), ("tcp", "tls1.3"), ("tls1.2", "tls1.3")]
every_mix = pytest.mark.parametrize("mix", MIXES, ids="->".join)


@dataclass
class Joined:
    """A relay at work between a client and a service, both in the test's hands."""

    client: Stream
    service: Stream
    relay: Relay
    ended: asyncio.Future[tuple[End]]

    async def end(self) -> End:
        async with asyncio.timeout(5):
            (end,) = await self.ended
        return end


Join = Callable[..., Awaitable[Joined]]


@pytest.fixture
async def join(connect: Connect) -> AsyncIterator[Join]:
    running: list[Joined] = []

    async def make(mix: tuple[str, str] = ("tcp", "tcp"), kind: type[Relay] = Relay) -> Joined:
        client, downstream = await connect(mix[0])
        upstream, service = await connect(mix[1])
        relay = kind(downstream, upstream)
        joined = Joined(client, service, relay, asyncio.gather(relay.run()))
        running.append(joined)
        await asyncio.sleep(0)
        return joined

    yield make
    for joined in running:
        joined.relay.finish(Reason.CUT)
        await asyncio.gather(joined.ended, return_exceptions=True)


async def read_all(stream: Stream) -> bytes:
    parts = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


async def write_all(stream: Stream, data: bytes) -> None:
    for at in range(0, len(data), 100_000):
        stream.write(data[at : at + 100_000])
        await stream.drained()
    stream.write_eof()


@every_mix
async def test_questions_and_answers_pass(join: Join, mix: tuple[str, str]) -> None:
    joined = await join(mix)
    for number in range(20):
        joined.client.write(b"question %d" % number)
        assert await joined.service.read() == b"question %d" % number
        joined.service.write(b"answer %d" % number)
        assert await joined.client.read() == b"answer %d" % number
    assert joined.relay.bytes_in == sum(len(b"question %d" % number) for number in range(20))
    assert joined.relay.bytes_out == sum(len(b"answer %d" % number) for number in range(20))


@every_mix
async def test_what_was_buffered_before_goes_first(connect: Connect, mix: tuple[str, str]) -> None:
    client, downstream = await connect(mix[0])
    upstream, service = await connect(mix[1])
    client.write(b"pipelined ")
    service.write(b"greeting ")
    await asyncio.sleep(0.02)
    downstream.unread(b"first ")
    relay = Relay(downstream, upstream)
    running = asyncio.gather(relay.run())
    await asyncio.sleep(0.02)
    assert await service.read() == b"first pipelined "
    assert await client.read() == b"greeting "
    relay.finish(Reason.DRAINED)
    (end,) = await running
    assert end == End(Reason.DRAINED, None, "self")


@every_mix
async def test_much_data_passes_whole_both_ways_at_once(join: Join, mix: tuple[str, str]) -> None:
    joined = await join(mix)
    up, down = os.urandom(4 << 20), os.urandom(4 << 20)
    _, _, at_service, at_client = await asyncio.gather(
        write_all(joined.client, up),
        write_all(joined.service, down),
        read_all(joined.service),
        read_all(joined.client),
    )
    assert at_service == up
    assert at_client == down
    end = await joined.end()
    assert end.error is None
    assert (joined.relay.bytes_in, joined.relay.bytes_out) == (len(up), len(down))


@every_mix
async def test_a_slow_reader_stops_the_writer_and_loses_nothing(join: Join, mix: tuple[str, str]) -> None:
    joined = await join(mix)
    joined.client.pause_reading()
    data = os.urandom(32 << 20)
    sending = asyncio.gather(write_all(joined.service, data))
    await asyncio.sleep(0.3)
    held = joined.relay.bytes_out
    await asyncio.sleep(0.1)
    assert joined.relay.bytes_out == held < len(data)
    transport = joined.relay.downstream._transport
    assert transport is not None
    assert transport.unsent < 512 * 1024
    joined.client.resume_reading()
    assert await read_all(joined.client) == data
    await sending


@every_mix
async def test_a_client_may_end_its_side_and_still_be_answered(join: Join, mix: tuple[str, str]) -> None:
    joined = await join(mix)
    joined.client.write(b"question")
    joined.client.write_eof()
    assert await read_all(joined.service) == b"question"
    assert not joined.ended.done()
    joined.service.write(b"answer")
    await asyncio.sleep(0.01)
    joined.service.write_eof()
    assert await read_all(joined.client) == b"answer"
    assert await joined.end() == End(Reason.CLIENT_CLOSED, None, "client")


@every_mix
async def test_a_service_may_end_its_side_and_still_be_asked(join: Join, mix: tuple[str, str]) -> None:
    joined = await join(mix)
    joined.service.write_eof()
    assert await read_all(joined.client) == b""
    joined.client.write(b"thanks")
    await asyncio.sleep(0.01)
    joined.client.write_eof()
    assert await read_all(joined.service) == b"thanks"
    assert await joined.end() == End(Reason.UPSTREAM_CLOSED, None, "upstream")


async def test_a_client_s_reset_resets_the_service(join: Join) -> None:
    joined = await join()
    joined.client.abort()
    with pytest.raises(ConnectionResetError):
        await read_all(joined.service)
    assert await joined.end() == End(Reason.CLIENT_CLOSED, "Connection reset by peer", "client")


async def test_a_service_s_reset_resets_the_client(join: Join) -> None:
    joined = await join()
    joined.service.abort()
    with pytest.raises(ConnectionResetError):
        await read_all(joined.client)
    assert await joined.end() == End(Reason.UPSTREAM_CLOSED, "Connection reset by peer", "upstream")


async def test_before_the_reset_the_other_gets_all_that_came(join: Join) -> None:
    joined = await join()
    joined.client.pause_reading()
    joined.client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    data = os.urandom(200_000)
    joined.service.write(data)
    await asyncio.sleep(0.1)
    assert joined.relay.bytes_out == len(data)
    joined.service.abort()
    assert (await joined.end()).by == "upstream"
    await asyncio.sleep(0.05)
    joined.client.resume_reading()
    received = b""
    while len(received) < len(data):
        received += await joined.client.read()
    assert received == data
    with pytest.raises(ConnectionResetError):
        await joined.client.read()


async def test_a_reset_after_an_end_resets_the_other_too(join: Join) -> None:
    joined = await join()
    joined.client.write_eof()
    assert await read_all(joined.service) == b""
    joined.client.abort()
    await joined.client.wait_closed(5)
    while not joined.ended.done():
        joined.service.write(b"into the void" * 1000)
        await asyncio.sleep(0.005)
    joined.service.write(b"still there?")
    await asyncio.sleep(0.02)
    with pytest.raises(ConnectionError):
        await joined.service.drained()
    end = await joined.end()
    assert (end.reason, end.by) == (Reason.CLIENT_CLOSED, "client")


@pytest.mark.parametrize("side", ["client", "service"])
async def test_a_truncated_tls_side_resets_the_other(join: Join, side: str) -> None:
    joined = await join(("tls1.3", "tcp") if side == "client" else ("tcp", "tls1.3"))
    cut, other = (joined.client, joined.service) if side == "client" else (joined.service, joined.client)
    cut.write(b"half a sent")
    await asyncio.sleep(0.02)
    cut._transport.write_eof()
    assert await other.read() == b"half a sent"
    with pytest.raises(ConnectionResetError):
        await other.read()
    end = await joined.end()
    assert end.error == "the TLS connection ended without close_notify"
    assert end.by == ("client" if side == "client" else "upstream")


async def test_a_protocol_with_lengths_of_its_own_takes_truncation_for_an_end(join: Join) -> None:
    class Framed(Relay):
        __slots__ = ()
        truncation_resets = False

    joined = await join(("tls1.3", "tcp"), Framed)
    joined.client._transport.write_eof()
    assert await read_all(joined.service) == b""
    joined.service.write_eof()
    end = await joined.end()
    assert end == End(Reason.CLIENT_CLOSED, "the TLS connection ended without close_notify", "client")


@every_mix
async def test_finishing_leaves_both_open_for_last_words(join: Join, mix: tuple[str, str]) -> None:
    joined = await join(mix)
    joined.relay.finish(Reason.DRAINED)
    joined.relay.finish(Reason.CUT)
    assert await joined.end() == End(Reason.DRAINED, None, "self")
    joined.relay.downstream.write(b"go")
    joined.relay.downstream.close()
    joined.relay.upstream.write(b"bye")
    joined.relay.upstream.close()
    assert await read_all(joined.client) == b"go"
    assert await read_all(joined.service) == b"bye"


async def test_finishing_before_it_runs_is_the_end_it_runs_to(connect: Connect) -> None:
    client, downstream = await connect()
    upstream, service = await connect()
    relay = Relay(downstream, upstream)
    relay.finish(Reason.DRAINED)
    relay.finish(Reason.CUT)
    client.write(b"hello")
    assert await relay.run() == End(Reason.DRAINED, None, "self")
    await asyncio.sleep(0.02)
    assert service.buffered == 0


async def test_after_the_finish_nothing_passes_any_more(join: Join) -> None:
    joined = await join()
    joined.relay.finish(Reason.DRAINED)
    joined.client.write(b"too late")
    await asyncio.sleep(0.02)
    assert joined.service.buffered == 0
    assert await joined.relay.downstream.read() == b"too late"


async def test_a_stream_closed_behind_its_back_ends_it(join: Join) -> None:
    joined = await join()
    joined.relay.downstream.abort()
    assert await joined.end() == End(Reason.CUT, "the connection was closed here", "self")
    with pytest.raises(ConnectionResetError):
        await joined.service.read()


async def test_a_stream_that_was_lost_before_ends_it_at_once(connect: Connect) -> None:
    client, downstream = await connect()
    upstream, service = await connect()
    client.abort()
    await downstream.wait_closed(5)
    end = await Relay(downstream, upstream).run()
    assert end.by == "client"
    with pytest.raises(ConnectionResetError):
        await service.read()


async def test_broken_tls_ends_it_and_says_so(join: Join) -> None:
    joined = await join(("tls1.3", "tcp"))
    joined.client._transport.take(b"\x17\x03\x03\x00\x20" + bytes(32))
    end = await joined.end()
    assert end.by == "client"
    assert end.error == "decryption failed or bad record mac"
    with pytest.raises(TlsFailed, match="alert bad record mac"):
        await joined.client.read()
    with pytest.raises(ConnectionResetError):
        await joined.service.read()


class Watching(Lane):
    """Looks at every chunk, and raises at a word."""

    def __init__(self, to: Taker, error: Exception) -> None:
        super().__init__(to)
        self.error = error

    def take(self, chunk: bytes) -> None:
        if b"bomb" in chunk:
            raise self.error
        super().take(chunk.upper())


class Watched(Relay):
    """Has watching lanes."""

    def __init__(self, downstream: Stream, upstream: Stream) -> None:
        upward = Watching(upstream.outlet, ClientError(Reason.BAD_MESSAGE, "that was no message"))
        downward = Watching(downstream.outlet, ZeroDivisionError())
        super().__init__(downstream, upstream, upward, downward)


@every_mix
async def test_a_protocol_can_look_at_and_change_what_passes(join: Join, mix: tuple[str, str]) -> None:
    joined = await join(mix, Watched)
    joined.client.write(b"Hello")
    assert await joined.service.read() == b"HELLO"
    joined.service.write(b"World")
    assert await joined.client.read() == b"WORLD"


@every_mix
@pytest.mark.parametrize(("by", "error"), [("client", ClientError), ("service", ZeroDivisionError)])
async def test_what_a_protocol_raises_comes_out_of_run(
    join: Join, mix: tuple[str, str], by: str, error: type[Exception]
) -> None:
    joined = await join(mix, Watched)
    (joined.client if by == "client" else joined.service).write(b"bomb" + bytes(200_000))
    with pytest.raises(error):
        await joined.end()
    joined.relay.downstream.write(b"sorry")
    joined.relay.downstream.close()
    assert await read_all(joined.client) == b"sorry"
    assert joined.service.buffered == 0


class Polite(Relay):
    """Tells the client when the service is gone."""

    __slots__ = ()

    def side_ended(self, by: Who) -> bool:
        if by == "client":
            return False
        self.downstream.write(b"it left")
        self.finish(Reason.UPSTREAM_CLOSED, "gone")
        return True


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_a_protocol_may_deal_with_a_side_s_end_itself(join: Join, how: str) -> None:
    joined = await join(kind=Polite)
    if how == "end":
        joined.service.write_eof()
    else:
        joined.service.abort()
    assert await joined.end() == End(Reason.UPSTREAM_CLOSED, "gone", "self")
    joined.relay.downstream.close()
    assert await read_all(joined.client) == b"it left"


async def test_what_that_raises_comes_out_of_run_too(join: Join) -> None:
    class Careless(Relay):
        __slots__ = ()

        def side_ended(self, by: Who) -> bool:
            raise ZeroDivisionError

    joined = await join(kind=Careless)
    joined.client.write_eof()
    with pytest.raises(ZeroDivisionError):
        await joined.end()


async def test_a_service_s_last_words_reach_the_client_though_it_reset_the_connection(join: Join) -> None:
    """A server that shuts down says so and closes; what was sent to it meanwhile makes its kernel send a reset."""
    joined = await join(kind=Polite)
    joined.service.pause_reading()
    joined.relay.upstream.pause_reading()
    joined.client.write(b"a question nobody reads" * 1000)
    await asyncio.sleep(0.02)
    joined.service.write(b"shutting down; ")
    joined.service._transport.abort()  # unread bytes: the kernel sends a reset
    await joined.service.wait_closed(5)
    joined.relay.upstream.resume_reading()
    joined.relay.upward.take(b"another")  # in the same turn, so that the write fails before anything is read
    assert await joined.end() == End(Reason.UPSTREAM_CLOSED, "gone", "self")
    joined.relay.downstream.close()
    assert await read_all(joined.client) == b"shutting down; it left"


async def test_cancelling_the_relay_leaves_the_streams_to_their_owner(join: Join) -> None:
    joined = await join()
    joined.ended.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joined.ended
    joined.client.write(b"x")
    assert await joined.relay.downstream.read() == b"x"
    joined.relay.finish(Reason.CUT)


@pytest.mark.parametrize("mix", [("tcp", "tcp"), ("tcp", "unix"), ("tls1.3", "tcp")])
async def test_a_client_that_resets_ends_it_though_the_service_does_not_read(join: Join, mix: tuple[str, str]) -> None:
    """Nothing is read from the client meanwhile, and so nothing else would tell."""
    joined = await join(mix)
    joined.service.pause_reading()
    sending = asyncio.gather(write_all(joined.client, bytes(32 << 20)), return_exceptions=True)
    await asyncio.sleep(0.3)
    joined.client.abort()
    end = await joined.end()
    assert (end.reason, end.by) == (Reason.CLIENT_CLOSED, "client")
    await sending


@pytest.mark.parametrize("mix", [("tcp", "tcp"), ("tls1.3", "tcp")])
async def test_a_client_that_ends_and_then_resets_ends_it_though_the_service_is_silent(
    join: Join, mix: tuple[str, str]
) -> None:
    joined = await join(mix)
    joined.client.write_eof()
    assert await joined.service.read() == b""
    joined.client.abort()
    assert (await joined.end()).reason is Reason.CLIENT_CLOSED


async def test_a_service_that_resets_is_heard_to_the_end_by_a_slow_client(join: Join) -> None:
    joined = await join()
    joined.client.pause_reading()
    data = os.urandom(1 << 20)
    joined.service.write(data)
    await asyncio.sleep(0.2)
    joined.service.close(reset=True)
    await joined.service.wait_closed(5)
    joined.client.resume_reading()
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := await joined.client.read():
            received += part
    assert received == data
