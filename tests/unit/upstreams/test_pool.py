"""Connections by state: the containers and the one mover."""

from __future__ import annotations

import pytest

from ambassador.config.address import Address
from ambassador.telemetry.metrics import EndpointMetrics
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.pool import Pool, ServerConnection, State

ENDPOINT = Endpoint(Address("db", 5432))

Move = tuple[ServerConnection, State | None, State]


@pytest.fixture
def moves() -> list[Move]:
    return []


@pytest.fixture
def pool(moves: list[Move]) -> Pool:
    return Pool(lambda connection, before, after: moves.append((connection, before, after)))


def test_a_connection_lives_from_connecting_to_closed(pool: Pool, moves: list[Move]) -> None:
    connection = ServerConnection(ENDPOINT, 3, EndpointMetrics())
    pool.add(connection)
    assert (pool.count(State.CONNECTING), pool.count(State.LEASED)) == (1, 0)
    pool.move(connection, State.LEASED)
    assert (pool.count(State.CONNECTING), pool.count(State.LEASED)) == (0, 1)
    pool.move(connection, State.CLOSED)
    assert (pool.count(State.CONNECTING), pool.count(State.LEASED)) == (0, 0)
    assert moves == [
        (connection, None, State.CONNECTING),
        (connection, State.CONNECTING, State.LEASED),
        (connection, State.LEASED, State.CLOSED),
    ]


def test_a_connection_that_never_opened_is_closed(pool: Pool) -> None:
    connection = ServerConnection(ENDPOINT, None, EndpointMetrics())
    pool.add(connection)
    pool.move(connection, State.CLOSED)
    assert pool.count(State.CONNECTING) == 0


def test_moving_to_the_same_state_tells_nobody(pool: Pool, moves: list[Move]) -> None:
    connection = ServerConnection(ENDPOINT, None, EndpointMetrics())
    pool.add(connection)
    moves.clear()
    pool.move(connection, State.CONNECTING)
    pool.move(connection, State.CLOSED)
    pool.move(connection, State.CLOSED)
    assert moves == [(connection, State.CONNECTING, State.CLOSED)]


@pytest.mark.parametrize("back", [State.CONNECTING, State.LEASED])
def test_nothing_comes_back_from_closed(pool: Pool, back: State) -> None:
    connection = ServerConnection(ENDPOINT, None, EndpointMetrics())
    pool.add(connection)
    pool.move(connection, State.CLOSED)
    with pytest.raises(AssertionError, match="cannot go from closed"):
        pool.move(connection, back)


def test_a_leased_connection_does_not_connect_again(pool: Pool) -> None:
    connection = ServerConnection(ENDPOINT, None, EndpointMetrics())
    pool.add(connection)
    pool.move(connection, State.LEASED)
    with pytest.raises(AssertionError, match="cannot go from leased to connecting"):
        pool.move(connection, State.CONNECTING)


def test_a_connection_is_shared_by_many_to_its_end(pool: Pool) -> None:
    connection = ServerConnection(ENDPOINT, None, EndpointMetrics())
    pool.add(connection)
    pool.move(connection, State.LEASED)
    pool.move(connection, State.SHARED)
    assert (pool.count(State.LEASED), pool.count(State.SHARED)) == (0, 1)
    for state in (State.LEASED, State.IDLE, State.CONNECTING):
        with pytest.raises(AssertionError, match="cannot go from shared"):
            pool.move(connection, state)
    pool.move(connection, State.CLOSED)
    assert pool.count(State.SHARED) == 0


def test_a_connection_is_kept_and_leased_again(pool: Pool, moves: list[Move]) -> None:
    connection = ServerConnection(ENDPOINT, None, EndpointMetrics())
    pool.add(connection)
    for state in (State.LEASED, State.IDLE, State.LEASED, State.IDLE):
        pool.move(connection, state)
        assert [one for one in State if one is not State.CLOSED and pool.count(one)] == [state]
    with pytest.raises(AssertionError, match="cannot go from idle to shared"):
        pool.move(connection, State.SHARED)
    pool.move(connection, State.CLOSED)
    assert moves[-1] == (connection, State.IDLE, State.CLOSED)


def test_a_newer_credential_is_told_with_the_one_before() -> None:
    told: list[tuple[int | None, int | None]] = []
    pool = Pool(lambda *_: None, lambda connection, before: told.append((before, connection.credential_version)))
    connection = ServerConnection(ENDPOINT, 3, EndpointMetrics())
    pool.add(connection)
    pool.restamp(connection, 4)
    pool.restamp(connection, 5)
    assert told == [(3, 4), (4, 5)]


def test_whoever_does_not_want_to_hear_of_it_need_not(pool: Pool) -> None:
    connection = ServerConnection(ENDPOINT, None, EndpointMetrics())
    pool.add(connection)
    pool.restamp(connection, 1)
    assert connection.credential_version == 1
