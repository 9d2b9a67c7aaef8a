from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from ambassador.admin.connections import BUSY, Bounds, Connections, Gate

Dialled = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo(asyncio.Protocol):
    """Answers what it gets and tells `Connections` so; `quit` closes."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.transport: asyncio.Transport | None = None
        self.paused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.connections.heard(self.transport)
        if data == b"much":
            data = b"x" * 8_000_000
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.paused -= 1


@asynccontextmanager
async def serving(
    bounds: Bounds, made: list[Echo] | None = None
) -> AsyncIterator[tuple[Connections, Callable[[], Awaitable[Dialled]]]]:
    """A server behind gates, and the function that dials it."""
    connections = Connections(bounds)

    def gate() -> Gate:
        echo = Echo(connections)
        if made is not None:
            made.append(echo)
        return Gate(echo, connections)

    server = await asyncio.get_running_loop().create_server(gate, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    writers: list[asyncio.StreamWriter] = []

    async def dial() -> Dialled:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        return reader, writer

    try:
        yield connections, dial
    finally:
        server.close()
        connections.abort()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)


async def is_cut(dialled: Dialled, within: float = 5.0) -> bool:
    """Whether the server ends the connection without a word."""
    try:
        return await asyncio.wait_for(dialled[0].read(), within) == b""
    except ConnectionResetError:
        return True


async def settled(connections: Connections, number: int) -> None:
    """Wait until so many are connected."""
    async with asyncio.timeout(5):
        while len(connections) != number:  # noqa: ASYNC110 - what is tested tells nobody, and need not
            await asyncio.sleep(0.001)


async def test_what_happens_to_an_admitted_connection_is_passed_on() -> None:
    async with serving(Bounds()) as (connections, dial):
        reader, writer = await dial()
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert len(connections) == 1
        writer.write_eof()
        assert await reader.read() == b""
        await connections.emptied()
        assert len(connections) == 0


async def test_a_client_that_says_nothing_is_cut_at_its_deadline() -> None:
    async with serving(Bounds(head=0.05)) as (_, dial):
        assert await is_cut(await dial())


async def test_a_request_that_was_heard_in_time_has_a_later_deadline() -> None:
    async with serving(Bounds(head=0.2, answer=0.5)) as (_, dial):
        reader, writer = await dial()
        writer.write(b"hello")
        await reader.readexactly(5)
        started = asyncio.get_running_loop().time()
        assert await is_cut((reader, writer))
        assert asyncio.get_running_loop().time() - started > 0.3


async def test_a_reader_that_does_not_read_is_cut_at_the_answers_deadline() -> None:
    made: list[Echo] = []
    async with serving(Bounds(answer=0.2), made) as (connections, dial):
        _, writer = await dial()
        writer.write(b"much")
        await settled(connections, 1)
        await asyncio.wait_for(connections.emptied(), 5)
        assert made[0].paused == 1


async def test_writing_resumes_when_the_reader_reads() -> None:
    made: list[Echo] = []
    async with serving(Bounds(), made) as (_, dial):
        reader, writer = await dial()
        writer.write(b"much")
        await reader.readexactly(8_000_000)
        assert made[0].paused == 0


async def test_a_newcomer_takes_the_place_of_the_silent_one_who_waited_longest() -> None:
    async with serving(Bounds(connections=2)) as (connections, dial):
        first, second = await dial(), await dial()
        await settled(connections, 2)
        newcomer = await dial()
        assert await is_cut(first)
        for reader, writer in (second, newcomer):
            writer.write(b"here")
            assert await reader.readexactly(4) == b"here"


async def test_nobody_who_is_being_served_gives_way() -> None:
    async with serving(Bounds(connections=1)) as (connections, dial):
        reader, writer = await dial()
        writer.write(b"one")
        await reader.readexactly(3)
        refused, _ = await dial()
        assert await refused.read() == BUSY
        writer.write(b"two")
        assert await reader.readexactly(3) == b"two"
        assert len(connections) == 1


def test_the_refusal_is_a_whole_answer() -> None:
    head, _, body = BUSY.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.splitlines()


@pytest.mark.parametrize("heard", [False, True])
async def test_aborting_ends_everyone(heard: bool) -> None:
    async with serving(Bounds()) as (connections, dial):
        reader, writer = await dial()
        if heard:
            writer.write(b"x")
            await reader.readexactly(1)
        await settled(connections, 1)
        connections.abort()
        assert len(connections) == 0
        assert await is_cut((reader, writer))


async def test_parting_twice_and_hearing_of_strangers_do_nothing() -> None:
    async with serving(Bounds()) as (connections, dial):
        reader, writer = await dial()
        writer.write(b"x")
        await reader.readexactly(1)
        (transport,) = connections._heard
        connections.heard(transport)
        connections.part(transport)
        connections.part(transport)
        connections.heard(transport)
        assert len(connections) == 0
