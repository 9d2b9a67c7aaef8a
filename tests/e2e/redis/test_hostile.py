"""Bad input from either side, and clients that dawdle: it is answered or closed, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.redis.load import Client, is_excuse
from tests.e2e.redis.plan import MODES, Plan
from tests.support.daemon import Daemon
from tests.support.fake_redis import FakeRedis
from tests.support.mutations import cut
from tests.support.processes import wait_until
from tests.support.redis_client import RedisClient, command
from tests.support.redis_programs import Program
from tests.support.resp import spoil
from tests.support.secrets import canary
from tests.support.valkey import Account, ValkeyServer, new_account

MIB = 1 << 20
LOGIN_TIMEOUT = 2.0

NASTY = [
    b"*-2\r\n", b"*1048577\r\n", b"*2147483648\r\n", b"*99999999999999999999\r\n", b"*01\r\n", b"*+1\r\n", b"* 1\r\n",
    b"*1\r\n$-1\r\n", b"*1\r\n$536870913\r\n", b"*1\r\n$99999999999999999999\r\n", b"*1\r\n$ 4\r\nPING\r\n",
    b"*1\r\n:1\r\n", b"*1\r\n*1\r\n$4\r\nPING\r\n", b"*1\r\n" * 10_000, b"*1\r\n$4\r\nPINGxx", b"A" * 70_000,
    b'GET "unbalanced\r\n', b"\0" * 70_000, b"*1048576\r\n" + b"x" * 100,
]  # fmt: skip
"""What no server takes."""


@dataclass(frozen=True)
class Besieged:
    """Listeners for bad clients, by name, and the daemon's configuration."""

    ports: dict[str, int]
    config: str


@pytest.fixture
def besieged(valkey: ValkeyServer, tmp_path: Path) -> Besieged:
    """Each mode without a password, and one listener with."""
    plan = Plan(tmp_path)
    # Whatever a spoilt request turns into: not what ends the server that others use too.
    rules = "~* &* +@all -@admin -@dangerous +info +config|get +client -flushall -flushdb -swapdb -debug"
    plan.secret("cache", new_account(valkey, rules=rules))
    plan.secret("clients", Account("alice", canary("client")))
    ports = plan.both(valkey, "cache")
    limits = {"login_timeout": f"{LOGIN_TIMEOUT:g}s", "connections": 500}
    access = {"password": {"credential": "clients"}}
    ports["password"] = plan.listener("password", "multiplex", limits=limits, access=access)
    return Besieged(ports, plan.text())


class Witness:
    """A client that works as if nothing were the matter, and knows what it must be told.

    Attributes:
        slowest: seconds that it waited for an answer, at most.
    """

    def __init__(self, daemon: Daemon, port: int) -> None:
        self._daemon = daemon
        self._port = port
        self.slowest = 0.0
        self.livez = 0.0

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Work meanwhile."""
        async with asyncio.TaskGroup() as group:
            stop = asyncio.Event()
            group.create_task(self._work(stop))
            try:
                yield
            finally:
                stop.set()

    async def _work(self, stop: asyncio.Event) -> None:
        async with Client(self._port) as client:
            count = int(await client.ask("INCR", "witness"))
            while not stop.is_set():
                start = time.monotonic()
                count += 1
                assert await client.ask("INCR", "witness") == count
                self.slowest = max(self.slowest, time.monotonic() - start)
                start = time.monotonic()
                assert (await asyncio.to_thread(self._daemon.ask, "GET", "/livez")).code == 200
                self.livez = max(self.livez, time.monotonic() - start)
                await asyncio.sleep(0.02)


async def say(port: int, data: bytes, *, slowly: bool = False) -> bytes:
    """Say it, end our side, and hear the other side out."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in cut(data, random.Random(len(data))) if slowly else [data]:
            writer.write(piece)
            await asyncio.sleep(0)
        writer.write_eof()
        async with asyncio.timeout(LOGIN_TIMEOUT + 10):
            return await reader.read(-1)
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def nonsense(seed: int) -> bytes:
    """Something like what clients say."""
    rng = random.Random(seed)
    if rng.random() < 0.1:
        return rng.choice(NASTY)
    program = Program(seed % 997)
    said = b"".join(b"".join(step.pieces) for _ in range(4) if (step := program.step()) is not None)
    return spoil(said[:5000], rng) or b"\0"


async def flood(port: int, seeds: range, at_once: int = 40) -> None:
    """As many clients that talk nonsense, so many at a time."""
    left = iter(seeds)

    async def one_after_another() -> None:
        for seed in left:
            await say(port, nonsense(seed), slowly=seed % 3 == 0)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_after_another())


