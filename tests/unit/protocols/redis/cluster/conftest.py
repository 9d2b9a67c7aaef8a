"""A cluster of three fakes, and clients that sit before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest

from ambassador.access.base import Principal, Verdict
from ambassador.protocols.redis.cluster.client import ClusterClient
from ambassador.protocols.redis.cluster.nodes import Cluster
from ambassador.protocols.redis.hub import Hub
from ambassador.protocols.redis.rules import Rules
from ambassador.wire.redis.messages import Encodable, encode
from ambassador.wire.redis.place import Place
from tests.support.fake_redis import FakeRedis
from tests.support.streams import stream_pair
from tests.unit.protocols.redis.conftest import EVERYONE, Guest, Table, until

A, B, C = "b", "c", "a"
"""A key of each node's: slots 3300, 7365 and 15495."""

BOUNDS = ((0, 5460), (5461, 10922), (10923, 16383))
SLOTS = {A: 3300, B: 7365, C: 15495}


class Member(Guest):
    """A client of a cluster."""

    talk: ClusterClient

    def sit(self, hub: Hub, rules: Rules, principal: Principal) -> None:
        """Begin a conversation."""
        assert isinstance(hub, Cluster)
        self.talk = ClusterClient(self.side, hub, rules, principal)
        self.ended = asyncio.ensure_future(self.talk.run())


class Ring(Table):
    """A cluster: `nodes` serve a third of the slots each, as all of them tell."""

    hub: Cluster

    def __init__(self, stack: AsyncExitStack, nodes: list[FakeRedis]) -> None:
        super().__init__(stack, nodes[0].port)
        self.nodes = nodes
        self.tell(*nodes)

    def tell(self, *owners: FakeRedis) -> None:
        """Have every node say that these serve the slots."""
        slots: list[Encodable] = [
            [first, last, [b"127.0.0.1", owner.port, b"id"]]
            for (first, last), owner in zip(BOUNDS, owners, strict=True)
        ]
        for node in self.nodes:
            node.on("CLUSTER", "SLOTS", raw=encode(slots, 2))

    def lay(self, *, password: str | None = None, endpoints: tuple[str, ...] = (), **options: Any) -> Ring:
        """See `Table`."""
        super().lay(password=password, endpoints=endpoints, cluster=True, **options)
        hub: Hub = self.hub  # what a table has by itself
        self.hub = Cluster(self.upstream, self.clock)
        self._stack.push_async_callback(hub.close)
        return self

    def place(self, node: FakeRedis) -> Place:
        """Where a node is."""
        return Place("127.0.0.1", node.port)

    def moved(self, key: str, to: FakeRedis, word: str = "MOVED") -> bytes:
        """What a node says that does not serve a key."""
        return f"-{word} {SLOTS[key]} 127.0.0.1:{to.port}\r\n".encode()

    async def guest(self, verdict: Verdict = EVERYONE) -> Member:
        """See `Table`."""
        near, far = await self._stack.enter_async_context(stream_pair())
        guest = Member(near, far, verdict)
        guest.sit(self.hub, self.rules, EVERYONE.principal)
        self.guests.append(guest)
        return guest


MakeRing = Callable[..., Ring]


@pytest.fixture
async def make_ring() -> AsyncIterator[MakeRing]:
    """Makes a cluster; the words are the upstream's options."""
    with ExitStack() as fakes:
        nodes = [fakes.enter_context(FakeRedis()) for _ in range(3)]
        async with AsyncExitStack() as stack:
            yield lambda **options: Ring(stack, nodes).lay(**options)


@pytest.fixture
async def ring(make_ring: MakeRing) -> Ring:
    """A cluster with the usual options."""
    return make_ring()


@pytest.fixture
async def member(ring: Ring) -> Member:
    """A client of it."""
    return await ring.guest()


__all__ = ["SLOTS", "A", "B", "C", "MakeRing", "Member", "Ring", "until"]
