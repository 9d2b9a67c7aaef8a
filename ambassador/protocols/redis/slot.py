"""A place for one shared connection, and how the next one comes into it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ambassador.errors import AmbassadorError, Reason, UpstreamError
from ambassador.kit.backoff import Backoff
from ambassador.protocols.redis.shared import SharedLine
from ambassador.wire.redis.messages import Protocol

if TYPE_CHECKING:
    from ambassador.protocols.redis.hub import Hub

Way = tuple[Protocol, int]
"""What a shared connection is shared by: the RESP version and the database."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Ceilings of the waits between two tries to reconnect, seconds."""

PERMANENT = {Reason.UPSTREAM_UNSUPPORTED, Reason.UPSTREAM_LOGIN_REFUSED}
"""Reasons for which waiting does not help."""

OPTION_REFUSED = "SELECT"
"""`UpstreamError.code` of a login whose database the server does not have."""

SHORTEST_WAIT = 2.0
"""Seconds that a first connection may take where nothing is to be waited for."""


def pauses() -> Backoff:
    """The waits between tries to reach a server."""
    return Backoff(FIRST_PAUSE, LONGEST_PAUSE, floor=FIRST_PAUSE / 5)


def is_permanent(error: AmbassadorError) -> bool:
    """Whether trying again will not help."""
    return error.reason in PERMANENT or (isinstance(error, UpstreamError) and error.code == OPTION_REFUSED)


class Slot:
    """One place for a shared connection: holds it, and gets the next when it is gone or superseded."""

    def __init__(self, hub: Hub, way: Way) -> None:
        self.line: SharedLine | None = None
        self._hub = hub
        self._way = way
        self._opening: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[SharedLine]] = []

    async def get(self, wait: float) -> SharedLine:
        """The open connection, waiting for it at most `wait` seconds.

        Raises:
            UpstreamError, CredentialError: none came, for the reason of the last try.
        """
        if self.line is not None and self.line.open:
            return self.line
        future: asyncio.Future[SharedLine] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self.renew(wait)
        try:
            async with asyncio.timeout(wait or SHORTEST_WAIT):
                return await future
        except TimeoutError as error:
            raise self._hub.trouble or UpstreamError(
                Reason.CONNECT_TIMEOUT, f"upstream {self._hub.upstream.name} was not reached within {wait:g} s"
            ) from error
        finally:
            if future in self._waiting:
                self._waiting.remove(future)

    def renew(self, patience: float) -> None:
        """Open a connection to take the place of this one, unless that is being done. Gives up after `patience`
        seconds when nobody waits for it."""
        if self._opening is None or self._opening.done():
            work = self._open(patience)
            self._opening = self._hub.tasks.start(work, name=f"shared connection to {self._hub.upstream.name}")

    async def _open(self, patience: float) -> None:
        """Try until it works; see `renew`."""
        backoff = pauses()
        until = self._hub.clock.now() + patience
        while not self._hub.closed:
            seen = self._hub.moving.changes
            try:
                line = SharedLine(self._hub, await self._hub.lease(self._way), *self._way)
            except AmbassadorError as error:
                if isinstance(error, UpstreamError) and error.code == OPTION_REFUSED and self.line is None:
                    self._hub.forget(self._way)
                    self._fail(error)
                    return
                self._hub.not_reached(error)
                if is_permanent(error):
                    self._fail(error)
                if not self._waiting and self._hub.clock.now() >= until:
                    return
                await self._hub.moving.pause(backoff.next(), seen)
            else:
                if not self._put(line):
                    await self._hub.moving.pause(backoff.next(), seen)
                # A new credential may have come while this one was being shown.
                elif not self._hub.is_stale(line):
                    return

    def _put(self, line: SharedLine) -> bool:
        """Have it serve from now on; False: it has ended meanwhile."""
        line.begin()
        if line.gone:
            return False
        self._hub.reached()
        before, self.line = self.line, line
        if before is not None and before.open:
            before.retire()
            before.hand_over(line)
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(line)
        return True

    def _fail(self, error: AmbassadorError) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_exception(error)
