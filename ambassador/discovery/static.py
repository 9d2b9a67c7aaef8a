"""Endpoints as written in the configuration."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from ambassador.config.model import Model
from ambassador.config.types import Addresses
from ambassador.credentials.store import Store
from ambassador.discovery.base import Discovery
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.upstreams.endpoint import Endpoint, EndpointSet


class StaticOptions(Model):
    """A list, as `endpoints` of the upstream itself would be."""

    endpoints: Addresses
    """Address or addresses."""


class Static(Discovery):
    """A list that does not change: yields once."""

    Options = StaticOptions
    options: StaticOptions

    def __init__(self, name: str, options: Any, store: Store, clock: Clock = SYSTEM) -> None:
        super().__init__(name, options, store, clock)
        self.known: EndpointSet = tuple(Endpoint(address) for address in self.options.endpoints)

    async def watch(self) -> AsyncGenerator[EndpointSet]:
        yield self.known
