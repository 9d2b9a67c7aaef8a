"""Three real Sentinels: their master is killed or replaced under load, and no client has to know."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import hiredis
import pytest

from tests.e2e.redis.load import Client
from tests.e2e.redis.plan import MODES, Plan
from tests.support.certificates import Authority
from tests.support.daemon import Daemon
from tests.support.leaks import SHARED_CHILDREN
from tests.support.processes import wait_until
from tests.support.redis_client import RedisClient
from tests.support.sentinels import NAME, Sentinels, replication
from tests.support.valkey import Account, ServerFailed, ValkeyServer, certificates, new_account, program

WRITERS, TRANSACTORS = 30, 10

LAG = 1.0
"""Seconds by which a client sees an answer later than the daemon gave it."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def own() -> Iterator[Sentinels]:
    """Sentinels whose master the tests of this file may replace."""
    with Sentinels(program("valkey9"), shared=True, down_after=1000) as found:
        yield found


class Stage:
    """A daemon that finds its servers by Sentinels, which want a login of their own.

    Args:
        authority: signs what they show, where they speak TLS.
    """

    def __init__(self, own: Sentinels, home: Path, authority: Authority | None = None) -> None:
        self._tls = None if authority is None else {"ca": str(authority.file)}
        self.own = own
        self.account = new_account(*own.servers)
        guard = new_account(*own.sentinels, rules="+sentinel +subscribe +unsubscribe +hello +client|setname &*")
        self.plan = Plan(home)
        self.plan.secret("cache", self.account)
        self.plan.secret("guard", guard)

    def upstream(self, name: str, **redis: Any) -> int:
        """An upstream and its listener, whose port it returns."""
        places = [f"127.0.0.1:{one.port}" for one in self.own.sentinels]
        asked: dict[str, Any] = {"master": NAME, "endpoints": places, "credential": "guard", "poll": "2s"}
        if self._tls is not None:
            asked["tls"] = self._tls
        self.plan.upstream(name, 0, "cache", endpoints=None, discovery={"sentinel": asked}, redis=redis, tls=self._tls)
        return self.plan.listener(name, name)


@pytest.fixture
def stage(own: Sentinels, tmp_path: Path) -> Stage:
    return Stage(own, tmp_path)


@dataclass
class Load:
    """Clients that write one key after another, and remember what they were told.

    Attributes:
        troubles: why they ended before their time.
        acked: when each key was sent, and when it was acknowledged, wall seconds.
        errors: when each refusal came, and its words.
    """

    port: int
    acked: dict[str, tuple[float, float]] = field(default_factory=dict)
    errors: list[tuple[float, str]] = field(default_factory=list)
    over: bool = False
    troubles: BaseException | None = None

    async def write(self, name: str, *, transaction: bool) -> None:
        """One client, on one connection from beginning to end."""
        async with Client(self.port, protocol=2 + len(name) % 2) as client:
            number = 0
            while not self.over:
                number += 1
                key = f"{name}:{number}"
                sent = time.time()
                words = [["MULTI"], ["SET", key, key], ["EXEC"]] if transaction else [["SET", key, key]]
                answers = await client.pipeline(words)
                last, now = answers[-1], time.time()
                if last in (b"OK", [b"OK"]):
                    self.acked[key] = (sent, now)
                else:
                    assert isinstance(last, hiredis.ReplyError) or last is None, answers
                    self.errors.append((now, str(last)))
                await asyncio.sleep(0.002)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """All clients, in a thread of their own; fails if one loses its connection.

        Servers are started in the main thread: they end with the thread that started them.
        """
        with ThreadPoolExecutor(1) as pool:
            clients = pool.submit(lambda: asyncio.run(self._run()))
            try:
                wait_until("all to be at work", lambda: len(self.acked) > 20 * (WRITERS + TRANSACTORS) or self.over)
                yield
            finally:
                self.over = True
                self.troubles = clients.exception()

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(WRITERS + TRANSACTORS):
                    name = f"{'x' * (number % 2)}w{self.port}:{number}"
                    group.create_task(self.write(name, transaction=number >= WRITERS))
        finally:
            self.over = True

    def since(self, switch: float) -> list[str]:
        """What was acknowledged after a moment; or seen by us a while after it, for we have no clock at the daemon."""
        return [key for key, (sent, seen) in tuple(self.acked.items()) if sent > switch or seen > switch + LAG]

    def gap(self, since: float) -> float:
        """The longest time without a write after a moment, until now."""
        times = sorted(moment for _, moment in tuple(self.acked.values()) if moment >= since)
        return max(after - before for before, after in pairwise([since, *times, time.time()]))


