"""Endpoints as Redis' Sentinels know them: the master of that name as primary, its replicas that are up.

All Sentinels are followed at once, for the one that is followed alone may be the one that went down with the master.
What to believe when they differ is decided in `wire.redis.sentinel`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from pydantic import Field

from ambassador.config.address import Address
from ambassador.config.model import Model
from ambassador.config.schema import UpstreamSettings
from ambassador.config.tls import ClientTls
from ambassador.config.types import Addresses, CredentialName, Timeout
from ambassador.credentials.store import Store
from ambassador.discovery.base import Discovery
from ambassador.discovery.lookout import Lookout
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.kit.tasks import Tasks
from ambassador.net.tls import ClientContexts
from ambassador.telemetry import logs
from ambassador.telemetry.metrics import UpstreamMetrics
from ambassador.upstreams.endpoint import Endpoint, EndpointSet
from ambassador.upstreams.upstream import Upstream
from ambassador.wire.redis.place import Place
from ambassador.wire.redis.sentinel import Topology, agree

_log = logs.logger(__name__)

MOST = 16
"""Sentinels that are followed, learned ones included."""

LAST_MOMENTS = 2.0


class SentinelOptions(Model):
    """Redis Sentinel: it knows which server is the master now."""

    master: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-~]+$")]
    """What the service is called at the Sentinels (`sentinel monitor NAME`)."""

    endpoints: Annotated[Addresses, Field(max_length=MOST)]
    """Where Sentinels are. All are followed; further ones of which they tell are learned."""

    credential: CredentialName | None = None
    """Credential to show to the Sentinels, which have users of their own. Without it they are expected to ask for
    nothing. Its user needs `+sentinel +subscribe +unsubscribe +hello +client|setname` and the channels (`&*`)."""

    tls: ClientTls | None = None
    """TLS towards the Sentinels; that of the upstream does not count for them. A Sentinel learned from others is known
    by its IP address only."""

    allow_cleartext_password: bool = False
    """Whether the Sentinels' password may be sent in the clear beyond this machine without TLS."""

    timeout: Timeout = 5.0
    """Longest wait for a Sentinel: for its connection, for its login, for its answers."""

    poll: Timeout = 10.0
    """Time between two questions when nothing happens: the safety net for events that get lost, and how a Sentinel
    that vanished is noticed."""


class Sentinel(Discovery):
    """Follows the Sentinels of one master.

    Yields the primary first, then its replicas. When no Sentinel can be reached the last set stands.
    """

    Options = SentinelOptions
    options: SentinelOptions

    def __init__(self, name: str, options: Any, store: Store, clock: Clock = SYSTEM) -> None:
        super().__init__(name, options, store, clock)
        tls = self.options.tls
        self.tls = None if tls is None or tls.mode == "disable" else ClientContexts(tls)
        self._lookouts: dict[Address, tuple[Lookout, asyncio.Task[None]]] = {}
        self._tasks = Tasks(lambda task, error: _log.exception("task failed", error, task=task))
        self._told = asyncio.Event()
        self._believed: Topology | None = None

    def credentials(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(filter(None, (self.options.credential, self.issuer))))

    @property
    def issuer(self) -> str | None:
        return None if self.options.tls is None else self.options.tls.credential

    async def watch(self) -> AsyncGenerator[EndpointSet]:
        before: EndpointSet = ()
        try:
            for address in self.options.endpoints:
                self._begin(address)
            while True:
                await self._told.wait()
                self._told.clear()
                found = self._judge()
                if found and found != before:
                    before = found
                    yield found
        finally:
            await self._tasks.stop(LAST_MOMENTS)
            self._lookouts.clear()

    # ---- what to believe

    def _judge(self) -> EndpointSet:
        """The endpoint set that follows from what the Sentinels say now."""
        lookouts = self._all()
        views = [one.view for one in lookouts if one.view is not None]
        names = {view.sentinel for view in views} | {name for view in views for name, _ in view.others}
        known = max(len(names), len(self.options.endpoints))
        self._believed = agree(views, known, self._believed)
        self._say("" if views else _troubles(lookouts))
        self._learn()
        return () if self._believed is None else _endpoints(self._believed)

    def _say(self, trouble: str) -> None:
        if trouble and not self.trouble:
            text = "no Sentinel can be asked; what was known last stands"
            _log.error("discovery failed", upstream=self.name, error=text)
        elif self.trouble and not trouble:
            _log.info("discovery works again", upstream=self.name)
        self.trouble = trouble

    # ---- whom to follow

    def _all(self) -> list[Lookout]:
        return [lookout for lookout, _ in self._lookouts.values()]

    def _begin(self, address: Address, name: str = "") -> None:
        where = self._way_to(address)
        lookout = Lookout(self.name, where, self.options, self._told.set, self.clock, name=name)
        task = self._tasks.start(lookout.run(), name=f"sentinel {address} of {self.name}")
        self._lookouts[address] = lookout, task

    def _learn(self) -> None:
        """Follow those that others told of, once it is known who can be reached; let those go that are not needed."""
        lookouts = self._all()
        views = [one.view for one in lookouts if one.view is not None]
        if not views or any(one.view is None and not one.failed for one in lookouts):
            return
        met = {one.view.sentinel for one in lookouts if one.view is not None and not one.learned}
        told = {name: place for view in views for name, place in view.others if name not in met}
        for address, (lookout, task) in tuple(self._lookouts.items()):
            if lookout.learned and lookout.name not in told and (lookout.name in met or lookout.view is None):
                del self._lookouts[address]
                task.cancel()
        following = {one.name for one in self._all()}
        for name, place in sorted(told.items()):
            address = _address(place)
            if name not in following and address not in self._lookouts and len(self._lookouts) < MOST:
                self._begin(address, name)

    def _way_to(self, address: Address) -> Upstream:
        """A Sentinel is reached and logged in to as any server is."""
        options = self.options
        settings = UpstreamSettings(
            endpoints=(address,),
            credential=options.credential,
            tls=options.tls,
            connect_timeout=options.timeout,
            login_timeout=options.timeout,
            allow_cleartext_password=options.allow_cleartext_password,
        )
        return Upstream(
            self.name,
            settings,
            endpoints=(Endpoint(address),),
            tls=self.tls,
            store=self.store,
            metrics=UpstreamMetrics(),
            credential_metrics=None,
            clock=self.clock,
        )


def _troubles(lookouts: list[Lookout]) -> str:
    """Why none of them can be asked; "" as long as one has not been tried yet."""
    return "; ".join(one.trouble for one in lookouts) if all(one.failed for one in lookouts) else ""


def _address(place: Place) -> Address:
    return Address(host=place.host, port=place.port)


def _endpoints(topology: Topology) -> EndpointSet:
    replicas = (Endpoint(_address(place), "replica") for place in topology.replicas)
    return (Endpoint(_address(topology.primary), "primary"), *replicas)
