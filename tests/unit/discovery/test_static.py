"""Endpoints as written in the configuration."""

from __future__ import annotations

from contextlib import aclosing

from ambassador.config.types import Address
from ambassador.credentials.store import Store
from ambassador.discovery.static import Static, StaticOptions
from ambassador.upstreams.endpoint import Endpoint

ADDRESSES = (Address("db1", 5432), Address("db2", 5432))


def static() -> Static:
    return Static("orders", StaticOptions(endpoints=ADDRESSES), Store())


async def test_it_yields_the_configured_addresses_once_and_in_order() -> None:
    async with aclosing(static().watch()) as found:
        assert [endpoints async for endpoints in found] == [tuple(map(Endpoint, ADDRESSES))]


def test_its_endpoints_are_known_without_asking() -> None:
    assert static().known == tuple(map(Endpoint, ADDRESSES))


def test_it_is_read_from_a_file_as_endpoints_are() -> None:
    assert StaticOptions.model_validate({"endpoints": "db1:5432"}).endpoints == ADDRESSES[:1]
