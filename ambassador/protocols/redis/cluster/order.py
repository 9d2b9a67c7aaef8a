"""Replies in the order in which a client asked, whatever nodes they come from; and requests that are sent elsewhere."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ambassador.errors import CredentialError, UpstreamError
from ambassador.kit.clock import ticks
from ambassador.net.gather import Gathering
from ambassador.protocols.base import Downstream
from ambassador.protocols.redis.client import Conversation
from ambassador.protocols.redis.cluster.asked import Asked, Entry, Said
from ambassador.protocols.redis.cluster.nodes import PAUSE, Cluster
from ambassador.protocols.redis.line import PrivateLine, words_for
from ambassador.protocols.redis.rules import Rules
from ambassador.protocols.redis.shared import SharedLine
from ambassador.wire.redis.place import Place

if TYPE_CHECKING:
    from ambassador.access.base import Principal
    from ambassador.net.relay import End

MOST_ASKED = 1024
"""Requests under way at which no more is taken from a client, until half of them are answered."""

MOST_KEPT = 64 << 20
"""Bytes of replies that are kept for a client that does not read; then it is cut."""


class Ordered(Conversation):
    """What a client of a cluster is owed.

    Attributes:
        queue: in the order in which it asked.
        strays: what is to be asked again: at the owner of its slot or for this once elsewhere; at once or not.
        mending: somebody sees to that.
    """

    __slots__ = ("_gathering", "_kept_bytes", "epoch", "mending", "queue", "strays")

    hub: Cluster

    def __init__(self, downstream: Downstream, hub: Cluster, rules: Rules, principal: Principal) -> None:
        super().__init__(downstream, hub, rules, principal)
        # What comes for it in one turn of the loop, from whichever nodes, goes in one write.
        self._gathering = Gathering(self.stream.outlet)
        self.to = self._gathering
        self.queue: deque[Entry] = deque()
        self.strays: deque[tuple[Asked, Place | None, bool]] = deque()
        self.epoch = -1
        self._kept_bytes = 0
        self.mending = False

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for replies any more."""
        return self._end is not None

    def finish(self, end: End) -> None:
        """See `Conversation`."""
        self._gathering.flush()
        super().finish(end)

    def _close(self) -> None:
        super()._close()
        for entry in self.queue:
            if isinstance(entry, Asked):
                entry.give_line_back(soiled=True)
        self.queue.clear()
        self.strays.clear()

    def enqueue(self, entry: Entry) -> None:
        """The client is owed one more."""
        self.queue.append(entry)
        self.owed += 1

    def say(self, kind: int, words: bytes, *, denied: bool = False) -> None:
        """Answer the client ourselves, behind all that it is owed; `denied`: with what the listener's policy says."""
        said = Said(self, kind, words)
        said.denied = denied
        self.enqueue(said)
        self.arrived(said)

    # ---- replies

    def arrived(self, entry: Entry) -> None:
        """A reply is whole."""
        queue = self.queue
        if queue and queue[0] is entry and not self.choked:
            self._deliver()
        elif entry.pieces:
            self._keep(sum(map(len, entry.pieces)))

    def _deliver(self) -> None:
        """Pass on what is there, in order."""
        queue = self.queue
        now = ticks()
        while queue and queue[0].done:
            entry = queue.popleft()
            counts = self.metrics[entry.kind]
            if entry.denied:
                counts.refused += 1
            elif entry.failed:
                counts.error += 1
                counts.error_seconds.observe(now - entry.since)
            else:
                counts.ok += 1
                counts.seconds.observe(now - entry.since)
            self._pass_on(entry)
            self.owed -= 1
        if queue and isinstance(queue[0], Asked) and queue[0].pieces:
            self._flow(queue[0])
        if not queue:
            self._kept_bytes = 0
        if self.owed == 0:
            if self.halted or self.watched:
                self.emptied()
        elif self.halted and len(queue) <= MOST_ASKED // 2 and not self._detours:
            self._unstall()

    def _pass_on(self, entry: Entry) -> None:
        """Give the client what has come of a reply."""
        if not entry.mute:
            for piece in entry.pieces:
                self.sent += len(piece)
                self.to.take(piece)
        entry.pieces.clear()

    def flowing(self, asked: Asked, size: int) -> None:
        """A large reply is coming."""
        if self.queue and self.queue[0] is asked and not self.choked:
            self._flow(asked)
        else:
            self._keep(size)

    def _flow(self, asked: Asked) -> None:
        if asked.flowed or not asked.pieces[0].startswith(b"-"):
            asked.flowed = True
            self._pass_on(asked)

    def _keep(self, size: int) -> None:
        self._kept_bytes += size
        if self.choked and self._kept_bytes > MOST_KEPT:
            self.too_slow()

    def resume(self) -> None:
        """See `Sink`."""
        super().resume()
        self._kept_bytes = 0
        self._deliver()

    def pause(self) -> None:
        """See `Sink`: nobody is held up by it but itself."""
        super().pause()
        self._kept_bytes = 0

    @property
    def _detours(self) -> bool:
        return bool(self.strays) or self.epoch != self.hub.topology.epoch

    # ---- requests that go elsewhere

    def stray(self, asked: Asked, place: Place | None = None, *, at_once: bool = True) -> None:
        """Ask again: at the owner of its slot, or for this once at `place`; behind those that strayed before it."""
        if self.is_over:
            return
        self.halted = True
        self._steer()
        if at_once and not self.strays and not asked.own:
            target = place or self.hub.place_of(asked.target)
            line = None if target is None else self.hub.node(target).line(self.state.protocol, self.number)
            if line is not None:
                asked.send(line, asking=place is not None)
                return
        self.strays.append((asked, place, at_once))
        if not self.mending:
            self.mending = True
            self.hub.tasks.start(self._mend(), name="requests asked again")

    async def _mend(self) -> None:
        try:
            while self.strays:
                asked, place, at_once = self.strays[0]
                if not at_once:
                    await self.hub.clock.sleep(PAUSE)
                try:
                    line = await self._line_for(asked, place)
                except (UpstreamError, CredentialError) as trouble:
                    if self._still_wanted:
                        self.strays.popleft()
                        asked.fail(words_for(trouble))
                    continue
                if not self._still_wanted:
                    if isinstance(line, PrivateLine):
                        line.hub.give_back(line)
                    return
                self.strays.popleft()
                asked.send(line, asking=place is not None)
        finally:
            self.mending = False

    @property
    def _still_wanted(self) -> bool:
        return not self.is_over

    async def _line_for(self, asked: Asked, place: Place | None) -> SharedLine | PrivateLine:
        if asked.own:
            return await self.hub.own(place or asked.target, self.way)
        return await self.hub.open(place or asked.target, self.state.protocol, self.number)
