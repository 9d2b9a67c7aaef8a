"""One configuration at work: its upstreams, its listeners' plans, its credentials' keepers, its TLS contexts.

`build` makes a new world beside the old one and touches nothing that runs; it may fail, and then the old world never
noticed. What both configurations agree on is carried over as the same object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from ambassador import registry
from ambassador.access.base import Authenticator
from ambassador.config.schema import Config, CredentialSettings, ListenerSettings, UpstreamSettings
from ambassador.credentials.credential import Credential
from ambassador.credentials.rotation import Keeper, TrialResult
from ambassador.credentials.sources.base import Source
from ambassador.credentials.store import Store
from ambassador.discovery.base import Discovery
from ambassador.discovery.static import Static, StaticOptions
from ambassador.kit.clock import Clock
from ambassador.kit.drain import Drain
from ambassador.net.tls import ClientContexts, Contexts, ServerContexts
from ambassador.protocols.base import Protocol
from ambassador.proxy.routes import Routes
from ambassador.proxy.session import Plan
from ambassador.runtime.certificates import Certificates
from ambassador.telemetry.metrics import Metrics
from ambassador.upstreams.upstream import Upstream


@dataclass(slots=True)
class Commons:
    """What all worlds of one daemon share."""

    clock: Clock
    metrics: Metrics
    store: Store
    drains: dict[str, Drain] = field(default_factory=dict)
    """By listener: sessions belong to it through all reloads, until it is taken out."""
    shared: dict[str, Any] = field(default_factory=dict)
    """By protocol: see `Protocol.make_shared`."""
    upstreams: dict[str, WeakSet[Upstream]] = field(default_factory=dict)
    """By name: all that were ever in force and are still used, by clients who outlived a reload."""
    current: World | None = None
    """The world in force."""

    def shared_of(self, protocol: str) -> Any:
        """What all listeners of a protocol have in common, made when first asked for."""
        if protocol not in self.shared:
            self.shared[protocol] = protocol_class(protocol).make_shared()
        return self.shared[protocol]


@dataclass(slots=True)
class World:
    """The running counterpart of one `Config`."""

    config: Config
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    keepers: dict[str, Keeper] = field(default_factory=dict)
    discoveries: dict[str, Discovery] = field(default_factory=dict)
    """By upstream: of those whose endpoints are not written in the configuration."""
    certificates: Certificates | None = None

    def needed_credentials(self) -> set[str]:
        """Names of the credentials without which some listener cannot serve."""
        names: set[str] = set()
        for plan in self.plans.values():
            settings = plan.routes.upstream.settings
            names.update(plan.access.credentials())
            names.update(filter(None, (settings.credential, settings.tls.credential if settings.tls else None)))
        for discovery in self.discoveries.values():
            names.update(discovery.credentials())
        return names


def build(commons: Commons, config: Config, before: World | None = None) -> World:
    """The world of `config`; objects of `before` whose settings did not change are carried over.

    Raises:
        ConfigError: a certificate cannot be used.
    """
    world = World(config)
    for name, listener in config.listeners.items():
        upstream = upstream_of(listener)
        if upstream not in world.upstreams:
            world.upstreams[upstream] = _upstream(commons, world, upstream, listener.protocol, before)
        world.plans[name] = _plan(commons, name, listener, world.upstreams[upstream], before)
    for name, credential in config.credentials.items():
        world.keepers[name] = _keeper(commons, name, credential, world, before)
    world.certificates = _certificates(commons, world)
    return world


def protocol_class(name: str) -> type[Protocol]:
    """The protocol of this name."""
    found: type[Protocol] = registry.resolve("protocols", name)
    return found


def upstream_of(listener: ListenerSettings) -> str:
    """The name of the upstream a listener leads to; every protocol's options have one."""
    name: str = getattr(listener.options, "upstream")  # noqa: B009 - the base class of options has no such field
    return name


def resolved(settings: UpstreamSettings, protocol: str) -> UpstreamSettings:
    """An upstream's settings with the options of the protocol spoken to it, its defaults where none are given."""
    if settings.protocol is not None:
        return settings
    return settings.model_copy(update={"protocol": protocol, "options": protocol_class(protocol).UpstreamOptions()})


def client_contexts(settings: UpstreamSettings) -> ClientContexts | None:
    """TLS contexts for an upstream whose protocol is resolved; None when TLS is off.

    Raises:
        ConfigError: a certificate cannot be used.
    """
    if settings.tls is None or settings.tls.mode == "disable" or settings.protocol is None:
        return None
    return ClientContexts(settings.tls, alpn=protocol_class(settings.protocol).alpn)


def make_source(name: str, settings: CredentialSettings) -> Source:
    """The source that a credential's settings name."""
    source: Source = registry.resolve("sources", settings.source)(name, settings.options)
    return source


def make_discovery(name: str, settings: UpstreamSettings, store: Store, clock: Clock) -> Discovery:
    """What finds the endpoints of an upstream.

    Raises:
        ConfigError: a certificate cannot be used.
    """
    if settings.discovery is None:
        return Static(name, StaticOptions(endpoints=settings.endpoints), store, clock)
    kind: type[Discovery] = registry.resolve("discoveries", settings.discovery.kind)
    return kind(name, settings.discovery.options, store, clock)


