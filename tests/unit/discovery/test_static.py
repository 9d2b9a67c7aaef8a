"""Endpoints as written."""

from __future__ import annotations

from ambassador.config.address import Address
from ambassador.discovery.static import Static
from ambassador.upstreams.endpoint import Endpoint

ADDRESSES = (Address("b", 2), Address("a", 1), Address(path="/run/s"))


async def test_the_list_is_told_once_in_its_order() -> None:
    static = Static(iter(ADDRESSES))
    assert [endpoints async for endpoints in static.watch()] == [tuple(map(Endpoint, ADDRESSES))]


async def test_it_may_be_watched_again() -> None:
    static = Static(ADDRESSES)
    assert [one async for one in static.watch()] == [one async for one in static.watch()]
    assert static.endpoints == tuple(map(Endpoint, ADDRESSES))
