"""redis-benchmark through a proxy, and what each operation cost the proxy's process and the server's."""

from __future__ import annotations

import csv
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from ambassador.demo.valkey import ValkeyServer
from ambassador.kit.clock import SYSTEM
from tests.bench.peers import Peer
from tests.bench.redis_peers import Backend
from tests.support.processes import cpu_seconds

STORED = 64 << 20
"""Bytes of values in the server; with it the number of keys of a size."""

MOST_KEYS = 10_000
"""As in the measurements that the targets come from. With ten times as many the server's data no longer fit the
processor's own memory, which costs everybody on it, the client and the proxies included."""

MOST_REQUESTS = 10_000_000
PATIENCE = 60
"""Seconds more than planned after which a run is given up."""

SEEN = 0.3
LONGER = (1, 2, 4)
"""The part of its requests that must be seen done between two moments, and how much longer a run gets, in turn, in
which they were not: a busy server may answer late what it has done."""

LOOK = 0.1
FROM, TO = 0.1, 0.97
"""Seconds between two looks at a run, and the part of its requests within which they count."""

_FILL = """
local value = string.rep('x', tonumber(ARGV[1]))
for key = tonumber(ARGV[2]), tonumber(ARGV[3]) - 1 do
    redis.call('SET', string.format('key:%012d', key), value)
end
"""
_FILLED_AT_ONCE = 10_000


class LoadFailed(Exception):
    """A run did not do what it should; the text says what happened instead."""


@dataclass(frozen=True)
class Row:
    """One way to ask: what, how large, how many at once, from how many clients."""

    command: str
    size: int
    pipeline: int
    clients: int

    @property
    def keys(self) -> int:
        """How many keys are there to be asked for."""
        return min(MOST_KEYS, STORED // self.size)

    @property
    def under_way(self) -> int:
        """Bytes of values that may be under way at once."""
        return self.size * self.pipeline * self.clients

    def __str__(self) -> str:
        size = f"{self.size} B" if self.size < 1024 else f"{self.size // 1024} KiB"
        return f"{self.command} {size}, P={self.pipeline}, {self.clients} clients"


@dataclass(frozen=True)
class Cost:
    """One run: operations per second, and processor microseconds per operation of the proxy and of the server."""

    rate: float
    proxy: float
    server: float


@dataclass(frozen=True)
class Moment:
    """What had been done at one time: commands of the row, keys looked for in vain, processor seconds."""

    calls: int
    missed: int
    proxy: float
    server: float

    def cost_since(self, earlier: Moment, rate: float) -> Cost:
        """What each operation between the two cost."""
        each = 1e6 / (self.calls - earlier.calls)
        return Cost(rate, (self.proxy - earlier.proxy) * each, (self.server - earlier.server) * each)


class Load:
    """Runs redis-benchmark at one server, with every key that it asks for in place.

    Args:
        tool: path of redis-benchmark.
        server: the server itself, which is asked what it did.
    """

    def __init__(self, tool: Path, server: ValkeyServer) -> None:
        self._tool = tool
        self._server = server
        self._filled = 0

    def fill(self, size: int, keys: int) -> None:
        """Values of that size for all keys; done again only for another size."""
        if size == self._filled:
            return
        self._server.ask("FLUSHALL")
        for first in range(0, keys, _FILLED_AT_ONCE):
            last = min(keys, first + _FILLED_AT_ONCE)
            self._server.ask("EVAL", _FILL, 0, size, first, last, timeout=60)
        assert self._server.ask("DBSIZE") == keys
        self._filled = size

    def requests(self, backend: Backend, peer: Peer | None, row: Row, seconds: int) -> int:
        """How many requests take about so many seconds, found by a small run that warms everything up.

        Raises:
            LoadFailed: as for `run`.
        """
        few = max(20_000 if row.size < 1024 else 4000, max(4 * row.pipeline, 10) * row.clients)
        rate, _ = self._run(backend, peer, row, few, seconds)
        return int(min(MOST_REQUESTS, max(few, rate * seconds)))

    def run(self, backend: Backend, peer: Peer | None, row: Row, requests: int, seconds: int) -> Cost:
        """One run of so many requests; without a peer straight at the server.

        Processor time is taken between two moments in the middle of the run, so that connecting, and logging in, are
        not in it.

        Raises:
            LoadFailed: the client failed, or the server saw something else than these requests for keys that are there.
        """
        for times in LONGER:
            rate, moments = self._run(backend, peer, row, min(MOST_REQUESTS, times * requests), seconds)
            first, last = (moments[0], moments[-1]) if moments else (None, None)
            if first and last and last.calls - first.calls >= SEEN * requests:
                return last.cost_since(first, rate)
        raise LoadFailed(f"{times * requests} requests were done too soon to be watched")

    def _run(
        self, backend: Backend, peer: Peer | None, row: Row, requests: int, seconds: int
    ) -> tuple[float, list[Moment]]:
        """Operations per second as the client saw them, and what the server and the proxy had done, now and then."""
        before, moments = self._look(peer, row), []
        client = subprocess.Popen(
            _words(self._tool, backend, peer, row, requests),
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = SYSTEM.now() + seconds + PATIENCE
        while client.poll() is None:
            time.sleep(LOOK)
            now = self._look(peer, row)
            if FROM * requests <= now.calls - before.calls <= TO * requests:
                moments.append(now)
            if SYSTEM.now() > deadline:
                client.kill()
        out, error = client.communicate()
        after = self._look(peer, row)
        lines = [line for line in csv.reader(out.splitlines()) if line and line[0] == row.command]
        if client.returncode or len(lines) != 1:
            raise LoadFailed(f"redis-benchmark ended with {client.returncode}: {(error + out)[-500:].strip()}")
        operations, missed = after.calls - before.calls, after.missed - before.missed
        if operations < requests or missed:
            raise LoadFailed(
                f"of {requests} requests the server saw {operations}, {missed} for keys that are not there"
            )
        return float(lines[0][1]), moments

    def _look(self, peer: Peer | None, row: Row) -> Moment:
        name = row.command.lower()
        calls = self._server.info("commandstats").get(f"cmdstat_{name}", "calls=0,")
        missed = self._server.info("stats")["keyspace_misses"]
        spent = 0.0 if peer is None else cpu_seconds(peer.pid)
        done = int(calls.removeprefix("calls=").partition(",")[0])
        return Moment(done, int(missed), spent, cpu_seconds(self._server.pid))


def _words(tool: Path, backend: Backend, peer: Peer | None, row: Row, requests: int) -> list[str]:
    words = [str(tool), "--csv", "-t", row.command.lower(), "-d", str(row.size), "-r", str(row.keys)]
    words += ["-P", str(row.pipeline), "-c", str(row.clients), "-n", str(requests), "-h", "127.0.0.1"]
    port, password = (backend.port, backend.password) if peer is None else (peer.port, peer.password)
    words += ["-p", str(port)]
    words += [] if password is None else ["-a", password]
    if peer is None and backend.ca is not None:
        words += ["--tls", "--cacert", str(backend.ca), "--sni", "localhost"]
    return words