def _upstream(commons: Commons, world: World, name: str, protocol: str, before: World | None) -> Upstream:
    settings = resolved(world.config.upstreams[name], protocol)
    old = before.upstreams.get(name) if before is not None else None
    discovery = _discovery(commons, name, settings, before)
    if settings.discovery is not None:
        world.discoveries[name] = discovery
    if old is not None and old.settings == settings:
        return old
    tls = old.tls if old is not None and old.settings.tls == settings.tls else client_contexts(settings)
    credential = settings.credential
    return Upstream(
        name,
        settings,
        # Until a discovery has found something, what served so far serves on.
        endpoints=discovery.known or (() if old is None else old.endpoints),
        tls=tls,
        store=commons.store,
        metrics=commons.metrics.upstream(name),
        credential_metrics=None if credential is None else commons.metrics.credential(credential),
        clock=commons.clock,
    )


def _discovery(commons: Commons, name: str, settings: UpstreamSettings, before: World | None) -> Discovery:
    old = None if before is None else before.discoveries.get(name)
    if before is not None and old is not None and before.upstreams[name].settings.discovery == settings.discovery:
        return old
    return make_discovery(name, settings, commons.store, commons.clock)


def _plan(commons: Commons, name: str, settings: ListenerSettings, upstream: Upstream, before: World | None) -> Plan:
    old = before.plans.get(name) if before is not None else None
    if old is not None and old.settings == settings and old.routes.upstream is upstream:
        return old
    protocol = protocol_class(settings.protocol)
    return Plan(
        name=name,
        settings=settings,
        protocol=protocol(settings.options, commons.shared_of(settings.protocol)),
        access=_access(commons, settings, old),
        routes=Routes(upstream),
        tls=_server_contexts(settings, protocol, old),
        metrics=commons.metrics.listener(name),
        requests=tuple(commons.metrics.requests(name, upstream.name, kind) for kind in protocol.request_kinds),
        drain=commons.drains.setdefault(name, Drain()),
    )


def _access(commons: Commons, settings: ListenerSettings, old: Plan | None) -> Authenticator:
    if old is not None and old.settings.access == settings.access:
        return old.access
    kind: type[Authenticator] = registry.resolve("authenticators", settings.access.kind)
    return kind(settings.access.options, commons.store, commons.clock)


def _server_contexts(settings: ListenerSettings, protocol: type[Protocol], old: Plan | None) -> ServerContexts | None:
    if old is not None and old.settings.tls == settings.tls:
        return old.tls
    return None if settings.tls is None else ServerContexts(settings.tls, alpn=protocol.alpn)


def _keeper(commons: Commons, name: str, settings: CredentialSettings, world: World, before: World | None) -> Keeper:
    tried = bool(_users(name, world))
    if before is not None and before.config.credentials.get(name) == settings and bool(_users(name, before)) is tried:
        return before.keepers[name]

    async def trial(candidate: Credential) -> TrialResult:
        return await _try_everywhere(candidate, _users(name, commons.current or world))

    return Keeper(
        name,
        make_source(name, settings),
        settings,
        store=commons.store,
        metrics=commons.metrics.credential(name),
        clock=commons.clock,
        trial=trial if tried else None,
    )


def _users(credential: str, world: World) -> list[Upstream]:
    """The upstreams that log in with a credential."""
    return [
        upstream
        for upstream in world.upstreams.values()
        if upstream.settings.credential == credential and protocol_class(upstream.settings.protocol or "").logs_in
    ]


async def _try_everywhere(candidate: Credential, upstreams: list[Upstream]) -> TrialResult:
    """A real login at every upstream: one refusal is enough to refuse, one acceptance enough to accept."""
    results = {
        await upstream.trial(candidate, protocol_class(upstream.settings.protocol or "").try_login)
        for upstream in upstreams
    }
    return next(
        (verdict for verdict in (TrialResult.REFUSED, TrialResult.ACCEPTED) if verdict in results), TrialResult.UNKNOWN
    )


def _certificates(commons: Commons, world: World) -> Certificates:
    contexts: dict[str, Contexts] = {}
    issued: dict[str, str] = {}
    for name, plan in world.plans.items():
        if plan.tls is not None:
            contexts[f"listener {name}"] = plan.tls
    for name, upstream in world.upstreams.items():
        if upstream.tls is None:
            continue
        contexts[f"upstream {name}"] = upstream.tls
        if upstream.settings.tls is not None and upstream.settings.tls.credential is not None:
            issued[f"upstream {name}"] = upstream.settings.tls.credential
    for name, discovery in world.discoveries.items():
        if discovery.tls is not None:
            contexts[f"discovery {name}"] = discovery.tls
            if discovery.issuer is not None:
                issued[f"discovery {name}"] = discovery.issuer
    return Certificates(contexts, issued, store=commons.store, metrics=commons.metrics, clock=commons.clock)
