"""Bad input and slow clients, against the whole daemon: it answers or closes, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from tests.e2e.clusters import DATABASE, Cluster
from tests.e2e.drivers.psycopg3 import connect, value
from tests.e2e.house import Plan
from tests.e2e.where import Where
from tests.support.certificates import Authority
from tests.support.daemon import Daemon
from tests.support.postgres import new_role
from tests.support.processes import wait_until
from tests.support.secrets import canary

MIB = 1 << 20
LOGIN_TIMEOUT = 2.0

SSL_REQUEST = struct.pack(">II", 8, 80877103)
CANCEL = struct.pack(">IIII", 16, 80877102, 4711, 815)
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(32))
PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12)


def startup(version: int = 196608, **words: str) -> bytes:
    """A StartupMessage."""
    body = b"".join(f"{key}\0{word}\0".encode() for key, word in words.items()) + b"\0"
    return struct.pack(">II", len(body) + 8, version) + body


SAID = [
    SSL_REQUEST,
    struct.pack(">II", 8, 80877104),
    CANCEL,
    startup(user="alice", database=DATABASE),
    startup(196610, user="alice", database=DATABASE, **{"_pq_.unknown": "on"}),
    startup(user="alice", database=DATABASE, replication="database") + b"Q\0\0\0\x14IDENTIFY_SYSTEM\0",
    startup(user="alice", database=DATABASE) + b"Q\0\0\0\rSELECT 1\0X\0\0\0\4",
    startup(user="alice", database=DATABASE)
    + b"P\0\0\0\x10\0SELECT 1\0\0\0B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\4",
    startup(user="alice", database=DATABASE) + b"p\0\0\0\x36SCRAM-SHA-256\0\0\0\0\x20n,,n=,r=abcdefghijklmnopqrstuvwx",
    SSL_REQUEST + startup(user="alice"),
    TLS_HELLO,
    PROXY_V2 + startup(user="alice"),
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x7f\xff\xff\xff\0\3\0\0",
    b"\0\0\0\0\0\0\0\0",
]
"""What clients say first, good and bad."""


def mutated(rng: random.Random) -> bytes:
    """Something like what clients say."""
    data = bytearray(rng.choice(SAID))
    for _ in range(rng.randrange(4)):
        where = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[where : where + 1] = rng.randbytes(1)
            case 1:
                del data[where:]
            case 2:
                data[where:where] = rng.randbytes(rng.randrange(64))
            case 3:
                data[where : where + 4] = struct.pack(
                    ">I", rng.choice([0, 1, 3, 4, 5, 1 << 16, 1 << 31, (1 << 32) - 1])
                )
            case 4:
                data += rng.choice(SAID)
    return bytes(data) or b"\0"


class Flood:
    """Many clients that talk nonsense, so many at a time.

    Attributes:
        slowest: seconds that the slowest took to be rid of.
    """

    def __init__(self, port: int, count: int, seed: int) -> None:
        self._port, self._left = port, count
        self._rng = random.Random(seed)
        self.slowest = 0.0

    async def run(self, at_once: int = 50) -> None:
        """Send all of it."""
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._one_after_another())

    async def _one_after_another(self) -> None:
        while self._left > 0:
            self._left -= 1
            data = mutated(self._rng)
            start = time.monotonic()
            async with asyncio.timeout(LOGIN_TIMEOUT + 8):
                with contextlib.suppress(ConnectionError):
                    await self._say(data)
            self.slowest = max(self.slowest, time.monotonic() - start)

    async def _say(self, data: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(data)
            # Whoever got in by chance is not waited for: it says good-bye by closing its side, as all do in the end.
            if self._rng.random() < 0.9:
                writer.write_eof()
            else:
                async with asyncio.timeout(LOGIN_TIMEOUT / 8):
                    await reader.read(-1)
            await reader.read(-1)
        except TimeoutError:
            writer.write_eof()
            await reader.read(-1)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


class Besieged:
    """A listener of each kind, and what they hold."""

    def __init__(self, cluster: Cluster, plan: Plan) -> None:
        role = new_role(cluster.server)
        plan.role("app", role)
        clients = canary("client")
        plan.secret("clients", {"username": "alice", "password": clients})
        plan.upstream("app", cluster, "app")
        limits = {"login_timeout": f"{LOGIN_TIMEOUT:g}s", "connections": 2000}
        access = {"password": {"credential": "clients"}}
        self.ports = {
            "trust": plan.listener("trust", "app", limits=limits),
            "password": plan.listener("password", "app", limits=limits, access=access),
            "tls": plan.listener("tls", "app", limits=limits, access=access, tls=plan.server_tls()),
            "proxy": plan.listener("proxy", "app", limits=limits, proxy_protocol={"trusted": ["127.0.0.0/8"]}),
        }
        self.where = Where(self.ports["trust"], "alice", DATABASE)
        self.secret = Where(self.ports["tls"], "alice", DATABASE, clients, plan.authority.file)
        self.text = plan.text(log={"level": "debug"})


@pytest.fixture
def besieged(clusters: Mapping[int, Cluster], authority: Authority, tmp_path: Path) -> Besieged:
    """Listeners for bad clients."""
    return Besieged(clusters[18], Plan(tmp_path, authority))


def descriptors(daemon: Daemon) -> int:
    """How many files and sockets it has open, in its own words: /proc shows them to root only."""
    return int(daemon.metric("process_open_fds"))


def latency(connection: psycopg.Connection, seconds: float) -> float:
    """The median time of a small query, asked at leisure for some time."""
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        assert value(connection.execute("SELECT 42")) == 42
        times.append(time.perf_counter() - start)
        time.sleep(0.002)
    return statistics.median(times)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("listener", ["trust", "password", "tls", "proxy"])
def test_a_flood_of_nonsense_is_answered_and_forgotten(
    besieged: Besieged, listener: str, long: bool, figure: Callable[[str], None]
) -> None:
    count, seed = (25_000 if long else 600), random.randrange(1 << 32)
    with Daemon(besieged.text) as daemon, connect(besieged.where) as witness:
        # Some of everything first: buffers, caches and code that is needed once are no growth.
        asyncio.run(Flood(besieged.ports[listener], 300, seed ^ 1).run())
        settled(daemon, besieged)
        before, held = daemon.rss(), descriptors(daemon)
        flood = Flood(besieged.ports[listener], count, seed)
        asyncio.run(flood.run())
        settled(daemon, besieged)
        grown = daemon.rss() - before
        assert value(witness.execute("SELECT 42")) == 42
        assert descriptors(daemon) <= held + 2, f"seed {seed}"
        assert grown < 12 * MIB, f"seed {seed}"
        assert flood.slowest < LOGIN_TIMEOUT + 4, f"seed {seed}"
        assert not daemon.logged("session failed"), f"seed {seed}"
        assert not daemon.logged("task failed"), f"seed {seed}"
        assert not daemon.logged("session ended", reason="internal"), f"seed {seed}"
    figure(f"{count} clients, slowest {flood.slowest:.2f} s, grown by {grown / MIB:.1f} MiB")


def settled(daemon: Daemon, besieged: Besieged) -> None:
    """Wait until only the witness is left."""
    wait_until("all sessions to end", lambda: daemon.metric("ambassador_downstream_connections") <= 1, 15)


@contextlib.contextmanager
def slow_clients(port: int, count: int, data: bytes) -> Iterator[Callable[[], None]]:
    """Connections that each get one byte more of `data` whenever the yielded function is called."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
        left = iter(data)

        def say() -> None:
            byte = bytes([next(left)])
            for client in clients:
                with contextlib.suppress(ConnectionError):
                    client.send(byte)

        yield say


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.parametrize("listener", ["trust", "tls"])
def test_slow_clients_do_not_slow_others_down(
    besieged: Besieged, listener: str, long: bool, figure: Callable[[str], None]
) -> None:
    turns = 12 if long else 4
    data = startup(user="alice", database=DATABASE) if listener == "trust" else TLS_HELLO
    # Those who dawdle for more than the deadline are turned away; here they may go on for the whole test.
    text = besieged.text.replace(f"login_timeout: {LOGIN_TIMEOUT:g}s", "login_timeout: 60s")
    with Daemon(text) as daemon, connect(besieged.where) as working:
        latency(working, 0.5)
        alone = latency(working, turns / 2)
        used = daemon.cpu_seconds()
        with slow_clients(besieged.ports[listener], 300, data) as say:
            beside = []
            for _ in range(turns):
                say()
                beside.append(latency(working, 1.0))
            connecting = connect_time(besieged.secret)
        used = (daemon.cpu_seconds() - used) / turns
        wait_until("them to be gone", lambda: daemon.metric("ambassador_downstream_connections") <= 1, 15)
    assert statistics.median(beside) < 3 * alone + 0.002
    assert connecting < 2.0
    figure(
        f"median {alone * 1e6:.0f} us alone, {statistics.median(beside) * 1e6:.0f} us beside 300 slow clients; "
        f"{used * 1000:.0f} ms of CPU a second, and a login over TLS took {connecting * 1000:.0f} ms"
    )


def connect_time(where: Where) -> float:
    """Seconds that a login takes: the median of some."""
    times = []
    for _ in range(5):
        start = time.monotonic()
        with connect(where):
            times.append(time.monotonic() - start)
    return statistics.median(times)


def test_who_never_finishes_its_login_is_turned_away(besieged: Besieged) -> None:
    text = besieged.text.replace(f"login_timeout: {LOGIN_TIMEOUT:g}s", "login_timeout: 500ms")
    unfinished = (b"", b"\0", startup(user="alice")[:-1], SSL_REQUEST, TLS_HELLO, PROXY_V2[:20])
    with Daemon(text) as daemon, contextlib.ExitStack() as stack:
        clients = []
        start = time.monotonic()
        for port in besieged.ports.values():
            for first in unfinished:
                clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", port))))
                clients[-1].sendall(first)
        for client in clients:
            client.settimeout(5)
            with contextlib.suppress(ConnectionError):
                while client.recv(4096):
                    pass
        assert time.monotonic() - start < 3
        wait_until("their sessions to end", lambda: daemon.metric("ambassador_downstream_connections") == 0)
        assert daemon.metric("ambassador_downstream_connections_total", result="login_timeout") >= len(clients) / 2
