"""The connections to one node of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambassador.config.address import Address
from ambassador.protocols.redis.hub import Hub
from ambassador.protocols.redis.line import ServerLine
from ambassador.protocols.redis.slot import Way
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.upstream import Lease, Login
from ambassador.wire.redis.cluster import parse_redirect
from ambassador.wire.redis.messages import Protocol, error, error_word

if TYPE_CHECKING:
    from ambassador.protocols.redis.cluster.nodes import Cluster
    from ambassador.protocols.redis.seat import Seat
    from ambassador.protocols.redis.shared import SharedLine
    from ambassador.wire.redis.place import Place

HAS_MOVED = error("TRYAGAIN the slot of this transaction is moving to another node; begin it again")
ABORTED = error("EXECABORT Transaction discarded because its slot is moving to another node.")


class Node(Hub):
    """One node's connections, shared and private.

    Attributes:
        place: where it listens, as the cluster tells.
        leaving: the cluster has it no more.
    """

    def __init__(self, cluster: Cluster, place: Place) -> None:
        super().__init__(cluster.upstream, cluster.clock)
        self.cluster = cluster
        self.place = place
        self.leaving = False
        self.endpoint = Endpoint(Address(host=place.host, port=place.port))
        self.upstream.counts.owed = lambda: cluster.owed

    def line(self, protocol: Protocol, number: int) -> SharedLine | None:
        """The open shared connection of the client with this number, if there is one now: always the same."""
        slots = self._ways((protocol, 0)) or []
        line = slots[number % len(slots)].line
        return line if line is not None and line.open else None

    async def open_line(self, protocol: Protocol, number: int, wait: float) -> SharedLine:
        """The same, waiting for it; raises as `Slot.get`."""
        slots = self._ways((protocol, 0)) or []
        return await slots[number % len(slots)].get(wait)

    def shared_lines(self) -> list[SharedLine]:
        """The open ones."""
        lines = [slot.line for slots in self._slots.values() for slot in slots]
        return [line for line in lines if line is not None and line.open]

    async def lease(self, way: Way) -> Lease:
        """See `Hub`: the nodes' commands are the same, and asked for once."""
        self._commands = self._commands or self.cluster.table
        lease = await super().lease(way)
        self.cluster.table = self._commands or self.cluster.table
        return lease

    async def reach(self, login: Login) -> Lease:
        """See `Hub`."""
        return await self.upstream.lease_at(self.endpoint, login)

    def keeps(self, endpoint: Endpoint) -> bool:
        """See `Hub`."""
        return endpoint == self.endpoint and not self.leaving

    def leave(self) -> None:
        """The cluster has it no more: what it owes is waited for, nothing more is asked."""
        self.leaving = True
        for line in self.shared_lines():
            line.retire()

    def line_gone(self, line: ServerLine) -> None:
        """See `Hub`. Where it has gone the others may know."""
        super().line_gone(line)
        if not self.closed and not self.leaving and not line.hub.closed:
            self.cluster.suspect()

    def disguise(self, error: bytes, client: Seat) -> bytes:
        """See `Hub`: within a transaction a client cannot be sent elsewhere unseen, but it need not know of nodes."""
        word, in_multi = error_word(error), client.state.multi
        redirect = parse_redirect(error, self.place.host) if word in {"MOVED", "ASK"} else None
        if redirect is not None and not redirect.asks:
            self.cluster.topology.moved(redirect)
        if redirect is None and not (in_multi and word == "TRYAGAIN"):
            return super().disguise(error, client)
        return ABORTED if in_multi and not client.state.begun else HAS_MOVED
