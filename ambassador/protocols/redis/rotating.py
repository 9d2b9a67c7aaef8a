"""A new credential, and the end of an old one: which connections are replaced, which show the new one, which are left.

A connection that many share is replaced, and one of a client's own shows the new credential between two commands. What
can do neither (a transaction is open, a subscriber speaks RESP2, a new login was refused) is left as soon as that costs
nobody anything once its credential ends soon, and closed when it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambassador.protocols.redis.line import PrivateLine, ServerLine
from ambassador.protocols.redis.shared import SharedLine
from ambassador.upstreams.ledger import How

if TYPE_CHECKING:
    from ambassador.credentials.credential import Credential
    from ambassador.protocols.redis.hub import Hub


class Rotating:
    """Sees to the connections of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._ends = (hub.upstream.on_rotation(self._rotated), hub.upstream.on_ending(self._ending))

    def close(self) -> None:
        """See to nothing any more."""
        for end in self._ends:
            end()

    def end(self, line: ServerLine, how: How) -> None:
        """Close a connection because what it has shown ends."""
        if not line.gone:
            line.ends = True
            self._hub.upstream.ended(how)
            line.drop()

    def _rotated(self, credential: Credential) -> None:
        """A new credential: each shared connection is replaced by one that uses it, each lent one shows it."""
        for line in tuple(self._hub.live):
            if line.version == credential.version:
                continue
            if isinstance(line, SharedLine):
                self._hub.supersede(line)
            elif line.is_idle:
                line.drop()
        for client in tuple(self._hub.clients):
            client.rotated()

    def _ending(self, version: int, final: bool) -> None:
        for line in tuple(self._hub.live):
            if line.version != version:
                continue
            if final:
                shared_in_vain = isinstance(line, SharedLine) and not line.owed
                self.end(line, "left" if shared_in_vain or line.is_idle else "cut")
            elif line.is_outlived:
                self._leave(line)

    def _leave(self, line: ServerLine) -> None:
        if isinstance(line, SharedLine):
            self._hub.supersede(line)
        elif line.is_idle:
            self.end(line, "left")
        elif isinstance(line, PrivateLine) and line.moved is not None:
            line.moved()
