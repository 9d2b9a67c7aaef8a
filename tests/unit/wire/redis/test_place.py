"""Where a server listens."""

from __future__ import annotations

import pytest

from ambassador.wire.redis.place import Place


@pytest.mark.parametrize(
    ("place", "written"),
    [(Place("db", 1), "db:1"), (Place("10.0.0.1", 6379), "10.0.0.1:6379"), (Place("::1", 2), "[::1]:2")],
)
def test_a_place_is_written_as_an_address(place: Place, written: str) -> None:
    assert str(place) == written
