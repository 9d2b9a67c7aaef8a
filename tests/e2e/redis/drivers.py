"""Every client of Redis there is, asked to do the same things; each says what came of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import coredis
import coredis.exceptions
import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio
from redis._parsers import _AsyncRESP2Parser, _RESP2Parser

from tests.e2e.drivers.node import Node
from tests.e2e.where import Where
from tests.support.secrets import canary

T = TypeVar("T")

LARGE = 5_000_000
BINARY = bytes(range(256)) * 4
TEXT = "caf\u00e9 \u2603"
SCRIPT = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


@dataclass(frozen=True)
class Seen:
    """What a client saw; the defaults are what it should have.

    Args:
        text: what came back of `TEXT`.
        pipeline: the sum of what a hundred INCRs gave, sent without waiting in between.
        aborted: whether a transaction was given up because somebody changed a watched key.
        executed: what the next one gave.
        popped: what a blocking pop got once somebody had pushed it.
        heard: what a subscriber heard.
        script: what a script gave.
        databases: one key in database 0, in 1, and in 0 again.
        scanned: keys that SCAN found.
        large: bytes of a value of `LARGE` that came back right.
        binary: whether `BINARY` came back as it was.
    """

    text: str = TEXT
    pipeline: int = 5050
    aborted: bool = True
    executed: tuple[int, ...] = (1, 2)
    popped: str = "job"
    heard: str = "a word to all"
    script: int = 6
    databases: tuple[str | None, ...] = ("zero", "one", "zero")
    scanned: int = 50
    large: int = LARGE
    binary: bool = True


class Driver(ABC):
    """One client library, set in one way."""

    @abstractmethod
    def exercise(self, where: Where, prefix: str) -> Seen:
        """Do it all, with keys of one's own."""

    @abstractmethod
    def login(self, where: Where) -> str:
        """Connect and PING: `PONG`, or what the error says."""


class RedisPy(Driver):
    """redis-py or valkey-py, blocking.

    Args:
        package: `redis` or `valkey`, whose interfaces are the same.
        settings: further ones of the connection.
    """

    def __init__(self, package: Any, **settings: Any) -> None:
        self._package = package
        self._settings = settings
        self._client = getattr(package, "Redis", None) or package.Valkey

    def _connect(self, where: Where) -> Any:
        return self._client.from_pool(self._package.ConnectionPool(**address(where), **self._settings))

    def exercise(self, where: Where, prefix: str) -> Seen:
        with self._connect(where) as client, self._connect(where) as other:
            client.set(f"{prefix}:text", TEXT)
            with client.pipeline(transaction=False) as pipe:
                for _ in range(100):
                    pipe.incr(f"{prefix}:n")
                numbers = pipe.execute()
            aborted, executed = self._transactions(client, other, f"{prefix}:watched")
            other.rpush(f"{prefix}:queue", "job")
            popped = client.blpop([f"{prefix}:queue"], timeout=5)[1]
            client.mset({f"{prefix}:scan:{n}": n for n in range(50)})
            client.set(f"{prefix}:large", b"x" * LARGE)
            client.set(f"{prefix}:binary", BINARY)
            return Seen(
                text=client.get(f"{prefix}:text").decode(),
                pipeline=sum(numbers),
                aborted=aborted,
                executed=executed,
                popped=popped.decode(),
                heard=self._heard(client, other, f"{prefix}:news"),
                script=client.register_script(SCRIPT)(keys=[f"{prefix}:script"], args=[6]),
                databases=self._databases(where, prefix),
                scanned=len(set(client.scan_iter(match=f"{prefix}:scan:*", count=10))),
                large=client.get(f"{prefix}:large").count(b"x"),
                binary=client.get(f"{prefix}:binary") == BINARY,
            )

    def _transactions(self, client: Any, other: Any, key: str) -> tuple[bool, tuple[int, ...]]:
        with client.pipeline() as pipe:
            pipe.watch(key)
            other.set(key, 7)
            pipe.multi()
            pipe.incr(key)
            with pytest.raises(self._package.WatchError):
                pipe.execute()
            other.delete(key)
            pipe.watch(key)
            pipe.multi()
            pipe.incr(key)
            pipe.incr(key)
            return True, tuple(pipe.execute())

    def _heard(self, client: Any, other: Any, channel: str) -> str:
        with client.pubsub(ignore_subscribe_messages=False) as listener:
            listener.subscribe(channel)
            assert listener.get_message(timeout=5)["type"] == "subscribe"
            other.publish(channel, "a word to all")
            found: bytes = listener.get_message(timeout=5)["data"]
        return found.decode()

    def _databases(self, where: Where, prefix: str) -> tuple[str | None, ...]:
        clients = [
            self._client.from_pool(self._package.ConnectionPool(**address(where), db=number, **self._settings))
            for number in (0, 1)
        ]
        for number, client in enumerate(clients):
            client.set(f"{prefix}:db", ("zero", "one")[number])
        found = tuple([clients[number].get(f"{prefix}:db").decode() for number in (0, 1, 0)])
        for client in clients:
            client.close()
        return found

    def login(self, where: Where) -> str:
        with self._connect(where) as client:
            try:
                return "PONG" if client.ping() else "no"
            except (redis.RedisError, valkey.ValkeyError) as error:
                return str(error)


