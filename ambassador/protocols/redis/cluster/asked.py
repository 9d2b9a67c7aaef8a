"""One request on its way to a node, and again to another one when it has been sent there.

Replies wait in the order in which the client asked. A node that refuses a request because it does not serve the slot
has done nothing, so that it may be asked again elsewhere, whatever it does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ambassador.errors import UpstreamError
from ambassador.kit.clock import ticks
from ambassador.net.taker import NOWHERE, Taker
from ambassador.protocols.redis.cluster.routes import Target
from ambassador.protocols.redis.line import AUTH_REFUSED, ENDED, LOGGED_OUT, LOST, PrivateLine, ServerLine
from ambassador.protocols.redis.owing import Run
from ambassador.wire.redis.cluster import ASKING, parse_redirect
from ambassador.wire.redis.commands import Kind
from ambassador.wire.redis.messages import error, error_word
from ambassador.wire.redis.place import Place
from ambassador.wire.redis.split import Join, Part, join

if TYPE_CHECKING:
    from ambassador.protocols.redis.cluster.order import Ordered

MOST_HOPS = 5
"""How often a request is sent elsewhere at once; from then on the nodes are given time to agree."""

NOT_NOW = frozenset({"TRYAGAIN", "CLUSTERDOWN", "LOADING"})
"""Words of a node that has done nothing, and may do it soon."""

BIG = 65536
"""Bytes of a piece of a reply that is better passed on at once."""


class Entry(Taker):
    """What a client has asked, in the order in which it did.

    Attributes:
        kind: for the counts.
        mute: the client wants no reply.
        pieces: of the reply, as far as it has come and has not been passed on.
        done: it is whole.
        failed: it is an error.
        denied: it is what the listener's policy says.
    """

    __slots__ = ("client", "denied", "done", "failed", "kind", "mute", "pieces", "since")

    def __init__(self, client: Ordered, kind: int) -> None:
        self.client = client
        self.kind = kind
        self.mute = client.mute
        self.since = ticks()
        self.pieces: list[bytes] = []
        self.done = False
        self.failed = False
        self.denied = False

    def finish(self) -> None:
        """The reply is whole."""
        self.done = True
        self.client.arrived(self)


class Said(Entry):
    """What needs no node, or has no hope of one."""

    __slots__ = ()

    def __init__(self, client: Ordered, kind: int, words: bytes) -> None:
        super().__init__(client, kind)
        self.pieces.append(words)
        self.failed = words.startswith(b"-")
        self.done = True


class Asked(Entry):
    """A request that one node answers.

    Attributes:
        data: the request.
        target: what it is for.
        whole: what the reply is a part of: itself, or a `Joined`.
        line: where it was asked last.
        own: that is a connection of its own.
        flowed: a part of the reply has gone to the client.
    """

    __slots__ = ("_asking", "_hops", "_until", "data", "flowed", "line", "own", "retried", "target", "whole")

    def __init__(self, client: Ordered, kind: int, data: bytes, target: Target, *, own: bool = False) -> None:
        super().__init__(client, kind)
        self.data = data
        self.target = target
        self.whole: Entry = self
        self.line: ServerLine | None = None
        self.own = own
        self.flowed = False
        self.retried = False
        self._hops = 0
        self._until = 0.0

    def send(self, line: ServerLine, *, asking: bool = False) -> None:
        """Ask on `line`."""
        self.line = line
        data = self.data
        if asking:
            line.append(Run(None, NOWHERE, 1))
            data = ASKING + data
        run = Run(None, self, 1)
        run.note = self
        line.append(run)
        line.to.take(data)

    # ---- what the line tells

    def take(self, chunk: bytes) -> None:
        """See `Taker`."""
        self.pieces.append(chunk)
        if len(chunk) >= BIG or len(self.pieces) > 1 or self.flowed:
            self.client.flowing(self, len(chunk))

    def answered(self) -> None:
        """See `Note`."""
        if not self.flowed and self.pieces and self.pieces[0][0] == 0x2D:  # a minus
            if self._judge(self.pieces[0]):
                return
            self.failed = True
        self.give_line_back()
        self.finish()

    def lost(self) -> None:
        """See `Note`. Whether it was carried out nobody knows."""
        ends = self.line is not None and self.line.ends
        self.line = None
        if self.flowed:
            self.client.broken_off(ends=ends)
        elif self.kind == Kind.READ and not self.retried and self.client.hub.options.retry_reads and not self.own:
            self.retried = True
            self.pieces.clear()
            self.client.stray(self)
        else:
            self.fail(ENDED if ends else LOST)

    # ---- what becomes of it

    def fail(self, words: bytes) -> None:
        """It is answered by an error of ours."""
        self.pieces = [words]
        self.failed = True
        self.finish()

    def finish(self) -> None:
        """See `Entry`."""
        self.done = True
        if self.whole is self:
            self.client.arrived(self)
        else:
            self.whole.finish()

    def give_line_back(self, *, soiled: bool = False) -> None:
        """The connection of its own is needed no more."""
        line, self.line = self.line, None
        if isinstance(line, PrivateLine) and self.own:
            line.soiled = line.soiled or soiled
            line.hub.give_back(line)

    def _judge(self, reply: bytes) -> bool:
        """An error: True when it is asked again for it, and the client need not know."""
        client, line = self.client, self.line
        if line is None:
            return False
        word = error_word(reply)
        hub = client.hub
        host = line.lease.connection.endpoint.address.host or ""
        redirect = parse_redirect(reply, host) if word in {"MOVED", "ASK"} else None
        if redirect is not None and not isinstance(self.target, Place):
            if not redirect.asks:
                hub.topology.moved(redirect)
            hub.upstream.counts.redirections[word] += 1
            return self._again(None if redirect.asks is False else redirect.place, at_once=self._hops < MOST_HOPS)
        if word in NOT_NOW:
            if word != "TRYAGAIN":
                hub.suspect()
            return self._again(None, at_once=False)
        if word in AUTH_REFUSED:
            line.hub.login_refused(line.version)
            line.retire()
            self.pieces = [LOGGED_OUT]
        elif redirect is not None:
            self.pieces = [error("TRYAGAIN the nodes of the cluster have changed meanwhile; try again")]
        else:
            self.pieces = [line.hub.disguise(reply, client)]
        return False

    def _again(self, asked_at: Place | None, *, at_once: bool) -> bool:
        """Ask again, at the owner of the slot or, for this once, elsewhere; unless that has been tried for too long."""
        now = self.client.hub.clock.now()
        self._until = self._until or now + self.client.hub.options.wait
        if now >= self._until:
            return False
        self._hops += 1
        self.pieces.clear()
        self.give_line_back()
        self.client.stray(self, asked_at, at_once=at_once)
        return True


class Joined(Entry):
    """A request that several nodes answer, each for its part.

    Args:
        how: their replies become one.
        parts: what each answers for, where that matters.
    """

    __slots__ = ("_how", "_parts", "asked")

    def __init__(self, client: Ordered, kind: int, how: Join, parts: Sequence[Part] = ()) -> None:
        super().__init__(client, kind)
        self._how = how
        self._parts = parts
        self.asked: list[Asked] = []

    def ask(self, data: bytes, target: Target) -> Asked:
        """One more part."""
        asked = Asked(self.client, self.kind, data, target)
        asked.whole = self
        self.asked.append(asked)
        return asked

    def finish(self) -> None:
        """See `Entry`: a part has come."""
        if self.done or not all(asked.done for asked in self.asked):
            return
        replies = [b"".join(asked.pieces) for asked in self.asked]
        try:
            reply = self.join(replies)
        except UpstreamError as trouble:
            reply = error(f"ERR {trouble.public}")
        self.failed = reply.startswith(b"-")
        self.pieces = [reply]
        super().finish()

    def join(self, replies: list[bytes]) -> bytes:
        """One reply out of those of the parts."""
        return join(self._how, replies, self._parts, random.randrange)