def descriptors(daemon: Daemon) -> int:
    """How many files and sockets it has open."""
    return int(daemon.metric("process_open_fds"))


def settled(daemon: Daemon) -> None:
    """Wait until nobody is left."""
    wait_until("all sessions to end", lambda: daemon.metric("ambassador_downstream_connections") == 0, 20)


def in_order(daemon: Daemon) -> None:
    """Nothing went wrong inside."""
    for event in ("session failed", "task failed"):
        assert not daemon.logged(event), daemon.logged(event)[0]
    assert not daemon.logged("session ended", reason="internal")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("listener", [*MODES, "password"])
def test_a_flood_of_nonsense_is_answered_and_forgotten(
    besieged: Besieged, listener: str, long: bool, figure: Callable[[str], None]
) -> None:
    count, seed = (30_000 if long else 400), random.randrange(1 << 32)
    port = besieged.ports[listener]
    with Daemon(besieged.config) as daemon:
        witness = Witness(daemon, besieged.ports["multiplex"])

        async def run() -> None:
            async with witness.watching():
                await flood(port, range(seed + 200, seed + 200 + count))

        asyncio.run(flood(port, range(seed, seed + 200)))
        settled(daemon)
        before, held = daemon.rss(), descriptors(daemon)
        asyncio.run(run())
        settled(daemon)
        grown = daemon.rss() - before
        in_order(daemon)
        # Connections to the server are kept for the next client: 32 for each upstream, and a shared one for each way.
        assert descriptors(daemon) <= held + 70, f"seed {seed}"
        assert grown < 24 * MIB, f"seed {seed}"
        assert witness.livez < 2.0
        assert witness.slowest < 2.0
    figure(f"{count} clients, grown by {grown / MIB:.1f} MiB, a witness waited {witness.slowest * 1000:.0f} ms at most")


@pytest.mark.parametrize("mode", MODES)
def test_what_no_server_takes_ends_in_an_error(besieged: Besieged, mode: str) -> None:
    with Daemon(besieged.config) as daemon:
        for data in NASTY:
            with RedisClient(("127.0.0.1", besieged.ports[mode])) as client:
                client.send(command("PING") + data)
                said = client.remaining() if data[-3:] != b"xxx" else b"+PONG\r\n-ERR Protocol error"
            assert said.startswith(b"+PONG\r\n-ERR Protocol error"), f"{said!r} for {data[:60]!r}"
        settled(daemon)
        in_order(daemon)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("mode", MODES)
def test_half_requests_hold_up_nobody(besieged: Besieged, mode: str, figure: Callable[[str], None]) -> None:
    port = besieged.ports[mode]
    halves = [
        b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$400000000\r\n" + b"x" * 100_000,
        b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$5\r\nxx",
        b"*3\r\n$4\r\nEVAL\r\n$500000\r\n" + b"x" * 300_000,
        b"*1000000\r\n$4\r\nMGET\r\n" + b"$1\r\nx\r\n" * 20_000,
        command("MULTI") + b"*2\r\n$3\r\nG",
        command("BLPOP", "nothing-there", 0) + b"PING\r\n" * 1000 + b"*2\r\n$3",
        command("CLIENT", "REPLY", "OFF") + command("GET", "x") * 1000 + b"*",
        b"*",
    ]
    with Daemon(besieged.config) as daemon:
        witness = Witness(daemon, port)

        async def run() -> None:
            async with contextlib.AsyncExitStack() as stack:
                writers = []
                for number in range(120):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    stack.callback(writer.close)
                    writers.append(writer)
                    writer.write(halves[number % len(halves)])
                async with witness.watching():
                    for _ in range(20):
                        for writer in writers:
                            writer.write(b"x")  # a trickle
                        await asyncio.sleep(0.05)

        asyncio.run(run())
        settled(daemon)
        warm, held = daemon.rss(), descriptors(daemon)
        asyncio.run(run())
        settled(daemon)
        in_order(daemon)
        grown = daemon.rss() - warm
        assert grown < 24 * MIB
        assert descriptors(daemon) <= held + 10
        assert witness.slowest < 2.0
        assert witness.livez < 2.0
    figure(f"a witness waited {witness.slowest * 1000:.0f} ms at most, grown by {grown / MIB:.1f} MiB")


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("mode", MODES)
def test_clients_that_do_not_read_hold_up_nobody(besieged: Besieged, mode: str, figure: Callable[[str], None]) -> None:
    port = besieged.ports[mode]
    with Daemon(besieged.config) as daemon:
        witness = Witness(daemon, port)

        async def run() -> int:
            async with Client(port) as filler:
                assert await filler.ask("SET", "unread", b"x" * 3_000_000) == b"OK"
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(10):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
                    stack.callback(writer.close)
                    writer.transport.pause_reading()  # type: ignore[attr-defined]  # every transport has it
                    writer.write(command("GET", "unread") * 50)
                    assert reader is not None
                async with witness.watching():
                    await asyncio.sleep(2)
                return daemon.rss()

        asyncio.run(run())
        settled(daemon)
        before = daemon.rss()
        grown = asyncio.run(run()) - before
        settled(daemon)
        in_order(daemon)
        # Of 150 MB each; what is on its way to one that reads nothing is bounded.
        assert grown < 16 * MIB
        assert witness.slowest < 2.0
        assert witness.livez < 2.0
    figure(f"1500 MB were not read; grown by {grown / MIB:.1f} MiB, a witness waited {witness.slowest * 1000:.0f} ms")


