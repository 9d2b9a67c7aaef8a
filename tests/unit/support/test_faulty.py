"""The proxy that misbehaves does so as told, and only so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.clock import ManualClock
from tests.support.faulty import FINE, TRICKLE, Fault, FaultyProxy


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that sends back what it gets, and ends when its client does."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        writer.close()
    await asyncio.sleep(0.01)
    await server.wait_closed()


class Client:
    """A connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.reader.readexactly(len(data))

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


async def client_of(proxy: FaultyProxy) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", proxy.port))


async def test_without_a_fault_it_only_passes_on(echo: int) -> None:
    async with FaultyProxy(echo) as proxy:
        client = await client_of(proxy)
        data = bytes(range(256)) * 4000
        assert await client.ask(data) == data
        client.writer.write_eof()
        assert await client.reader.read() == b""
        assert proxy.accepted == 1
        await client.close()


async def test_a_trickle_is_one_byte_a_second(echo: int) -> None:
    clock = ManualClock()
    async with FaultyProxy(echo, back=TRICKLE, clock=clock) as proxy:
        client = await client_of(proxy)
        client.writer.write(b"abc")
        assert await client.reader.read(10) == b"a"
        await clock.advance(0.9)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await client.reader.read(10)
        await clock.advance(0.2)
        assert await client.reader.read(10) == b"b"
        await client.close()


async def test_a_delay_holds_back(echo: int) -> None:
    clock = ManualClock()
    async with FaultyProxy(echo, towards=Fault(delay=3), clock=clock) as proxy:
        client = await client_of(proxy)
        client.writer.write(b"x")
        while not clock.sleepers:  # noqa: ASYNC110 - over a real socket; there is nothing to wait for
            await asyncio.sleep(0.001)
        await clock.advance(3)
        assert await client.reader.read(10) == b"x"
        await client.close()


async def test_lost_bytes_never_come_and_the_connection_stays(echo: int) -> None:
    async with FaultyProxy(echo, towards=Fault(lose_after=4)) as proxy:
        client = await client_of(proxy)
        client.writer.write(b"1234567")
        assert await client.reader.readexactly(4) == b"1234"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await client.reader.read(10)
        await client.close()


async def test_a_hang_reads_nothing_more(echo: int) -> None:
    async with FaultyProxy(echo, towards=Fault(stop_after=2)) as proxy:
        client = await client_of(proxy)
        client.writer.write(b"12345")
        assert await client.reader.readexactly(2) == b"12"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await client.reader.read(10)
        await client.close()


async def test_a_reset_comes_after_so_many_bytes(echo: int) -> None:
    async with FaultyProxy(echo, back=Fault(reset_after=3)) as proxy:
        client = await client_of(proxy)
        client.writer.write(b"123456")
        with pytest.raises(ConnectionResetError):
            await client.reader.readexactly(6)
        await client.close()


async def test_a_close_comes_after_so_many_bytes(echo: int) -> None:
    async with FaultyProxy(echo, back=Fault(close_after=3)) as proxy:
        client = await client_of(proxy)
        client.writer.write(b"123456")
        assert await client.reader.read() == b"123"
        await client.close()


async def test_all_connections_can_be_reset_at_once(echo: int) -> None:
    async with FaultyProxy(echo, towards=FINE) as proxy:
        clients = [await client_of(proxy) for _ in range(3)]
        for client in clients:
            assert await client.ask(b"x") == b"x"
        proxy.reset()
        for client in clients:
            with pytest.raises(ConnectionResetError):
                await client.reader.read(1)
            await client.close()


async def test_where_nobody_listens_the_client_is_reset(unused_tcp_port: int) -> None:
    async with FaultyProxy(unused_tcp_port) as proxy:
        client = await client_of(proxy)
        with pytest.raises(ConnectionResetError):
            await client.reader.read(1)
        await client.close()
