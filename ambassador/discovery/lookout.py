"""A connection to one Sentinel, kept up as long as the discovery wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from ambassador.credentials.credential import Credential
from ambassador.errors import AmbassadorError, Reason, UpstreamError
from ambassador.kit.backoff import Backoff
from ambassador.kit.clock import Clock
from ambassador.net.stream import Stream
from ambassador.protocols.redis.login import login_to
from ambassador.telemetry import logs
from ambassador.upstreams.upstream import Lease, Upstream
from ambassador.wire.redis.sentinel import Event, View, Watch

if TYPE_CHECKING:
    from ambassador.discovery.sentinel import SentinelOptions

_log = logs.logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE, SHORTEST_PAUSE = 0.2, 5.0, 0.05
"""Ceilings of the waits between two tries to reach a Sentinel, and the least of them, seconds."""


class Lookout:
    """One Sentinel, asked at once, after each event, and from time to time.

    Args:
        upstream: the way to it, with the login it wants.
        told: called when `view` or `failed` has changed.
        name: what the Sentinel is called among its like, where another one told of it; else "".

    Attributes:
        view: what it believes; None while there is no connection.
        trouble: why it could not be asked when it was tried last; "" when it could.
    """

    def __init__(
        self,
        service: str,
        upstream: Upstream,
        options: SentinelOptions,
        told: Callable[[], None],
        clock: Clock,
        *,
        name: str = "",
    ) -> None:
        self.name = name
        self.view: View | None = None
        self.trouble = ""
        self.upstream = upstream
        self._service = service
        self._options = options
        self._told = told
        self._clock = clock
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, floor=SHORTEST_PAUSE)
        self._deaf = ""

    @property
    def failed(self) -> bool:
        """Whether it has been tried in vain since it was last there."""
        return bool(self.trouble)

    @property
    def learned(self) -> bool:
        """Whether it is known only because another Sentinel told of it."""
        return bool(self.name)

    async def run(self) -> None:
        """Follow it, until cancelled."""
        while True:
            try:
                await self._follow()
            except AmbassadorError as error:
                self._away(str(error))
                await self._clock.sleep(self._backoff.next())
            except (OSError, EOFError) as error:  # a TimeoutError is an OSError
                self._away(str(error) or "it does not answer")
                await self._clock.sleep(self._backoff.next())
            finally:
                self.view = None

    async def _follow(self) -> None:
        """Connect, and listen until the connection ends, or a new credential wants to be shown."""
        lease = await self.upstream.lease(login_to(2, 0))
        try:
            async with asyncio.timeout(None) as gate:
                unsubscribe = self.upstream.on_rotation(lambda new: _supersede(gate, lease, new))
                if (current := self.upstream.credential) is not None:  # it may have come during the login
                    _supersede(gate, lease, current)
                try:
                    await self._listen(lease.stream)
                finally:
                    unsubscribe()
        except TimeoutError:
            if not gate.expired():
                raise
        finally:
            lease.release()

    async def _listen(self, stream: Stream) -> None:
        watch = Watch(self._options.master)
        while True:
            async with asyncio.timeout(self._options.timeout):
                await self._ask(stream, watch)
            try:
                async with asyncio.timeout(self._options.poll):
                    await self._event(stream, watch)
            except TimeoutError:
                continue

    async def _ask(self, stream: Stream, watch: Watch) -> None:
        stream.write(watch.ask())
        while not isinstance(found := await _next(stream, watch), View):
            continue
        self._backoff.reset()
        self._complain(watch.deaf)
        if self.failed or self.view is None:
            _log.info("sentinel found", upstream=self._service, sentinel=self.place)
        changed = (self.view, self.failed) != (found, False)
        self.view, self.trouble = found, ""
        if changed:
            self._told()

    async def _event(self, stream: Stream, watch: Watch) -> None:
        found = await _next(stream, watch)
        channel = found.channel if isinstance(found, Event) else ""
        _log.debug("sentinel event", upstream=self._service, sentinel=self.place, channel=channel)

    def _away(self, why: str) -> None:
        """Say so, once for each time it goes."""
        if not self.failed:
            say = _log.debug if self.learned else _log.warning
            say("sentinel away", upstream=self._service, sentinel=self.place, error=why)
        self.view, self.trouble = None, why
        self._told()

    def _complain(self, deaf: str) -> None:
        if deaf and not self._deaf:
            text = "it does not let us subscribe to its events: changes are noticed only at the next poll"
            _log.warning("sentinel deaf", upstream=self._service, sentinel=self.place, code=deaf, error=text)
        self._deaf = deaf

    @property
    def place(self) -> str:
        """Its address, for the log."""
        return ", ".join(map(str, self.upstream.endpoints))


async def _next(stream: Stream, watch: Watch) -> View | Event:
    while (found := watch.next_event()) is None:
        data = await stream.read()
        if not data:
            raise UpstreamError(Reason.UPSTREAM_CLOSED, "the Sentinel closed the connection")
        watch.receive(data)
    return found


def _supersede(gate: asyncio.Timeout, lease: Lease, new: Credential) -> None:
    if new.version != lease.connection.credential_version and not gate.expired():
        gate.reschedule(asyncio.get_running_loop().time())
