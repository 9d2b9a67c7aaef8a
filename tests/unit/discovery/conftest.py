"""Three Sentinels in the test's own loop, and what a discovery makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest

from ambassador.credentials.credential import Credential
from ambassador.credentials.store import Store
from ambassador.discovery.sentinel import Sentinel, SentinelOptions
from ambassador.upstreams.endpoint import EndpointSet
from tests.support.fake_sentinel import MASTER, FakeSentinel

OLD, NEW, THIRD = "10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"


class Trio:
    """Sentinels a, b and c, which know one another; and the sets that discoveries yielded, as words."""

    def __init__(self, sentinels: list[FakeSentinel]) -> None:
        self.sentinels = sentinels
        self.store = Store()
        self.found: list[str] = []
        for one in sentinels:
            one.replicas = {NEW: False, THIRD: False}
            one.others = {other.name: other for other in sentinels if other is not one}

    def sentinel(self, **options: Any) -> Sentinel:
        """A discovery; it asks all three unless `endpoints` says otherwise."""
        told = {"master": MASTER, "endpoints": [one.address for one in self.sentinels], "poll": 60, "timeout": 2}
        return Sentinel("cache", SentinelOptions.model_validate(told | options), self.store)

    def put(self, password: str) -> Credential:
        """A new value of the credential `guard`."""
        version = self.store.next_version("guard")
        credential = Credential("guard", version, {"username": b"app", "password": password.encode()})
        self.store.put(credential)
        return credential

    @asynccontextmanager
    async def watching(self, **options: Any) -> AsyncIterator[Sentinel]:
        """A discovery at work."""
        discovery = self.sentinel(**options)

        async def watch() -> None:
            async with aclosing(discovery.watch()) as sets:
                async for one in sets:
                    self.found.append(spelt(one))

        task = asyncio.create_task(watch())
        try:
            yield discovery
        finally:
            task.cancel()
            await asyncio.wait({task})


def spelt(endpoints: EndpointSet) -> str:
    """Hosts' last numbers: `1 | 2 3` is a primary and two replicas."""
    hosts = [str(one.address.host).rpartition(".")[2] for one in endpoints]
    assert [one.role for one in endpoints] == ["primary"] + ["replica"] * (len(endpoints) - 1)
    return " ".join([hosts[0], "|", *hosts[1:]]).strip()


@pytest.fixture
async def trio() -> AsyncIterator[Trio]:
    async with AsyncExitStack() as stack:
        yield Trio([await stack.enter_async_context(FakeSentinel(name, OLD)) for name in "abc"])
