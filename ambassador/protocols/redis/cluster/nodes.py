"""All nodes of one cluster, as one hub: what needs no particular node gets any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

from ambassador.errors import CredentialError, Reason, UpstreamError
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.protocols.redis.cluster.node import Node
from ambassador.protocols.redis.cluster.routes import HOME, Routes, Target
from ambassador.protocols.redis.cluster.topology import Topology
from ambassador.protocols.redis.hub import Hub
from ambassador.protocols.redis.line import PrivateLine, ServerLine
from ambassador.protocols.redis.shared import SharedLine
from ambassador.protocols.redis.slot import Way, is_permanent
from ambassador.upstreams.upstream import Upstream
from ambassador.wire.redis.commands import Command
from ambassador.wire.redis.messages import Protocol
from ambassador.wire.redis.place import Place

TRY = 0.5
"""Seconds for which one node is waited for before it is asked again who serves the slot."""

PAUSE = 0.05
"""Seconds between two tries."""

Line = TypeVar("Line", SharedLine, PrivateLine)


class Cluster(Hub):
    """The hub of an upstream that is a cluster.

    Attributes:
        nodes: those that were ever asked, and are still there.
        topology: who serves what.
        table: the nodes' commands, once the first has told.
    """

    def __init__(self, upstream: Upstream, clock: Clock = SYSTEM) -> None:
        super().__init__(upstream, clock)
        self.nodes: dict[Place, Node] = {}
        self.table: Mapping[bytes, Command] | None = None
        self._leaving: set[Node] = set()
        self.topology = Topology(self)
        self._routes = Routes({})
        self.tasks.start(self.topology.keep_current(), name=f"slots of {upstream.name} kept current")

    # ---- which node

    def node(self, place: Place) -> Node:
        """The node that listens there."""
        node = self.nodes.get(place)
        if node is None:
            node = self.nodes[place] = Node(self, place)
        return node

    def place_of(self, target: Target) -> Place | None:
        """Where a target is; None where it is nowhere."""
        if isinstance(target, Place):
            return target
        masters = self.topology.masters
        if isinstance(target, int) and target >= 0:
            return self.topology.owners[target]
        if not masters:
            return None
        if target == HOME:
            return min(masters)
        self._turn += 1
        return masters[self._turn % len(masters)]

    def suspect(self) -> None:
        """Something has happened that others of the nodes may know of."""
        if self.clients and not self.closed:
            self.topology.refresh()

    def retain(self, places: Collection[Place]) -> None:
        """The cluster consists of these."""
        for place in self.nodes.keys() - set(places):
            node = self.nodes.pop(place)
            self._leaving.add(node)
            node.leave()
            self.tasks.start(self._see_off(node), name=f"end of node {place}")

    async def _see_off(self, node: Node) -> None:
        await self.clock.sleep(self.options.probe_timeout)
        await node.close()
        self._leaving.discard(node)

    # ---- connections

    async def open(self, target: Target, protocol: Protocol, number: int) -> SharedLine:
        """The shared connection for a target, waiting for it as long as is configured.

        Raises:
            UpstreamError, CredentialError: none was to be had.
        """
        return await self._patiently(target, lambda node, wait: node.open_line(protocol, number, wait))

    async def own(self, target: Target, way: Way, wait: float | None = None) -> PrivateLine:
        """A connection for one client at a target; waits, unless told how long, and raises as `open`."""
        return await self._patiently(target, lambda node, left: node.private(way, left), wait)

    async def _patiently(
        self, target: Target, get: Callable[[Node, float], Awaitable[Line]], wait: float | None = None
    ) -> Line:
        """Try for as long as is configured. Who serves a slot may change meanwhile."""
        wait = self.options.wait if wait is None else wait
        until = self.clock.now() + wait
        await self.topology.learn(wait)
        while True:
            place = self.place_of(target)
            left = until - self.clock.now()
            try:
                line = await get(self._node_at(place), max(PAUSE, min(TRY, left)))
            except (UpstreamError, CredentialError) as error:
                if left <= 0 or is_permanent(error):
                    raise
                self.suspect()
                await self.clock.sleep(PAUSE)
            else:
                return line

    def _node_at(self, place: Place | None) -> Node:
        if place is None:
            raise UpstreamError(Reason.UPSTREAM_REJECTED, "no node serves a slot", public="no node serves this slot")
        return self.node(place)

    def open_lines(self) -> list[SharedLine]:
        """All shared ones."""
        return [line for node in self.nodes.values() for line in node.shared_lines()]

    @property
    def commands(self) -> Mapping[bytes, Command]:
        """See `Hub`."""
        return super().commands if self.table is None else self.table

    @property
    def routes(self) -> Routes:
        """Where requests go."""
        if self._routes.table is not self.commands:
            self._routes = Routes(self.commands)
        return self._routes

    # ---- as a hub

    def ready(self, way: Way) -> SharedLine | None:  # noqa: ARG002 - there is none for everything
        """See `Hub`: clients do not stay at one connection."""
        return None

    async def shared(self, way: Way) -> SharedLine:
        """See `Hub`."""
        return await self.open(HOME, way[0], 0)

    def idle(self, way: Way) -> PrivateLine | None:  # noqa: ARG002 - it depends on the node
        """See `Hub`."""
        return None

    async def private(self, way: Way, wait: float | None = None) -> PrivateLine:
        """See `Hub`."""
        return await self.own(HOME, way, wait)

    def give_back(self, line: PrivateLine) -> None:
        """See `Hub`."""
        line.hub.give_back(line)

    async def close(self) -> None:
        """See `Hub`."""
        self.closed = True
        for node in (*self.nodes.values(), *self._leaving):
            await node.close()
        await super().close()

    def lines(self) -> list[ServerLine]:
        """See `Hub`."""
        return [line for node in (*self.nodes.values(), *self._leaving) for line in node.lines()]