class AsyncRedisPy(Driver):
    """The same for asyncio."""

    def __init__(self, package: Any, **settings: Any) -> None:
        self._package = package
        self._settings = settings
        self._client = getattr(package.asyncio, "Redis", None) or package.asyncio.Valkey

    def _connect(self, where: Where, **more: Any) -> Any:
        pool = self._package.asyncio.ConnectionPool(**address(where), **self._settings, **more)
        return self._client.from_pool(pool)

    def exercise(self, where: Where, prefix: str) -> Seen:
        return run(self._exercise(where, prefix))

    async def _exercise(self, where: Where, prefix: str) -> Seen:
        async with self._connect(where) as client, self._connect(where) as other, self._connect(where, db=1) as one:
            await client.set(f"{prefix}:text", TEXT)
            numbers = await asyncio.gather(*(client.incr(f"{prefix}:n") for _ in range(10)))
            async with client.pipeline(transaction=False) as pipe:
                for _ in range(90):
                    pipe.incr(f"{prefix}:n")
                numbers += await pipe.execute()
            aborted, executed = await self._transactions(client, other, f"{prefix}:watched")
            waiting = asyncio.create_task(client.blpop([f"{prefix}:queue"], timeout=5))
            await other.rpush(f"{prefix}:queue", "job")
            await store(client, one, prefix)
            return Seen(
                pipeline=sum(numbers),
                aborted=aborted,
                executed=executed,
                popped=(await waiting)[1].decode(),
                heard=await self._heard(client, other, f"{prefix}:news"),
                script=await client.eval(SCRIPT, 1, f"{prefix}:script", 6),
                **await found_again(client, one, prefix),
            )

    async def _transactions(self, client: Any, other: Any, key: str) -> tuple[bool, tuple[int, ...]]:
        async with client.pipeline() as pipe:
            await pipe.watch(key)
            await other.set(key, 7)
            pipe.multi()
            pipe.incr(key)
            with pytest.raises(self._package.WatchError):
                await pipe.execute()
            await other.delete(key)
            await pipe.watch(key)
            pipe.multi()
            pipe.incr(key)
            pipe.incr(key)
            return True, tuple(await pipe.execute())

    async def _heard(self, client: Any, other: Any, channel: str) -> str:
        async with client.pubsub(ignore_subscribe_messages=False) as listener:
            await listener.subscribe(channel)
            assert (await listener.get_message(timeout=5))["type"] == "subscribe"
            await other.publish(channel, "a word to all")
            found: bytes = (await listener.get_message(timeout=5))["data"]
        return found.decode()

    def login(self, where: Where) -> str:
        return run(self._login(where))

    async def _login(self, where: Where) -> str:
        async with self._connect(where) as client:
            try:
                return "PONG" if await client.ping() else "no"
            except (redis.RedisError, valkey.ValkeyError) as error:
                return str(error)


