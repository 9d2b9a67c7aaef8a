"""What every discovery is."""

from __future__ import annotations

import pytest

from ambassador import registry
from ambassador.discovery.base import Discovery


@pytest.mark.parametrize("name", registry.DISCOVERIES)
def test_every_discovery_of_the_registry_is_one(name: str) -> None:
    assert issubclass(registry.resolve("discoveries", name), Discovery)


def test_a_discovery_must_watch() -> None:
    with pytest.raises(TypeError, match="watch"):
        Discovery()  # type: ignore[abstract]  # which is what is tested
