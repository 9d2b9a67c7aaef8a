"""What a discovery finds reaches every upstream that is still used, and readiness, and the log."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import pytest

from ambassador import registry
from ambassador.config.address import Address
from ambassador.config.load import load_data
from ambassador.config.model import Model
from ambassador.credentials.store import Store
from ambassador.discovery.base import Discovery
from ambassador.kit.clock import SYSTEM
from ambassador.kit.latch import Latches
from ambassador.kit.tasks import Tasks
from ambassador.runtime.discovering import Discovering
from ambassador.runtime.world import Commons, World, build
from ambassador.telemetry import logs
from ambassador.telemetry.metrics import Metrics
from ambassador.upstreams.endpoint import Endpoint, EndpointSet, Role
from tests.support.house import until


class OracleOptions(Model):
    """Of a discovery that is told what to say."""

    name: str
    """Which of them it is."""


class Oracle(Discovery):
    """Yields what the test puts into it."""

    Options = OracleOptions
    said: asyncio.Queue[EndpointSet]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.said = asyncio.Queue()
        self.watched = 0

    async def watch(self) -> AsyncGenerator[EndpointSet]:
        self.watched += 1
        try:
            while True:
                yield await self.said.get()
        finally:
            self.watched -= 1


def endpoint(port: int, role: Role | None = None) -> Endpoint:
    return Endpoint(Address("10.0.0.1", port), role)


class Stage:
    """`Discovering`, and worlds for it."""

    def __init__(self) -> None:
        self.commons = Commons(SYSTEM, Metrics(), Store(SYSTEM))
        self.latches = Latches()
        self.moved: list[str] = []
        self.failures: list[str] = []
        self.tasks = Tasks(lambda task, error: self.failures.append(f"{task}: {error}"))
        self.discovering = Discovering(self.commons, self.latches, self.tasks, self.moved.append)

    async def show(self, name: str | None, **upstream: Any) -> World:
        """Put a world into force whose upstream is found by the oracle of a name, or stands at port 1."""
        where: dict[str, Any] = {"discovery": {"oracle": {"name": name}}} if name else {"endpoints": "10.0.0.1:1"}
        data = {
            "upstreams": {"cache": where | upstream},
            "listeners": {"l": {"listen": "127.0.0.1:7001", "tcp": {"upstream": "cache"}}},
        }
        world = build(self.commons, load_data(data).config, self.commons.current)
        self.commons.current = world
        self.discovering.enlist(world)
        await self.discovering.move(world)
        return world


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    entries, resolve = registry.entries, registry.resolve
    monkeypatch.setattr(registry, "entries", lambda table: {"oracle": ""} if table == "discoveries" else entries(table))
    monkeypatch.setattr(
        registry, "resolve", lambda table, name: Oracle if table == "discoveries" else resolve(table, name)
    )
    stage = Stage()
    yield stage
    await stage.tasks.stop(2)
    assert stage.failures == []


def oracle(world: World) -> Oracle:
    found = world.discoveries["cache"]
    assert isinstance(found, Oracle)
    return found


async def test_an_upstream_is_not_ready_before_it_is_somewhere(stage: Stage) -> None:
    world = await stage.show("delphi")
    assert list(stage.latches.held) == ["endpoints cache"]
    oracle(world).said.put_nowait((endpoint(1, "primary"),))
    await until("the set", lambda: world.upstreams["cache"].endpoints == (endpoint(1, "primary"),))
    assert not list(stage.latches.held)
    assert stage.moved == ["cache"]


async def test_one_whose_endpoints_are_written_down_needs_no_discovery(stage: Stage) -> None:
    world = await stage.show(None)
    assert world.discoveries == {}
    assert stage.latches.held == ()
    assert len(stage.tasks) == 0


async def test_a_reload_carries_the_discovery_over_and_feeds_those_who_outlived_it(stage: Stage) -> None:
    first = await stage.show("delphi")
    oracle(first).said.put_nowait((endpoint(1),))
    await until("the set", lambda: bool(first.upstreams["cache"].endpoints))
    second = await stage.show("delphi", connect_timeout="9s")
    third = await stage.show("delphi", connect_timeout="10s")
    assert oracle(third) is oracle(first)
    assert oracle(first).watched == 1
    assert stage.latches.held == ()
    oracle(first).said.put_nowait((endpoint(2),))
    await until("the set", lambda: third.upstreams["cache"].endpoints == (endpoint(2),))
    assert {world.upstreams["cache"] for world in (first, second, third)} == set(stage.commons.upstreams["cache"])
    assert [world.upstreams["cache"].endpoints for world in (first, second)] == [(endpoint(2),)] * 2


async def test_an_upstream_that_nobody_uses_any_more_is_forgotten(stage: Stage) -> None:
    first = await stage.show("delphi")
    second = await stage.show("delphi", connect_timeout="9s")
    del first
    gc.collect()
    assert set(stage.commons.upstreams["cache"]) == {second.upstreams["cache"]}


async def test_another_discovery_takes_over_and_what_was_found_serves_until_it_has_found_something(
    stage: Stage,
) -> None:
    first = await stage.show("delphi")
    before = oracle(first)
    before.said.put_nowait((endpoint(1),))
    await until("the set", lambda: bool(first.upstreams["cache"].endpoints))
    second = await stage.show("dodona")
    assert oracle(second) is not before
    assert before.watched == 0
    assert second.upstreams["cache"].endpoints == (endpoint(1),)
    oracle(second).said.put_nowait((endpoint(2),))
    await until("the set", lambda: second.upstreams["cache"].endpoints == (endpoint(2),))
    assert first.upstreams["cache"].endpoints == (endpoint(2),)


async def test_written_endpoints_take_the_place_of_a_discovery(stage: Stage) -> None:
    first = await stage.show("delphi")
    second = await stage.show(None)
    assert oracle(first).watched == 0
    assert stage.latches.held == ()
    assert first.upstreams["cache"].endpoints == second.upstreams["cache"].endpoints == (endpoint(1),)


async def test_a_change_is_logged_with_the_roles(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, object]] = []
    monkeypatch.setattr(logs.Log, "info", lambda _, event, **fields: said.append({"event": event, **fields}))
    world = await stage.show("delphi")
    for found in (
        (endpoint(1, "primary"), endpoint(2, "replica"), endpoint(3, "replica")),
        (endpoint(1, "primary"), endpoint(2, "replica"), endpoint(3, "replica")),
        (endpoint(4),),
    ):
        oracle(world).said.put_nowait(found)
    await until("the last set", lambda: len(stage.moved) == 3)
    assert said == [
        {
            "event": "endpoints changed",
            "upstream": "cache",
            "primary": "10.0.0.1:1",
            "replicas": "10.0.0.1:2, 10.0.0.1:3",
            "of": 3,
        },
        {"event": "endpoints changed", "upstream": "cache", "of": 1},
    ]


def leads_to(world: World, port: int) -> Callable[[], bool]:
    """Whether the upstream has this one endpoint."""
    return lambda: world.upstreams["cache"].endpoints == (endpoint(port),)


async def test_counts_of_endpoints_that_are_gone_are_let_go(stage: Stage) -> None:
    world = await stage.show("delphi")
    for port in (1, 2):
        oracle(world).said.put_nowait((endpoint(port),))
        await until("the set", leads_to(world, port))
        stage.commons.metrics.upstream("cache").endpoint(f"10.0.0.1:{port}")
    assert [address for address, _ in stage.commons.metrics.upstream("cache").endpoints.items()] == ["10.0.0.1:2"]
