"""One client of a cluster: its requests go to many nodes, and the replies come in the order in which it asked.

Nearly everything goes over the nodes' shared connections, request by request. What needs a connection of its own gets
one at the node that it is for. Whenever the order might suffer (a slot has moved, a connection is replaced) nothing
more is taken from the client until it is owed nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ambassador.errors import ClientError, Reason
from ambassador.protocols.base import Downstream
from ambassador.protocols.redis import specials
from ambassador.protocols.redis.cluster import serve, subscriptions, transactions
from ambassador.protocols.redis.cluster.asked import Asked, Joined
from ambassador.protocols.redis.cluster.node import Node
from ambassador.protocols.redis.cluster.nodes import Cluster
from ambassador.protocols.redis.cluster.order import MOST_ASKED, Ordered
from ambassador.protocols.redis.cluster.routes import HOME, Route, Target
from ambassador.protocols.redis.cluster.transactions import Transaction
from ambassador.protocols.redis.line import PrivateLine
from ambassador.protocols.redis.rules import Rules
from ambassador.protocols.redis.shared import SharedLine
from ambassador.protocols.redis.state import Pin, Silence
from ambassador.wire.redis.commands import Code, Kind, kind_of
from ambassador.wire.redis.keys import slot
from ambassador.wire.redis.login import Pairs
from ambassador.wire.redis.messages import Protocol, error, parse_inline, request
from ambassador.wire.redis.place import Place
from ambassador.wire.redis.requests import EMPTY, INLINE, LARGE, PLAIN, SPECIAL
from ambassador.wire.redis.split import Join, words_of

if TYPE_CHECKING:
    from ambassador.access.base import Principal

MOST_REQUEST = 64 << 20
"""Most bytes of a request: it is held until it is known which node it is for."""


class ClusterClient(Ordered):
    """See `Conversation`.

    Attributes:
        transaction: what is known of the one that is open.
        wrote: the node that it wrote to last.
        aim: where its next connection of its own is to lead.
        watches: the slots of the keys that it has watched on the one it has.
    """

    __slots__ = ("_begun", "_lines", "aim", "transaction", "watches", "wrote")

    def __init__(self, downstream: Downstream, hub: Cluster, rules: Rules, principal: Principal) -> None:
        super().__init__(downstream, hub, rules, principal)
        self.walk.large = MOST_REQUEST
        self.transaction: Transaction | None = None
        self.wrote: Place | None = None
        self.aim: Target = HOME
        self.watches: frozenset[Target] = frozenset()
        self._lines: dict[Place, SharedLine] = {}
        self._begun = bytearray()  # a request

    # ---- requests

    def _walk_on(self, chunk: bytes) -> None:
        walk, size, start = self.walk, len(chunk), 0
        while start < size:
            end = walk.advance(chunk, start)
            if walk.stop == SPECIAL:
                piece = chunk[start:end]
                if self._begun:
                    piece = bytes(self._begun) + piece
                    self._begun = bytearray()
                self._hear(walk.code, piece)
            else:
                self._begun += chunk[start:end]
                if walk.stop == LARGE:
                    raise ClientError(Reason.BAD_MESSAGE, "Protocol error: too big request for a cluster")
            if self.halted:
                self.kept = chunk[end:]
                return
            start = end

    def _hear(self, code: int, data: bytes) -> None:
        """One whole request."""
        if code == EMPTY:
            return
        if self.state.raw:
            specials.say_raw(self, data, line=code == INLINE)
            return
        words = parse_inline(data) if code == INLINE else words_of(data)
        if words and not self._pass_now(words, data if code != INLINE else request(*words)):
            self.halt(partial(serve.serve, self, words))

    def _pass_now(self, words: list[bytes], data: bytes) -> bool:
        """Ask what can be asked at once."""
        state = self.state
        if self.principal is None or state.silence is Silence.NEXT or state.lost:
            return False
        name = words[0].upper()
        code = self.rules.classes.get(name, Code.UNKNOWN)
        if state.multi:
            return transactions.pass_now(self, code, words, data)
        if self.pin is not None and state.confined:
            return False
        if code == Code.JUDGED and self.owed == len(self.queue):
            refusal, code = self.rules.judge(words), self.rules.code_of(name)
            if refusal is not None:
                self.say(kind_of(code), error(refusal), denied=True)
                return True
        if code >= PLAIN:
            begins = code == Code.MULTI and len(words) == 1 and self.pin is None and self.leaving is None
            return begins and self._begin()
        return name != serve.SCAN and self._pass_plain(name, code, words, data)

    def _pass_plain(self, name: bytes, code: int, words: list[bytes], data: bytes) -> bool:
        place = self.hub.routes.single.get(name, 0)
        if place and len(words) > place:
            return self._ask_one(code, data, slot(words[place]))
        return self.ask(code, words, data)

    def end_transaction(self) -> None:
        """See `Seat`."""
        super().end_transaction()
        self.transaction = None

    def _begin(self) -> bool:
        """MULTI: which node it is for, only its first key tells."""
        self.state.multi = True
        self.transaction = Transaction()
        self.say(Kind.TRANSACTION, b"+OK\r\n")
        return True

    def ask(self, code: int, words: list[bytes], data: bytes) -> bool:
        """Ask a plain request, of one node or of several; False when that cannot be done at once."""
        if self.owed != len(self.queue):
            return False
        try:
            route = self.hub.routes.find(words)
        except ClientError as refused:
            self.say(code, error(refused.public))
            return True
        if route.how is None:
            return self._ask_one(code, data, route.target)
        return self._ask_many(code, data, route, route.how)

    def _ask_one(self, kind: int, data: bytes, target: Target) -> bool:
        line = self.line_to(target)
        if line is None:
            return False
        asked = Asked(self, kind, data, target)
        self.enqueue(asked)
        asked.send(line)
        self._mind(kind, line)
        return True

    def _ask_many(self, kind: int, data: bytes, route: Route, how: Join) -> bool:
        targets: list[Target] = self.targets(route)
        lines = [self.line_to(target) for target in targets]
        if None in lines or not lines:
            return False
        joined = Joined(self, kind, how, route.parts)
        pieces = [request(*part.words) for part in route.parts] if route.parts else [data] * len(targets)
        self.enqueue(joined)
        asked = [joined.ask(piece, target) for piece, target in zip(pieces, targets, strict=True)]
        for one, line in zip(asked, lines, strict=True):
            if line is not None:
                one.send(line)
                self._mind(kind, line)
        return True

    def targets(self, route: Route) -> list[Target]:
        """What a request is for."""
        if route.every:
            return list(self.hub.topology.masters)
        return [part.slot for part in route.parts] if route.parts else [route.target]

    def _mind(self, kind: int, line: SharedLine) -> None:
        """What follows from having asked."""
        if kind == Kind.WRITE and isinstance(line.hub, Node):
            self.wrote = line.hub.place
        if line.choked:
            self.halted = True
            self._steer()
            line.when_free(self._unstall)
        elif len(self.queue) >= MOST_ASKED:
            self.halted = True
            self._steer()

    def line_to(self, target: Target) -> SharedLine | None:
        """The open connection for a target, if there is one and the order will not suffer."""
        topology = self.hub.topology
        if self.epoch != topology.epoch:
            if self.queue:
                return None
            self.epoch = topology.epoch
            self._lines.clear()
        if self.strays or self.owed != len(self.queue):
            return None
        place = self.hub.place_of(target)
        if place is None:
            return None
        line = self._lines.get(place)
        if line is None or not line.open or line.protocol != self.state.protocol:
            if line is not None and self.queue:
                return None
            line = self.hub.node(place).line(self.state.protocol, self.number)
            if line is not None:
                self._lines[place] = line
        return line

    async def opened(self, target: Target) -> None:
        """Wait for the connection to a target.

        Raises:
            UpstreamError, CredentialError: none was to be had.
        """
        await self.hub.open(target, self.state.protocol, self.number)

    async def ask_alone(self, code: int, words: list[bytes], target: Target, why: Pin) -> None:
        """Ask on a connection of its own, and take nothing more from the client until that is answered.

        Raises:
            UpstreamError, CredentialError: none was to be had.
        """
        line = await self.hub.own(target, self.way)
        asked = Asked(self, code, request(*words), target, own=True)
        self.enqueue(asked)
        asked.send(line)
        self.hub.pinned(why)
        self.state.why = why
        if why is Pin.BLOCKING:
            self.state.blocking += 1
            self._steer()  # to hear of it when the client has gone
        try:
            await self.settled()
        finally:
            self.hub.unpinned(why)
            if why is Pin.BLOCKING:
                self.state.blocking -= 1
            asked.give_line_back(soiled=True)

    # ---- as a conversation

    def look(self) -> None:
        """See `Seat`: every request is looked at in any case."""

    async def take_pin(self, why: Pin) -> PrivateLine:
        """See `Seat`: at the node that is aimed at."""
        if self.pin is None:
            self.hold_pin(await self.hub.own(self.aim, self.way), why)
        return await super().take_pin(why)

    async def greet(self, protocol: Protocol) -> Pairs:
        """See `Seat`."""
        line = await self.hub.open(HOME, protocol, self.number)
        if line.facts.hello is None:
            raise ClientError(Reason.UNSUPPORTED, "ERR unknown command 'HELLO'")
        self._lines.clear()
        return list(line.facts.hello)

    def free_pin(self) -> None:
        """What comes next may be for another node: keep a connection of its own only as long as there is a reason."""
        if self.pin is not None and self.state.is_free:
            self.let_pin_go()

    def start_over(self) -> None:
        """See `Conversation`."""
        self.transaction = None
        self._lines.clear()
        super().start_over()

    def burdened(self) -> None:
        """See `Asking`: others wait for nobody here."""

    def hear_again(self) -> None:
        """See `Seat`."""
        if self.deaf and not self._working and self._job is None:
            self.halt(partial(subscriptions.listen_again, self))
