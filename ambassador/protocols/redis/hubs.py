"""The hubs of all upstreams: which there are, and when one goes that a reload has left behind."""

from __future__ import annotations

from collections.abc import Callable

from ambassador.protocols.redis.hub import Hub
from ambassador.upstreams.upstream import Upstream

UNUSED = 60.0
"""Seconds that connections outlive the last client, unless a reload has put others in their place."""


class Hubs:
    """The hub of each upstream that has clients; one for all listeners, through all reloads."""

    def __init__(self, make: Callable[[Upstream], Hub] = Hub) -> None:
        self._make = make
        self._hubs: dict[Upstream, Hub] = {}

    def of(self, upstream: Upstream) -> Hub:
        """The hub of an upstream, made when first asked for."""
        hub = self._hubs.get(upstream)
        if hub is None:
            self._retire_unused(upstream.name)
            hub = self._hubs[upstream] = self._make(upstream)
        return hub

    def _retire_unused(self, name: str) -> None:
        """What a reload left behind: the hubs of upstreams whose last client is gone; at once where `name` is anew."""
        for upstream, hub in tuple(self._hubs.items()):
            unused = hub.clock.now() - hub.unused_since
            if not hub.clients and (upstream.name == name or unused >= UNUSED):
                del self._hubs[upstream]
                hub.tasks.start(hub.close(), name=f"end of {upstream.name}")

    async def close(self) -> None:
        """End everything now."""
        hubs, self._hubs = self._hubs, {}
        for hub in hubs.values():
            await hub.close()
