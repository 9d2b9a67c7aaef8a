"""An endpoint is a value."""

from __future__ import annotations

import pytest

from ambassador.config.address import Address
from ambassador.upstreams.endpoint import Endpoint


@pytest.mark.parametrize("text", ["db.example.com:5432", "[::1]:5432", "unix:/run/db.sock"])
def test_an_endpoint_reads_as_its_address_is_written(text: str) -> None:
    assert str(Endpoint(Address.parse(text))) == text


def test_two_with_equal_addresses_are_the_same_endpoint() -> None:
    first, second = Endpoint(Address("db", 5432)), Endpoint(Address("db", 5432))
    assert first == second
    assert {first: "kept"}[second] == "kept"
    assert first != Endpoint(Address("db", 5433))


def test_a_server_that_changed_its_role_is_another_endpoint_at_the_same_address() -> None:
    before, after = Endpoint(Address("db", 5432), "primary"), Endpoint(Address("db", 5432), "replica")
    assert before != after
    assert str(before) == str(after)