async def store(client: Any, one: Any, prefix: str) -> None:
    """Put down what is to be found again; `one` uses database 1."""
    await client.mset({f"{prefix}:scan:{n}": n for n in range(50)})
    await client.set(f"{prefix}:large", b"x" * LARGE)
    await client.set(f"{prefix}:binary", BINARY)
    await client.set(f"{prefix}:db", "zero")
    await one.set(f"{prefix}:db", "one")


async def found_again(client: Any, one: Any, prefix: str) -> dict[str, Any]:
    """What there is of it."""
    return {
        "text": (await client.get(f"{prefix}:text")).decode(),
        "databases": tuple([(await each.get(f"{prefix}:db")).decode() for each in (client, one, client)]),
        "scanned": len({key async for key in client.scan_iter(match=f"{prefix}:scan:*", count=10)}),
        "large": (await client.get(f"{prefix}:large")).count(b"x"),
        "binary": await client.get(f"{prefix}:binary") == BINARY,
    }


class Coredis(Driver):
    """coredis, which speaks RESP3 and nothing else."""

    def _connect(self, where: Where, database: int = 0) -> Any:
        return coredis.Redis(**address(where), db=database)

    def exercise(self, where: Where, prefix: str) -> Seen:
        return run(self._exercise(where, prefix))

    async def _exercise(self, where: Where, prefix: str) -> Seen:
        async with self._connect(where) as client, self._connect(where) as other, self._connect(where, 1) as one:
            await client.set(f"{prefix}:text", TEXT)
            numbers = await asyncio.gather(*(client.incr(f"{prefix}:n") for _ in range(100)))
            aborted, executed = await self._transactions(client, other, f"{prefix}:watched")
            waiting = asyncio.ensure_future(client.blpop([f"{prefix}:queue"], timeout=5))
            await other.rpush(f"{prefix}:queue", ["job"])
            await store(client, one, prefix)
            return Seen(
                pipeline=sum(numbers),
                aborted=aborted,
                executed=executed,
                popped=(await waiting)[1].decode(),
                heard=await self._heard(client, other, f"{prefix}:news"),
                script=await client.eval(SCRIPT, [f"{prefix}:script"], [6]),
                **await found_again(client, one, prefix),
            )

    async def _transactions(self, client: Any, other: Any, key: str) -> tuple[bool, tuple[int, ...]]:
        async def disturbed() -> None:
            async with client.pipeline(transaction=True) as pipe, pipe.watch(key):
                await other.set(key, 7)
                pipe.incr(key)

        with pytest.raises(coredis.exceptions.WatchError):
            await disturbed()
        await other.delete([key])
        async with client.pipeline(transaction=True) as pipe:
            results = [pipe.incr(key), pipe.incr(key)]
        return True, tuple([await result for result in results])

    async def _heard(self, client: Any, other: Any, channel: str) -> str:
        async with client.pubsub(channels=[channel]) as listener:
            async for message in listener:
                if message["type"] == "subscribe":
                    await other.publish(channel, "a word to all")
                elif message["type"] == "message":
                    found: bytes = message["data"]
                    return found.decode()
        raise AssertionError("the listener has ended")

    def login(self, where: Where) -> str:
        return run(self._login(where))

    async def _login(self, where: Where) -> str:
        try:
            async with self._connect(where) as client:
                return str((await client.ping()).decode())
        except BaseExceptionGroup as group:
            return str(leaf(group))
        except coredis.exceptions.RedisError as error:
            return str(error)


