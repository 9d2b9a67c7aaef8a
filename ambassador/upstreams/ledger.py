"""What is counted as the connections of an upstream move: its endpoints' states, and who uses which credential."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ambassador.credentials.store import Store
from ambassador.telemetry.metrics import CredentialMetrics
from ambassador.upstreams.pool import ServerConnection, State

How: TypeAlias = Literal["left", "cut"]
"""How a connection ended because its credential did: at a safe point, or at the very end."""


class Ledger:
    """Is told of each move of a pool.

    Args:
        credential: the name of what the connections show; None: nothing.
        store: is told who uses it. A login under way counts there, unlike in `metrics`.
    """

    def __init__(self, credential: str | None, store: Store, metrics: CredentialMetrics | None) -> None:
        self._credential = credential
        self._store = store
        self._metrics = metrics

    def moved(self, connection: ServerConnection, before: State | None, after: State) -> None:
        """See `pool.Moved`."""
        states, version = connection.counts.states, connection.credential_version
        if before is not None:
            states[before] -= 1
        if after is not State.CLOSED:
            states[after] += 1
        if self._credential is None or version is None:
            return
        if before is None:
            self._store.taken(self._credential, version)
        if after is State.CLOSED:
            self._store.left(self._credential, version)
        if self._metrics is None:
            return
        if before is State.CONNECTING and after is not State.CLOSED:
            self._metrics.connected(version)
        elif after is State.CLOSED and before is not State.CONNECTING:
            self._metrics.disconnected(version)

    def restamped(self, connection: ServerConnection, before: int | None) -> None:
        """See `pool.Restamped`."""
        name, version = self._credential, connection.credential_version
        if name is None or connection.state is State.CLOSED:
            return
        if version is not None:
            self._store.taken(name, version)
        if before is not None:
            self._store.left(name, before)
        if self._metrics is not None:
            if before is not None:
                self._metrics.disconnected(before)
            if version is not None:
                self._metrics.connected(version)

    def ended(self, how: How) -> None:
        """A connection has ended because its credential did."""
        if self._metrics is not None:
            self._metrics.ended[how] += 1
