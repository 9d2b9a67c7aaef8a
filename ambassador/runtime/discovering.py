"""Carries what discoveries find to the upstreams, for as long as anybody uses them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from weakref import WeakSet

from ambassador.discovery.base import Discovery
from ambassador.kit.latch import Latches
from ambassador.kit.tasks import Tasks
from ambassador.runtime.world import Commons, World
from ambassador.telemetry import logs
from ambassador.upstreams.endpoint import EndpointSet

_log = logs.logger(__name__)

LAST_MOMENTS = 2.0


class Discovering:
    """The keepers of a daemon's discoveries.

    Args:
        latches: gets one for each upstream of which nobody knows yet where it is.
        moved: called with an upstream's name when its endpoints have changed.
        tasks: where the keepers run.
    """

    def __init__(self, commons: Commons, latches: Latches, tasks: Tasks, moved: Callable[[str], None]) -> None:
        self._commons = commons
        self._latches = latches
        self._tasks = tasks
        self._moved = moved
        self._running: dict[str, tuple[Discovery, asyncio.Task[None]]] = {}

    def enlist(self, after: World) -> None:
        """Upstreams of `after` are in force. Those before them, which clients still use, get the same endpoints."""
        for name, upstream in after.upstreams.items():
            known = self._commons.upstreams.setdefault(name, WeakSet())
            known.add(upstream)
            for one in tuple(known):
                one.replace(upstream.endpoints)

    async def move(self, after: World) -> None:
        """Run the discoveries of `after` and no others; those that ran already go on."""
        for name, (discovery, task) in tuple(self._running.items()):
            if after.discoveries.get(name) is not discovery:
                del self._running[name]
                task.cancel()
                await asyncio.wait({task}, timeout=LAST_MOMENTS)
        self._hold(after)
        for name, discovery in after.discoveries.items():
            if name not in self._running:
                work = self._follow(name, discovery)
                self._running[name] = discovery, self._tasks.start(work, name=f"discovery of {name}")

    def _hold(self, world: World) -> None:
        """Not ready before every upstream that a listener leads to is somewhere."""
        for name in self._latches.held:
            if name.startswith("endpoints "):
                self._latches.release(name)
        for name, upstream in world.upstreams.items():
            if not upstream.endpoints:
                self._latches.hold(f"endpoints {name}")

    async def _follow(self, name: str, discovery: Discovery) -> None:
        async with aclosing(discovery.watch()) as found:
            async for endpoints in found:
                self._found(name, endpoints)

    def _found(self, name: str, endpoints: EndpointSet) -> None:
        upstreams = tuple(self._commons.upstreams[name])
        if any(upstream.endpoints != endpoints for upstream in upstreams):
            roles = {"primary": _listed(endpoints, "primary"), "replicas": _listed(endpoints, "replica")}
            _log.info("endpoints changed", upstream=name, **(roles if any(roles.values()) else {}), of=len(endpoints))
        for upstream in upstreams:
            upstream.replace(endpoints)
        self._commons.metrics.upstream(name).retain(map(str, endpoints))
        self._latches.release(f"endpoints {name}")
        self._moved(name)


def _listed(endpoints: EndpointSet, role: str) -> str:
    return ", ".join(str(endpoint) for endpoint in endpoints if endpoint.role == role)