class Script(Driver):
    """A client of Node.js.

    Args:
        package: `ioredis` or `redis`.
        options: further settings of its client.
    """

    def __init__(self, package: str, **options: object) -> None:
        self._node = Node(package, **options)

    def exercise(self, where: Where, prefix: str) -> Seen:
        words: dict[str, Any] = {"prefix": prefix, "text": TEXT, "large": LARGE, "script": SCRIPT}
        found: dict[str, Any] = self._node.call("exercise", where, **words)
        found.update({key: tuple(value) for key, value in found.items() if isinstance(value, list)})
        return Seen(**found)

    def login(self, where: Where) -> str:
        return str(self._node.call("login", where))


class Cli:
    """redis-cli, told by lines on its standard input.

    Args:
        words: of its command line.
    """

    def __init__(self, *words: str) -> None:
        self._words = words

    def say(self, where: Where, lines: str, *words: str) -> list[str]:
        """What it prints."""
        # The password is no argument, or all could read it.
        env = {"PATH": os.environ["PATH"]} | ({"REDISCLI_AUTH": where.password} if where.password else {})
        user = ["--user", where.user] if where.password else []
        program = ["redis-cli", "-h", where.host, "-p", str(where.port), "--no-auth-warning", *user]
        done = subprocess.run(
            [*program, *self._words, *words],
            input=lines,
            env=env,
            text=True,
            capture_output=True,
            timeout=20,
            check=False,
        )
        return (done.stdout + done.stderr).splitlines()


def benchmark(where: Where, home: Path, *words: str) -> dict[str, float]:
    """redis-benchmark: requests a second by test. Fails if anything went wrong."""
    user = ["--user", where.user, "-a", where.password] if where.password else []
    done = subprocess.run(
        ["redis-benchmark", "-h", where.host, "-p", str(where.port), *user, "--csv", *words],
        cwd=home, text=True, capture_output=True, timeout=25, check=False,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if "command line" not in line]
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
    assert not [line for line in complaints if "rror" in line and "CONFIG" not in line], complaints
    rows = [line.split(",") for line in done.stdout.splitlines()[1:]]
    return {row[0].strip('"'): float(row[1].strip('"')) for row in rows}


def address(where: Where) -> dict[str, Any]:
    """What Python's clients call it."""
    words: dict[str, Any] = {"host": where.host, "port": where.port}
    return words | ({"username": where.user, "password": where.password} if where.password else {})


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it on a loop of its own."""
    return asyncio.run(work)


def leaf(error: BaseException) -> BaseException:
    """The first error in a group of groups."""
    return leaf(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


DRIVERS: dict[str, Driver] = {
    "redis-py-2-hiredis": RedisPy(redis, protocol=2),
    "redis-py-3-hiredis": RedisPy(redis, protocol=3),
    "redis-py-2": RedisPy(redis, protocol=2, parser_class=_RESP2Parser),
    "redis-py-3": RedisPy(redis, protocol=3, parser_class=_RESP2Parser),  # it changes to the other after HELLO
    "redis-py-as-it-is": RedisPy(redis),
    "redis-py-async-2-hiredis": AsyncRedisPy(redis, protocol=2),
    "redis-py-async-3-hiredis": AsyncRedisPy(redis, protocol=3),
    "redis-py-async-2": AsyncRedisPy(redis, protocol=2, parser_class=_AsyncRESP2Parser),
    "redis-py-async-3": AsyncRedisPy(redis, protocol=3, parser_class=_AsyncRESP2Parser),
    "valkey-py-2": RedisPy(valkey, protocol=2),
    "valkey-py-3": RedisPy(valkey, protocol=3),
    "valkey-py-async": AsyncRedisPy(valkey),
    "coredis": Coredis(),
    "ioredis": Script("ioredis"),
    "node-redis-2": Script("redis", RESP=2),
    "node-redis-3": Script("redis", RESP=3),
}


def wrong(where: Where) -> Where:
    """The same with another password."""
    return where.but(password=canary("wrong"))