@pytest.mark.parametrize("mode", MODES)
def test_who_is_blocked_and_goes_away_leaves_nothing(besieged: Besieged, mode: str) -> None:
    with Daemon(besieged.config) as daemon:
        for behind in (b"", b"PING\r\n", command("CONFIG", "GET", "save"), b"PING\r\n" * 5000):
            with RedisClient(("127.0.0.1", besieged.ports[mode])) as client:
                client.send(command("BLPOP", "nothing-there", 0) + behind)
                assert client.quiet()
            settled(daemon)


EVIL = {
    "garbage": b"what is this?\r\n",
    "nothing known": b"\0\xff\xfe\r\n",
    "a negative length": b"$-7\r\n",
    "a huge length": b"$99999999999999999999\r\n",
    "a huge count": b"*99999999999\r\n",
    "a nested bomb": b"*1\r\n" * 100_000,
    "an endless line": b"+" + b"x" * 3_000_000,
    "an endless number": b":" + b"1" * 3_000_000,
    "a wrong end": b"$3\r\nabcde",
    "more than was asked": b"$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
    "an unknown push": b">2\r\n$4\r\nevil\r\n$1\r\nx\r\n$1\r\na\r\n",
    "an attribute without end": b"|100000\r\n" + b"+a\r\n+b\r\n" * 10,
    "half a reply": b"$100\r\nabc",
    "half a large reply": b"$10000000\r\n" + b"x" * 500_000,
    "a streamed string": b"$?\r\n;4\r\nabcd\r\n;0\r\n",
}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_talks_nonsense_harms_only_who_asked_for_it(mode: str, tmp_path: Path) -> None:
    account = Account("app", canary("evil"))
    plan = Plan(tmp_path)
    with FakeRedis().user(account.name, account.password) as server:
        for name, raw in EVIL.items():
            # On a shared connection nobody can tell whose answer it is, if somebody waits for one just then.
            if not (name == "more than was asked" and mode == "multiplex"):
                server.on("GET", name, raw=raw, act="close")
        plan.secret("cache", account)
        ports = plan.both(server.port, "cache", wait="3s")
        with Daemon(plan.text()) as daemon:
            asyncio.run(provoke(ports[mode]))
            settled(daemon)
            in_order(daemon)
            assert (daemon.ask("GET", "/livez")).code == 200
            before, held = daemon.rss(), descriptors(daemon)
            asyncio.run(provoke(ports[mode]))
            settled(daemon)
            assert daemon.rss() - before < 16 * MIB
            assert descriptors(daemon) <= held + 4


async def provoke(port: int) -> None:
    """Ask for each kind of evil, with another client beside it that gets its own answers or errors."""
    async with Client(port) as witness:
        for number, name in enumerate(EVIL):
            asking = asyncio.ensure_future(say(port, command("GET", name)))
            for turn in range(5):
                tag = b"%d-%d" % (number, turn)
                done = await witness.ask("SET", "witness", tag)
                assert done == b"OK" or is_excuse(done), f"{done!r} beside {name}"
                reply = await witness.ask("GET", "witness")
                assert reply == tag or is_excuse(reply) or is_excuse(done), f"{reply!r} for {tag!r} beside {name}"
            said = await asking
            # Its own answer if there was one, an error, or the end; never what came behind.
            assert b"$1\r\nb\r\n" not in said, f"{said!r} for {name}"
        for _ in range(50):
            if not is_excuse(await witness.ask("SET", "witness", "calm")):
                break
            await asyncio.sleep(0.1)
        assert await witness.ask("GET", "witness") == b"calm"
