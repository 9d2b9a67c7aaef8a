"""However slow one side is, what the other sends waits there, and not in our memory."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Self

import pytest

from tests.e2e.clusters import DATABASE, Cluster
from tests.e2e.house import Plan
from tests.e2e.where import Where
from tests.support.certificates import Authority
from tests.support.daemon import Daemon
from tests.support.postgres import new_role

MIB = 1 << 20
MOST = 10 * MIB
ROW = 10_000


class Bare:
    """A client that has nothing but a socket, and reads when it likes."""

    def __init__(self, where: Where, *, window: int = 1 << 16) -> None:
        bare = socket.socket()
        bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        bare.settimeout(20)
        bare.connect((where.host, where.port))
        self.socket: socket.socket = bare
        if where.ca is not None:
            bare.sendall(struct.pack(">II", 8, 80877103))
            assert bare.recv(1) == b"S"
            self.socket = ssl.create_default_context(cafile=where.ca).wrap_socket(bare, server_hostname="localhost")
        body = f"user\0{where.user}\0database\0{where.database}\0\0".encode()
        self.socket.sendall(struct.pack(">II", len(body) + 8, 196608) + body)
        self._until_ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, query: str) -> None:
        """Send a query and leave the answer where it is."""
        body = query.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack(">I", len(body) + 4) + body)

    def read(self, size: int) -> int:
        """Read something of an answer; returns how much."""
        return len(self.socket.recv(size))

    def _until_ready(self) -> None:
        said = b""
        while said[-6:-1] != b"Z\0\0\0\x05":
            more = self.socket.recv(4096)
            assert more, said
            said += more


class Scales:
    """Looks at a daemon's resident size all the time; a context manager.

    Attributes:
        most: the largest growth seen, bytes.
    """

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._before = daemon.rss()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.most = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.02):
            self.most = max(self.most, self._daemon.rss() - self._before)


class Weighed:
    """Listeners with and without TLS on both sides."""

    def __init__(self, cluster: Cluster, plan: Plan) -> None:
        self.cluster = cluster
        role = new_role(cluster.server)
        cluster.server.psql(f"GRANT CREATE ON SCHEMA public TO {role.name}", database=DATABASE)
        plan.role("app", role)
        self.where: dict[str, Where] = {}
        for name in ("plain", "tls"):
            secure = name == "tls"
            plan.upstream(name, cluster, "app", tls=plan.tls() if secure else None)
            port = plan.listener(name, name)
            if secure:
                plan.listeners[name]["tls"] = plan.server_tls()
            self.where[name] = Where(port, "alice", DATABASE, ca=plan.authority.file if secure else None)
        self.text = plan.text()


@pytest.fixture(scope="module")
def weighed(clusters: Mapping[int, Cluster], authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Weighed:
    """The listeners."""
    return Weighed(clusters[17], Plan(tmp_path_factory.mktemp("weighed"), authority))


@contextlib.contextmanager
def warm(weighed: Weighed, kind: str) -> Iterator[Daemon]:
    """A daemon that has moved some data already: what is needed once is no growth."""
    with Daemon(weighed.text) as daemon:
        for _ in range(3):
            with Bare(weighed.where[kind]) as client:
                client.ask(f"SELECT repeat('x', {ROW}) FROM generate_series(1, 500)")
                left = 500 * ROW
                while left > 0:
                    left -= client.read(1 << 16)
        yield daemon


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_a_slow_reader_of_a_large_result(
    weighed: Weighed, kind: str, long: bool, figure: Callable[[str], None]
) -> None:
    rows = 100_000 if long else 12_000
    with warm(weighed, kind) as daemon, Bare(weighed.where[kind]) as client, Scales(daemon) as scales:
        client.ask(f"SELECT repeat('x', {ROW}) FROM generate_series(1, {rows})")
        time.sleep(1.5)
        left, slow_until = rows * ROW, time.monotonic() + (20 if long else 2)
        start = time.monotonic()
        while left > 0:
            left -= client.read(1 << 16)
            if time.monotonic() < slow_until:
                time.sleep(0.003)
        took = time.monotonic() - start
    assert scales.most < MOST
    figure(f"{rows * ROW / MIB:.0f} MiB in {took:.1f} s, grown by at most {scales.most / MIB:.1f} MiB")


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_a_slow_server_and_a_client_that_pushes(weighed: Weighed, kind: str, figure: Callable[[str], None]) -> None:
    server = weighed.cluster.server
    server.psql(
        "CREATE TABLE slow (line text); GRANT ALL ON slow TO PUBLIC;"
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(60); RETURN NEW; END$$;"
        "CREATE TRIGGER dawdle BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION dawdle()",
        database=DATABASE,
    )
    line = b"d" + struct.pack(">I", ROW + 4) + b"x" * (ROW - 1) + b"\n"
    pushed = 0
    try:
        with warm(weighed, kind) as daemon, Bare(weighed.where[kind]) as client, Scales(daemon) as scales:
            client.ask("COPY slow FROM STDIN")
            client.socket.settimeout(2)
            # Goes on until nothing has been taken for two seconds.
            with contextlib.suppress(TimeoutError):
                while pushed < 500 * MIB:
                    client.socket.sendall(line)
                    pushed += len(line)
    finally:
        server.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY slow%';"
            "DROP TABLE slow; DROP FUNCTION dawdle",
            database=DATABASE,
        )
    assert pushed < 100 * MIB
    assert scales.most < MOST
    figure(f"{pushed / MIB:.1f} MiB taken on the way, grown by at most {scales.most / MIB:.1f} MiB")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_many_readers_that_stall_hold_little_each(weighed: Weighed, figure: Callable[[str], None]) -> None:
    count = 60
    with warm(weighed, "plain") as daemon, contextlib.ExitStack() as stack:
        before = daemon.rss()
        for _ in range(count):
            client = stack.enter_context(Bare(weighed.where["plain"]))
            client.ask(f"SELECT repeat('x', {ROW}) FROM generate_series(1, 5000)")
        time.sleep(2)
        each = (daemon.rss() - before) / count
    assert each < MIB / 2
    figure(f"{each / 1024:.0f} KiB for each of {count} stalled readers")