def switched_to(daemon: Daemon, server: ValkeyServer, since: float) -> float:
    """When the daemon took a server for the primary, wall seconds."""

    def moments() -> list[float]:
        lines = daemon.logged("endpoints changed", primary=f"127.0.0.1:{server.port}")
        found = [datetime.fromisoformat(line["time"]).timestamp() for line in lines]
        return [moment for moment in found if moment >= since - 0.001]

    wait_until("the daemon to follow", lambda: bool(moments()), 15.0)
    return moments()[0]


def missing(server: ValkeyServer, account: Account, keys: list[str]) -> list[str]:
    """Those that a server does not have."""
    with RedisClient((server.host, server.port)) as client:
        client.ask("AUTH", account.name, account.password)
        found: list[str] = []
        for start in range(0, len(keys), 1000):
            part = keys[start : start + 1000]
            replies = client.pipeline([["GET", key] for key in part])
            found += [key for key, reply in zip(part, replies, strict=True) if reply.value != key.encode()]
        return found


def kill(own: Sentinels) -> ValkeyServer:
    """The master dies; another takes over, and the dead one comes back."""
    before = own.master
    before.kill()
    after = own.wait_for_master(before)
    revive(before, after)
    return after


def replace(own: Sentinels) -> ValkeyServer:
    """Another takes over though the master lives; it goes on taking writes until it is told."""
    before = own.master

    def accepted() -> bool:
        with contextlib.suppress(ServerFailed):  # the last one is not over yet, for this Sentinel
            return own.sentinels[0].ask("SENTINEL", "FAILOVER", NAME) == "OK"
        return False

    wait_until("the Sentinel to do it", accepted, 20.0)
    return own.wait_for_master(before)


def revive(server: ValkeyServer, master: ValkeyServer) -> None:
    """Start a server again, as a replica at once: the Sentinels would take ten seconds to make it one."""
    server.restart()
    SHARED_CHILDREN.add(server.pid)
    server.ask("REPLICAOF", "127.0.0.1", master.port)


@dataclass
class Round:
    """One change of masters under load.

    Attributes:
        switch: seconds from its beginning until the daemon followed.
        gap: the longest time without a write.
        failed: commands that were answered by an error.
        lost: writes that the old master acknowledged and the new one does not have, `of` those since it began.
    """

    switch: float
    gap: float
    failed: int
    lost: int
    of: int


def rounds(
    stage: Stage, daemon: Daemon, load: Load, change: Callable[[Sentinels], ValkeyServer], count: int
) -> list[Round]:
    """Change masters so often; checked after each is that what was acknowledged since our switch is there."""
    found = []
    for _ in range(count):
        began = time.time()
        after = change(stage.own)
        switch = switched_to(daemon, after, began)
        time.sleep(LAG + 0.2)
        ours = load.since(switch)
        assert len(ours) > 100, "nobody could write after the switch"
        assert missing(after, stage.account, ours) == []
        theirs = [key for key, (_, seen) in tuple(load.acked.items()) if began < seen <= switch]
        lost = len(missing(after, stage.account, theirs))
        failed = sum(moment >= began for moment, _ in load.errors)
        found.append(Round(switch - began, load.gap(began), failed, lost, len(theirs)))
        settle(stage.own)
    return found


