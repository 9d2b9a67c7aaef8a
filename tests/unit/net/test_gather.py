"""Gathering: what is given within one turn of the loop leaves in one piece."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from ambassador.net.gather import Gathering
from ambassador.net.poller import poller
from ambassador.net.stream import Stream
from ambassador.net.taker import Giving, Taker
from tests.support.house import until


class Sink:
    """Gives what its stream receives to the gathering."""

    patient = False

    def __init__(self, taker: Taker) -> None:
        self.taker = taker

    def failed(self, error: Exception) -> None:
        raise error

    def eof(self) -> None:
        """Nothing."""

    def lost(self, error: BaseException | None) -> None:
        """Nothing."""

    def pause(self) -> None:
        """Nothing."""

    def resume(self) -> None:
        """Nothing."""


@pytest.fixture
async def given() -> list[bytes]:
    """What the far end of a `Gathering` was given."""
    return []


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield ours, theirs
    theirs.close()


async def test_what_is_given_in_one_turn_leaves_in_one_piece_and_in_order(
    pair: tuple[socket.socket, socket.socket], given: list[bytes]
) -> None:
    stream = Stream.adopt(pair[0])  # keeps the loop's poller alive
    gathering = Gathering(Giving(given.append))
    for word in (b"one ", b"two ", b"three"):
        gathering.take(word)
    assert given == []
    await asyncio.sleep(0)
    assert given == [b"one two three"]
    gathering.take(b"four")
    await asyncio.sleep(0)
    assert given == [b"one two three", b"four"]
    stream.abort()
    await stream.wait_closed(1)


async def test_a_flush_asked_for_early_leaves_nothing_for_later(
    pair: tuple[socket.socket, socket.socket], given: list[bytes]
) -> None:
    stream = Stream.adopt(pair[0])
    gathering = Gathering(Giving(given.append))
    gathering.take(b"now")
    gathering.flush()
    assert given == [b"now"]
    await asyncio.sleep(0)
    assert given == [b"now"]
    stream.abort()
    await stream.wait_closed(1)


async def test_what_a_connections_taker_gives_is_flushed_behind_all_who_had_something(given: list[bytes]) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    streams = []
    for ours, _ in pairs:
        ours.setblocking(False)
        streams.append(Stream.adopt(ours))
    gathering = Gathering(Giving(given.append))

    for stream in streams:
        stream.pour(Sink(gathering))
    for number, (_, theirs) in enumerate(pairs):
        theirs.sendall(b"%d" % number)
    await until("it to be passed on", lambda: bool(given))
    assert len(given) == 1
    assert sorted(given[0]) == [0x30, 0x31, 0x32]
    for stream, (_, theirs) in zip(streams, pairs, strict=True):
        stream.abort()
        await stream.wait_closed(1)
        theirs.close()


async def test_one_that_cannot_flush_does_not_keep_the_others_from_it(
    pair: tuple[socket.socket, socket.socket], given: list[bytes]
) -> None:
    stream = Stream.adopt(pair[0])
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, words: told.append(words["exception"]))

    class Failing(Taker):
        """Cannot."""

        def flush(self) -> None:
            raise ValueError("cannot")

    poller().flush_later(Failing())
    Gathering(Giving(given.append)).take(b"fine")
    await asyncio.sleep(0)
    assert given == [b"fine"]
    assert [str(one) for one in told] == ["cannot"]
    stream.abort()
    await stream.wait_closed(1)


async def test_what_is_given_while_it_passes_on_leaves_in_the_next_turn(
    pair: tuple[socket.socket, socket.socket], given: list[bytes]
) -> None:
    stream = Stream.adopt(pair[0])

    def answer(chunk: bytes) -> None:
        given.append(chunk)
        if len(given) < 3:
            gathering.take(b"and " + chunk)

    gathering = Gathering(Giving(answer))
    gathering.take(b"one")
    await until("all to be passed on", lambda: len(given) == 3)
    assert given == [b"one", b"and one", b"and and one"]
    stream.abort()
    await stream.wait_closed(1)


async def test_with_nothing_given_nothing_leaves(pair: tuple[socket.socket, socket.socket], given: list[bytes]) -> None:
    stream = Stream.adopt(pair[0])
    gathering = Gathering(Giving(given.append))
    gathering.flush()
    await asyncio.sleep(0)
    assert given == []
    assert isinstance(gathering.to, Taker)
    stream.abort()
    await stream.wait_closed(1)
