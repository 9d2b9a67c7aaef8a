"""The server is killed and comes back, again and again: clients stay, and every answer is that of its command."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.redis.load import Load, is_excuse
from tests.e2e.redis.plan import MODES, Plan
from tests.support.daemon import Daemon
from tests.support.valkey import ValkeyServer, new_account

DOWN = 0.3
"""Seconds for which it is away, besides what it takes to start."""


async def kill_and_restart(server: ValkeyServer, every: float, times: int) -> None:
    """So many times."""
    for _ in range(times):
        await asyncio.sleep(every - DOWN)
        os.kill(server.pid, signal.SIGSTOP)  # so that some have asked and are not answered yet
        await asyncio.sleep(0.05)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(DOWN)
        await asyncio.to_thread(server.restart)
    await asyncio.sleep(1)


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("mode", MODES)
def test_every_command_gets_its_own_answer_or_its_own_error(
    mode: str, tmp_path: Path, long: bool, figure: Callable[[str], None]
) -> None:
    every, times = (5.0, 12) if long else (1.2, 4)

    async def work(port: int, server: ValkeyServer) -> Load:
        load = Load(port, "outage")
        load.add(load.insist, 40)
        load.add(load.insist_on_transactions, 10)
        await load.run(kill_and_restart(server, every, times))
        return load

    with ValkeyServer() as server:
        plan = Plan(tmp_path)
        plan.secret("cache", new_account(server))
        ports = plan.both(server, "cache")
        with Daemon(plan.text()) as daemon:
            load = asyncio.run(work(ports[mode], server))
            # One connection each, from beginning to end.
            assert daemon.metric("ambassador_downstream_connections_total", result="upstream_closed") == 0
            assert len(load.clients) == 50
            assert load.done > 1000
            assert not daemon.logged("task failed")
            assert not daemon.logged("session failed")
    kinds = Counter(load.errors)
    assert kinds, "nobody noticed anything"
    figure(f"{times} kills, {load.done} answers, {sum(kinds.values())} errors")


@contextmanager
def served(directory: Path) -> Iterator[tuple[dict[str, int], ValkeyServer]]:
    """A server of the test's own, and the ports of a daemon before it, by mode."""
    with ValkeyServer() as server:
        plan = Plan(directory)
        plan.secret("cache", new_account(server))
        ports = plan.both(server, "cache")
        with Daemon(plan.text()):
            yield ports, server


@pytest.mark.parametrize("mode", MODES)
def test_subscriptions_come_back_by_themselves(mode: str, tmp_path: Path) -> None:
    async def run(port: int, server: ValkeyServer) -> None:
        load = Load(port, "renewed")
        async with load.connect() as speaker, load.connect(2) as one, load.connect(3) as other:
            for listener in (one, other):
                assert await listener.ask("SUBSCRIBE", "renewed:c") == [b"subscribe", b"renewed:c", 1]
            server.kill()
            server.restart()
            deadline = time.monotonic() + 10
            while await speaker.ask("PUBLISH", "renewed:c", "again") != 2:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            for listener in (one, other):
                # It may have been the first one to be back, and have heard an earlier one too.
                assert await listener.item() == [b"message", b"renewed:c", b"again"]

    with served(tmp_path) as (ports, server):
        asyncio.run(run(ports[mode], server))


@pytest.mark.parametrize("mode", MODES)
def test_commands_wait_for_a_server_that_is_away(mode: str, tmp_path: Path) -> None:
    async def run(port: int, server: ValkeyServer) -> None:
        load = Load(port, "patient")
        async with load.connect() as client, load.connect() as other:
            assert await client.ask("SET", "patient", 1) == b"OK"
            assert await other.ask("PING") == b"PONG"
            await asyncio.to_thread(server.kill)
            waiting = [asyncio.ensure_future(each.ask("SET", "patient", 2)) for each in (client, other)]
            await asyncio.sleep(0.2)
            await asyncio.to_thread(server.restart)
            assert await asyncio.gather(*waiting) == [b"OK", b"OK"]

    with served(tmp_path) as (ports, server):
        asyncio.run(run(ports[mode], server))


@pytest.mark.parametrize("mode", MODES)
def test_commands_do_not_wait_for_ever(mode: str, tmp_path: Path) -> None:
    async def run(port: int, server: ValkeyServer) -> None:
        load = Load(port, "impatient")
        async with load.connect() as client:
            assert await client.ask("SET", "impatient", 1) == b"OK"
            await asyncio.to_thread(server.kill)
            replies = await client.pipeline([("GET", "impatient"), ("ECHO", "x"), ("MULTI",)])
            assert [is_excuse(reply) for reply in replies] == [True] * 3
            await asyncio.to_thread(server.restart)
            deadline = time.monotonic() + 10
            while is_excuse(await client.ask("SET", "impatient", 2)):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            assert await client.ask("GET", "impatient") == b"2"

    with ValkeyServer() as server:
        plan = Plan(tmp_path)
        plan.secret("cache", new_account(server))
        ports = plan.both(server, "cache", wait="200ms")
        with Daemon(plan.text()):
            asyncio.run(run(ports[mode], server))
