"""`check --connect`: every credential fetched, every upstream logged in to, once, and nothing kept."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ambassador.config.schema import Config
from ambassador.credentials.candidate import credential_of, fetch
from ambassador.credentials.pem import pem_of
from ambassador.credentials.rotation import LONGEST_FETCH
from ambassador.credentials.sources.base import Lease, Source
from ambassador.credentials.store import Store
from ambassador.credentials.vault.source import HINT
from ambassador.discovery.base import Discovery
from ambassador.errors import AmbassadorError, CredentialError, Reason, UpstreamError
from ambassador.kit.clock import Clock
from ambassador.kit.printable import printable
from ambassador.runtime.world import (
    client_contexts,
    make_discovery,
    make_source,
    make_vault,
    protocol_class,
    resolved,
    upstream_of,
)
from ambassador.telemetry.metrics import Metrics
from ambassador.upstreams.endpoint import EndpointSet
from ambassador.upstreams.upstream import Upstream

if TYPE_CHECKING:
    from ambassador.credentials.vault.vault import Vault

FAREWELL = 2.0
"""Seconds a server has to close a connection after we said good-bye."""

PATIENCE = 10.0
"""Seconds a discovery has to find something, and a Vault to take back a lease."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one attempt showed."""

    subject: str
    good: bool
    text: str

    def __str__(self) -> str:
        # Words of a server's may hold anything, a line that looks like one of ours included.
        return f"{'ok  ' if self.good else 'FAIL'} {self.subject}: {printable(self.text)}"


async def connect_all(config: Config, clock: Clock) -> list[Finding]:
    """Try everything the configuration names; one finding for each credential and upstream."""
    trial, findings = Trial(config, clock), list[Finding]()
    try:
        findings += [await trial.knock(name) for name in config.vaults]
        findings += [await trial.fetch(name) for name in config.credentials]
        findings += [await _log_in(name, config, trial.store, clock) for name in config.upstreams]
    finally:
        findings += await trial.end()
    return findings


class Trial:
    """One look at every Vault and every source.

    Attributes:
        store: what the sources gave.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self.store = Store(clock)
        self._config = config
        self._clock = clock
        self._metrics = Metrics()
        self._vaults: dict[str, Vault] = {}
        self._borrowed: list[tuple[Source, Lease]] = []
        self._kept: set[Source] = set()  # whose leases are meant to be left to their end

    async def knock(self, name: str) -> Finding:
        """Log in at a Vault."""
        subject = f"vault {name}"
        try:
            vault = make_vault(name, self._config.vaults[name], self._metrics, self._clock)
            self._vaults[name] = vault
            await vault.reach()
        except AmbassadorError as error:
            return Finding(subject, False, str(error))
        return Finding(subject, True, f"{vault.describe()}: let us in")

    async def fetch(self, name: str) -> Finding:
        """Get a credential."""
        subject, settings = f"credential {name}", self._config.credentials[name]
        wanted = getattr(settings.options, "vault", None)
        if wanted is not None and wanted not in self._vaults:
            return Finding(subject, False, f"vault {wanted!r} cannot be used; not tried")
        source = make_source(name, settings, self._vaults)
        try:
            fetched = await fetch(name, source, LONGEST_FETCH)
            if fetched.lease is not None:
                self._borrowed.append((source, fetched.lease))
                if wanted is not None and not self._config.vaults[wanted].revoke:
                    self._kept.add(source)
            credential = credential_of(name, fetched, self._clock, version=1)
        except AmbassadorError as error:
            return Finding(subject, False, str(error))
        self.store.put(credential)
        return Finding(subject, True, f"{source.describe()} has {', '.join(sorted(credential.fields))}")

    async def end(self) -> list[Finding]:
        """Give back what was granted for the sake of looking. Returns what could not be, and ends by itself."""
        found = [await self._give_back(source, lease) for source, lease in self._borrowed]
        for vault in self._vaults.values():
            await vault.close(FAREWELL)
        return [finding for finding in found if not finding.good]

    async def _give_back(self, source: Source, lease: Lease) -> Finding:
        subject = f"credential {source.name}"
        try:
            async with asyncio.timeout(PATIENCE):
                revoked = await source.revoke(lease)
        except CredentialError as error:
            return Finding(subject, False, str(error))
        except TimeoutError:
            return Finding(subject, False, f"its lease could not be given back in {PATIENCE:g} s")
        return Finding(subject, revoked or source in self._kept, f"its lease cannot be given back: {HINT}")


async def _log_in(name: str, config: Config, store: Store, clock: Clock) -> Finding:
    subject = f"upstream {name}"
    protocol = _protocol_of(name, config)
    if protocol is None:
        return Finding(subject, True, "no listener uses it; not tried")
    settings = resolved(config.upstreams[name], protocol)
    try:
        tls = client_contexts(settings)
        upstream = Upstream(
            name,
            settings,
            endpoints=await _find(make_discovery(name, settings, store, clock)),
            tls=tls,
            store=store,
            metrics=Metrics().upstream(name),
            credential_metrics=None,
            clock=clock,
        )
        if settings.tls is not None and settings.tls.credential is not None and tls is not None:
            tls.renew(pem_of(store.require(settings.tls.credential)))
        lease = await upstream.lease(protocol_class(protocol).try_login)
    except AmbassadorError as error:
        return Finding(subject, False, f"{error.reason}: {error}")
    lease.release()
    await lease.stream.wait_closed(FAREWELL)
    return Finding(subject, True, f"{lease.connection.endpoint} let us in")


async def _find(discovery: Discovery) -> EndpointSet:
    """The first endpoints that a discovery finds.

    Raises:
        UpstreamError: it found none in time.
        CredentialError: there is no client certificate to show.
    """
    if discovery.known:
        return discovery.known
    if discovery.tls is not None and discovery.issuer is not None:
        discovery.tls.renew(pem_of(discovery.store.require(discovery.issuer)))
    try:
        async with asyncio.timeout(PATIENCE), aclosing(discovery.watch()) as found:
            return await anext(found)
    except TimeoutError as error:
        text = f"discovery found nothing in {PATIENCE:g} s: {discovery.trouble or 'nobody has answered yet'}"
        raise UpstreamError(Reason.CONNECT_TIMEOUT, text) from error


def _protocol_of(name: str, config: Config) -> str | None:
    """What is spoken to an upstream: by its own words, or those of a listener that leads to it."""
    if config.upstreams[name].protocol is not None:
        return config.upstreams[name].protocol
    spoken = (one.protocol for one in config.listeners.values() if upstream_of(one) == name)
    return next(spoken, None)
