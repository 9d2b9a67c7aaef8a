"""`check --connect`: every credential fetched, every upstream logged in to, once, and nothing kept."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

from ambassador.config.schema import Config
from ambassador.credentials.credential import Credential
from ambassador.credentials.store import Store
from ambassador.discovery.base import Discovery
from ambassador.errors import AmbassadorError, Reason, UpstreamError
from ambassador.kit.clock import Clock
from ambassador.runtime.certificates import client_pem
from ambassador.runtime.world import (
    client_contexts,
    make_discovery,
    make_source,
    protocol_class,
    resolved,
    upstream_of,
)
from ambassador.telemetry.metrics import Metrics
from ambassador.upstreams.endpoint import EndpointSet
from ambassador.upstreams.upstream import Upstream

FAREWELL = 2.0
"""Seconds a server has to close a connection after we said good-bye."""

PATIENCE = 10.0
"""Seconds a discovery has to find something."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one attempt showed."""

    subject: str
    good: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.good else 'FAIL'} {self.subject}: {self.text}"


async def connect_all(config: Config, clock: Clock) -> list[Finding]:
    """Try everything the configuration names; one finding for each credential and upstream."""
    store = Store(clock)
    findings = [await _fetch(name, config, store, clock) for name in config.credentials]
    return findings + [await _log_in(name, config, store, clock) for name in config.upstreams]


async def _fetch(name: str, config: Config, store: Store, clock: Clock) -> Finding:
    source = make_source(name, config.credentials[name])
    try:
        fetched = await source.fetch()
        credential = Credential(name, 1, fetched.fields, not_before=clock.wall(), not_after=fetched.not_after)
    except AmbassadorError as error:
        return Finding(f"credential {name}", False, str(error))
    store.put(credential)
    return Finding(f"credential {name}", True, f"{source.describe()} has {', '.join(sorted(credential.fields))}")


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
            tls.renew(client_pem(store.require(settings.tls.credential)))
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
        discovery.tls.renew(client_pem(discovery.store.require(discovery.issuer)))
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
