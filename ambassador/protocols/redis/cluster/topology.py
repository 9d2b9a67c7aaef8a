"""Who serves which slot: learned from any node, and kept current.

A node that sends a request elsewhere (MOVED) is believed at once, for that slot; everything else is asked anew soon.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from ambassador.errors import CredentialError, Reason, UpstreamError
from ambassador.protocols.redis.line import ServerLine
from ambassador.protocols.redis.login import login_to
from ambassador.protocols.redis.slot import is_permanent
from ambassador.telemetry import logs
from ambassador.upstreams.upstream import Lease
from ambassador.wire.redis.cluster import Layout, Owners, Redirect, gains, masters_of, parse_slots
from ambassador.wire.redis.keys import SLOTS
from ambassador.wire.redis.messages import Error, bad_message, decode, request
from ambassador.wire.redis.place import Place
from ambassador.wire.redis.reader import Reader
from ambassador.wire.redis.split import TURNS

if TYPE_CHECKING:
    from ambassador.protocols.redis.cluster.nodes import Cluster

_log = logs.logger(__name__)

MOMENT = 0.1
"""Seconds between two questions at least."""

PATIENCE = 2.0
"""Seconds that a node may take to answer before another one is asked."""

MOST_TOLD = 8 << 20
"""Most bytes of an answer."""


class Topology:
    """What is known of one cluster.

    Attributes:
        owners: of each slot the node that serves it, as far as is known.
        epoch: counts the changes of `owners`.
        masters: the nodes that serve slots.
        others: nodes that serve none: replicas.
        turns: in which order a SCAN asks the nodes; one that has gained slots gets a new turn, behind all others, so
            that what came to it meanwhile is found.
        trouble: why the last question had no answer; None once it had one.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.owners: Owners = [None] * SLOTS
        self.epoch = 0
        self.masters: list[Place] = []
        self.others: frozenset[Place] = frozenset()
        self.turns: dict[int, Place] = {}
        self.trouble: UpstreamError | CredentialError | None = None
        self._cluster = cluster
        self._turn = 0
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    @property
    def known(self) -> bool:
        """Whether anything is known yet."""
        return bool(self.masters)

    async def learn(self, wait: float) -> None:
        """Wait until something is known.

        Raises:
            UpstreamError, CredentialError: that was not to be had within `wait` seconds.
        """
        clock = self._cluster.clock
        until = clock.now() + wait
        while not self.known:
            await asyncio.wait({self.refresh()}, timeout=max(PATIENCE, wait))
            hopeless = isinstance(self.trouble, UpstreamError) and is_permanent(self.trouble)
            if not self.known and (hopeless or clock.now() >= until):
                raise self.trouble or UpstreamError(
                    Reason.CONNECT_TIMEOUT, f"no node of {self._cluster.upstream.name} tells who serves which slot"
                )

    def moved(self, redirect: Redirect) -> None:
        """A node says who serves a slot now."""
        if self.owners[redirect.slot] == redirect.place:
            return
        after = self.owners.copy()
        after[redirect.slot] = redirect.place
        self._change(after)
        self.refresh()

    def refresh(self) -> asyncio.Task[None]:
        """Ask soon who serves which slot, unless that is being done."""
        if self._asking is None or self._asking.done():
            work = self._refresh()
            self._asking = self._cluster.tasks.start(work, name=f"slots of {self._cluster.upstream.name}")
        return self._asking

    async def keep_current(self) -> None:
        """Ask every now and then, for ever."""
        while True:
            await self._cluster.clock.sleep(self._cluster.options.cluster_refresh)
            if self._cluster.clients:
                await asyncio.wait({self.refresh()})

    async def _refresh(self) -> None:
        clock, counts = self._cluster.clock, self._cluster.upstream.counts
        await clock.sleep(max(0.0, self._asked_at + MOMENT - clock.now()))
        self._asked_at = clock.now()
        try:
            layout = await self._ask_somebody()
        except (UpstreamError, CredentialError) as error:
            if str(error) != str(self.trouble):
                _log.warning("cluster does not tell its slots", upstream=self._cluster.upstream.name, error=str(error))
            self.trouble = error
            counts.topology_refreshes["error"] += 1
            return
        self.trouble = None
        counts.topology_refreshes["ok"] += 1
        self.others = layout.replicas
        if layout.owners != self.owners:
            self._change(layout.owners)
        self._cluster.retain({*self.masters, *self.others})

    def _change(self, owners: Owners) -> None:
        gained = gains(self.owners, owners)
        self.owners = owners
        before, self.masters = self.masters, masters_of(owners)
        if set(before) != set(self.masters):
            masters = [str(place) for place in self.masters]
            _log.info("cluster's masters changed", upstream=self._cluster.upstream.name, masters=masters)
        self.epoch += 1
        here = set(self.masters)
        self.turns = {turn: place for turn, place in self.turns.items() if place in here and place not in gained}
        for place in gained:
            self._turn = self._turn % (TURNS - 1) + 1
            self.turns[self._turn] = place

    async def _ask_somebody(self) -> Layout:
        """What any node believes; those that we are connected to first."""
        lines = self._cluster.open_lines()
        random.shuffle(lines)
        for line in lines:
            answer = await self._ask_on(line)
            if answer is not None:
                return read_layout(answer, line.lease.connection.endpoint.address.host)
        try:
            return await self._ask_at(await self._cluster.upstream.lease(login_to(2, 0)))
        except (UpstreamError, CredentialError):
            # Those that are written in the configuration may all be gone, and the cluster well.
            for place in (*self.masters, *self.others):
                try:
                    return await self._ask_at(await self._cluster.node(place).reach(login_to(2, 0)))
                except (UpstreamError, CredentialError):
                    continue
            raise

    async def _ask_on(self, line: ServerLine) -> bytes | None:
        """Ask behind everything else; None when it does not answer in time."""
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        line.say("CLUSTER", "SLOTS", then=lambda reply: None if answer.done() else answer.set_result(reply))
        try:
            async with asyncio.timeout(PATIENCE):
                return await answer
        except TimeoutError:
            return None

    async def _ask_at(self, lease: Lease) -> Layout:
        reader = Reader(MOST_TOLD)
        endpoint = lease.connection.endpoint
        try:
            async with asyncio.timeout(PATIENCE):
                lease.stream.write(request("CLUSTER", "SLOTS"))
                while (answer := reader.next_raw()) is None:
                    data = await lease.stream.read()
                    if not data:
                        raise UpstreamError(Reason.UPSTREAM_CLOSED, f"{endpoint} closed the connection")
                    reader.receive(data)
        except (TimeoutError, OSError) as error:
            raise UpstreamError(Reason.CONNECT_TIMEOUT, f"{endpoint} does not answer CLUSTER SLOTS") from error
        finally:
            lease.release()
        return read_layout(answer, endpoint.address.host)


def read_layout(answer: bytes, host: str | None) -> Layout:
    """What a node's answer to CLUSTER SLOTS says.

    Args:
        host: where it was asked, for what it says of itself.

    Raises:
        UpstreamError: it is no node of a cluster, or of one without slots.
    """
    value, _ = decode(answer)
    if isinstance(value, Error):
        text = value.line.decode("utf-8", "replace")
        raise UpstreamError(Reason.UPSTREAM_UNSUPPORTED, f"the server does not tell the slots of a cluster: {text}")
    layout = parse_slots(value, host or "")
    if not layout.masters:
        raise bad_message("nobody serves any slot of the cluster")
    return layout
