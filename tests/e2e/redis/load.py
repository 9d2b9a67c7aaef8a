"""A hundred clients of several kinds at work, each of which knows exactly what it must be told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Self

import hiredis

from tests.support.redis_client import Word, command

PATIENCE = 20.0
"""Seconds after which an answer is taken for missing."""


class Client:
    """One connection; an async context manager.

    Attributes:
        errors: the error replies it got.
    """

    def __init__(self, port: int, *, protocol: int = 2) -> None:
        self._port = port
        self._protocol = protocol
        self._items = hiredis.Reader(notEnoughData=...)
        self.errors: list[str] = []

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        if self._protocol == 3:
            await self.ask("HELLO", 3)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def ask(self, *words: Word) -> Any:
        """One command, one reply; an error's is a `hiredis.ReplyError`."""
        return (await self.pipeline([words]))[0]

    async def pipeline(self, commands: Iterable[Iterable[Word]]) -> list[Any]:
        """Commands in one piece, and their replies."""
        packed = [command(*words) for words in commands]
        self._writer.write(b"".join(packed))
        return [await self.item() for _ in packed]

    async def item(self) -> Any:
        """The next reply or push.

        Raises:
            ConnectionError: the connection has ended.
        """
        while (found := self._items.gets()) is ...:
            async with asyncio.timeout(PATIENCE):
                data = await self._reader.read(1 << 16)
            if not data:
                raise ConnectionResetError("the ambassador closed the connection")
            self._items.feed(data)
        if isinstance(found, hiredis.ReplyError):
            self.errors.append(str(found))
        return found


