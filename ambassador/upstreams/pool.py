"""Connections to a service, each in the container of its state.

A state is a container: the gauges are the containers' lengths and so cannot lie. `Pool.move` is the only mover.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeAlias

from ambassador.net.stream import Stream
from ambassador.telemetry.metrics import EndpointMetrics
from ambassador.upstreams.endpoint import Endpoint


class State(StrEnum):
    """Where a server connection is in its life."""

    CONNECTING = "connecting"
    LEASED = "leased"
    SHARED = "shared"
    IDLE = "idle"
    CLOSED = "closed"


_MOVES = {
    State.CONNECTING: {State.LEASED, State.CLOSED},
    State.LEASED: {State.SHARED, State.IDLE, State.CLOSED},
    State.SHARED: {State.CLOSED},
    State.IDLE: {State.LEASED, State.CLOSED},
    State.CLOSED: set[State](),
}


class ServerConnection:
    """One socket to an endpoint, stamped with the credential version it logged in with.

    `counts` are its endpoint's, kept here because they outlive the endpoint's place in the configuration. `facts` is
    what the protocol's login learned of the server; only that protocol reads it.
    """

    __slots__ = ("counts", "credential_version", "endpoint", "facts", "state", "stream")

    def __init__(self, endpoint: Endpoint, credential_version: int | None, counts: EndpointMetrics) -> None:
        self.endpoint = endpoint
        self.counts = counts
        self.credential_version = credential_version
        self.state = State.CONNECTING
        self.stream: Stream | None = None
        self.facts: Any = None


Moved: TypeAlias = Callable[[ServerConnection, State | None, State], None]
"""Called after each move with the connection, the state it left (None: it is new) and the one it is in."""


Restamped: TypeAlias = Callable[[ServerConnection, int | None], None]
"""Called after a connection got another credential version, with the one it had."""


class Pool:
    """All connections of one upstream."""

    def __init__(self, moved: Moved, restamped: Restamped = lambda *_: None) -> None:
        self._moved = moved
        self._restamped = restamped
        self._members: dict[State, set[ServerConnection]] = {
            state: set() for state in State if state is not State.CLOSED
        }

    def add(self, connection: ServerConnection) -> None:
        """Take in a connection that is about to be opened."""
        self._members[connection.state].add(connection)
        self._moved(connection, None, connection.state)

    def move(self, connection: ServerConnection, state: State) -> None:
        """Carry `connection` to another state. Moving to the state it is in does nothing."""
        if state is connection.state:
            return
        if state not in _MOVES[connection.state]:
            raise AssertionError(f"a server connection cannot go from {connection.state} to {state}")
        before = connection.state
        self._members[before].discard(connection)
        connection.state = state
        if state in self._members:
            self._members[state].add(connection)
        self._moved(connection, before, state)

    def restamp(self, connection: ServerConnection, version: int) -> None:
        """`connection` has shown the credential of `version` without logging in anew."""
        before, connection.credential_version = connection.credential_version, version
        self._restamped(connection, before)

    def count(self, state: State) -> int:
        """How many are in `state`."""
        return len(self._members[state])
