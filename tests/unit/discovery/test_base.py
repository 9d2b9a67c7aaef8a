"""What every discovery is."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator

import pytest

from ambassador import registry
from ambassador.config.model import Model
from ambassador.credentials.store import Store
from ambassador.discovery.base import Discovery
from ambassador.upstreams.endpoint import EndpointSet


@pytest.mark.parametrize("name", sorted(registry.DISCOVERIES))
def test_every_discovery_of_the_registry_is_one(name: str) -> None:
    found = registry.resolve("discoveries", name)
    assert issubclass(found, Discovery)
    assert issubclass(found.Options, Model)
    assert not inspect.isabstract(found)


def test_a_discovery_must_watch() -> None:
    with pytest.raises(TypeError, match="watch"):
        Discovery("orders", Model(), Store())  # type: ignore[abstract]  # which is what is tested


def test_one_that_asks_nobody_needs_nothing() -> None:
    class Silent(Discovery):
        Options = Model

        async def watch(self) -> AsyncGenerator[EndpointSet]:
            yield ()

    silent = Silent("orders", Model(), Store())
    assert (silent.known, silent.trouble, silent.tls, silent.issuer, silent.credentials()) == ((), "", None, None, ())
