"""What every discovery must do, whichever it is. A new one needs one entry in `STAGES`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from ambassador import registry
from ambassador.config.model import Model
from ambassador.config.schema import DiscoverySettings
from ambassador.credentials.credential import Credential
from ambassador.credentials.store import Store
from ambassador.discovery.base import Discovery
from ambassador.upstreams.endpoint import EndpointSet
from tests.support.fake_sentinel import FakeSentinel

NAME = "cache"


class Stage(ABC):
    """A place where one kind of discovery finds what the test puts there."""

    needs: tuple[str, ...] = ()
    """Names of the credentials that `options` mention."""

    def __init__(self) -> None:
        self.store = Store()

    @abstractmethod
    def play(self) -> Any:
        """An async context: within it there is somebody to ask."""

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Options of a discovery that looks here, as written in a file."""

    @abstractmethod
    async def move(self) -> bool:
        """Let the service be elsewhere; False where that cannot be."""

    @abstractmethod
    async def fail(self) -> bool:
        """Let nobody answer any more; False where nobody is asked."""


class StaticStage(Stage):
    """A list."""

    @property
    def options(self) -> dict[str, Any]:
        return {"endpoints": ["10.0.0.1:1", "10.0.0.2:1"]}

    @asynccontextmanager
    async def play(self) -> AsyncIterator[None]:
        yield

    async def move(self) -> bool:
        return False

    async def fail(self) -> bool:
        return False


class SentinelStage(Stage):
    """Two Sentinels that demand a password."""

    needs = ("guard",)

    @asynccontextmanager
    async def play(self) -> AsyncIterator[None]:
        self.store.put(Credential("guard", 1, {"username": b"app", "password": b"of the Sentinels"}))
        password = "of the Sentinels"
        async with (
            FakeSentinel("a", "10.0.0.1:1", password=password) as one,
            FakeSentinel("b", "10.0.0.1:1", password=password) as other,
        ):
            self.sentinels = (one, other)
            for each in self.sentinels:
                each.replicas = {"10.0.0.2:1": False}
            yield

    @property
    def options(self) -> dict[str, Any]:
        places = [one.address for one in self.sentinels]
        return {"master": NAME, "endpoints": places, "credential": "guard", "poll": "100ms", "timeout": "500ms"}

    async def move(self) -> bool:
        for one in self.sentinels:
            one.replicas = {}
            one.switch("10.0.0.2:1")
        return True

    async def fail(self) -> bool:
        for one in self.sentinels:
            await one.stop()
        return True


STAGES: dict[str, type[Stage]] = {"static": StaticStage, "sentinel": SentinelStage}


@pytest.fixture(params=sorted(registry.DISCOVERIES))
def kind(request: pytest.FixtureRequest) -> str:
    """Every discovery of the registry."""
    found: str = request.param
    return found


@pytest.fixture
async def stage(kind: str) -> AsyncIterator[Stage]:
    stage = STAGES[kind]()
    async with stage.play():
        yield stage


@pytest.fixture
def discovery(kind: str, stage: Stage) -> Discovery:
    """Made as the daemon does: from the words of a file."""
    settings = DiscoverySettings.model_validate({kind: stage.options})
    made: Discovery = registry.resolve("discoveries", kind)(NAME, settings.options, stage.store)
    return made


async def soon(sets: Any) -> EndpointSet:
    """The next set."""
    async with asyncio.timeout(10):
        found: EndpointSet = await anext(sets)
        return found


async def test_the_first_set_comes_by_itself(discovery: Discovery) -> None:
    async with aclosing(discovery.watch()) as sets:
        found = await soon(sets)
    assert [str(endpoint) for endpoint in found] == ["10.0.0.1:1", "10.0.0.2:1"]
    assert len(set(found)) == len(found)


async def test_what_is_known_without_asking_is_the_first_set(discovery: Discovery) -> None:
    async with aclosing(discovery.watch()) as sets:
        assert discovery.known in ((), await soon(sets))


async def test_a_change_is_yielded_once(stage: Stage, discovery: Discovery) -> None:
    async with aclosing(discovery.watch()) as sets:
        before = await soon(sets)
        if not await stage.move():
            assert [one async for one in sets] == []
            return
        after = await soon(sets)
        assert after != before
        assert [str(endpoint) for endpoint in after] == ["10.0.0.2:1"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await anext(sets)


async def test_when_nobody_answers_nothing_is_yielded_and_nothing_raised(stage: Stage, discovery: Discovery) -> None:
    async with aclosing(discovery.watch()) as sets:
        await soon(sets)
        assert discovery.trouble == ""
        if not await stage.fail():
            assert [one async for one in sets] == []
            return
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await anext(sets)
        assert discovery.trouble


async def test_one_that_is_closed_may_be_watched_again(discovery: Discovery) -> None:
    for _ in range(2):
        async with aclosing(discovery.watch()) as sets:
            assert len(await soon(sets)) == 2


async def test_one_that_is_not_watched_asks_nobody(stage: Stage, discovery: Discovery) -> None:
    await asyncio.sleep(0.05)
    if isinstance(stage, SentinelStage):
        assert [one.connections for one in stage.sentinels] == [0, 0]
    assert discovery.trouble == ""


async def test_it_names_the_credentials_it_needs(stage: Stage, discovery: Discovery) -> None:
    assert discovery.credentials() == stage.needs


async def test_its_options_are_settings_and_take_no_unknown_key(kind: str, stage: Stage, discovery: Discovery) -> None:
    assert issubclass(type(discovery).Options, Model)
    with pytest.raises(ValidationError, match="unknown key"):
        DiscoverySettings.model_validate({kind: stage.options | {"surprise": 1}})