def settle(own: Sentinels) -> None:
    """Have everybody follow the master, so that the next one can be replaced; Sentinels take their time for that."""
    port = str(own.master.port)
    for server in own.replicas:
        if replication(server).get("role") == "master":
            server.ask("REPLICAOF", "127.0.0.1", own.master.port)

    def follows(server: ValkeyServer) -> bool:
        facts = replication(server)
        return (facts.get("master_port"), facts.get("master_link_status")) == (port, "up")

    def all_follow() -> bool:
        return all(map(follows, own.replicas)) and len(own.replicas) == 2

    wait_until("the others to follow", all_follow, 30.0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("change", [kill, replace], ids=["killed", "replaced"])
def test_clients_keep_their_connections_and_no_write_acknowledged_since_is_missing(
    stage: Stage,
    mode: str,
    change: Callable[[Sentinels], ValkeyServer],
    long: bool,
    figure: Callable[[str], None],
) -> None:
    if change is replace and mode == "dedicated" and not long:
        pytest.skip("one mode is enough every day; AMBASSADOR_LONG=1 takes both")
    load = Load(stage.upstream(mode, mode=mode))
    with Daemon(stage.plan.text()) as daemon:
        with load.running():
            done = rounds(stage, daemon, load, change, 4 if long else 1)
        everybody = WRITERS + TRANSACTORS
        wait_until("their ends to be told", lambda: len(daemon.logged("session ended")) >= everybody)
        ends = [line for line in daemon.logged("session ended") if line["reason"] != "client_closed"]
        assert ends == []
        assert load.troubles is None
        assert daemon.metric("ambassador_downstream_connections_total", result="upstream_closed") == 0
        assert not daemon.logged("task failed")
    for one in done:
        figure(
            f"gap {one.gap:.2f} s, our switch {one.switch:.2f} s after the change began, {one.failed} commands failed "
            f"of {WRITERS + TRANSACTORS} clients, {one.lost} lost of {one.of} that the old master took meanwhile"
        )
        assert one.failed <= 5 * (WRITERS + TRANSACTORS)
        assert one.gap < 15


def test_who_waits_for_something_hears_of_it_from_the_new_master(stage: Stage) -> None:
    """Subscribers, a blocked client, and one within a transaction."""
    port = stage.upstream("cache")

    async def run(daemon: Daemon) -> None:
        async with Client(port) as listener, Client(port) as blocked, Client(port) as busy, Client(port) as speaker:
            assert await listener.ask("SUBSCRIBE", "news") == [b"subscribe", b"news", 1]
            waiting = asyncio.create_task(blocked.ask("BLPOP", "queue", 0))
            assert await busy.pipeline([["MULTI"], ["SET", "busy", "1"]]) == [b"OK", b"QUEUED"]
            began = time.time()
            after = await asyncio.to_thread(replace, stage.own)
            await asyncio.to_thread(switched_to, daemon, after, began)
            assert isinstance(await waiting, hiredis.ReplyError)
            assert "EXECABORT" in str(await busy.ask("EXEC"))
            assert await busy.ask("SET", "busy", "2") == b"OK"
            deadline = time.monotonic() + 10
            while await speaker.ask("PUBLISH", "news", "again") != 1:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            assert await listener.item() == [b"message", b"news", b"again"]
            popping = asyncio.create_task(blocked.ask("BLPOP", "queue", 0))
            assert await speaker.ask("RPUSH", "queue", "x") in {0, 1}
            assert await popping == [b"queue", b"x"]

    with Daemon(stage.plan.text()) as daemon:
        settle(stage.own)
        asyncio.run(run(daemon))
    settle(stage.own)


def test_reads_go_to_replicas_and_back_to_the_primary_where_that_will_do(stage: Stage) -> None:
    settle(stage.own)
    ports = {wish: stage.upstream(wish, read_from=wish, wait="2s") for wish in ("primary", "replica", "prefer-replica")}
    with Daemon(stage.plan.text()) as daemon:
        roles = {one["address"]: one["role"] for one in daemon.status()["upstreams"][0]["endpoints"]}
        assert sorted(roles.values()) == ["primary", "replica", "replica"]
        clients = {wish: RedisClient(("127.0.0.1", port)) for wish, port in ports.items()}
        ask = partial(_ask_role, clients)
        assert {wish: ask(wish) for wish in clients} == {
            "primary": "master",
            "replica": "slave",
            "prefer-replica": "slave",
        }
        assert clients["primary"].ask("SET", "read", "1").value == b"OK"
        for wish in ("replica", "prefer-replica"):
            assert clients[wish].ask("SET", "read", "2").error.code == "NOPERM"
        wait_until("the replica to have it", lambda: clients["replica"].ask("GET", "read").value == b"1")
        gone = stage.own.replicas
        for one in gone:
            one.kill()
        wait_until("the primary to do", lambda: ask("prefer-replica") == "master", 20.0)
        assert clients["prefer-replica"].ask("SET", "read", "2").error.code == "NOPERM"
        wait_until("no replica to be known", lambda: len(daemon.status()["upstreams"][0]["endpoints"]) == 1, 20.0)
        assert clients["replica"].ask("GET", "read").error.code == "ERR"
        for one in gone:
            revive(one, stage.own.master)
        wait_until("a replica to be preferred again", lambda: ask("prefer-replica") == "slave", 30.0)
        wait_until("a replica to be there again", lambda: clients["replica"].ask("GET", "read").value == b"1", 30.0)
        for client in clients.values():
            client.close()


@pytest.mark.apt
def test_sentinels_and_servers_that_speak_tls_are_verified(authority: Authority, tmp_path: Path) -> None:
    with Sentinels(program("redis7"), certificates=certificates(authority)) as own:
        stage = Stage(own, tmp_path, authority)
        port = stage.upstream("cache")
        with Daemon(stage.plan.text()) as daemon, RedisClient(("127.0.0.1", port)) as client:
            assert client.ask("SET", "key", "value").value == b"OK"
            assert own.master.ask("GET", "key") == "value"
            after = own.fail_over()
            switched_to(daemon, after, 0.0)
            assert client.ask("SET", "key", "other").value == b"OK"
            assert after.ask("GET", "key") == "other"
            assert not daemon.logged("sentinel away")


def _ask_role(clients: dict[str, RedisClient], wish: str) -> str:
    value = clients[wish].ask("ROLE").value
    return value[0].decode() if isinstance(value, list) and isinstance(value[0], bytes) else str(value)
