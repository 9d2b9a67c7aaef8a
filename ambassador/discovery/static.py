"""Endpoints as written in the configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from ambassador.config.types import Address
from ambassador.discovery.base import Discovery
from ambassador.upstreams.endpoint import Endpoint, EndpointSet


class Static(Discovery):
    """A list that does not change: yields once."""

    def __init__(self, addresses: Iterable[Address]) -> None:
        self.endpoints: EndpointSet = tuple(Endpoint(address) for address in addresses)

    async def watch(self) -> AsyncIterator[EndpointSet]:
        yield self.endpoints
