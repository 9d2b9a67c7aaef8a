"""When servers change their roles, come and go: who must leave which connection, and how soon.

A primary that is one no longer is left at once: what it still answers may be undone when it follows its successor, so
its yes is worth nothing any more. Whoever is owed something there gets an error. Any other server that goes is left as
soon as that costs nobody anything, and at the latest after a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ambassador.protocols.redis.line import PrivateLine, ServerLine
from ambassador.protocols.redis.shared import SharedLine
from ambassador.upstreams.balance import eligible, preferred

if TYPE_CHECKING:
    from ambassador.protocols.redis.hub import Hub

ONCE_IN = 2.0
"""Seconds that a connection lives at least, though its server says it is a replica: it may be meant to be one."""


class Moving:
    """Moves the connections of one hub.

    Attributes:
        changes: how often the endpoints have changed.
    """

    def __init__(self, hub: Hub) -> None:
        self.changes = 0
        self._hub = hub
        self._changed = asyncio.Event()
        self._unsubscribe = hub.upstream.on_change(self._move)

    def close(self) -> None:
        """Move nobody any more."""
        self._unsubscribe()

    async def pause(self, seconds: float, seen: int) -> None:
        """Wait before the next try to reach a server; no longer than until there are others.

        Args:
            seen: `changes` as it was before the try that failed.
        """
        if self.changes != seen:
            return
        sleep, change = self._hub.clock.sleep(seconds), self._changed.wait()
        await self._hub.tasks.first(sleep, change, name="pause between two tries")

    def demoted(self, line: ServerLine) -> None:
        """The server says it is a replica: whoever wants to write there looks for the primary.

        It may be that the proxy is led to a replica for good, and somebody keeps trying; so not too often.
        """
        if self._hub.options.read_from in {"replica", "prefer-replica"}:
            return
        was_primary = line.facts.role != "replica"
        if was_primary or self._hub.clock.now() - line.since >= ONCE_IN:
            line.misplaced = True
            if line.open:
                line.retire()

    def _move(self) -> None:
        self.changes += 1
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()
        staying = []
        for line in tuple(self._hub.live):
            if line.endpoint_stays:
                self._improve(line)
            elif line.endpoint.role == "primary" or line.is_idle:
                line.drop()
            else:
                self._leave(line)
                staying.append(line)
        if staying:
            self._hub.tasks.start(self._see_off(staying), name=f"servers of {self._hub.upstream.name} that went")

    def _leave(self, line: ServerLine) -> None:
        if isinstance(line, SharedLine):
            self._hub.supersede(line)
        elif isinstance(line, PrivateLine):
            line.soiled = True
            if line.moved is not None:
                line.moved()

    def _improve(self, line: ServerLine) -> None:
        """Change a server that only had to do for one that is wanted."""
        wanted = self._hub.read_from
        ranks = [preferred(one, wanted) for one in self._hub.upstream.endpoints if eligible(one, wanted)]
        if isinstance(line, SharedLine) and preferred(line.endpoint, wanted) > min(ranks):
            self._hub.supersede(line)

    async def _see_off(self, lines: Iterable[ServerLine]) -> None:
        """They may be at a server that answers no more: nobody waits for it for ever."""
        await self._hub.clock.sleep(self._hub.options.probe_timeout)
        for line in lines:
            if not line.gone and not (line.open and line.endpoint_stays):
                line.drop()
