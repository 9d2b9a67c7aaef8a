"""What is counted as connections move: held against a model on random walks over the pool's moves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambassador.config.address import Address
from ambassador.credentials.store import Store
from ambassador.telemetry.metrics import CredentialMetrics, EndpointMetrics
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.ledger import Ledger
from ambassador.upstreams.pool import Pool, ServerConnection, State

NAME = "orders-db"
ENDPOINT = Endpoint(Address("db", 5432))
VERSIONS = (1, 2, 3)
MOVES = {
    State.CONNECTING: (State.LEASED, State.CLOSED),
    State.LEASED: (State.SHARED, State.IDLE, State.CLOSED),
    State.SHARED: (State.CLOSED,),
    State.IDLE: (State.LEASED, State.CLOSED),
    State.CLOSED: (State.CLOSED,),
}
"""Also what is released twice."""


class Books:
    """A pool and all that counts its connections."""

    def __init__(self, credential: str | None = NAME, *, metered: bool = True) -> None:
        self.store = Store()
        self.metrics = CredentialMetrics()
        self.counts = EndpointMetrics()
        self.ledger = Ledger(credential, self.store, self.metrics if metered else None)
        self.pool = Pool(self.ledger.moved, self.ledger.restamped)

    def open(self, version: int | None = 1) -> ServerConnection:
        connection = ServerConnection(ENDPOINT, version, self.counts)
        self.pool.add(connection)
        return connection

    @property
    def used(self) -> dict[int, int]:
        """How many connections use each version."""
        return {version: count for version in VERSIONS if (count := self.store.in_use(NAME, version))}

    @property
    def metered(self) -> dict[int, int]:
        return {version: count for version, count in self.metrics.connections.items() if count}

    @property
    def states(self) -> dict[str, int]:
        return {state: count for state, count in self.counts.states.items() if count}


def test_a_connection_uses_its_credential_from_before_its_login() -> None:
    books = Books()
    connection = books.open()
    assert (books.used, books.metered) == ({1: 1}, {})
    books.pool.move(connection, State.LEASED)
    assert (books.used, books.metered) == ({1: 1}, {1: 1})
    books.pool.move(connection, State.CLOSED)
    assert (books.used, books.metered, books.states) == ({}, {}, {})


def test_a_login_that_fails_gives_it_back() -> None:
    books = Books()
    books.pool.move(books.open(), State.CLOSED)
    assert (books.used, books.metered) == ({}, {})


def test_one_that_shows_a_newer_one_gives_the_old_one_back() -> None:
    books = Books()
    connection = books.open()
    books.pool.move(connection, State.LEASED)
    books.pool.restamp(connection, 2)
    assert (books.used, books.metered) == ({2: 1}, {2: 1})
    books.pool.restamp(connection, 2)
    assert books.used == {2: 1}
    books.pool.move(connection, State.CLOSED)
    books.pool.restamp(connection, 3)
    assert (books.used, books.metered) == ({}, {})


def test_one_that_had_shown_none_uses_what_it_shows_now() -> None:
    books = Books()
    connection = books.open(None)
    books.pool.move(connection, State.LEASED)
    assert books.used == {}
    books.pool.restamp(connection, 1)
    assert (books.used, books.metered) == ({1: 1}, {1: 1})


def test_where_no_credential_is_configured_nothing_is_used() -> None:
    books = Books(None)
    connection = books.open()
    books.pool.move(connection, State.LEASED)
    books.pool.restamp(connection, 2)
    assert (books.used, books.metered, books.states) == ({}, {}, {State.LEASED: 1})


def test_users_are_counted_though_there_is_no_metric() -> None:
    books = Books(metered=False)
    connection = books.open()
    books.pool.move(connection, State.LEASED)
    books.pool.restamp(connection, 2)
    books.ledger.ended("cut")
    assert (books.used, books.metered) == ({2: 1}, {})
    books.pool.move(connection, State.CLOSED)
    assert books.used == {}


@pytest.mark.parametrize("how", ["left", "cut"])
def test_ends_are_counted_by_how(how: str) -> None:
    books = Books()
    books.ledger.ended("left" if how == "left" else "cut")
    assert books.metrics.ended == {"left": 0, "cut": 0} | {how: 1}


Step = tuple[int, int, int | None]
"""Which connection, which of the moves it may make, and what it shows instead."""

steps = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5), st.none() | st.sampled_from(VERSIONS)), max_size=60)


@given(steps, st.lists(st.sampled_from((None, *VERSIONS)), min_size=8, max_size=8))
def test_nothing_leaks_and_nothing_is_counted_twice(walk: list[Step], stamps: list[int | None]) -> None:
    books = Books()
    connections = [books.open(stamp) for stamp in stamps]
    for which, move, stamp in walk:
        connection = connections[which]
        if stamp is not None and connection.state is not State.CONNECTING:  # nothing is shown before the login
            books.pool.restamp(connection, stamp)
        else:
            choices = MOVES[connection.state]
            books.pool.move(connection, choices[move % len(choices)])
        there = [one for one in connections if one.state is not State.CLOSED]
        stamped = [one for one in there if one.credential_version is not None]
        assert books.used == dict(Counter(one.credential_version for one in stamped))
        open_now = [one for one in stamped if one.state is not State.CONNECTING]
        assert books.metered == dict(Counter(one.credential_version for one in open_now))
        assert books.states == dict(Counter(one.state for one in there))
    for connection in connections:
        books.pool.move(connection, State.CLOSED)
    assert (books.used, books.metered, books.states) == ({}, {}, {})