class Load:
    """Clients that work until they are told to stop.

    Attributes:
        done: commands carried out.
        clients: all of them.
    """

    def __init__(self, port: int, prefix: str) -> None:
        self._port = port
        self._prefix = prefix
        self._stopping = asyncio.Event()
        self._works: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.clients: list[Client] = []
        self.done = 0

    @property
    def errors(self) -> list[str]:
        """Every error reply that came."""
        return [error for client in self.clients for error in client.errors]

    def add(self, work: Callable[[int], Coroutine[Any, Any, None]], count: int) -> None:
        """So many clients more."""
        self._works += [partial(work, number) for number in range(count)]

    async def run(self, meanwhile: Awaitable[object]) -> None:
        """Let them work for as long as that takes. Raises what went wrong with any of them."""
        async with asyncio.TaskGroup() as group:
            for work in self._works:
                group.create_task(work())
            await meanwhile
            self._stopping.set()

    def connect(self, protocol: int = 2) -> Client:
        """One connection more."""
        self.clients.append(Client(self._port, protocol=protocol))
        return self.clients[-1]

    # What they do

    async def count(self, number: int) -> None:
        """INCR, alone and in pipelines: no number is missing, and none comes twice."""
        key, total, rng = f"{self._prefix}:n{number}", 0, random.Random(number)
        async with self.connect(2 + number % 2) as client:
            while not self._stopping.is_set():
                size = rng.choice((1, 1, 3, 20))
                replies = await client.pipeline([("INCR", key)] * size)
                assert replies == list(range(total + 1, total + size + 1)), f"{key}: {replies} after {total}"
                total += size
                self.done += size
                await asyncio.sleep(0.01)
            assert await client.ask("GET", key) == b"%d" % total

    async def transact(self, number: int) -> None:
        """WATCH, MULTI, two INCRs, EXEC; sometimes with a pause inside."""
        key, total, rng = f"{self._prefix}:t{number}", 0, random.Random(number)
        async with self.connect(2 + number % 2) as client:
            while not self._stopping.is_set():
                if rng.random() < 0.5:
                    assert await client.ask("WATCH", key) == b"OK"
                assert await client.ask("MULTI") == b"OK"
                assert await client.pipeline([("INCR", key)] * 2) == [b"QUEUED"] * 2
                await asyncio.sleep(rng.choice((0, 0, 0.2)))
                assert await client.ask("EXEC") == [total + 1, total + 2]
                total += 2
                self.done += 4
                await asyncio.sleep(0.02)

    async def hand_over(self, number: int) -> None:
        """One client pushes numbers, another one waits for them: all arrive, in order, once."""
        queue = f"{self._prefix}:q{number}"
        async with self.connect() as pusher, self.connect(2 + number % 2) as popper:
            for item in itertools.count():
                waiting = asyncio.ensure_future(popper.ask("BLPOP", queue, 0))
                await asyncio.sleep(0.05)
                assert await pusher.ask("RPUSH", queue, item) == 1
                assert await waiting == [queue.encode(), b"%d" % item]
                self.done += 2
                if self._stopping.is_set():
                    return

    async def listen(self, number: int) -> None:
        """One client publishes, two listen: they hear everything, in order, once."""
        channel = f"{self._prefix}:c{number}".encode()
        async with self.connect() as speaker, self.connect(2) as one, self.connect(3) as other:
            for listener in (one, other):
                assert await listener.ask("SUBSCRIBE", channel) == [b"subscribe", channel, 1]
            for item in itertools.count():
                assert await speaker.ask("PUBLISH", channel, item) == 2
                for listener in (one, other):
                    assert await listener.item() == [b"message", channel, b"%d" % item]
                self.done += 1
                if self._stopping.is_set():
                    return
                await asyncio.sleep(0.02)

    async def insist(self, number: int) -> None:
        """Whatever happens to the server: each command gets its own reply, or an error in its place."""
        key, rng = f"{self._prefix}:i{number}", random.Random(number)
        async with self.connect(2 + number % 2) as client:
            for turn in itertools.count():
                tags = [b"%d-%d-%d" % (number, turn, index) for index in range(rng.choice((1, 2, 10)))]
                commands = [command for tag in tags for command in (("ECHO", tag), ("SET", key, tag), ("GET", key))]
                replies = await client.pipeline(commands)
                for tag, echo, said, value in zip(tags, replies[::3], replies[1::3], replies[2::3], strict=True):
                    assert echo == tag or is_excuse(echo), f"{echo!r} for {tag!r}"
                    assert said == b"OK" or is_excuse(said), f"{said!r} for SET"
                    # Older only if the server came back without it.
                    assert value in {tag, None} or is_excuse(value) or is_excuse(said), f"{value!r} for {tag!r}"
                self.done += sum(not is_excuse(reply) for reply in replies)
                if self._stopping.is_set():
                    assert await self._calm(client, key) == b"calm"
                    return
                await asyncio.sleep(0.05 * (number % 4))  # some never rest

    async def insist_on_transactions(self, number: int) -> None:
        """A transaction is carried out, or its EXEC is an error; the next one does not know of it."""
        key = f"{self._prefix}:m{number}"
        async with self.connect(2 + number % 2) as client:
            for turn in itertools.count():
                tag = b"%d-%d" % (number, turn)
                replies = await client.pipeline([("MULTI",), ("SET", key, tag), ("ECHO", tag), ("EXEC",)])
                if not any(map(is_excuse, replies)):
                    assert replies == [b"OK", b"QUEUED", b"QUEUED", [b"OK", tag]]
                    self.done += 1
                assert is_excuse(replies[3]) or replies[3][-1] == tag, f"{replies} for {tag!r}"
                if self._stopping.is_set():
                    assert await self._calm(client, key) == b"calm"
                    return
                await asyncio.sleep(0.01)

    async def _calm(self, client: Client, key: str) -> Any:
        """What is asked once the server is back to stay."""
        for _ in range(20):
            await client.ask("SET", key, "calm")
            if not is_excuse(found := await client.ask("GET", key)):
                return found
            await asyncio.sleep(0.1)
        return None


def is_excuse(reply: object) -> bool:
    """Whether it is an error that says that the server went away or is not there."""
    return isinstance(reply, hiredis.ReplyError) and any(
        words in str(reply)
        for words in (
            "lost before it answered", "and the transaction with it", "EXECABORT", "LOADING", "not reached",
            "could not", "upstream", "without MULTI",
        )
    )  # fmt: skip
