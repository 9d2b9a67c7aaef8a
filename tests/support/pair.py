"""Both sides of a PostgreSQL login with nothing between them: no socket, no loop, no time."""

from __future__ import annotations

from ambassador.wire.postgres.login.client import ClientLogin
from ambassador.wire.postgres.login.events import ClientEvent, ServerEvent
from ambassador.wire.postgres.login.server import ServerLogin
from tests.support.splits import in_pieces


class Pair:
    """A server and a client machine, and the wire between them.

    Args:
        piece: the wire delivers this many bytes at a time.
    """

    def __init__(self, server: ServerLogin, client: ClientLogin, *, piece: int = 1 << 20) -> None:
        self.server = server
        self.client = client
        self._piece = piece

    def pump(self) -> list[ServerEvent | ClientEvent]:
        """Carry bytes to and fro until both are silent; what happened, in order. Errors of either side are raised."""
        events: list[ServerEvent | ClientEvent] = []
        while True:
            events += self._happened()
            to_server, to_client = self.client.to_send(), self.server.to_send()
            if not to_server and not to_client:
                return events
            for piece in in_pieces(to_server, self._piece):
                self.server.receive(piece)
                events += self._happened()
            for piece in in_pieces(to_client, self._piece):
                self.client.receive(piece)
                events += self._happened()

    def _happened(self) -> list[ServerEvent | ClientEvent]:
        events: list[ServerEvent | ClientEvent] = []
        for machine in (self.server, self.client):
            while (event := machine.next_event()) is not None:
                events.append(event)
        return events
