"""Which endpoint is next."""

from __future__ import annotations

import random

import pytest

from ambassador.config.address import Address
from ambassador.upstreams.balance import ReadFrom, eligible, order
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.health import EJECT_AFTER, FIRST_EJECTION, Health

ENDPOINTS = tuple(Endpoint(Address("db", port)) for port in range(1, 7))


@pytest.fixture
def health() -> dict[Endpoint, Health]:
    return {endpoint: Health() for endpoint in ENDPOINTS}


def eject(health: Health, now: float = 0.0) -> None:
    for _ in range(EJECT_AFTER):
        health.failed("connect_failed", now)


def test_ordered_keeps_the_configured_order(health: dict[Endpoint, Health]) -> None:
    assert order(ENDPOINTS, health, "ordered", 0.0, random.Random(1)) == list(ENDPOINTS)


def test_the_ejected_come_last_in_their_own_order(health: dict[Endpoint, Health]) -> None:
    eject(health[ENDPOINTS[0]])
    eject(health[ENDPOINTS[2]])
    found = order(ENDPOINTS, health, "ordered", 0.0, random.Random(1))
    assert found == [ENDPOINTS[number] for number in (1, 3, 4, 5, 0, 2)]


def test_one_whose_ejection_is_over_has_its_place_again(health: dict[Endpoint, Health]) -> None:
    eject(health[ENDPOINTS[0]], now=100.0)
    assert order(ENDPOINTS, health, "ordered", 100.0, random.Random(1))[-1] == ENDPOINTS[0]
    assert order(ENDPOINTS, health, "ordered", 100.0 + FIRST_EJECTION, random.Random(1))[0] == ENDPOINTS[0]


def test_a_suspect_keeps_its_place(health: dict[Endpoint, Health]) -> None:
    health[ENDPOINTS[0]].failed("connect_failed", 0.0)
    assert order(ENDPOINTS, health, "ordered", 0.0, random.Random(1))[0] == ENDPOINTS[0]


def test_when_all_are_ejected_all_are_tried(health: dict[Endpoint, Health]) -> None:
    for one in health.values():
        eject(one)
    assert order(ENDPOINTS, health, "ordered", 0.0, random.Random(1)) == list(ENDPOINTS)


def test_random_puts_every_endpoint_first_about_equally_often(health: dict[Endpoint, Health]) -> None:
    rng = random.Random(7)
    first = [order(ENDPOINTS, health, "random", 0.0, rng)[0] for _ in range(600)]
    assert {first.count(endpoint) > 60 for endpoint in ENDPOINTS} == {True}


def test_random_tries_every_endpoint_once_and_the_ejected_last(health: dict[Endpoint, Health]) -> None:
    eject(health[ENDPOINTS[3]])
    rng = random.Random(7)
    for _ in range(50):
        found = order(ENDPOINTS, health, "random", 0.0, rng)
        assert sorted(found, key=str) == sorted(ENDPOINTS, key=str)
        assert found[-1] == ENDPOINTS[3]


def test_no_endpoints_are_no_fault() -> None:
    assert order((), {}, "random", 0.0, random.Random(1)) == []


PRIMARY, *REPLICAS = (
    Endpoint(Address("db", 1), "primary"),
    Endpoint(Address("db", 2), "replica"),
    Endpoint(Address("db", 3), "replica"),
)


@pytest.mark.parametrize(
    ("read_from", "found"),
    [("primary", [PRIMARY]), ("replica", REPLICAS), ("prefer-replica", [*REPLICAS, PRIMARY])],
)
def test_only_wanted_roles_are_tried_the_better_one_first(read_from: ReadFrom, found: list[Endpoint]) -> None:
    known = {endpoint: Health() for endpoint in (PRIMARY, *REPLICAS)}
    assert order(tuple(known), known, "ordered", 0.0, random.Random(1), read_from=read_from) == found
    assert [endpoint for endpoint in known if eligible(endpoint, read_from)] == sorted(found, key=str)


def test_a_primary_that_works_comes_before_a_replica_that_does_not() -> None:
    known = {endpoint: Health() for endpoint in (PRIMARY, *REPLICAS)}
    eject(known[REPLICAS[0]])
    found = order(tuple(known), known, "random", 0.0, random.Random(1), read_from="prefer-replica")
    assert found == [REPLICAS[1], PRIMARY, REPLICAS[0]]


def test_one_of_which_nobody_said_its_role_may_be_any(health: dict[Endpoint, Health]) -> None:
    found = order(ENDPOINTS, health, "ordered", 0.0, random.Random(1), read_from="replica")
    assert found == list(ENDPOINTS)
